// SPDX-License-Identifier: Apache-2.0

package trace

import "github.com/nstrace/nstrace/event"

// packetBuffer has the packets of the next block, with their flows apart.
type packetBuffer struct {
	rows  []packetRow
	flows []event.Flow
	ids   map[event.Flow]uint32
	// recent remembers flows by a few bits of their device, to look in the map
	// rarely.
	recent [64]struct {
		flow event.Flow
		id   uint32
		ok   bool
	}
	order []uint32
}

func (b *packetBuffer) add(p *event.Packet) {
	b.rows = append(b.rows, packetRow{
		time: p.Time, seq: p.Seq, cpu: p.CPU, flow: b.flow(&p.Flow), length: p.Length, protocol: p.Protocol,
	})
}

func (b *packetBuffer) flow(f *event.Flow) uint32 {
	r := &b.recent[(f.Dev>>6^f.Dev>>12^uint64(f.Path))%64]
	if r.ok && r.flow == *f {
		return r.id
	}
	id, ok := b.ids[*f]
	if !ok {
		if b.ids == nil {
			b.ids = make(map[event.Flow]uint32)
		}
		id = uint32(len(b.flows))
		b.ids[*f] = id
		b.flows = append(b.flows, *f)
	}
	r.flow, r.id, r.ok = *f, id, true
	return id
}

func (b *packetBuffer) reset() {
	b.rows, b.flows = b.rows[:0], b.flows[:0]
	clear(b.ids)
	for i := range b.recent {
		b.recent[i].ok = false
	}
}

func (w *Writer) flushPackets() error {
	b := &w.packets
	n := len(b.rows)
	if n == 0 {
		return nil
	}
	w.order = sortOrder(w.order, b.rows, func(p *packetRow) uint64 { return p.time })
	b.order = grow(b.order, len(b.flows))
	for i := range b.order {
		b.order[i] = uint32(i)
	}
	w.p.reset()
	addFields(&w.p, packetFields, 1, b.rows, w.order)
	addFields(&w.p, flowFields, firstFlowID, b.flows, b.order)
	w.p.finish(len(b.flows))
	err := w.putColumns(kindPackets, n)
	b.reset()
	return err
}
