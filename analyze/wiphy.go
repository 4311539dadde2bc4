// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"slices"

	"github.com/nstrace/nstrace/event"
)

// wiphys finds radios.
type wiphys struct {
	all     []*Wiphy
	byIndex map[int32]*Wiphy
	byPtr   map[uint64]*Wiphy // the living
}

func (a *Analyzer) newWiphy(index int32, o Origin) *Wiphy {
	w := &Wiphy{Index: index, Origin: o}
	a.wiphys.all = append(a.wiphys.all, w)
	if index >= 0 {
		a.wiphys.byIndex[index] = w
	}
	return w
}

// called returns the living radio of that name that no event has shown yet: at
// one time no two radios have the same name (cfg80211_dev_check_name).
func (x *wiphys) called(name string) *Wiphy {
	for _, w := range x.all {
		if name != "" && w.Name == name && w.Ptr == 0 && w.Ended == 0 {
			return w
		}
	}
	return nil
}

// named returns another living radio than w that has the name, nil if none is
// known.
func (x *wiphys) named(name string, w *Wiphy) *Wiphy {
	for _, other := range x.all {
		if other != w && other.Name == name && other.Ended == 0 {
			return other
		}
	}
	return nil
}

func (w *Wiphy) rename(name string) {
	if name == "" {
		return
	}
	w.Name = name
	if !slices.Contains(w.Names, name) {
		w.Names = append(w.Names, name)
	}
}

// wiphy returns the radio e speaks of, and makes one if it was never heard of.
// It returns nil if e names none.
func (a *Analyzer) wiphy(e *event.Event) *Wiphy {
	if e.Wiphy == 0 {
		return nil
	}
	var w *Wiphy
	if e.WiphyIndex >= 0 {
		w = a.wiphys.byIndex[e.WiphyIndex]
	} else if a.wiphys.byPtr[e.Wiphy] == nil {
		w = a.wiphys.called(e.WiphyName)
	}
	if w == nil {
		if w = a.wiphys.byPtr[e.Wiphy]; w != nil && w.Index >= 0 && e.WiphyIndex >= 0 {
			w = nil // the address has a new owner
		}
	}
	if w == nil {
		w = a.newWiphy(max(e.WiphyIndex, -1), Inferred)
	}
	if w.Index < 0 && e.WiphyIndex >= 0 {
		w.Index = e.WiphyIndex
		a.wiphys.byIndex[w.Index] = w
	}
	w.Ptr = e.Wiphy
	a.wiphys.byPtr[e.Wiphy] = w
	w.rename(e.WiphyName)
	return w
}

// placeWiphy notes that w is in n. If that is news, it got there unseen.
func (a *Analyzer) placeWiphy(w *Wiphy, n *Netns, t uint64) {
	if n == nil || w.Ended != 0 {
		return
	}
	at := w.At()
	switch {
	case at != nil && at.Netns.canon() == n:
	case len(w.Stays) == 0 && w.Origin == Created:
		w.BornIn = n
		w.stay(n, t, ArrivedCreated).Inferred = true
	case len(w.Stays) == 0:
		from, how := a.appeared(n, t)
		w.stay(n, from, how).Inferred = true
	default:
		if at != nil {
			at.Until, at.Left, at.EndInferred = t, LeftMoved, true
		}
		w.stay(n, t, ArrivedMoved).Inferred = true
	}
}

func (w *Wiphy) stay(n *Netns, t uint64, how Arrival) *WiphyStay {
	s := &WiphyStay{Wiphy: w, Netns: n, From: t, Arrived: how}
	w.Stays = append(w.Stays, s)
	return s
}

// wiphyNew: a radio's structure is made; nobody can see it yet.
func (a *Analyzer) wiphyNew(e *event.Event) {
	if e.Phase == event.PhaseEnter || e.Wiphy == 0 {
		return
	}
	delete(a.wiphys.byPtr, e.Wiphy)
	w := a.wiphy(e)
	if len(w.Stays) == 0 && w.Ended == 0 {
		w.Origin = Created
	}
}

// wiphyRegister: a radio is born in Net.
func (a *Analyzer) wiphyRegister(e *event.Event) {
	w := a.wiphy(e)
	if e.Phase == event.PhaseEnter || w == nil {
		return
	}
	if e.Ret != 0 {
		w.Ended = e.Time
		return
	}
	n := a.netns(e.Net, e.Time)
	w.Origin = Created
	w.learnDriver(e)
	w.Birth = &Birth{Deed: deed(e), Caller: a.netns(e.Caller, e.Time)}
	if n == nil {
		return
	}
	w.BornIn = n
	if s := w.At(); s != nil { // its first interface came first
		if s.Netns.canon() == n && s.Arrived == ArrivedCreated {
			s.Inferred = false
		}
		return
	}
	w.stay(n, e.Time, ArrivedCreated)
}

// learnDriver notes which driver the radio is of.
func (w *Wiphy) learnDriver(e *event.Event) {
	if e.Driver == "" {
		return
	}
	can := e.Flags&event.FlagCanSwitch != 0
	w.Driver, w.CanSwitch = radioDriver(e.Driver), &can
}

// radioDriver returns the driver of a radio, which is the one of its parent, "" if
// that doesn't tell: rndis_wlan and brcmfmac make a radio a child of the USB device
// as a whole, and all of those have the same.
func radioDriver(driver string) string {
	if driver == "usb" {
		return ""
	}
	return driver
}

// wiphyUnregister: a radio is removed. Within cleanup_net its namespace's end
// takes it along.
func (a *Analyzer) wiphyUnregister(e *event.Event) {
	a.call(e)
	w := a.wiphy(e)
	if w == nil {
		a.odd++
		return
	}
	if n := a.netns(e.Net, e.Time); n != nil && e.Phase == event.PhaseEnter {
		a.placeWiphy(w, n, e.Time)
	}
	if w.EndedBy == nil {
		d := deed(e)
		w.EndedBy = &d
		if s := w.At(); s != nil && event.KindCleanupNet.In(e.Within) {
			w.DiedWith = s.Netns
		}
	}
	if e.Phase == event.PhaseEnter {
		return
	}
	a.endWiphy(w, e.Time, false)
}

// wiphyFree: a radio's memory goes. If it wasn't seen to be unregistered, it
// was by now.
func (a *Analyzer) wiphyFree(e *event.Event) {
	w := a.wiphy(e)
	if w == nil {
		a.odd++
		return
	}
	w.Freed = e.Time
	if w.Ended == 0 {
		a.endWiphy(w, e.Time, true)
	}
	delete(a.wiphys.byPtr, w.Ptr)
}

func (a *Analyzer) endWiphy(w *Wiphy, t uint64, unseen bool) {
	if s := w.At(); s != nil {
		s.Until, s.Left, s.EndInferred = t, LeftRemoved, unseen
	}
	if w.Ended == 0 {
		w.Ended = t
	}
	a.endWdevs(w, t)
}

// wiphyRename: WiphyName became NewName.
func (a *Analyzer) wiphyRename(e *event.Event) {
	w := a.wiphy(e)
	if w == nil || e.Phase == event.PhaseEnter {
		return
	}
	if e.Ret == 0 {
		w.rename(e.NewName)
	}
	n := a.netns(e.Net, e.Time)
	a.placeWiphy(w, n, e.Time)
	r := &Rename{Deed: deed(e), Wiphy: w, Netns: n, Old: e.WiphyName, New: e.NewName, Errno: e.Ret}
	a.m.Renames = append(a.m.Renames, r)
	a.caused(e, effect{rename: r})
}

// ifRemove: a vif is removed on request. If it has a netdev, the end of that
// tells more.
func (a *Analyzer) ifRemove(e *event.Event) {
	w := a.wiphy(e)
	if e.Dev != 0 {
		a.device(e, a.netns(e.Net, e.Time))
		return
	}
	if e.Wdev != 0 {
		return // cfg80211_unregister_wdev is next
	}
	for i := len(a.m.Vifs) - 1; i >= 0; i-- {
		v := a.m.Vifs[i]
		if v.Wiphy == w && v.Device == nil && v.Errno == 0 && v.Iftype == e.Iftype && v.Removed == nil {
			d := deed(e)
			v.Removed = &d
			return
		}
	}
}

// ifAdd: a vif was added to a radio (ieee80211_if_add). Its netdev, if it has
// one, has been registered within.
func (a *Analyzer) ifAdd(e *event.Event) {
	if e.Phase == event.PhaseEnter {
		return
	}
	n := a.netns(e.Net, e.Time)
	w := a.wiphy(e)
	v := &Vif{
		Deed: deed(e), Wiphy: w, Name: e.Name, Netns: n, Caller: a.netns(e.Caller, e.Time),
		Iftype: e.Iftype, Errno: e.Ret,
	}
	a.m.Vifs = append(a.m.Vifs, v)
	a.caused(e, effect{vif: v})
	if e.Ret == 0 && e.Dev == 0 && e.Wdev != 0 {
		v.Wdev = a.bearWdev(e, w)
		v.Wdev.Name, v.Wdev.vif = e.Name, v
	}
	if e.Ret != 0 || e.Dev == 0 {
		return
	}
	v.Device = a.device(e, n)
	if d := v.Device; d != nil && d.Origin == Inferred {
		// Its registration is missing, but it was made just now.
		a.adoptBirth(d, e)
	}
	if w != nil && len(w.Stays) == 0 {
		a.placeWiphy(w, n, e.Time)
	}
}

// adoptBirth makes e the birth of a device that was only inferred from it.
func (a *Analyzer) adoptBirth(d *Device, e *event.Event) {
	d.Origin = Created
	d.Birth = &Birth{Deed: deed(e), Inferred: true, Caller: a.netns(e.Caller, e.Time)}
	if s := d.At(); s != nil && len(d.Stays) == 1 {
		s.From, s.Arrived, s.rxIn.known = e.Time, ArrivedCreated, true
	}
}
