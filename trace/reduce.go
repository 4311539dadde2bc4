// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"

	"github.com/nstrace/nstrace/event"
)

// ReducePackets reads all packets of r with several cores at once. fold adds a
// batch to the T of its block, whatever order the blocks are read in, several at
// once; merge then gets the Ts in the order of the file, one at a time, and leaves
// each as fold is to find it for another block. It runs workers at a time, one for
// each core if that is 0; memory is needed for two blocks each.
//
// What Packets says of errors and damage goes for it as well.
func ReducePackets[T any](r *Reader, workers int, fold func(*T, *PacketBatch), merge func(*T) error, damaged func(*event.Damage)) error {
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	var blocks []*block
	for i := range r.blocks {
		if r.blocks[i].kind == kindPackets {
			blocks = append(blocks, &r.blocks[i])
		}
	}
	workers = min(workers, len(blocks))
	p := &reduction[T]{r: r, blocks: blocks, fold: fold, slots: make([]reduced[T], 2*workers), quit: make(chan struct{})}
	for i := range p.slots {
		s := &p.slots[i]
		s.free, s.full = make(chan struct{}, 1), make(chan struct{}, 1)
		s.free <- struct{}{}
	}
	ended := make(chan struct{})
	for range workers {
		go func() { p.work(); ended <- struct{}{} }()
	}
	err := p.hand(merge, damaged)
	close(p.quit)
	for range workers {
		<-ended
	}
	return err
}

// reduction hands blocks to workers, and what they make of them back in order.
// Block i is in slot i modulo their number, so that no worker is further ahead
// than there are slots.
type reduction[T any] struct {
	r      *Reader
	blocks []*block
	fold   func(*T, *PacketBatch)
	slots  []reduced[T]
	next   atomic.Int64
	quit   chan struct{}
}

// reduced is what became of a block.
type reduced[T any] struct {
	free, full chan struct{}
	result     T
	read       int
	last       uint64 // time of the last packet read
	err        error
}

// work reduces blocks until there are no more.
func (p *reduction[T]) work() {
	r, err := p.r.clone() // its error goes to whoever waits for the blocks
	if err == nil {
		defer r.dec.Close()
	}
	pr := packetReader{r: r}
	for {
		i := int(p.next.Add(1)) - 1
		if i >= len(p.blocks) {
			return
		}
		s := &p.slots[i%len(p.slots)]
		select {
		case <-s.free:
		case <-p.quit:
			return
		}
		s.read, s.last, s.err = 0, 0, err
		if err == nil {
			s.read, s.err = pr.block(p.blocks[i], func(b *PacketBatch) error {
				s.last = b.Time[b.Len()-1]
				p.fold(&s.result, b)
				return nil
			})
		}
		s.full <- struct{}{}
	}
}

// hand gives the results to merge, in the order of the file.
func (p *reduction[T]) hand(merge func(*T) error, damaged func(*event.Damage)) error {
	var now uint64
	for i, b := range p.blocks {
		s := &p.slots[i%len(p.slots)]
		<-s.full
		if s.read > 0 {
			now = s.last
			if err := merge(&s.result); err != nil {
				return err
			}
		}
		if s.err != nil {
			if err := p.r.packetDamage(b, s.read, now, s.err, damaged); err != nil {
				return err
			}
		}
		s.free <- struct{}{}
	}
	return nil
}

// packetDamage tells damaged why b can't be read on, or returns it as an error.
func (r *Reader) packetDamage(b *block, read int, now uint64, err error, damaged func(*event.Damage)) error {
	var ioErr *ioError
	if errors.As(err, &ioErr) {
		return err
	}
	d := r.describeLoss(b, read, err)
	d.Time = now
	if damaged == nil {
		return fmt.Errorf("read packets at byte %d: %s", d.Offset, d.Reason)
	}
	damaged(d)
	return nil
}

// clone returns a reader of the same file that can be used at the same time, for
// the blocks that r has found.
func (r *Reader) clone() (*Reader, error) {
	dec, err := newDecoder()
	if err != nil {
		return nil, err
	}
	return &Reader{r: r.r, size: r.size, id: r.id, head: r.head, maps: r.maps, dec: dec}, nil
}

func newDecoder() (*zstd.Decoder, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxRawSnapshot), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, fmt.Errorf("prepare decompression: %w", err)
	}
	return dec, nil
}
