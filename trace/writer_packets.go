// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"cmp"
	"slices"

	"github.com/nstrace/nstrace/event"
)

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

	// bytes says for each packet that has any which of data are its own.
	bytes []packetBytes
	data  []byte
	// These are for sorting and writing them.
	place    []uint32
	dataRows []dataRow
	raw      []byte
}

// packetBytes are the bytes of one packet.
type packetBytes struct{ packet, from, length uint32 }

func (b *packetBuffer) add(p *event.Packet) {
	if len(p.Data) > 0 {
		b.bytes = append(b.bytes, packetBytes{uint32(len(b.rows)), uint32(len(b.data)), uint32(len(p.Data))})
		b.data = append(b.data, p.Data...)
	}
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
	b.bytes, b.data = b.bytes[:0], b.data[:0]
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
	number, first, last := w.number, w.p.times[0], w.p.times[n-1]
	b.sortBytes(w.order)
	err := w.putColumns(kindPackets, n)
	if err == nil && len(b.bytes) > 0 {
		err = w.putData(number, first, last)
	}
	b.reset()
	return err
}

// sortBytes brings bytes into the order of the packets, and says of each which one
// that is.
func (b *packetBuffer) sortBytes(order []uint32) {
	if len(b.bytes) == 0 {
		return
	}
	b.place = grow(b.place, len(order))
	for i, k := range order {
		b.place[k] = uint32(i)
	}
	for i := range b.bytes {
		b.bytes[i].packet = b.place[b.bytes[i].packet]
	}
	slices.SortFunc(b.bytes, func(x, y packetBytes) int { return cmp.Compare(x.packet, y.packet) })
}

// putData writes the bytes of the packets of block number.
func (w *Writer) putData(number uint32, first, last uint64) error {
	b := &w.packets
	b.dataRows, b.raw, b.order = b.dataRows[:0], b.raw[:0], b.order[:0]
	for i, x := range b.bytes {
		b.dataRows = append(b.dataRows, dataRow{number, x.packet, x.length})
		b.raw = append(b.raw, b.data[x.from:x.from+x.length]...)
		b.order = append(b.order, uint32(i))
	}
	w.p.reset()
	addFields(&w.p, dataFields, 1, b.dataRows, b.order)
	w.p.addBytes(bytesID, b.raw)
	w.p.finish(0)
	h := header{kind: kindData, count: uint32(len(b.dataRows)), first: first, last: last}
	return w.put(&h, nil, w.p.buf, w.p.cuts)
}
