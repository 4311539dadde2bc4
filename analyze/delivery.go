// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"cmp"
	"slices"

	"github.com/nstrace/nstrace/event"
)

// rowKey is what delivery is added up by. A device that leaves a namespace and
// comes back under the same number goes on with the same row.
type rowKey struct {
	netns   *Netns
	device  *Device
	ifindex int32
	path    event.Path
}

// row is a Delivery in the making.
type row struct {
	Delivery
	// base is the kernel's counter just before the flow's first packet, at
	// baseAt.
	base   counter
	baseAt uint64
	series series
	lulls  *lulls
	merged bool // into another
}

// HandleCount takes an increment of one flow's count.
func (a *Analyzer) HandleCount(c *event.Count) {
	a.tick(c.Time)
	a.readings.read(c.Time)
	if c.Packets == 0 && c.Bytes == 0 && !c.Base {
		return
	}
	a.packets.counts(c)
	t := cmp.Or(c.Last, c.First, c.Time)
	n := a.netnsAt(c.Net, t)
	if n == nil {
		a.odd++
		return
	}
	d := a.receiver(&c.Flow, n, t)
	key := rowKey{n, d, c.Ifindex, c.Path}
	r := a.rows[key]
	if r == nil {
		r = &row{Delivery: Delivery{Netns: n, Device: d, Ifindex: c.Ifindex, Path: c.Path}}
		r.lulls = a.lullsOf(place{n, d, c.Ifindex})
		a.rows[key] = r
		a.rowOrder = append(a.rowOrder, r)
	}
	r.Packets += c.Packets
	r.Bytes += c.Bytes
	if c.First != 0 && (r.First == 0 || c.First < r.First) {
		r.First = c.First
	}
	r.Last = max(r.Last, c.Last)
	a.pace(r, c)
	if c.Base && !r.base.known {
		r.base = counter{known: true, packets: c.BasePackets, bytes: c.BaseBytes}
		r.baseAt = c.First
	}
}

// receiver returns the netdev a flow went into: the one which, at time t, was in
// n under that number at that address. Counts are read out late, so it may have
// left since, and its address may have a new owner.
func (a *Analyzer) receiver(f *event.Flow, n *Netns, t uint64) *Device {
	var nearly *Device
	lives := a.devs.byPtr[f.Dev]
	for i := len(lives) - 1; i >= 0; i-- {
		for _, s := range slices.Backward(lives[i].Stays) { // most likely the latest
			if s.Netns.canon() != n || s.Ifindex != f.Ifindex {
				continue
			}
			if s.From <= t && (s.Until == 0 || t <= s.Until) {
				return lives[i]
			}
			if nearly == nil {
				nearly = lives[i]
			}
		}
	}
	if nearly != nil {
		return nearly
	}
	if d := n.devs[f.Ifindex]; d != nil && d.Ptr == 0 {
		a.setPtr(d, f.Dev)
		return d
	}
	d := a.newDevice(f.Dev, Inferred)
	if n.devs[f.Ifindex] == nil && n.Ended == 0 && a.devs.livingAt(f.Dev) == d {
		s := a.arrive(d, n, f.Ifindex, "", 0, ArrivedPreexisting)
		s.From, s.Inferred = a.noticed(n), true
	} else {
		d.Ended = t // it was there once; all that is known is this flow
		d.Stays = append(d.Stays, &Stay{
			Device: d, Netns: n, Ifindex: f.Ifindex, From: t, Until: t,
			Arrived: ArrivedPreexisting, Left: LeftRemoved, Inferred: true, EndInferred: true,
		})
	}
	return d
}

// finishDelivery puts the kernel's own counters next to ours.
func (a *Analyzer) finishDelivery() {
	rows := make(map[rowKey]*row)
	byPlace := make(map[place][]*row)
	for _, r := range a.rowOrder {
		r.Netns = r.Netns.canon()
		key := rowKey{r.Netns, r.Device, r.Ifindex, r.Path}
		if same := rows[key]; same != nil { // two lives that turned out to be one
			same.merge(r)
			continue
		}
		rows[key] = r
		p := place{r.Netns, r.Device, r.Ifindex}
		byPlace[p] = append(byPlace[p], r)
		a.m.Delivery = append(a.m.Delivery, &r.Delivery)
		r.Netns.Delivery = append(r.Netns.Delivery, &r.Delivery)
	}
	for p, rows := range byPlace {
		first := slices.MinFunc(rows, func(x, y *row) int { return baseOrder(x, y) })
		packets, bytes, ok := received(p.device, p.netns, p.ifindex, first)
		if !ok {
			continue
		}
		for _, r := range rows {
			np, nb := packets, bytes
			r.RxPackets, r.RxBytes = &np, &nb
		}
	}
	byPlaceOrder := func(x, y *Delivery) int {
		return cmp.Or(cmp.Compare(x.Ifindex, y.Ifindex), cmp.Compare(x.Path, y.Path))
	}
	for _, n := range a.m.Namespaces {
		slices.SortStableFunc(n.Delivery, byPlaceOrder)
	}
	a.finishPace()
}

// merge takes in a row of the same lives.
func (r *row) merge(o *row) {
	r.Packets += o.Packets
	r.Bytes += o.Bytes
	if o.First != 0 && (r.First == 0 || o.First < r.First) {
		r.First = o.First
	}
	r.Last = max(r.Last, o.Last)
	r.series.merge(&o.series)
	o.merged = true
}

// baseOrder puts the row with the lowest known base first.
func baseOrder(x, y *row) int {
	switch {
	case x.base.known != y.base.known && x.base.known:
		return -1
	case x.base.known != y.base.known:
		return 1
	}
	return cmp.Compare(x.base.packets, y.base.packets)
}

// received is what the kernel says device d received while it was in n under
// number ifindex: per stay, its counter on departure less that on arrival.
func received(d *Device, n *Netns, ifindex int32, first *row) (packets, bytes uint64, ok bool) {
	for _, s := range d.Stays {
		if s.Netns.canon() != n || s.Ifindex != ifindex {
			continue
		}
		in, out := s.rxIn, s.rxOut
		if s.Arrived == ArrivedPreexisting && first != nil && first.base.known &&
			(s.Until == 0 || first.baseAt <= s.Until) {
			in = first.base // exact, where the snapshot's reading was early or late
		}
		if !in.known || !out.known || out.packets < in.packets || out.bytes < in.bytes {
			return 0, 0, false
		}
		packets += out.packets - in.packets
		bytes += out.bytes - in.bytes
		ok = true
	}
	return packets, bytes, ok
}
