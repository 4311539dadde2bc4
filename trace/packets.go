// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"fmt"

	"github.com/nstrace/nstrace/event"
)

// PacketBatch is some packets of one block, column by column: packet i is
// Time[i], CPU[i] and so on, in the order of time. It is valid until the
// function it was given to returns.
type PacketBatch struct {
	// Flows are those of the block; Flow says which of them each packet is of.
	Flows    []event.Flow
	Flow     []uint32
	Time     []uint64
	Seq      []uint64
	CPU      []uint32
	Length   []uint32
	Protocol []uint16
}

// Len is the number of packets.
func (b *PacketBatch) Len() int { return len(b.Time) }

// Packet stores packet i in p.
func (b *PacketBatch) Packet(i int, p *event.Packet) {
	p.Flow = b.Flows[b.Flow[i]]
	p.Time, p.Seq = b.Time[i], b.Seq[i]
	p.CPU, p.Length, p.Protocol = b.CPU[i], b.Length[i], b.Protocol[i]
	p.Data = nil
}

// packetsPerBatch keeps a batch within the processor's second-level cache.
const packetsPerBatch = 4 << 10

// Packets delivers all packets, without their bytes, block by block in the order of the file;
// blocks can overlap in time. An error of fn ends it. Blocks that can't be read
// are given to damaged; without it, the first one ends Packets with an error.
func (r *Reader) Packets(fn func(*PacketBatch) error, damaged func(*event.Damage)) error {
	pr := packetReader{r: r}
	var now uint64
	for i := range r.blocks {
		b := &r.blocks[i]
		if b.kind != kindPackets {
			continue
		}
		read, err := pr.block(b, fn)
		if read > 0 {
			now = pr.out.Time[len(pr.out.Time)-1]
		}
		var stop *stopError
		if errors.As(err, &stop) {
			return stop.err
		}
		if err != nil {
			if err := r.packetDamage(b, read, now, err, damaged); err != nil {
				return err
			}
		}
	}
	return nil
}

// stopError is an error of the caller's function.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }

// packetReader decodes packets blocks; its memory is used again for each.
type packetReader struct {
	r       *Reader
	ctx     context
	sec     section
	columns [6]column
	has     [6]bool
	vals    [3][]uint64
	out     PacketBatch
	flows   []event.Flow
	// flowColumns are those that flows were made of.
	flowColumns []boundColumn
	prev        uint64
}

// The positions in packetFields.
const (
	packetTime = iota
	packetCPU
	packetSeq
	packetFlow
	packetLength
	packetProtocol
)

// block delivers the packets of b and returns how many.
func (p *packetReader) block(b *block, fn func(*PacketBatch) error) (read int, err error) {
	raw, err := p.open(b)
	if raw != nil {
		defer p.r.release(raw)
	}
	if err != nil {
		return 0, err
	}
	for read < int(b.count) {
		n := min(int(b.count)-read, packetsPerBatch)
		if err := p.decode(n, b); err != nil {
			return read, err
		}
		if err := fn(&p.out); err != nil {
			return read, &stopError{err}
		}
		read += n
	}
	return read, nil
}

// open reads b and opens its columns.
func (p *packetReader) open(b *block) (raw []byte, err error) {
	if p.ctx.ranges, err = p.r.ranges(b, p.ctx.ranges[:0]); err != nil {
		return nil, err
	}
	p.ctx.next = p.ctx.next[:0]
	for i := range p.ctx.ranges {
		p.ctx.next = append(p.ctx.next, p.ctx.ranges[i].first)
	}
	if raw, err = p.r.payload(b); err != nil {
		return nil, err
	}
	if err := p.sec.parse(raw); err != nil {
		return raw, err
	}
	p.has = [6]bool{}
	for _, c := range p.sec.columns {
		i, ok := p.r.maps.packets[c.id]
		if !ok {
			continue
		}
		name := packetFields[i].name
		if p.has[i] {
			return raw, fmt.Errorf("column %q is there twice", name)
		}
		p.has[i] = true
		limit := packetFields[i].max()
		if i == packetFlow {
			limit = uint64(max(p.sec.dictRows, 1) - 1)
		}
		if err := p.columns[i].open(name, c, int(b.count), limit, len(p.ctx.ranges)); err != nil {
			return raw, fmt.Errorf("column %q: %w", name, err)
		}
	}
	p.prev = b.first
	return raw, p.openFlows()
}

// openFlows decodes the dictionary of flows.
func (p *packetReader) openFlows() error {
	n := p.sec.dictRows
	if n == 0 {
		return fmt.Errorf("%w: flows", errReference)
	}
	p.flows = grow(p.flows, n)
	clear(p.flows)
	var err error
	if p.flowColumns, err = bindColumns(p.flowColumns[:0], &p.sec, n, p.r.maps.flows, flowFields, 0); err != nil {
		return err
	}
	p.vals[0] = grow(p.vals[0], n)
	for i := range p.flowColumns {
		c := &p.flowColumns[i]
		if err := c.read(p.vals[0], &context{}); err != nil {
			return fmt.Errorf("column %q: %w", flowFields[c.field].name, err)
		}
		flowFields[c.field].set(p.flows, p.vals[0])
	}
	return nil
}

// column decodes the next n values of a column; nil if it is all zero.
func (p *packetReader) column(i, n int, dst *[]uint64) ([]uint64, error) {
	if !p.has[i] {
		return nil, nil
	}
	*dst = grow(*dst, n)
	if err := p.columns[i].read(*dst, &p.ctx); err != nil {
		return nil, fmt.Errorf("column %q: %w", packetFields[i].name, err)
	}
	return *dst, nil
}

// decode makes p.out of the next n packets.
func (p *packetReader) decode(n int, b *block) error {
	o := &p.out
	o.Flows = p.flows
	o.Time, o.Seq = grow(o.Time, n), grow(o.Seq, n)
	p.ctx.times, p.ctx.cpus = nil, nil
	times, err := p.column(packetTime, n, &o.Time)
	if err != nil {
		return err
	}
	if times == nil {
		clear(o.Time)
	}
	p.ctx.times = o.Time
	prev := p.prev
	for _, t := range o.Time {
		if t < prev {
			return errOrder
		}
		prev = t
	}
	if p.prev = prev; prev > b.last {
		return errOrder
	}
	if err := p.decodeCPU(n); err != nil {
		return err
	}
	seqs, err := p.column(packetSeq, n, &o.Seq)
	if err != nil {
		return err
	}
	if seqs == nil {
		clear(o.Seq)
	}
	if err := narrowColumn(p, packetFlow, n, &o.Flow); err != nil {
		return err
	}
	if err := narrowColumn(p, packetLength, n, &o.Length); err != nil {
		return err
	}
	return narrowColumn(p, packetProtocol, n, &o.Protocol)
}

func narrowColumn[N uint16 | uint32](p *packetReader, i, n int, dst *[]N) error {
	vals, err := p.column(i, n, &p.vals[0])
	if err == nil {
		narrow(dst, vals, n)
	}
	return err
}

func (p *packetReader) decodeCPU(n int) error {
	o := &p.out
	vals, err := p.column(packetCPU, n, &p.vals[1])
	if err != nil {
		return err
	}
	narrow(&o.CPU, vals, n)
	rs := p.ctx.ranges
	switch {
	case vals == nil && len(rs) > 0:
		for i := range o.CPU {
			o.CPU[i] = rs[0].cpu
		}
	case vals != nil && p.columns[packetCPU].enc == encCPU:
		p.ctx.cpus = vals
		for i, v := range vals {
			o.CPU[i] = rs[v].cpu
		}
	}
	return nil
}

// narrow stores vals, nil for zeros, in dst.
func narrow[N uint16 | uint32](dst *[]N, vals []uint64, n int) {
	*dst = grow(*dst, n)
	d := *dst
	if vals == nil {
		clear(d)
		return
	}
	d = d[:len(vals)]
	for i, v := range vals {
		d[i] = N(v)
	}
}
