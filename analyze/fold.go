// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"cmp"
	"slices"
	"strings"
)

// A machine that makes namespaces all day, as container hosts do, has millions
// of lives that nobody will ask for. Beyond a number of ended ones, the oldest
// ordinary ones are folded: taken out of the model and counted by who made them.
// So memory grows with what lives and with what is out of the ordinary, not with
// the length of the recording.

// DefaultKeep is how many ended namespaces, and how many ended netdevs, are kept
// whole at least, however ordinary.
const DefaultKeep = 10_000

// maxFolds bounds how many creators are told apart.
const maxFolds = 256

// Fold is what became of the folded lives of one creator.
type Fold struct {
	// Comm made them; "" for those of all creators beyond the first few hundred.
	Comm string
	// Namespaces, Devices and Moves count what was folded. A device is its
	// namespace's creator's, or its own where it was in the initial namespace.
	Namespaces, Devices, Moves uint64
	// Setup, Cleanup (from the last reference to the end) and Lived are sums over
	// the namespaces, the others their greatest values, in nanoseconds.
	Setup, Cleanup, Lived          uint64
	SetupMax, CleanupMax, LivedMax uint64
	// First and Last are when the first and the last of the namespaces began, 0
	// without any.
	First, Last uint64
}

// folds is the state of folding.
type folds struct {
	keep   int
	wanted func(*Netns) bool
	// ended and gone wait to be folded, in the order in which they ended.
	ended    []*Netns
	gone     []*Device
	total    int // namespaces folded so far
	byComm   map[string]*Fold
	remnants Fold
}

// Ordinary reports whether nothing about the namespace's life is worth telling
// for its own sake: it was made and torn down within the recording, in good time,
// and no radio was ever in it.
func (n *Netns) Ordinary() bool {
	return n.Origin == Created && n.Ended != 0 && !n.EndInferred && !n.Failed() && !n.Initial &&
		n.Put != nil && sub(n.Ended, n.Put.At) < slow && n.Birth.Wait() < slow && n.Birth.Setup < slow
}

// Ordinary reports whether nothing about the netdev's life is worth telling for
// its own sake: it is gone, and it was no radio's.
func (d *Device) Ordinary() bool {
	return d.Ended != 0 && d.Wiphy == nil && d.Origin == Created
}

// Ordinary reports whether the move is worth telling only with what moved: a
// netdev of no radio went where it was asked to go.
func (m *Move) Ordinary() bool {
	return m.Device != nil && m.Device.Wiphy == nil && m.OK() && m.Cause == CauseRequest && m.nameHolder == nil && m.indexHolder == nil
}

// foldNetns and foldDevice note an end.
func (a *Analyzer) foldNetns(n *Netns)   { a.folds.ended = append(a.folds.ended, n) }
func (a *Analyzer) foldDevice(d *Device) { a.folds.gone = append(a.folds.gone, d) }

// fold folds, when there is enough to be worth going through everything once.
// Only between events: nobody must hold on to a life meanwhile.
func (a *Analyzer) fold() {
	f := &a.folds
	if f.keep <= 0 || a.applied == nil && a.opening != nil {
		return // the opening snapshot may still speak of those that ended
	}
	if len(f.ended) < 2*f.keep && len(f.gone) < 2*f.keep {
		return
	}
	devices := take(&f.gone, f.keep)
	nets := take(&f.ended, f.keep)
	foldable := make(map[*Netns]bool, len(nets))
	for _, n := range nets {
		if n = n.canon(); n.Ordinary() && (f.wanted == nil || !f.wanted(n)) {
			foldable[n] = true
		}
	}
	old := make(map[*Device]bool, len(devices))
	for _, d := range devices {
		old[d] = true
	}
	a.spare(foldable, old)
	a.count(foldable, old)
	a.forget(foldable, old)
}

// take takes the oldest off a queue and leaves the last keep.
func take[T any](queue *[]T, keep int) []T {
	n := max(0, len(*queue)-keep)
	taken := (*queue)[:n:n]
	*queue = slices.Clone((*queue)[n:])
	return taken
}

// spare takes out of foldable and old whatever the rest of the model needs.
func (a *Analyzer) spare(foldable map[*Netns]bool, old map[*Device]bool) {
	keepAll := func(d *Device) {
		for _, s := range d.Stays {
			delete(foldable, s.Netns.canon())
		}
	}
	for _, w := range a.wiphys.all {
		for _, s := range w.Stays {
			delete(foldable, s.Netns.canon())
		}
		delete(foldable, w.BornIn.canon())
		delete(foldable, w.DiedWith.canon())
	}
	for _, v := range a.m.Vifs {
		delete(foldable, v.Netns.canon())
		delete(foldable, v.Caller.canon())
	}
	for _, d := range a.wdevs.all {
		if d.Birth != nil {
			delete(foldable, d.Birth.Caller.canon())
		}
	}
	for _, k := range a.m.Asks {
		if k.OK() {
			continue
		}
		for _, n := range k.About() {
			delete(foldable, n.canon())
		}
		for _, d := range []*Device{k.Device, k.holder} {
			if d != nil {
				delete(old, d)
				keepAll(d)
			}
		}
	}
	for _, r := range a.rowOrder {
		delete(foldable, r.Netns.canon())
		if r.Device != nil {
			delete(old, r.Device)
			keepAll(r.Device)
		}
	}
	for _, x := range a.m.Drops {
		delete(foldable, x.Netns.canon())
		delete(old, x.Device)
		keepAll(x.Device)
	}
	for _, m := range a.m.Moves {
		if m.Ordinary() {
			continue
		}
		delete(foldable, m.From.canon())
		delete(foldable, m.To.canon())
		for _, d := range []*Device{m.Device, m.nameHolder, m.indexHolder} {
			if d != nil {
				delete(old, d)
				keepAll(d)
			}
		}
	}
	for _, d := range a.devs.all {
		if !d.Ordinary() {
			delete(old, d)
			keepAll(d)
		}
	}
	// A device that stays keeps its namespaces; one that was in a namespace that
	// stays, stays as well, unless that is the initial one, which always does.
	for changed := true; changed; {
		changed = false
		for _, d := range a.devs.all {
			if !d.Ordinary() {
				continue
			}
			whole, some := true, false
			for _, s := range d.Stays {
				n := s.Netns.canon()
				whole = whole && (n.Initial || foldable[n])
				some = some || foldable[n]
			}
			switch {
			case whole && some:
				old[d] = true // it goes with its namespaces
			case whole:
				// The initial namespace only: old decides.
			default:
				delete(old, d)
				if some {
					keepAll(d)
					changed = true
				}
			}
		}
	}
}

// count adds what is folded to its creators' accounts.
func (a *Analyzer) count(foldable map[*Netns]bool, old map[*Device]bool) {
	for n := range foldable {
		a.foldOf(n.Birth.Comm).Add(n)
	}
	for d := range old {
		a.ownerFold(d, foldable).Devices++
	}
	for _, m := range a.m.Moves {
		if old[m.Device] {
			a.ownerFold(m.Device, foldable).Moves++
		}
	}
}

// ownerFold is the account that a folded device belongs to.
func (a *Analyzer) ownerFold(d *Device, foldable map[*Netns]bool) *Fold {
	for _, s := range d.Stays {
		if n := s.Netns.canon(); foldable[n] {
			return a.foldOf(n.Birth.Comm)
		}
	}
	if d.Birth == nil {
		return a.foldOf("")
	}
	return a.foldOf(d.Birth.Comm)
}

// Add adds an ordinary namespace.
func (f *Fold) Add(n *Netns) {
	lived, cleanup := sub(n.Put.At, n.Birth.At), sub(n.Ended, n.Put.At)
	f.Namespaces++
	f.Setup += n.Birth.Setup
	f.Cleanup += cleanup
	f.Lived += lived
	f.SetupMax = max(f.SetupMax, n.Birth.Setup)
	f.CleanupMax = max(f.CleanupMax, cleanup)
	f.LivedMax = max(f.LivedMax, lived)
	if f.First == 0 || n.Birth.At < f.First {
		f.First = n.Birth.At
	}
	f.Last = max(f.Last, n.Birth.At)
}

func (a *Analyzer) foldOf(comm string) *Fold {
	f := a.folds.byComm[comm]
	switch {
	case f == nil && len(a.folds.byComm) >= maxFolds:
		f = &a.folds.remnants
	case f == nil:
		f = &Fold{Comm: strings.Clone(comm)}
		a.folds.byComm[f.Comm] = f
	}
	return f
}

// forget takes everything folded out of wherever it is.
func (a *Analyzer) forget(foldable map[*Netns]bool, old map[*Device]bool) {
	var seen []uint64
	forgotten := func(n *Netns) bool { return foldable[n.canon()] }
	for _, n := range a.nets.all {
		if foldable[n] {
			seen = append(seen, n.firstSeen)
		}
	}
	slices.Sort(seen)
	a.folds.total += len(seen)
	a.dropLabels(forgotten)
	a.nets.all = slices.DeleteFunc(a.nets.all, forgotten)
	for _, n := range a.nets.all {
		before, _ := slices.BinarySearch(seen, n.firstSeen)
		n.folded += before
	}
	a.nets.dying = slices.DeleteFunc(a.nets.dying, forgotten)
	addresses := make(map[uint64]bool)
	for d := range old {
		addresses[d.Ptr] = true
	}
	prune(a.devs.byPtr, addresses, func(d *Device) bool { return old[d] })
	a.devs.all = slices.DeleteFunc(a.devs.all, func(d *Device) bool { return old[d] })
	a.m.Moves = slices.DeleteFunc(a.m.Moves, func(m *Move) bool { return old[m.Device] })
	a.m.Renames = slices.DeleteFunc(a.m.Renames, func(r *Rename) bool { return old[r.Device] })
	a.forgetAsks(foldable, old)
	// Whoever was made from a folded namespace forgets that.
	for _, n := range a.nets.all {
		n.Birth.forgetCaller(foldable)
		n.forgetOrigins(forgotten)
		n.forgetPeers(forgotten)
	}
	for _, d := range a.devs.all {
		d.Birth.forgetCaller(foldable)
	}
	for _, w := range a.wiphys.all {
		w.Birth.forgetCaller(foldable)
	}
	for _, r := range a.m.Renames {
		if r.Netns != nil && forgotten(r.Netns) {
			r.Netns = nil
		}
	}
}

// forgetAsks counts the requests that made what is folded.
func (a *Analyzer) forgetAsks(foldable map[*Netns]bool, old map[*Device]bool) {
	a.m.Asks = slices.DeleteFunc(a.m.Asks, func(k *Ask) bool {
		gone := old[k.Device] || slices.ContainsFunc(k.About(), func(n *Netns) bool { return foldable[n.canon()] })
		if gone {
			a.countAsk(k)
		}
		return gone
	})
	for i := range a.asks.effects {
		x := &a.asks.effects[i]
		if old[x.device] || x.move != nil && old[x.move.Device] || x.rename != nil && old[x.rename.Device] {
			*x = effect{at: x.at}
		}
	}
}

func (b *Birth) forgetCaller(foldable map[*Netns]bool) {
	if b != nil && b.Caller != nil && foldable[b.Caller.canon()] {
		b.Caller = nil
	}
}

// dropLabels takes lives out of the indices of labels.
func (a *Analyzer) dropLabels(forgotten func(*Netns) bool) {
	addresses, inums := make(map[uint64]bool), make(map[uint32]bool)
	for _, n := range a.nets.all {
		if !forgotten(n) {
			continue
		}
		if a.nets.byCookie[n.Cookie] == n {
			delete(a.nets.byCookie, n.Cookie)
		}
		addresses[n.Ptr], inums[n.Inum] = true, true
	}
	prune(a.nets.byPtr, addresses, forgotten)
	prune(a.nets.byInum, inums, forgotten)
}

// prune drops members from the lists of some keys.
func prune[K comparable, T any](index map[K][]T, keys map[K]bool, drop func(T) bool) {
	for key := range keys {
		if rest := slices.DeleteFunc(index[key], drop); len(rest) == 0 {
			delete(index, key)
		} else {
			index[key] = rest
		}
	}
}

// finishFolds lists the accounts, the largest first.
func (a *Analyzer) finishFolds() {
	for _, f := range a.folds.byComm {
		a.m.Folds = append(a.m.Folds, *f)
	}
	slices.SortFunc(a.m.Folds, func(x, y Fold) int {
		return cmp.Or(cmp.Compare(y.Namespaces, x.Namespaces), cmp.Compare(y.Devices, x.Devices), strings.Compare(x.Comm, y.Comm))
	})
	if r := a.folds.remnants; r.Namespaces+r.Devices+r.Moves != 0 {
		a.m.Folds = append(a.m.Folds, r)
	}
}
