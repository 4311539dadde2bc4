// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"cmp"
	"slices"
	"testing"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/event"
)

// Each thing that the driver did has to be in the report once, and the report
// must have nothing that the driver didn't do. What a thread of the driver's
// asks of the kernel is done when it has its answer, so the time tells which
// operation something belongs to.

// done is what somebody did, in order of time.
type done[T any] []deedOf[T]

type deedOf[T any] struct {
	*analyze.Deed
	what T
}

// index puts all in order for which deed knows who did it when.
func index[T any](all []T, deed func(T) *analyze.Deed) done[T] {
	var x done[T]
	for _, what := range all {
		if d := deed(what); d != nil {
			x = append(x, deedOf[T]{d, what})
		}
	}
	slices.SortStableFunc(x, func(a, b deedOf[T]) int { return cmp.Compare(a.At, b.At) })
	return x
}

// during returns what was done in the time of o by one of some processes.
func (x done[T]) during(o *randomOp, pids ...uint32) (found []T) {
	first, _ := slices.BinarySearchFunc(x, o.From, func(d deedOf[T], t uint64) int { return cmp.Compare(d.At, t) })
	for _, d := range x[first:] {
		if d.At > o.To {
			break
		}
		if slices.Contains(pids, d.PID) {
			found = append(found, d.what)
		}
	}
	return found
}

// doer is the process that did o.
func (r *randomRun) doer(o *randomOp) uint32 {
	if o.Args.Task != 0 && (o.Op == "agent.add" || o.Op == "agent.give" || o.Op == "enter") {
		return o.Args.Task
	}
	return r.summary.PID
}

func netnsBirth(n *analyze.Netns) *analyze.Deed {
	if n.Birth == nil {
		return nil
	}
	return &n.Birth.Deed
}

// space is the namespace that the driver calls id: 0 is the initial one.
func (r *randomRun) space(id int) *analyze.Netns {
	if id == 0 {
		return r.model.Namespaces[0]
	}
	return r.spaces[id]
}

// checkNamespaces wants a life for every namespace that was made, and no other,
// each as long as the driver held it.
func (r *randomRun) checkNamespaces(t *testing.T) {
	t.Helper()
	births := index(r.model.Namespaces, netnsBirth)
	r.spaces = map[int]*analyze.Netns{}
	made := 0
	for _, o := range r.ops {
		want := o.Args.Inums
		if o.Args.Inum != 0 {
			want = append(want, o.Args.Inum)
		}
		for _, d := range o.Args.Done {
			want = append(want, d.Inum)
		}
		if len(want) == 0 {
			continue
		}
		made += len(want)
		lives := births.during(o, r.summary.PID, o.Args.PID, o.Args.Parent, o.Args.Task)
		var got []uint32
		for _, n := range lives {
			got = append(got, n.Inum)
			if n.Birth.Errno != 0 || n.Birth.Inferred || n.Birth.Setup == 0 {
				t.Errorf("%v: born %+v", o, n.Birth)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%v: the report has %v born meanwhile, want %v", o, got, want)
		} else if o.Args.Inum != 0 {
			r.spaces[o.Args.ID] = lives[0]
		}
	}
	if n := len(r.model.Namespaces) - 1; n != made {
		t.Errorf("%d namespaces in the report, %d were made", n, made)
	}
	r.checkDeaths(t)
}

func (r *randomRun) checkDeaths(t *testing.T) {
	t.Helper()
	died, kept := map[int]bool{}, 0
	for _, o := range r.ops {
		for _, id := range o.Args.Dead {
			died[id] = true
			switch n := r.space(id); {
			case n == nil: // said already
			case r.isKept(n):
				kept++
				note(t, "%v: the kernel has namespace %d, net:[%d], still, and nobody who holds it can be seen, as the report says", o, id, n.Inum)
			case n.Put == nil || n.Put.At < o.From:
				t.Errorf("%v: namespace %d was let go %+v", o, id, n.Put)
			case n.Ended == 0 || n.EndInferred:
				t.Errorf("%v: namespace %d has ended at %d, inferred: %v", o, id, n.Ended, n.EndInferred)
			}
		}
	}
	var world struct {
		Namespaces []struct {
			ID   int
			Inum uint32
		}
	}
	readJSON(t, r.dir+"/out/world.json", &world)
	alive := map[*analyze.Netns]bool{}
	for _, w := range world.Namespaces {
		n := r.space(w.ID)
		if n == nil || died[w.ID] || !n.Alive() || n.Inum != w.Inum {
			t.Errorf("namespace %d, net:[%d], is alive; the report has %+v", w.ID, w.Inum, n)
			continue
		}
		alive[n] = true
	}
	for _, n := range r.model.Namespaces {
		if n.Alive() && !alive[n] && !r.isKept(n) {
			t.Errorf("%s is alive in the report only", n.Label())
		}
	}
	if kept > maxKept {
		t.Errorf("%d namespaces are kept by nobody", kept)
	}
}

// maxKept is how many namespaces the kernel may keep for no reason: in 5,000
// operations there was one at most, on 5.10 and on 6.1. It was there still for
// another recorder, when the first one was gone.
const maxKept = 2

// isKept reports whether the kernel has a namespace in its own list and counts
// references to it, while no task, file, socket or mount holds it.
func (r *randomRun) isKept(n *analyze.Netns) bool {
	return n.Alive() && n.InClosing && n.References > 0 && n.Held == event.HoldCounts{} && !n.Initial
}

// unreached are the cases in which the kernel finds out that something is wrong
// before it begins to move anything.
var unreached = []string{"not a netns", "no such task", "gone", "from elsewhere"}

func moveDeed(m *analyze.Move) *analyze.Deed {
	if m.Cause != analyze.CauseRequest {
		return nil
	}
	return &m.Deed
}

func renameDeed(n *analyze.Rename) *analyze.Deed { return &n.Deed }

// checkMoves wants each move that was tried, and no other, with its answer.
func (r *randomRun) checkMoves(t *testing.T) {
	t.Helper()
	requests, renames := index(r.model.Moves, moveDeed), index(r.model.Renames, renameDeed)
	matched := 0
	for _, o := range r.ops {
		moves := requests.during(o, r.doer(o))
		matched += len(moves)
		switch o.Op {
		case "link.move", "agent.give", "radio.move":
			r.checkMove(t, o, moves, renames.during(o, r.doer(o)))
		case "netns.burst":
			var got, want []uint32
			for _, m := range moves {
				got = append(got, m.Errno)
			}
			for _, d := range o.Args.Done {
				if d.Errno != 3 { // ESRCH: the next thread is gone
					want = append(want, d.Errno)
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%v: moves with errnos %v, want %v", o, got, want)
			}
		default:
			if len(moves) != 0 {
				t.Errorf("%v: the report has moves: %+v", o, moves)
			}
		}
	}
	if len(requests) != matched {
		t.Errorf("%d requests to move something in the report, %d of the driver's", len(requests), matched)
	}
}

func (r *randomRun) checkMove(t *testing.T, o *randomOp, moves []*analyze.Move, renames []*analyze.Rename) {
	t.Helper()
	switch {
	case slices.Contains(unreached, o.Case) || o.Errno == 1: // EPERM
		if o.Errno == 0 || len(moves) != 0 {
			t.Errorf("%v: the report has %d moves", o, len(moves))
		}
		return
	case o.Op == "radio.move" && o.Errno == 19 && len(moves) == 0: // ENODEV: it was elsewhere
		return
	case o.Args.ID == *o.Args.To && len(moves) == 0: // newer kernels see at once that it goes nowhere
		if o.Errno != 0 && !slices.ContainsFunc(renames, func(n *analyze.Rename) bool { return n.Errno == o.Errno }) {
			t.Errorf("%v: the report has no moves, and renames %+v", o, renames)
		}
		return
	case len(moves) != 1:
		t.Errorf("%v: the report has %d moves", o, len(moves))
		return
	}
	m := moves[0]
	if m.From != r.space(o.Args.ID) || m.To != r.space(*o.Args.To) || m.Name != o.Args.Name {
		t.Errorf("%v: the report has %s from %s to %s", o, m.Name, m.From.Label(), m.To.Label())
	}
	if m.Device != nil && m.Ifindex != o.Args.Ifindex || m.Device == nil && !isRadio(m.Wiphy, o) {
		t.Errorf("%v: the report has number %d, radio %+v", o, m.Ifindex, m.Wiphy)
	}
	// A new name is given once the interface is there.
	errno := m.Errno
	for _, n := range renames {
		if errno == 0 {
			errno = n.Errno
		}
	}
	if errno != o.Errno {
		t.Errorf("%v: the report has errno %d", o, errno)
	}
}

// checkRenames wants each new name that was asked for, with its answer.
func (r *randomRun) checkRenames(t *testing.T) {
	t.Helper()
	all := index(r.model.Renames, renameDeed)
	for _, o := range r.ops {
		renames := all.during(o, r.doer(o))
		switch {
		case o.Op != "link.rename" && o.Op != "radio.rename":
			if len(renames) != 0 && o.Op != "link.move" {
				t.Errorf("%v: the report has renames: %+v", o, renames[0])
			}
		case o.Errno == 19: // ENODEV: it was elsewhere
			if len(renames) != 0 {
				t.Errorf("%v: the report has %+v", o, renames[0])
			}
		case o.Errno == 0 && o.Args.Name == o.Args.New && len(renames) == 0 && o.Op == "link.rename": // dev_change_name leaves it at that
		case len(renames) != 1:
			t.Errorf("%v: the report has %d renames", o, len(renames))
		default:
			n := renames[0]
			if n.Netns != r.space(o.Args.ID) || n.Old != o.Args.Name || n.Errno != o.Errno {
				t.Errorf("%v: the report has %+v", o, n)
			}
			if o.Errno == 0 && o.Case != "pattern" && n.New != o.Args.New {
				t.Errorf("%v: the report has new name %q", o, n.New)
			}
		}
	}
}

func deviceBirth(d *analyze.Device) *analyze.Deed {
	if d.Birth == nil {
		return nil
	}
	return &d.Birth.Deed
}

func deviceEnd(d *analyze.Device) *analyze.Deed { return d.EndedBy }

// checkLinks wants the interfaces that were made to be born, and those that were
// removed to end.
func (r *randomRun) checkLinks(t *testing.T) {
	t.Helper()
	births, ends := index(r.model.Devices, deviceBirth), index(r.model.Devices, deviceEnd)
	for _, o := range r.ops {
		switch {
		case o.Errno != 0:
		case o.Op == "link.add" || o.Op == "agent.add":
			born := births.during(o, r.doer(o))
			want := 1
			if o.Case == "veth" || o.Case == "veth across" {
				want = 2
			}
			if len(born) != want {
				t.Errorf("%v: the report has %d interfaces born", o, len(born))
				continue
			}
			in := o.Args.ID
			if o.Args.To != nil && o.Case != "veth across" {
				in = *o.Args.To
			}
			if !slices.ContainsFunc(born, func(d *analyze.Device) bool { return d.Stays[0].Netns == r.space(in) }) {
				t.Errorf("%v: the report has it born in %s", o, born[0].Stays[0].Netns.Label())
			}
		case o.Op == "link.del" && slices.Contains(removable, o.Args.Kind):
			if !r.ended(o, ends) {
				t.Errorf("%v: the report doesn't have it ended", o)
			}
		}
	}
}

// removable are the kinds of interface that are gone when the kernel says so. Of
// tunnels there is one in each namespace that it won't remove, and doesn't say so
// (ip_tunnel_dellink).
var removable = []string{"dummy", "ifb", "veth", "bridge", "vlan", "macvlan"}

// ended looks for the end of the interface that o removed.
func (r *randomRun) ended(o *randomOp, ends done[*analyze.Device]) bool {
	return slices.ContainsFunc(ends.during(o, r.summary.PID), func(d *analyze.Device) bool {
		last := d.Stays[len(d.Stays)-1]
		return last.Netns == r.space(o.Args.ID) && last.Ifindex == o.Args.Ifindex && last.Name() == o.Args.Name
	})
}

// isRadio reports whether w is the radio that o is about.
func isRadio(w *analyze.Wiphy, o *randomOp) bool { return w != nil && w.Index == o.Args.Index }

func wiphyBirth(w *analyze.Wiphy) *analyze.Deed {
	if w.Birth == nil {
		return nil
	}
	return &w.Birth.Deed
}

func wiphyEnd(w *analyze.Wiphy) *analyze.Deed { return w.EndedBy }

// hwsimRadios is how many the driver has mac80211_hwsim make when it loads it.
const hwsimRadios = 2

// checkRadios wants the radios that were made to be born, where they were made,
// and those that were removed to end.
func (r *randomRun) checkRadios(t *testing.T) {
	t.Helper()
	births, ends := index(r.model.Wiphys, wiphyBirth), index(r.model.Wiphys, wiphyEnd)
	made := hwsimRadios
	for _, o := range r.ops {
		born := births.during(o, r.summary.PID)
		if o.Errno == 0 && o.Op == "radio.add" {
			made++
		}
		if o.Errno == 0 && o.Op == "module.hwsim" {
			made += hwsimRadios
		}
		switch {
		case o.Errno != 0 && len(born) != 0:
			t.Errorf("%v: the report has a radio born", o)
		case o.Errno != 0:
		case o.Op == "radio.add":
			if len(born) != 1 || !isRadio(born[0], o) || born[0].BornIn != r.space(o.Args.ID) {
				t.Errorf("%v: the report has %d radios born", o, len(born))
			}
		case o.Op == "radio.del":
			ended := ends.during(o, r.summary.PID)
			if len(ended) != 1 || !isRadio(ended[0], o) {
				t.Errorf("%v: the report has %d radios ended", o, len(ended))
			}
		}
	}
	if len(r.model.Wiphys) != made {
		t.Errorf("%d radios in the report, %d were made", len(r.model.Wiphys), made)
	}
}

func vifDeed(v *analyze.Vif) *analyze.Deed { return &v.Deed }

// checkVifs wants the interfaces that were added to radios and removed.
func (r *randomRun) checkVifs(t *testing.T) {
	t.Helper()
	added, ends := index(r.model.Vifs, vifDeed), index(r.model.Devices, deviceEnd)
	removals := index(r.model.Vifs, func(v *analyze.Vif) *analyze.Deed { return v.Removed })
	for _, o := range r.ops {
		switch {
		case o.Op == "vif.add":
			vifs := added.during(o, r.summary.PID)
			if len(vifs) > 1 || len(vifs) == 0 && o.Errno == 0 {
				t.Errorf("%v: the report has %d vifs", o, len(vifs))
				continue
			}
			if len(vifs) == 0 {
				continue // it never reached mac80211
			}
			v := vifs[0]
			if v.Errno != o.Errno || v.Name != o.Args.Name || !isRadio(v.Wiphy, o) || v.Netns != r.space(o.Args.ID) {
				t.Errorf("%v: the report has %+v", o, v)
			}
		case o.Op == "vif.del" && o.Case == "netdev" && o.Errno == 0:
			if !slices.ContainsFunc(ends.during(o, r.summary.PID), func(d *analyze.Device) bool {
				last := d.Stays[len(d.Stays)-1]
				return isRadio(d.Wiphy, o) && last.Ifindex == o.Args.Ifindex && last.Name() == o.Args.Name
			}) {
				t.Errorf("%v: the report doesn't have it ended", o)
			}
		case o.Op == "vif.del" && o.Case == "no netdev" && o.Errno == 0:
			removed := removals.during(o, r.summary.PID)
			if len(removed) != 1 || !isRadio(removed[0].Wiphy, o) {
				t.Errorf("%v: the report has %d vifs removed", o, len(removed))
			}
		}
	}
}

// checkReuse wants every label that the kernel reuses to have been reused: only
// then does it mean anything that no two lives were merged.
func (r *randomRun) checkReuse(t *testing.T) {
	t.Helper()
	reused := map[string]int{"inum": 0, "struct net": 0, "net_device": 0, "ifindex": 0, "wiphy": 0, "PID": 0}
	again := func(what string) func(key any) {
		seen := map[any]bool{}
		return func(key any) {
			if seen[key] {
				reused[what]++
			}
			seen[key] = true
		}
	}
	inum, net := again("inum"), again("struct net")
	for _, n := range r.model.Namespaces {
		inum(n.Inum)
		net(n.Ptr)
	}
	device, ifindex := again("net_device"), again("ifindex")
	for _, d := range r.model.Devices {
		device(d.Ptr)
		had := map[any]bool{}
		for _, s := range d.Stays {
			key := struct {
				n *analyze.Netns
				i int32
			}{s.Netns, s.Ifindex}
			if !had[key] {
				ifindex(key)
			}
			had[key] = true
		}
	}
	wiphy := again("wiphy")
	for _, w := range r.model.Wiphys {
		wiphy(w.Ptr)
	}
	pid := again("PID")
	for _, o := range r.ops {
		for _, n := range []uint32{o.Args.PID, o.Args.TID} {
			if n != 0 {
				pid(n)
			}
		}
	}
	t.Logf("reused: %v", reused)
	if r.n < randomFew {
		return
	}
	for what, times := range reused {
		if times == 0 {
			t.Errorf("no %s was reused", what)
		}
	}
}
