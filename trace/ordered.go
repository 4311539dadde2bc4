// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/nstrace/nstrace/event"
)

// OrderedPackets delivers every packet with its bytes in the order of time, which it
// merges from the blocks; at the same time, in the order of the file. It keeps in
// memory only blocks that overlap in time. The
// packet is valid until fn returns; an error of fn ends it.
//
// Damaged blocks are given to damaged. Where only the bytes are damaged the packets
// come without.
func (r *Reader) OrderedPackets(fn func(*event.Packet) error, damaged func(*event.Damage)) error {
	m := &packetMerger{r: r, fn: fn, damaged: damaged}
	defer m.closeAll()
	var orphans []*block
	m.todo, orphans = r.packetBlocks()
	for _, b := range orphans {
		m.lose(b, 0, errData)
	}
	return m.run()
}

// HasPacketData reports whether the file has bytes of packets.
func (r *Reader) HasPacketData() bool {
	return slices.ContainsFunc(r.blocks, func(b block) bool { return b.kind == kindData })
}

// packetBlock is a packets block and that with its bytes, nil if there is none.
type packetBlock struct{ packets, data *block }

// packetBlocks lists them by their first time, and the bytes of packets whose block
// isn't there.
func (r *Reader) packetBlocks() (all []packetBlock, orphans []*block) {
	alone := false // the last of all may still get its bytes
	for i := range r.blocks {
		b := &r.blocks[i]
		switch {
		case b.kind == kindPackets:
			all, alone = append(all, packetBlock{packets: b}), true
		case b.kind == kindData && alone:
			all[len(all)-1].data, alone = b, false
		case b.kind == kindData:
			orphans = append(orphans, b)
		case b.kind != kindIndex:
			alone = false
		}
	}
	slices.SortStableFunc(all, func(x, y packetBlock) int { return cmp.Compare(x.packets.first, y.packets.first) })
	return all, orphans
}

// packetMerger delivers packets block by block where they don't overlap, and
// otherwise packet by packet.
type packetMerger struct {
	r       *Reader
	fn      func(*event.Packet) error
	damaged func(*event.Damage)
	todo    []packetBlock
	open    []*packetCursor
	spare   []*packetCursor
	size    int
	now     uint64
	packet  event.Packet
}

// packetCursor is an open packets block.
type packetCursor struct {
	packetReader
	block *block
	raw   []byte
	data  packetData
	size  int
	// at is the next packet of the batch, done how many were in batches before.
	at, done int
}

func (c *packetCursor) time() uint64 { return c.out.Time[c.at] }

func (m *packetMerger) run() error {
	for len(m.todo) > 0 || len(m.open) > 0 {
		i := m.least()
		if len(m.todo) > 0 && (i < 0 || m.todo[0].packets.first <= m.open[i].time()) {
			next := m.todo[0]
			m.todo = m.todo[1:]
			if err := m.openBlock(next); err != nil {
				return err
			}
			continue
		}
		until, with := m.limit(i)
		if err := m.deliver(i, until, with); err != nil {
			return err
		}
	}
	return nil
}

// least is the open block whose next packet is first, -1 without one.
func (m *packetMerger) least() int {
	at := -1
	for i, c := range m.open {
		if at < 0 || c.before(m.open[at]) {
			at = i
		}
	}
	return at
}

// before reports whether c's next packet comes before d's.
func (c *packetCursor) before(d *packetCursor) bool {
	return c.time() < d.time() || c.time() == d.time() && c.block.offset < d.block.offset
}

// limit is up to when the packets of the open block i come before all others, with
// those of that time or without.
func (m *packetMerger) limit(i int) (until uint64, with bool) {
	until, with = 1<<64-1, true
	for j, c := range m.open {
		if j == i {
			continue
		}
		w := m.open[i].block.offset < c.block.offset
		if t := c.time(); t < until || t == until && !w {
			until, with = t, w
		}
	}
	if len(m.todo) > 0 && m.todo[0].packets.first <= until {
		return m.todo[0].packets.first, false // it may be earlier in the file
	}
	return until, with
}

// deliver delivers the next packets of an open block: see limit.
func (m *packetMerger) deliver(i int, until uint64, with bool) error {
	c := m.open[i]
	for {
		for ; c.at < c.out.Len(); c.at++ {
			t := c.time()
			if t > until || t == until && !with {
				return nil
			}
			m.now = t
			p := &m.packet
			c.out.Packet(c.at, p)
			p.Data = c.data.of(uint32(c.done + c.at))
			if err := m.fn(p); err != nil {
				return err
			}
		}
		more, err := c.batch()
		if err != nil {
			m.lose(c.block, c.done, err)
		}
		if err != nil || !more {
			m.close(i)
			return nil
		}
	}
}

// batch decodes the next packets, false if there are none.
func (c *packetCursor) batch() (bool, error) {
	c.done += c.at
	c.at = 0
	n := min(int(c.block.count)-c.done, packetsPerBatch)
	if n == 0 {
		return false, nil
	}
	return true, c.decode(n, c.block)
}

func (m *packetMerger) openBlock(b packetBlock) error {
	c := &packetCursor{packetReader: packetReader{r: m.r}}
	if n := len(m.spare); n > 0 {
		c, m.spare = m.spare[n-1], m.spare[:n-1]
	}
	c.block, c.at, c.done = b.packets, 0, 0
	c.out.Time = c.out.Time[:0]
	more := false
	var err error
	if c.raw, err = c.packetReader.open(b.packets); err == nil {
		more, err = c.batch()
	}
	if err == nil && more {
		err = m.openData(c, b)
	}
	if err == nil && more {
		c.size = len(c.raw) + len(c.data.raw)
		m.open = append(m.open, c)
		if m.size += c.size; m.size > maxOpen {
			return fmt.Errorf("read trace file: %w", errOverlap)
		}
		return nil
	}
	m.forget(c)
	var ioErr *ioError
	if errors.As(err, &ioErr) {
		return err
	}
	if err != nil {
		m.lose(b.packets, 0, err)
	}
	return nil
}

// openData opens the bytes of a block's packets, as far as they are whole.
func (m *packetMerger) openData(c *packetCursor, b packetBlock) error {
	if b.data == nil {
		return nil
	}
	err := m.r.openData(&c.data, b.data, b.packets)
	var ioErr *ioError
	if errors.As(err, &ioErr) {
		return err
	}
	if err != nil {
		m.lose(b.data, 0, err)
	}
	return nil
}

func (m *packetMerger) lose(b *block, read int, err error) {
	d := m.r.describeLoss(b, read, err)
	d.Time = m.now
	m.damaged(d)
}

func (m *packetMerger) close(i int) {
	c := m.open[i]
	m.size -= c.size
	m.open = slices.Delete(m.open, i, i+1)
	m.forget(c)
}

// forget frees what c holds and keeps the rest for the next block.
func (m *packetMerger) forget(c *packetCursor) {
	if c.raw != nil {
		m.r.release(c.raw)
	}
	c.raw = nil
	c.data.close(m.r)
	m.spare = append(m.spare, c)
}

func (m *packetMerger) closeAll() {
	for len(m.open) > 0 {
		m.close(0)
	}
}
