// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/nstrace/nstrace/event"
)

// applyClosing takes what only the closing snapshot knows: who holds what, and
// the last counters. It introduces nobody, so that the audit can compare.
func (a *Analyzer) applyClosing() {
	if a.closing == nil {
		return
	}
	for _, n := range a.nets.all {
		n.held(&event.NetnsState{})
	}
	for i := range a.closing.Namespaces {
		st := &a.closing.Namespaces[i]
		n := a.standing(st)
		if n == nil {
			continue
		}
		n.InClosing = true
		n.held(st)
		if n.OwnerUserNS == 0 {
			n.OwnerUserNS = st.OwnerUserNS
		}
		for _, name := range st.Names {
			if n.Ended == 0 && !slices.Contains(n.AllNames(), name) {
				n.Names = append(n.Names, Name{Name: name, Path: pathOf(name), From: a.closing.Begin, Late: true})
			}
		}
		for _, w := range st.Wiphys {
			a.learnIndex(n, &w)
			if known := a.wiphys.byIndex[w.Index]; known != nil {
				can := w.CanSwitch
				known.CanSwitch, known.Driver = &can, cmp.Or(radioDriver(w.Driver), known.Driver)
			}
		}
		for _, l := range st.Links {
			d := n.devs[l.Ifindex]
			if d == nil || !l.Stats {
				continue
			}
			d.At().rxOut = counter{known: true, packets: l.RxPackets, bytes: l.RxBytes}
			if d.Kind == "" && d.Birth == nil {
				d.Kind = l.Kind
			}
			if l.Iftype != 0 {
				d.Iftype = l.Iftype
			}
		}
	}
}

// standing returns the life that a namespace of the closing snapshot is.
func (a *Analyzer) standing(st *event.NetnsState) *Netns {
	r := a.refOf(st)
	if n := a.nets.byCookie[st.Cookie].canon(); st.Cookie != 0 && n != nil {
		return n
	}
	return a.byInum(r)
}

// audit compares the reconstruction with the closing snapshot.
func (a *Analyzer) audit() {
	au := &a.m.Audit
	if a.closing == nil {
		au.Note = "the recording has no closing snapshot, so nothing could be compared"
		return
	}
	seen := make(map[*Netns]bool)
	for i := range a.closing.Namespaces {
		st := &a.closing.Namespaces[i]
		n := a.standing(st)
		au.Compared++
		if n == nil {
			au.differ(fmt.Sprintf("namespace net:[%d]", st.Inum), "there", "never seen")
			continue
		}
		seen[n] = true
		a.auditNetns(n, st)
	}
	a.auditAbsent(seen)
	switch {
	case len(au.Differences) == 0:
	case !a.m.Opening:
		au.Note = "the recording has no opening snapshot: what was there before it is unknown"
	case a.m.Lost != 0 || len(a.m.Damage) != 0:
		au.Note = "events are missing, which may explain the differences"
	}
}

// auditAbsent compares the namespaces that should be there with the kernel's own
// list, if the snapshot was made by that: then each has its address.
func (a *Analyzer) auditAbsent(seen map[*Netns]bool) {
	au := &a.m.Audit
	unlisted := slices.ContainsFunc(a.closing.Namespaces, func(st event.NetnsState) bool { return st.Ptr == 0 })
	for _, n := range a.m.Namespaces {
		switch {
		case !n.Alive() || seen[n]:
		case unlisted:
			au.Unverified = append(au.Unverified, n)
		default:
			au.Compared++
			au.differ("namespace "+n.Label(), "absent", "there")
		}
	}
}

func (au *Audit) differ(what, expected, reconstructed string) {
	au.Differences = append(au.Differences, Difference{what, expected, reconstructed})
}

// auditNetns compares one namespace.
func (a *Analyzer) auditNetns(n *Netns, st *event.NetnsState) {
	au := &a.m.Audit
	what := "namespace " + n.Label()
	switch {
	case n.Ended != 0:
		au.differ(what, "there", "gone at "+a.m.Since(n.Ended))
		return
	case n.Inum != st.Inum:
		au.differ(what, fmt.Sprintf("net:[%d]", st.Inum), fmt.Sprintf("net:[%d]", n.Inum))
	}
	a.auditNames(n, st)
	a.auditTasks(n, st)
	if len(st.Links) == 0 {
		return // it couldn't be entered: every namespace has a loopback
	}
	a.auditLinks(n, st)
	a.auditWiphys(n, st)
	a.auditNsids(n, st)
}

// auditNames compares the names.
func (a *Analyzer) auditNames(n *Netns, st *event.NetnsState) {
	var ours []string
	for _, x := range n.CurrentNames() {
		if !x.Late {
			ours = append(ours, x.Name)
		}
	}
	for _, name := range st.Names {
		a.m.Audit.Compared++
		if !slices.Contains(ours, name) {
			a.m.Audit.differ("name "+Escape(name)+" of "+n.Label(), "there", "absent")
		}
	}
	for _, name := range ours {
		if !slices.Contains(st.Names, name) {
			a.m.Audit.Compared++
			a.m.Audit.differ("name "+Escape(name)+" of "+n.Label(), "absent", "there")
		}
	}
}

// auditLinks compares the netdevs by number, name, kind and radio.
func (a *Analyzer) auditLinks(n *Netns, st *event.NetnsState) {
	there := make(map[int32]bool)
	for _, l := range st.Links {
		a.m.Audit.Compared++
		there[l.Ifindex] = true
		what := fmt.Sprintf("interface %d in %s", l.Ifindex, n.Label())
		switch d := n.devs[l.Ifindex]; {
		case d == nil:
			a.m.Audit.differ(what, Escape(l.Name), "absent")
		case d.Name != l.Name:
			a.m.Audit.differ(what, Escape(l.Name), Escape(d.Name))
		case d.Kind != l.Kind:
			a.m.Audit.differ("kind of "+what, kindOf(l.Kind), kindOf(d.Kind))
		case d.isStray(n) && l.Wiphy < 0:
			// nl80211 lists interfaces where their radio is.
		case d.wiphyIndex() != l.Wiphy:
			a.m.Audit.differ("radio of "+what, radioOf(l.Wiphy), radioOf(d.wiphyIndex()))
		}
	}
	for _, s := range n.Stays {
		if s.Left == "" && !there[s.Ifindex] {
			a.m.Audit.Compared++
			a.m.Audit.differ(fmt.Sprintf("interface %d in %s", s.Ifindex, n.Label()), "absent", Escape(s.Name()))
		}
	}
}

// isStray reports whether its radio isn't in n, where it is: see findUndone.
func (d *Device) isStray(n *Netns) bool {
	if d.Wiphy == nil {
		return false
	}
	s := d.Wiphy.At()
	return s != nil && s.Netns.canon() != n
}

// wiphyIndex is its radio's, -1 if it has none.
func (d *Device) wiphyIndex() int32 {
	if d.Wiphy == nil {
		return -1
	}
	return d.Wiphy.Index
}

func kindOf(kind string) string {
	if kind == "" {
		return "none"
	}
	return Escape(kind)
}

func radioOf(index int32) string {
	if index < 0 {
		return "none"
	}
	return fmt.Sprintf("radio %d", index)
}

// learnIndex tells a radio that was only ever heard of by its name what its index
// is: at one time no two radios have the same name (cfg80211_dev_rename).
func (a *Analyzer) learnIndex(n *Netns, st *event.Wiphy) {
	if a.wiphys.byIndex[st.Index] != nil {
		return
	}
	for _, w := range a.wiphys.all {
		if s := w.At(); s != nil && s.Netns.canon() == n && w.Index < 0 && w.Name == st.Name {
			w.Index = st.Index
			a.wiphys.byIndex[st.Index] = w
		}
	}
}

// auditWiphys compares the radios by index and name.
func (a *Analyzer) auditWiphys(n *Netns, st *event.NetnsState) {
	there := make(map[int32]bool)
	for _, x := range st.Wiphys {
		a.m.Audit.Compared++
		there[x.Index] = true
		what := fmt.Sprintf("radio %d in %s", x.Index, n.Label())
		w := a.wiphys.byIndex[x.Index]
		switch {
		case w == nil:
			a.m.Audit.differ(what, Escape(x.Name), "never seen")
		case w.At() == nil:
			a.m.Audit.differ(what, Escape(x.Name), "gone")
		case w.At().Netns != n:
			a.m.Audit.differ(what, Escape(x.Name), "in "+w.At().Netns.Label())
		case w.Name != x.Name:
			a.m.Audit.differ(what, Escape(x.Name), Escape(w.Name))
		}
	}
	for _, s := range n.WiphyStays {
		if s.Left == "" && !there[s.Wiphy.Index] {
			a.m.Audit.Compared++
			a.m.Audit.differ(fmt.Sprintf("radio %d in %s", s.Wiphy.Index, n.Label()), "absent", s.Wiphy.Label())
		}
	}
}
