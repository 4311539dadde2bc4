// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"cmp"

	"github.com/nstrace/nstrace/event"
)

// applyOpening introduces what the opening snapshot saw. Everything that
// happened until it was finished is known, and where the two disagree the
// events are right: the snapshot looked at a moment nobody knows.
func (a *Analyzer) applyOpening() {
	s := a.opening
	a.opening, a.applied = nil, s
	var introduced []*Netns
	for i := range s.Namespaces {
		introduced = append(introduced, a.introduce(s, &s.Namespaces[i]))
	}
	// Once all that a number may stand for are known, and all processes that left
	// threads behind.
	for i, n := range introduced {
		if n.Initial {
			a.introduceStrays(n, &s.Namespaces[i])
		}
		if n.Ended == 0 && n.Put == nil {
			a.introduceNsids(s, n, &s.Namespaces[i])
		}
	}
	a.tasks.gone = nil
}

// refOf is what a snapshot knows a namespace by. Its address isn't taken from
// one that is known to have it by now.
func (a *Analyzer) refOf(st *event.NetnsState) event.NetRef {
	r := event.NetRef{Ptr: st.Ptr, Inum: st.Inum, Cookie: st.Cookie}
	if n := a.nets.livingAt(r.Ptr); n != nil && n.contradicts(r) {
		r.Ptr = 0
	}
	return r
}

// introduce applies one namespace of the opening snapshot, and returns its life.
func (a *Analyzer) introduce(s *event.Snapshot, st *event.NetnsState) *Netns {
	n := a.seenBy(s, st)
	if n == nil {
		n = a.newNetns(s.Begin)
		n.Origin = Preexisting
		a.learn(n, a.refOf(st))
	}
	if st.Initial && a.nets.initial == nil {
		n.Initial, a.nets.initial = true, n
		a.vacate(n)
	}
	if n.OwnerUserNS == 0 {
		n.OwnerUserNS = st.OwnerUserNS
	}
	n.held(st)
	n.looked = st.Links != nil
	if n.Birth == nil {
		n.Origin = Preexisting
	}
	if n.Ended != 0 {
		return n
	}
	a.introduceNames(s, n, st)
	if n.Put == nil {
		a.introduceTasks(s, n, st)
	}
	if n.Birth != nil {
		return n // nothing in it is older than its own birth, which was seen
	}
	for i := range st.Wiphys {
		a.introduceWiphy(n, &st.Wiphys[i])
	}
	for i := range st.Links {
		a.introduceLink(s, n, &st.Links[i])
	}
	return n
}

// introduceNames applies the names. One that came or went since the snapshot
// began is known better.
func (a *Analyzer) introduceNames(s *event.Snapshot, n *Netns, st *event.NetnsState) {
	from := uint64(0)
	if n.Birth != nil {
		from = s.Begin // it came before anybody was watching
	}
	for _, name := range st.Names {
		path := pathOf(name)
		if h := a.names[path]; h == nil || h.changed < s.Begin {
			a.give(n, name, path, from)
		}
	}
}

// seenBy returns the life that a snapshot's namespace is, nil if it is unknown.
// It may have ended since the snapshot began.
func (a *Analyzer) seenBy(s *event.Snapshot, st *event.NetnsState) *Netns {
	if st.Cookie != 0 {
		if n := a.nets.byCookie[st.Cookie].canon(); n != nil {
			return n
		}
	}
	r := a.refOf(st)
	var born *Netns
	lives := a.nets.byInum[st.Inum]
	for i := len(lives) - 1; i >= 0 && st.Inum != 0; i-- {
		n := lives[i].canon()
		switch {
		case n.contradicts(r) || n.Ended != 0 && n.Ended < s.Begin:
		case n.Ptr != 0 && r.Ptr != 0 && n.Ptr != r.Ptr:
		case n.Birth == nil:
			// Its birth wasn't seen, so it was there when the snapshot began,
			// even if the inum has found a new owner since.
			a.learn(n, r)
			return n
		case born == nil:
			born = n
		}
	}
	if born != nil {
		a.learn(born, r)
	}
	return born
}

func (a *Analyzer) introduceWiphy(n *Netns, st *event.Wiphy) {
	a.learnIndex(n, st)
	w := a.wiphys.byIndex[st.Index]
	if w == nil {
		w = a.newWiphy(st.Index, Preexisting)
	}
	can := st.CanSwitch
	w.CanSwitch, w.Driver = &can, cmp.Or(radioDriver(st.Driver), w.Driver)
	if w.Name == "" {
		w.rename(st.Name)
	}
	if w.Ended != 0 || w.Origin == Created {
		return
	}
	w.Origin = Preexisting
	if len(w.Stays) == 0 {
		w.stay(n, 0, ArrivedPreexisting)
		return
	}
	if first := w.Stays[0]; first.Netns.canon() == n && first.Arrived == ArrivedPreexisting {
		first.Inferred = false
	}
}

// introduceLink applies one netdev of the opening snapshot.
func (a *Analyzer) introduceLink(s *event.Snapshot, n *Netns, st *event.Link) {
	d := n.devs[st.Ifindex]
	var stay *Stay
	if d != nil {
		stay = d.At()
	} else if stay = a.leftSince(n, st.Ifindex, s.Begin); stay != nil {
		d = stay.Device
	} else {
		d = a.newDevice(0, Preexisting)
		stay = a.arrive(d, n, st.Ifindex, st.Name, 0, ArrivedPreexisting)
	}
	if d.Origin == Created {
		return
	}
	d.Origin = Preexisting
	if d.Kind == "" {
		d.Kind = st.Kind
	}
	if d.DevType == 0 {
		d.DevType = uint32(st.DevType)
	}
	if d.Iftype == 0 {
		d.Iftype = st.Iftype
	}
	if d.Wiphy == nil && st.Wiphy >= 0 {
		if d.Wiphy = a.wiphys.byIndex[st.Wiphy]; d.Wiphy == nil {
			d.Wiphy = a.newWiphy(st.Wiphy, Preexisting)
		}
	}
	if stay.Arrived != ArrivedPreexisting {
		return
	}
	stay.Inferred = false
	if len(stay.Names) == 0 {
		// A packet that came first had introduced it without a name.
		stay.Names = append(stay.Names, st.Name)
		if d.At() == stay && d.Name == "" {
			d.rename(st.Name)
		}
	}
	if st.Stats && (stay.Until == 0 || st.StatsTime <= stay.Until) {
		stay.rxIn = counter{known: true, packets: st.RxPackets, bytes: st.RxBytes}
	}
}

// leftSince returns the stay in n under a number that ended at or after t.
func (a *Analyzer) leftSince(n *Netns, ifindex int32, t uint64) *Stay {
	for i := len(a.devs.all) - 1; i >= 0; i-- {
		for _, s := range a.devs.all[i].Stays {
			if s.Netns.canon() == n && s.Ifindex == ifindex && s.Left != "" && s.Until >= t {
				return s
			}
		}
	}
	return nil
}
