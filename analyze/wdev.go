// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"fmt"

	"github.com/nstrace/nstrace/event"
)

// Wdev is the life of a wireless interface that has no netdev, as P2P devices and
// NAN: it is where its radio is, and goes along when that moves.
type Wdev struct {
	Ptr uint64
	// ID is its number within its radio (wireless_dev.identifier), 0 if unknown.
	ID uint32
	// Name is what it was asked to be called, "" if unknown: cfg80211 doesn't care.
	Name   string
	Iftype uint32
	// Wiphy is nil if unknown.
	Wiphy  *Wiphy
	Origin Origin
	// Birth is nil unless it was created during the recording.
	Birth *Birth
	// Ended is when it was unregistered, 0 if it wasn't. With EndInferred it is
	// only known to be gone by then; EndedBy is nil if that wasn't seen.
	Ended       uint64
	EndInferred bool
	EndedBy     *Deed

	vif *Vif
}

// wdevs finds wdevs without a netdev.
type wdevs struct {
	all   []*Wdev
	byPtr map[uint64]*Wdev // the living
}

func (x *wdevs) byID(w *Wiphy, id uint32) *Wdev {
	for i := len(x.all) - 1; i >= 0; i-- {
		if d := x.all[i]; d.Wiphy == w && d.ID == id {
			return d
		}
	}
	return nil
}

// Label is what the wdev is called in prose, escaped.
func (d *Wdev) Label() string {
	switch {
	case d == nil:
		return "an unknown interface"
	case d.Name != "":
		return Escape(d.Name)
	case d.ID != 0:
		return fmt.Sprintf("interface %d of %s", d.ID, d.Wiphy.Label())
	}
	return "an interface of " + d.Wiphy.Label()
}

// ByMac80211 reports whether a run of ieee80211_if_add tells of it.
func (d *Wdev) ByMac80211() bool { return d.vif != nil }

// Stays are the wdev's times in namespaces: its radio's, as far as it was there.
func (d *Wdev) Stays() []WiphyStay {
	var out []WiphyStay
	if d.Wiphy == nil {
		return nil
	}
	born := uint64(0)
	if d.Birth != nil {
		born = d.Birth.At
	}
	for _, s := range d.Wiphy.Stays {
		if s.Until != 0 && s.Until <= born || d.Ended != 0 && s.From >= d.Ended {
			continue
		}
		x := *s
		if x.From <= born {
			x.From, x.Arrived, x.Inferred = born, ArrivedCreated, false
			if d.Birth == nil {
				x.Arrived = ArrivedPreexisting
			}
		}
		if d.Ended != 0 && (x.Until == 0 || x.Until >= d.Ended) {
			x.Until, x.Left, x.EndInferred = d.Ended, LeftRemoved, d.EndInferred
		}
		out = append(out, x)
	}
	return out
}

// bearWdev notes a wdev that e creates; whoever had its address is gone.
func (a *Analyzer) bearWdev(e *event.Event, w *Wiphy) *Wdev {
	if old := a.wdevs.byPtr[e.Wdev]; old != nil {
		a.endWdev(old, e.Time, nil)
	}
	d := a.newWdev(e, w, Created)
	d.Birth = &Birth{Deed: deed(e), Caller: a.netns(e.Caller, e.Time)}
	return d
}

func (a *Analyzer) newWdev(e *event.Event, w *Wiphy, o Origin) *Wdev {
	d := &Wdev{Ptr: e.Wdev, ID: e.WdevID, Iftype: e.Iftype, Wiphy: w, Origin: o}
	a.wdevs.all = append(a.wdevs.all, d)
	if e.Wdev != 0 {
		a.wdevs.byPtr[e.Wdev] = d
	}
	return d
}

// endWdev ends a life; by is nil if its end wasn't seen.
func (a *Analyzer) endWdev(d *Wdev, t uint64, by *Deed) {
	if d.Ended != 0 {
		return
	}
	d.Ended, d.EndedBy, d.EndInferred = t, by, by == nil
	delete(a.wdevs.byPtr, d.Ptr)
	if d.vif != nil {
		d.vif.Removed = by
	}
}

// wdevRegister: a wdev without a netdev joins its radio. mac80211's are known
// from ieee80211_if_add.
func (a *Analyzer) wdevRegister(e *event.Event) {
	w := a.wiphy(e)
	if e.Phase == event.PhaseEnter || e.Wdev == 0 {
		return
	}
	if n := a.netns(e.Net, e.Time); w != nil && n != nil {
		a.placeWiphy(w, n, e.Time)
	}
	d := a.wdevs.byPtr[e.Wdev]
	if d == nil || d.ID != 0 && d.ID != e.WdevID {
		d = a.bearWdev(e, w)
	}
	d.ID = e.WdevID
	a.caused(e, effect{wdev: d})
}

// wdevUnregister: a wdev without a netdev leaves its radio.
func (a *Analyzer) wdevUnregister(e *event.Event) {
	w := a.wiphy(e)
	if e.Wdev == 0 {
		a.odd++
		return
	}
	if n := a.netns(e.Net, e.Time); w != nil && n != nil {
		a.placeWiphy(w, n, e.Time)
	}
	d := a.wdevs.byPtr[e.Wdev]
	if d != nil && d.ID != 0 && e.WdevID != 0 && d.ID != e.WdevID {
		a.endWdev(d, e.Time, nil) // the address has a new owner
		d = nil
	}
	if d == nil && e.WdevID != 0 && w != nil {
		if d = a.wdevs.byID(w, e.WdevID); d != nil && d.Ptr == 0 {
			d.Ptr = e.Wdev // of the opening snapshot
		} else {
			d = nil
		}
	}
	if d == nil {
		d = a.newWdev(e, w, Inferred)
	}
	by := deed(e)
	a.endWdev(d, e.Time, &by)
	a.caused(e, effect{wdev: d})
}

// endWdevs: a radio is gone, and so are its wdevs.
func (a *Analyzer) endWdevs(w *Wiphy, t uint64) {
	for _, d := range a.wdevs.all {
		if d.Wiphy == w {
			a.endWdev(d, t, nil)
		}
	}
}
