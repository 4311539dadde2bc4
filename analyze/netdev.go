// SPDX-License-Identifier: Apache-2.0

package analyze

import "github.com/nstrace/nstrace/event"

// devices finds netdevs. Each list is in order of appearance; the last entry is
// the address's present owner. The owners of ifindexes are in their namespaces.
type devices struct {
	all   []*Device
	byPtr map[uint64][]*Device
}

func (x *devices) livingAt(p uint64) *Device {
	if p == 0 || len(x.byPtr[p]) == 0 {
		return nil
	}
	d := x.byPtr[p][len(x.byPtr[p])-1]
	if d.Ended != 0 {
		return nil
	}
	return d
}

func (a *Analyzer) newDevice(ptr uint64, o Origin) *Device {
	d := &Device{Origin: o}
	a.devs.all = append(a.devs.all, d)
	a.setPtr(d, ptr)
	return d
}

func (a *Analyzer) setPtr(d *Device, ptr uint64) {
	if d.Ptr == 0 && ptr != 0 {
		d.Ptr = ptr
		a.devs.byPtr[ptr] = append(a.devs.byPtr[ptr], d)
	}
}

// arrive begins d's stay in n. Whoever had the number there is gone.
func (a *Analyzer) arrive(d *Device, n *Netns, ifindex int32, name string, t uint64, how Arrival) *Stay {
	if ifindex != 0 {
		if old := n.devs[ifindex]; old != nil && old != d {
			a.endDevice(old, t, true)
		}
		n.own(ifindex, d)
	}
	s := &Stay{Device: d, Netns: n, Ifindex: ifindex, From: t, Arrived: how}
	d.Stays = append(d.Stays, s)
	d.rename(name)
	return s
}

// depart ends d's present stay, if it has one.
func (a *Analyzer) depart(d *Device, t uint64, how Departure) *Stay {
	s := d.At()
	if s == nil {
		return nil
	}
	s.Until, s.Left = t, how
	if n := s.Netns.canon(); n.devs[s.Ifindex] == d {
		delete(n.devs, s.Ifindex)
	}
	return s
}

// endDevice ends a life; unseen says that its end is missing.
func (a *Analyzer) endDevice(d *Device, t uint64, unseen bool) {
	if s := a.depart(d, t, LeftRemoved); s != nil {
		s.EndInferred = unseen
	}
	d.Ended = t
	a.foldDevice(d)
}

// rename notes what d is called now.
func (d *Device) rename(name string) {
	if name == "" {
		return
	}
	d.Name = name
	if s := d.At(); s != nil && s.Name() != name {
		s.Names = append(s.Names, name)
	}
}

// describe adds what e says about d's nature.
func (a *Analyzer) describe(d *Device, e *event.Event) {
	if e.LinkKind != "" {
		d.Kind = e.LinkKind
	}
	if e.DevType != 0 {
		d.DevType = e.DevType
	}
	if e.Iftype != 0 {
		d.Iftype = e.Iftype
	}
	if w := a.wiphy(e); w != nil {
		d.Wiphy = w
	}
}

// device returns the netdev e is about, which is in n (nil: somewhere), and
// makes one if it was never heard of. It returns nil if e names none.
func (a *Analyzer) device(e *event.Event, n *Netns) *Device {
	if e.Dev == 0 && (n == nil || e.Ifindex == 0) {
		return nil
	}
	d := a.devs.livingAt(e.Dev)
	if d != nil && !a.sameDevice(d, e, n) {
		a.endDevice(d, e.Time, true) // the address has a new owner
		d = nil
	}
	if d == nil && n != nil && e.Ifindex != 0 {
		if at := n.devs[e.Ifindex]; at != nil {
			if at.Ptr == 0 || e.Dev == 0 || at.Ptr == e.Dev {
				d = at
			} else {
				a.endDevice(at, e.Time, true) // the number has a new owner
			}
		}
	}
	if d == nil {
		d = a.newDevice(e.Dev, Inferred)
		if n != nil {
			from, how := a.appeared(n, e.Time)
			s := a.arrive(d, n, e.Ifindex, e.Name, 0, how)
			s.From, s.Inferred = from, true
		}
	}
	a.setPtr(d, e.Dev)
	a.describe(d, e)
	if s := d.At(); s != nil && s.Ifindex == 0 && e.Ifindex != 0 && (n == nil || s.Netns.canon() == n) {
		s.Ifindex = e.Ifindex
		s.Netns.canon().own(e.Ifindex, d)
	}
	d.rename(e.Name)
	return d
}

// noticed is the time from which an interface of n that nobody introduced is
// taken to have been there: the beginning, or n's own.
func (a *Analyzer) noticed(n *Netns) uint64 {
	if n.Birth != nil {
		return n.Birth.At
	}
	return 0
}

// appeared is from when on something that is first heard of at t, in n, is taken
// to have been there. If the opening snapshot looked into n and didn't see it, it
// has come since, unseen.
func (a *Analyzer) appeared(n *Netns, t uint64) (from uint64, how Arrival) {
	if n.looked && a.applied != nil && t > a.applied.Finish {
		return t, ArrivedCreated
	}
	return a.noticed(n), ArrivedPreexisting
}

// sameDevice reports whether e can be about d, which has e's address. A device
// in an unexpected namespace has moved unseen if what is known of it matches;
// then the move is noted.
func (a *Analyzer) sameDevice(d *Device, e *event.Event, n *Netns) bool {
	s := d.At()
	if s == nil || n == nil {
		return true
	}
	if s.Netns.canon() == n {
		return s.Ifindex == 0 || e.Ifindex == 0 || s.Ifindex == e.Ifindex
	}
	same := e.Name == d.Name && e.LinkKind == d.Kind &&
		(e.Wiphy != 0) == (d.Wiphy != nil) && (d.Wiphy == nil || d.Wiphy == a.wiphy(e))
	for i := len(a.m.Moves) - 1; i >= 0; i-- {
		m := a.m.Moves[i]
		if m.Device != d {
			continue
		}
		if (m.Result == ResultUnknown || m.Result == ResultRunning) && m.To.canon() == n {
			m.Result, same = ResultOK, true // its exit is missing, but here it is
		}
		break
	}
	if !same {
		return false
	}
	a.depart(d, e.Time, LeftMoved).EndInferred = true
	a.arrive(d, n, e.Ifindex, e.Name, e.Time, ArrivedMoved).Inferred = true
	return true
}

// netdevRegister: a netdev is born.
func (a *Analyzer) netdevRegister(e *event.Event) {
	if e.Phase == event.PhaseEnter || e.Ret != 0 {
		return
	}
	if e.Dev == 0 || !e.Net.Known() {
		a.odd++
		return
	}
	n := a.nets.livingAt(e.Net.Ptr)
	if event.KindSetupNet.In(e.Within) && (n == nil || !n.inSetup || n.setupTID != e.TID) && e.Net.Ptr != 0 {
		a.bear(e, 0) // setup_net's own enter is missing
	}
	n = a.netns(e.Net, e.Time)
	if old := a.devs.livingAt(e.Dev); old != nil {
		a.endDevice(old, e.Time, true)
	}
	d := a.newDevice(e.Dev, Created)
	d.Birth = &Birth{Deed: deed(e), Caller: a.netns(e.Caller, e.Time)}
	s := a.arrive(d, n, e.Ifindex, e.Name, e.Time, ArrivedCreated)
	s.rxIn.known = true
	a.describe(d, e)
	a.pair(d, e)
	a.caused(e, effect{device: d})
	if w := d.Wiphy; w != nil && len(w.Stays) == 0 {
		a.placeWiphy(w, n, e.Time)
	}
}

// pairKinds are the kinds of netdevs that are made two at a time, one right after
// the other (veth_newlink, vxcan_newlink, netkit_new_link).
var pairKinds = map[string]bool{"veth": true, "vxcan": true, "netkit": true}

// pair makes a netdev and the one its thread made before the two ends of a pair.
func (a *Analyzer) pair(d *Device, e *event.Event) {
	if !pairKinds[e.LinkKind] {
		return
	}
	other := a.halves[e.TID]
	if other == nil || other.Kind != e.LinkKind || other.Ended != 0 {
		a.halves[e.TID] = d
		return
	}
	d.Peer, other.Peer = other, d
	delete(a.halves, e.TID)
}

// netdevUnregister: a netdev leaves for good.
func (a *Analyzer) netdevUnregister(e *event.Event) {
	d := a.device(e, a.netns(e.Net, e.Time))
	if d == nil {
		a.odd++
		return
	}
	if s := d.At(); s != nil {
		s.rxOut = rx(e)
	}
	by := deed(e)
	d.EndedBy = &by
	if a.halves[e.TID] == d {
		delete(a.halves, e.TID) // its other end could not be made
	}
	a.endDevice(d, e.Time, false)
	a.caused(e, effect{device: d})
}

// netdevRename: Name became NewName.
func (a *Analyzer) netdevRename(e *event.Event) {
	if e.Phase == event.PhaseEnter {
		return
	}
	d := a.device(e, a.netns(e.Net, e.Time))
	if d == nil {
		a.odd++
		return
	}
	if e.Ret == 0 && e.Name == e.NewName && e.Name != "" {
		return // dev_change_name leaves it at that
	}
	r := &Rename{Deed: deed(e), Device: d, Old: e.Name, New: e.NewName, Errno: e.Ret}
	if s := d.At(); s != nil {
		r.Netns = s.Netns
	}
	a.m.Renames = append(a.m.Renames, r)
	a.caused(e, effect{rename: r})
	if e.Ret == 0 {
		d.rename(e.NewName)
	}
}

// rx is what e says the kernel's receive counters were.
func rx(e *event.Event) counter {
	if e.Flags&event.FlagRx == 0 {
		return counter{}
	}
	return counter{known: true, packets: e.RxPackets, bytes: e.RxBytes}
}
