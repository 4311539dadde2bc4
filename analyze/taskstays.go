// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"cmp"
	"maps"
	"slices"

	"github.com/nstrace/nstrace/event"
)

// taskArrives begins a stay of t in the namespace it is in now.
func (a *Analyzer) taskArrives(t *event.Task, how Arrival) *TaskStay {
	n := a.netns(t.Net, t.Time)
	if n == nil {
		a.odd++
		return nil
	}
	s := newTaskStay(t, n, how)
	s.From, s.CameFrom = t.Time, a.netns(t.From, t.Time)
	a.enterNetns(s, t.Time)
	return s
}

// preexisting makes up the stay of a process that was never introduced: it was
// in n when the recording began, unless its arrival is missing.
func (a *Analyzer) preexisting(t *event.Task, n *Netns) *TaskStay {
	s := newTaskStay(t, n, ArrivedPreexisting)
	s.TID, s.Inferred = 0, true
	a.enterNetns(s, t.Time)
	return s
}

func newTaskStay(t *event.Task, n *Netns, how Arrival) *TaskStay {
	s := &TaskStay{PID: t.PID, Netns: n, Arrived: how}
	if !isLeader(t) {
		s.TID = t.TID
	}
	s.tell(t)
	return s
}

// tell takes what t says besides where it is.
func (s *TaskStay) tell(t *event.Task) {
	s.Comm = t.Comm
	if s.Parent == 0 {
		s.Parent = t.Parent // later it may be whoever adopted it
	}
	if t.Cgroup != 0 {
		s.cgroup = t.Cgroup
	}
	for _, x := range []struct{ to, from *uint32 }{
		{&s.Others.Mnt, &t.Others.Mnt},
		{&s.Others.PID, &t.Others.PID},
		{&s.Others.UTS, &t.Others.UTS},
		{&s.Others.IPC, &t.Others.IPC},
		{&s.Others.Cgroup, &t.Others.Cgroup},
		{&s.Others.Time, &t.Others.Time},
		{&s.Others.User, &t.Others.User},
	} {
		if *x.from != 0 {
			*x.to = *x.from
		}
	}
}

func (s *TaskStay) key() taskKey { return taskKey{s.PID, s.TID} }

// anyThread is the number of threads that stayed behind: nobody knows theirs.
const anyThread = ^uint32(0)

func (s *TaskStay) goneKey() taskKey {
	if s.ThreadsSince != 0 {
		return taskKey{s.PID, anyThread}
	}
	return s.key()
}

// goneSince reports whether a task of a snapshot was seen to leave after t.
func (a *Analyzer) goneSince(h *event.Resident, t uint64) bool {
	at, ok := a.tasks.gone[taskKey{h.PID, h.TID}]
	if !ok && h.TID != 0 {
		at, ok = a.tasks.gone[taskKey{h.PID, anyThread}]
	}
	return ok && at >= t
}

// enterNetns lists a stay. Nobody counts who is in the initial namespace.
func (a *Analyzer) enterNetns(s *TaskStay, at uint64) {
	n := s.Netns
	n.occupied = true
	if n.Initial {
		return
	}
	n.sawTask(s.PID, s.Comm)
	if old := n.inside[s.key()]; old != nil {
		a.taskLostSight(old, at)
	}
	if n.inside == nil {
		n.inside = make(map[taskKey]*TaskStay)
	}
	n.inside[s.key()] = s
}

// rekey notes that a thread, tid until now, has become its process.
func (a *Analyzer) rekey(s *TaskStay, tid uint32) {
	n := s.Netns.canon()
	if n.inside[taskKey{s.PID, tid}] == s {
		delete(n.inside, taskKey{s.PID, tid})
		n.inside[s.key()] = s
	}
}

// taskLeaves ends a stay.
func (a *Analyzer) taskLeaves(s *TaskStay, at uint64, how Departure, to *Netns) {
	if s.Left != "" {
		return
	}
	s.Until, s.Left, s.WentTo = at, how, to
	n := s.Netns.canon()
	if a.applied == nil && !n.Initial && len(a.tasks.gone) < maxGone {
		a.tasks.gone[s.goneKey()] = at
	}
	if n.inside[s.key()] == s {
		delete(n.inside, s.key())
		a.nameCgroup(s)
		n.TasksGone.add(s)
	}
}

// taskLostSight ends a stay whose end is missing.
func (a *Analyzer) taskLostSight(s *TaskStay, at uint64) {
	s.EndInferred = true
	a.taskLeaves(s, max(at, s.From), LeftExit, nil)
}

// evacuate ends the stays of all that are thought to be in a namespace without
// references: their departure is missing.
func (a *Analyzer) evacuate(n *Netns, at uint64) {
	for _, s := range n.insideInOrder() {
		a.taskLostSight(s, at)
		a.forgetStay(s)
	}
}

// forgetStay takes a stay that ended unseen out of its process.
func (a *Analyzer) forgetStay(s *TaskStay) {
	p := a.tasks.processes[s.PID]
	if p == nil {
		return
	}
	if p.main == s {
		p.main = nil
	}
	p.rest = slices.DeleteFunc(p.rest, func(x *TaskStay) bool { return x == s })
	if p.parted[s.TID] == s {
		delete(p.parted, s.TID)
	}
	a.release(s.PID, p)
}

func (n *Netns) insideInOrder() []*TaskStay { return inOrder(n.inside) }

// inOrder returns stays in order of arrival.
func inOrder(stays map[taskKey]*TaskStay) []*TaskStay {
	out := slices.Collect(maps.Values(stays))
	sortStays(out)
	return out
}

func sortStays(stays []*TaskStay) {
	slices.SortStableFunc(stays, func(x, y *TaskStay) int {
		return cmp.Or(cmp.Compare(x.From, y.From), cmp.Compare(x.PID, y.PID), cmp.Compare(x.TID, y.TID))
	})
}

// TasksGone are the stays in a namespace that are over: the first and the last
// of them.
type TasksGone struct {
	Stays []*TaskStay
	// Omitted is how many there were in between.
	Omitted uint64
}

// OmittedBy is when the last of those in between was gone, 0 if there is none.
func (g *TasksGone) OmittedBy() uint64 {
	if g.Omitted == 0 {
		return 0
	}
	return g.Stays[keptFirst].Until
}

func (g *TasksGone) add(s *TaskStay) {
	if len(g.Stays) == keptFirst+keptLast {
		g.Stays = slices.Delete(g.Stays, keptFirst, keptFirst+1)
		g.Omitted++
	}
	g.Stays = append(g.Stays, s)
}

// absorbTasks adds what is known of a life that turned out to be the same.
func (a *Analyzer) absorbTasks(n, src *Netns) {
	for _, s := range src.insideInOrder() {
		old := n.inside[s.key()]
		if old != nil {
			// One and the same presence, told of under two labels.
			a.replaceStay(s, old)
			old.From = min(old.From, s.From)
			continue
		}
		if n.inside == nil {
			n.inside = make(map[taskKey]*TaskStay)
		}
		n.inside[s.key()] = s
	}
	n.occupied = n.occupied || src.occupied
	for _, s := range src.TasksGone.Stays {
		n.TasksGone.add(s)
	}
	n.TasksGone.Omitted += src.TasksGone.Omitted
	src.inside, src.TasksGone = nil, TasksGone{}
	if n.Initial {
		a.vacate(n)
	}
}

// replaceStay has a process be in one stay instead of another.
func (a *Analyzer) replaceStay(was, is *TaskStay) {
	p := a.tasks.processes[was.PID]
	if p == nil {
		return
	}
	if p.main == was {
		p.main = is
	}
	if p.parted[was.TID] == was {
		p.parted[was.TID] = is
	}
	p.rest = slices.DeleteFunc(p.rest, func(x *TaskStay) bool { return x == was || x == p.main })
}

// forgetOrigins forgets where tasks came from and went to.
func (n *Netns) forgetOrigins(forgotten func(*Netns) bool) {
	each := func(s *TaskStay) {
		if s.CameFrom != nil && forgotten(s.CameFrom) {
			s.CameFrom = nil
		}
		if s.WentTo != nil && forgotten(s.WentTo) {
			s.WentTo = nil
		}
	}
	for _, s := range n.TasksGone.Stays {
		each(s)
	}
	for _, s := range n.inside {
		each(s)
	}
}

// nameCgroup says which cgroup a stay was last seen in, as far as that is known
// by now.
func (a *Analyzer) nameCgroup(s *TaskStay) {
	if path := a.tasks.cgroups[s.cgroup]; path != "" {
		s.Cgroup, s.Container = path, containerOf(path)
	}
}

// introduceTasks applies the tasks of the opening snapshot. Those that came or went
// since it began are known better.
func (a *Analyzer) introduceTasks(s *event.Snapshot, n *Netns, st *event.NetnsState) {
	if n.Initial {
		return
	}
	for i := range st.Tasks {
		a.introduceTask(s, n, &st.Tasks[i])
	}
	n.unlisted = st.Held.Tasks > uint32(len(st.Tasks))
}

// introduceStrays takes the threads that are in the initial namespace, n, while
// their processes are elsewhere: so they won't be thought to be with these.
func (a *Analyzer) introduceStrays(n *Netns, st *event.NetnsState) {
	for _, h := range st.Tasks {
		p := a.tasks.processes[h.PID]
		if h.TID == 0 || p == nil || p.main == nil || p.parted[h.TID] != nil || p.at(n) != nil {
			continue
		}
		p.addParted(&TaskStay{PID: h.PID, TID: h.TID, Comm: h.Comm, Netns: n, Arrived: ArrivedPreexisting})
	}
}

func (a *Analyzer) introduceTask(s *event.Snapshot, n *Netns, h *event.Resident) {
	p := a.tasks.processes[h.PID]
	if a.goneSince(h, s.Begin) && (p == nil || p.stayOf(h, n) == nil) {
		for _, x := range n.TasksGone.Stays {
			if x.PID == h.PID && x.Arrived == ArrivedPreexisting {
				x.Inferred = false
			}
		}
		return
	}
	if p == nil {
		p = &process{}
		a.tasks.processes[h.PID] = p
	}
	x := p.stayOf(h, n)
	switch {
	case x != nil:
		if x.Arrived == ArrivedPreexisting {
			x.Inferred = false
		}
	case h.TID == 0 && p.main != nil:
		return // it has gone elsewhere since
	default:
		x = &TaskStay{PID: h.PID, TID: h.TID, Comm: h.Comm, Netns: n, Arrived: ArrivedPreexisting, Inferred: n.Birth != nil}
		a.enterNetns(x, s.Begin)
		if h.TID == 0 {
			p.main = x
		} else {
			p.addParted(x)
			p.uncount(h.TID)
		}
	}
	if h.Cgroup != "" && x.Cgroup == "" {
		x.Cgroup, x.Container = h.Cgroup, containerOf(h.Cgroup)
	}
}

// uncount takes a thread that turned out to be elsewhere out of those that were
// thought to have stayed in the initial namespace when the first one left.
func (p *process) uncount(tid uint32) {
	for _, s := range p.rest {
		switch {
		case !s.Netns.canon().Initial:
		case s.behind[tid]:
			delete(s.behind, tid)
		case s.threads > 0:
			s.threads--
		}
	}
}

// stayOf returns the stay in n that a task of a snapshot is.
func (p *process) stayOf(h *event.Resident, n *Netns) *TaskStay {
	if x := p.parted[h.TID]; h.TID != 0 && x != nil && x.Netns.canon() == n {
		return x
	}
	return p.at(n)
}

// vacate forgets who is in a namespace that turned out to be the initial one.
func (a *Analyzer) vacate(n *Netns) {
	for _, x := range n.insideInOrder() {
		a.forgetStay(x)
	}
	n.inside, n.TasksGone = nil, TasksGone{}
}

// gatherTasks puts the stays into the model.
func (a *Analyzer) gatherTasks() {
	for _, n := range a.m.Namespaces {
		n.TaskStays = append(n.TasksGone.Stays[:len(n.TasksGone.Stays):len(n.TasksGone.Stays)], n.insideInOrder()...)
		for _, s := range n.TaskStays {
			s.Netns, s.CameFrom, s.WentTo = s.Netns.canon(), s.CameFrom.canon(), s.WentTo.canon()
			if s.Cgroup == "" {
				a.nameCgroup(s) // its path came after it had left
			}
		}
		sortStays(n.TaskStays)
	}
}
