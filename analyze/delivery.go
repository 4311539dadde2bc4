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
	// What was counted; Packets and Bytes are made of it in the end.
	seen, entered, control tally
	enteredKnown           bool
	// protocols has the same by ethertype.
	protocols map[uint16]*protocolRow
	// base is the kernel's counter just before the flow's first packet, at
	// baseAt.
	base   counter
	baseAt uint64
	series series
	lulls  *lulls
	merged bool // into another
}

// protocolRow is what a row has of one ethertype.
type protocolRow struct{ seen, entered, control tally }

// tally counts packets.
type tally struct{ packets, bytes uint64 }

func (t *tally) add(packets, bytes uint64) {
	t.packets += packets
	t.bytes += bytes
}

// HandleCount takes an increment of one flow's count.
func (a *Analyzer) HandleCount(c *event.Count) {
	a.tick(c.Time)
	a.readings.read(c.Time)
	if c.Packets == 0 && c.Bytes == 0 && c.Entered == 0 && c.Control == 0 && !c.Base {
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
	if c.Path == event.PathDropped {
		a.dropped(c, n, d)
		return
	}
	r := a.rowOf(c, n, d)
	r.count(c)
	if c.First != 0 && (r.First == 0 || c.First < r.First) {
		r.First = c.First
	}
	r.Last = max(r.Last, c.Last)
	if c.Delivered() != 0 {
		a.pace(r, c)
	}
	// Each of the row's flows has its own; the device came with the first.
	if c.Base && (!r.base.known || c.First < r.baseAt) {
		r.base = counter{known: true, packets: c.BasePackets, bytes: c.BaseBytes}
		r.baseAt = c.First
	}
}

// rowOf finds the row for a count of what device d received in n. What only the
// control port had is no way into the namespace: it stands beside what only the
// stack had.
func (a *Analyzer) rowOf(c *event.Count, n *Netns, d *Device) *row {
	path := c.Path
	if path == event.PathControlPort {
		path = event.PathStack
	}
	key := rowKey{n, d, c.Ifindex, path}
	r := a.rows[key]
	if r == nil {
		r = &row{Delivery: Delivery{Netns: n, Device: d, Ifindex: c.Ifindex, Path: path}}
		r.lulls = a.lullsOf(place{n, d, c.Ifindex})
		a.rows[key] = r
		a.rowOrder = append(a.rowOrder, r)
	}
	return r
}

// count adds an increment to a row.
func (r *row) count(c *event.Count) {
	p := r.protocols[c.Protocol]
	if p == nil {
		p = &protocolRow{}
		if r.protocols == nil {
			r.protocols = make(map[uint16]*protocolRow)
		}
		r.protocols[c.Protocol] = p
	}
	r.Merged += c.Merged
	r.enteredKnown = r.enteredKnown || c.EnteredKnown
	entered, control := tally{c.Entered, c.EnteredBytes}, tally{c.Control, c.ControlBytes}
	switch c.Path {
	case event.PathStack, event.PathLoopback, event.PathStationUpdate, event.PathNetifRx:
		entered = tally{c.Packets, c.Bytes}
	case event.PathControlPort:
		control = tally{c.Packets, c.Bytes}
	}
	p.seen.add(c.Packets, c.Bytes)
	p.entered.add(entered.packets, entered.bytes)
	p.control.add(control.packets, control.bytes)
	r.seen.add(c.Packets, c.Bytes)
	r.entered.add(entered.packets, entered.bytes)
	r.control.add(control.packets, control.bytes)
}

// add adds what another row of the same place has.
func (r *row) add(o *row) {
	for protocol, p := range o.protocols {
		mine := r.protocols[protocol]
		if mine == nil {
			r.protocols[protocol] = p
			continue
		}
		mine.seen.add(p.seen.packets, p.seen.bytes)
		mine.entered.add(p.entered.packets, p.entered.bytes)
		mine.control.add(p.control.packets, p.control.bytes)
	}
	r.Merged += o.Merged
	r.seen.add(o.seen.packets, o.seen.bytes)
	r.entered.add(o.entered.packets, o.entered.bytes)
	r.control.add(o.control.packets, o.control.bytes)
}

// keep leaves of r only what o has, too, and takes that from o.
func (r *row) keep(o *row) {
	r.entered = tally{}
	for protocol, p := range r.protocols {
		var there *protocolRow
		if o != nil {
			there = o.protocols[protocol]
		}
		if there == nil {
			p.entered = tally{}
			continue
		}
		p.entered = tally{min(p.entered.packets, there.entered.packets), min(p.entered.bytes, there.entered.bytes)}
		there.entered = tally{there.entered.packets - p.entered.packets, there.entered.bytes - p.entered.bytes}
		r.entered.add(p.entered.packets, p.entered.bytes)
		o.entered = tally{o.entered.packets - p.entered.packets, o.entered.bytes - p.entered.bytes}
	}
}

// finish makes the row's figures of what was counted. Of what mac80211 received,
// the stack got some, the control port some, and the rest went back to the air.
func (r *row) finish() {
	r.Packets, r.Bytes = r.seen.packets, r.seen.bytes
	switch {
	case r.Path >= event.PathStack:
		r.Packets, r.Bytes = r.entered.packets, r.entered.bytes
		if r.control.packets != 0 {
			r.Undelivered = &Undelivered{RelayedBytes: new(uint64), Control: r.control.packets, ControlBytes: r.control.bytes}
		}
	case r.enteredKnown:
		r.Undelivered = r.undelivered()
	}
	r.ethertypes()
}

func (r *row) undelivered() *Undelivered {
	u := &Undelivered{Control: r.control.packets, ControlBytes: r.control.bytes}
	u.Relayed = sub(r.seen.packets, r.entered.packets+r.control.packets)
	r.Packets, r.Bytes = r.entered.packets, r.entered.bytes
	switch {
	case u.Relayed == 0:
		r.Bytes = r.seen.bytes - r.control.bytes
		r.Merged = 0 // nothing is missing: mac80211 had them apart
		u.RelayedBytes = new(uint64)
	case r.Merged == 0:
		bytes := sub(r.seen.bytes, r.entered.bytes+r.control.bytes)
		u.RelayedBytes = &bytes
	}
	return u
}

// ethertypes lists what entered by ethertype; recordings of early versions don't
// tell it.
func (r *row) ethertypes() {
	if _, untold := r.protocols[0]; untold && len(r.protocols) == 1 {
		return
	}
	for protocol, p := range r.protocols {
		t := p.entered
		if r.Path < event.PathStack && !r.enteredKnown {
			t = p.seen
		}
		if t.packets != 0 {
			r.Ethertypes = append(r.Ethertypes, Ethertype{protocol, t.packets, t.bytes})
		}
	}
	slices.SortFunc(r.Ethertypes, func(x, y Ethertype) int {
		return cmp.Or(cmp.Compare(y.Packets, x.Packets), cmp.Compare(x.Protocol, y.Protocol))
	})
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
	for key, r := range rows {
		// What cfg80211 made up the stack has got, and couldn't know it by itself.
		if key.path == event.PathStationUpdate {
			key.path = event.PathStack
			r.keep(rows[key])
		}
	}
	for _, r := range rows {
		r.finish()
	}
	empty := func(d *Delivery) bool { return d.Packets == 0 && d.Undelivered.Sum() == 0 }
	a.m.Delivery = slices.DeleteFunc(a.m.Delivery, empty)
	for _, n := range a.m.Namespaces {
		n.Delivery = slices.DeleteFunc(n.Delivery, empty)
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
	a.finishDrops()
	a.finishPace()
}

// merge takes in a row of the same lives.
func (r *row) merge(o *row) {
	r.add(o)
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
