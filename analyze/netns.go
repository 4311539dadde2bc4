// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"github.com/nstrace/nstrace/event"
)

// nets finds namespaces. Each list is in order of appearance; the last entry is
// the label's present owner.
type nets struct {
	all []*Netns
	// dying are those whose end hasn't been told by the end of a clean-up.
	dying    []*Netns
	initial  *Netns
	byCookie map[uint64]*Netns
	byPtr    map[uint64][]*Netns
	byInum   map[uint32][]*Netns
}

// maxTasks bounds how many processes are remembered per namespace.
const maxTasks = 4096

func (n *Netns) sawTask(pid uint32, comm string) {
	if _, ok := n.tasks[pid]; !ok && len(n.tasks) >= maxTasks {
		return
	}
	if n.tasks == nil {
		n.tasks = make(map[uint32]string)
	}
	n.tasks[pid] = comm
}

// own notes that d has number ifindex in n.
func (n *Netns) own(ifindex int32, d *Device) {
	if n.devs == nil {
		n.devs = make(map[int32]*Device)
	}
	n.devs[ifindex] = d
}

// canon returns the life that n turned out to be.
func (n *Netns) canon() *Netns {
	for n != nil && n.into != nil {
		n = n.into
	}
	return n
}

func (a *Analyzer) newNetns(t uint64) *Netns {
	n := &Netns{Origin: Inferred, firstSeen: t, folded: a.folds.total}
	a.nets.all = append(a.nets.all, n)
	return n
}

// learn adds to n the labels that r has and n hasn't.
func (a *Analyzer) learn(n *Netns, r event.NetRef) {
	if n.Cookie == 0 && r.Cookie != 0 && a.nets.byCookie[r.Cookie] == nil {
		n.Cookie = r.Cookie
		a.nets.byCookie[r.Cookie] = n
	}
	if n.Ptr == 0 && r.Ptr != 0 {
		n.Ptr = r.Ptr
		a.nets.byPtr[r.Ptr] = append(a.nets.byPtr[r.Ptr], n)
	}
	if n.Inum == 0 && r.Inum != 0 {
		n.Inum = r.Inum
		lives := a.nets.byInum[r.Inum]
		for i := len(lives) - 1; i >= 0; i-- {
			o := lives[i].canon()
			if o.Ended != 0 {
				break // so have all before it, by this very rule
			}
			// A namespace keeps its inum until after its last put, so whoever
			// had this one and was never seen to be put is gone.
			if o != n && o.Alive() && n.Ended == 0 {
				a.endUnseen(o, a.now)
			}
		}
		lives = append(lives, n)
		for i := len(lives) - 1; i > 0 && n.Ended != 0 && lives[i-1].canon().Ended == 0; i-- {
			lives[i-1], lives[i] = lives[i], lives[i-1] // the living stay last
		}
		a.nets.byInum[r.Inum] = lives
	}
}

// contradicts reports whether r can't be n, whatever address they share.
func (n *Netns) contradicts(r event.NetRef) bool {
	return n.Cookie != 0 && r.Cookie != 0 && n.Cookie != r.Cookie ||
		n.Inum != 0 && r.Inum != 0 && n.Inum != r.Inum
}

// livingAt returns the life that owns address p, nil if none does.
func (x *nets) livingAt(p uint64) *Netns {
	if p == 0 || len(x.byPtr[p]) == 0 {
		return nil
	}
	n := x.byPtr[p][len(x.byPtr[p])-1].canon()
	if n.Ended != 0 {
		return nil
	}
	return n
}

// netns returns the life r speaks of at time t, and makes one if it was never
// heard of. It returns nil only if r names nothing.
func (a *Analyzer) netns(r event.NetRef, t uint64) *Netns {
	if !r.Known() {
		return nil
	}
	p := a.nets.livingAt(r.Ptr)
	if p != nil && p.contradicts(r) {
		a.endUnseen(p, t) // the address has a new owner
		p = nil
	}
	var c *Netns
	if r.Cookie != 0 {
		c = a.nets.byCookie[r.Cookie].canon()
	}
	n := c
	switch {
	case c != nil && p != nil && c != p:
		a.merge(c, p)
	case c == nil && p != nil:
		n = p
	case c == nil:
		n = a.byInum(r)
	}
	if n == nil {
		n = a.revived(r)
	}
	if n == nil {
		n = a.newNetns(t)
	}
	a.learn(n, r)
	return n
}

// revived returns the last life at r's address if it was only thought to be
// over, because its inum had a new owner while its last put was missing.
func (a *Analyzer) revived(r event.NetRef) *Netns {
	lives := a.nets.byPtr[r.Ptr]
	if r.Ptr == 0 || r.Inum == 0 || len(lives) == 0 {
		return nil
	}
	if n := lives[len(lives)-1].canon(); n.EndInferred && n.Inum == r.Inum && !n.contradicts(r) {
		return n
	}
	return nil
}

// byInum looks for a living namespace with r's inum that r doesn't contradict.
// One that is dying has given its inum up, or is about to, so any other is
// preferred.
func (a *Analyzer) byInum(r event.NetRef) *Netns {
	var dying *Netns
	lives := a.nets.byInum[r.Inum]
	for i := len(lives) - 1; i >= 0 && r.Inum != 0; i-- {
		n := lives[i].canon()
		switch {
		case n.Ended != 0 || n.contradicts(r):
		case n.Ptr != 0 && r.Ptr != 0 && n.Ptr != r.Ptr:
		case n.Put == nil:
			return n
		case dying == nil:
			dying = n
		}
	}
	return dying
}

// netnsAt returns the life r spoke of at a past time t.
func (a *Analyzer) netnsAt(r event.NetRef, t uint64) *Netns {
	if n := a.nets.byCookie[r.Cookie].canon(); r.Cookie != 0 && n != nil {
		return n
	}
	for _, lives := range [][]*Netns{a.nets.byPtr[r.Ptr], a.nets.byInum[r.Inum]} {
		for i := len(lives) - 1; i >= 0; i-- {
			n := lives[i].canon()
			if !n.contradicts(r) && n.there(t) {
				return n
			}
		}
	}
	return a.netns(r, t)
}

// there reports whether n existed at time t as far as is known.
func (n *Netns) there(t uint64) bool {
	return (n.Birth == nil || n.Birth.At <= t) && (n.Ended == 0 || t <= n.Ended)
}

// merge makes one life of two that turned out to be the same: src was known by
// its address only, dst by its cookie only.
func (a *Analyzer) merge(dst, src *Netns) {
	src.into = dst
	if dst.Ptr == 0 {
		dst.Ptr = src.Ptr
		a.nets.byPtr[src.Ptr] = append(a.nets.byPtr[src.Ptr], dst)
	}
	if dst.Inum == 0 && src.Inum != 0 {
		a.learn(dst, event.NetRef{Inum: src.Inum})
	}
	if dst.Birth == nil {
		dst.Birth, dst.setupTID = src.Birth, src.setupTID
	}
	if src.Birth != nil {
		dst.Origin = Created
	}
	if dst.Put == nil {
		dst.Put = src.Put
	}
	if dst.Ended == 0 {
		dst.Ended, dst.EndInferred = src.Ended, src.EndInferred
	}
	if dst.Cleanup == nil {
		dst.Cleanup, dst.CleanupAt = src.Cleanup, src.CleanupAt
	}
	dst.Initial = dst.Initial || src.Initial
	dst.firstSeen, dst.folded = min(dst.firstSeen, src.firstSeen), min(dst.folded, src.folded)
	for i, d := range src.devs {
		if dst.devs[i] == nil {
			dst.own(i, d)
		}
	}
	for pid, comm := range src.tasks {
		dst.sawTask(pid, comm)
	}
	src.devs, src.tasks = nil, nil
	a.absorbTasks(dst, src)
	dst.absorbNsids(src)
	dst.absorbSysctls(src)
}

// setupNet: a namespace is made.
func (a *Analyzer) setupNet(e *event.Event) {
	if c := a.running(e.TID, e.Kind); e.Net.Ptr == 0 && e.Phase == event.PhaseExit && c != nil {
		whole := *e // the kernel couldn't pair it, but its entry came as an event
		whole.Net.Ptr = c.netns
		e = &whole
	}
	if e.Net.Ptr == 0 {
		a.odd++
		return
	}
	if e.Phase == event.PhaseEnter {
		a.enter(e).netns = e.Net.Ptr
		n := a.bear(e, e.Time)
		a.granted(n, e)
		a.waits.setUps = remember(a.waits.setUps, n)
		return
	}
	a.leave(e)
	n := a.nets.livingAt(e.Net.Ptr)
	switch {
	case n == nil:
		n = a.bear(e, e.Start)
	case n.inSetup && n.setupTID == e.TID && !n.contradicts(e.Net): // the ordinary case
	case n.Birth == nil && e.Start != 0 && n.firstSeen >= e.Start:
		a.setBirth(n, e, e.Start) // its loopback came first
	default: // an older life at this address, whose end is missing
		n = a.bear(e, e.Start)
	}
	n.inSetup = false
	if e.Start != 0 {
		n.Birth.At, n.Birth.Inferred = e.Start, false
		n.Birth.Setup = sub(e.Time, e.Start)
	}
	if c := a.nets.byCookie[e.Net.Cookie].canon(); e.Net.Cookie != 0 && c != nil && c != n {
		a.merge(c, n)
		n = c
	}
	a.learn(n, e.Net)
	a.granted(n, e)
	if e.Ret != 0 {
		n.Birth.Errno = e.Ret
		a.waits.failed = n
		a.endNetns(n, e.Time)
	}
}

// bear begins a life at e's address; began is 0 if only its completion was seen.
func (a *Analyzer) bear(e *event.Event, began uint64) *Netns {
	if old := a.nets.livingAt(e.Net.Ptr); old != nil {
		a.endUnseen(old, e.Time)
	}
	n := a.newNetns(e.Time)
	a.learn(n, event.NetRef{Ptr: e.Net.Ptr, Cookie: e.Net.Cookie})
	n.inSetup = true
	a.setBirth(n, e, began)
	return n
}

func (a *Analyzer) setBirth(n *Netns, e *event.Event, began uint64) {
	n.Origin, n.setupTID = Created, e.TID
	n.Birth = &Birth{Deed: deed(e), Caller: a.netns(e.Caller, e.Time)}
	n.Birth.At, n.Birth.Inferred = began, began == 0
	if began == 0 {
		n.Birth.At = e.Time
	}
}

// putNet: the last reference is gone.
func (a *Analyzer) putNet(e *event.Event) {
	n := a.netns(e.Net, e.Time)
	if n == nil {
		a.odd++
		return
	}
	if n.Put == nil && !n.Initial {
		d := deed(e)
		if e.Start != 0 {
			d.At = e.Start // told when the call was over, with the clean-up perhaps begun
		}
		n.Put = &d
		a.evacuate(n, d.At)
		a.nets.dying = append(a.nets.dying, n)
	}
}

// cleanupNet: a batch of namespaces is torn down. It takes all that were put
// before, so those whose end isn't told, as on kernels where that can't be
// hooked, have ended when it returns.
func (a *Analyzer) cleanupNet(e *event.Event) {
	c := a.call(e)
	if c != nil && e.Phase == event.PhaseEnter {
		c.cleanup = a.beginCleanup(deed(e), e.TID)
		return
	}
	if c == nil && e.Start != 0 && e.Phase == event.PhaseExit {
		d := deed(e) // its beginning is missing, but known
		d.At = e.Start
		c = &call{since: e.Start, cleanup: a.beginCleanup(d, e.TID)}
	}
	if c == nil || e.Phase != event.PhaseExit {
		return
	}
	c.cleanup.Done = e.Time
	later := a.nets.dying[:0]
	for _, n := range a.nets.dying {
		switch n = n.canon(); {
		case n.Ended != 0 || n.Put == nil:
		case n.Put.At >= c.since:
			later = append(later, n)
		default:
			c.cleanup.took(n)
			a.endUnseen(n, e.Time)
		}
	}
	a.nets.dying = later
}

// freeNet: the clean-up is complete.
func (a *Analyzer) freeNet(e *event.Event) {
	n := a.netns(e.Net, e.Time)
	if n == nil || n.Initial {
		a.odd++
		return
	}
	if c := a.running(e.TID, event.KindCleanupNet); c != nil {
		c.cleanup.took(n)
	} else if e.Start != 0 {
		n.CleanupAt = e.Start
	}
	n.EndInferred = false
	a.endNetns(n, e.Time)
}

// endNetns ends a life, and the stays of whatever wasn't seen to leave.
func (a *Analyzer) endNetns(n *Netns, t uint64) {
	n.Ended, n.inSetup = t, false
	a.evacuate(n, t)
	a.foldNetns(n)
	for _, d := range n.devs {
		a.endDevice(d, t, true)
	}
	n.devs = nil
	for _, w := range a.wiphys.all {
		if s := w.At(); s != nil && s.Netns.canon() == n {
			s.Until, s.Left, s.EndInferred = t, LeftMoved, true
		}
	}
	for _, x := range n.CurrentNames() {
		a.drop(x.Path, t)
	}
}

// endUnseen ends a life whose end is missing: its labels have a new owner.
func (a *Analyzer) endUnseen(n *Netns, t uint64) {
	if n.Initial {
		return
	}
	n.EndInferred = true
	a.endNetns(n, t)
}

func deed(e *event.Event) Deed { return Deed{At: e.Time, PID: e.PID, Comm: e.Comm} }

// sub is a-b, 0 if that were negative.
func sub(a, b uint64) uint64 {
	if a < b {
		return 0
	}
	return a - b
}
