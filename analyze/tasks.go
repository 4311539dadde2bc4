// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"cmp"
	"maps"
	"slices"

	"github.com/nstrace/nstrace/event"
)

// How a task came into a namespace, beside ArrivedPreexisting.
const (
	// ArrivedUnshare: it made the namespace and went into it.
	ArrivedUnshare Arrival = "unshare"
	ArrivedSetns   Arrival = "setns"
	// ArrivedFork: it was born there, or with it (clone).
	ArrivedFork Arrival = "fork"
	// ArrivedUnknown: it was seen elsewhere before.
	ArrivedUnknown Arrival = "unknown"
)

// How a task left a namespace.
const (
	LeftExit    Departure = "exit"
	LeftSetns   Departure = "setns"
	LeftUnshare Departure = "unshare"
	// LeftJoined: a thread's process came after it.
	LeftJoined Departure = "joined"
)

// TaskStay is the time a process was in one namespace, or a thread of it that
// had parted from it. A process whose first thread left is there as long as
// another of its threads is.
type TaskStay struct {
	// PID is the process, TID the thread that is there without it, 0 for the
	// process itself. Both are of the initial pid namespace.
	PID, TID uint32
	// Comm is its latest name there, Parent the process that made it, 0 if
	// unknown.
	Comm   string
	Parent uint32
	Netns  *Netns
	// From is 0 if it was there before the recording, Until 0 if it is there at
	// the end.
	From, Until uint64
	Arrived     Arrival
	Left        Departure
	// CameFrom and WentTo are the namespaces before and after, nil if unknown or
	// none. Of a fork, CameFrom is where its parent was.
	CameFrom, WentTo *Netns
	// Inferred says that the arrival itself wasn't seen, EndInferred that the
	// departure wasn't: From or Until is then when it was noticed.
	Inferred, EndInferred bool
	// ThreadsSince is when the process itself left, so that only threads of it
	// were there any more, 0 if it didn't.
	ThreadsSince uint64
	// Others are its other namespaces as they were last told.
	Others event.Namespaces
	// Cgroup is the path of the cgroup it was last seen in, "" if unknown, and
	// Container the container that is the cgroup of, if it is one's.
	Cgroup    string
	Container *Container

	cgroup uint64
	// With ThreadsSince, those that are left: which, and how many others of which
	// nobody knows that.
	behind  map[uint32]bool
	threads int
}

// Who is the process, or the thread, as reports write it.
func (s *TaskStay) Who() string { return Task(cmp.Or(s.TID, s.PID), s.Comm) }

// taskKey tells the stays in one namespace at one time apart.
type taskKey struct{ pid, tid uint32 }

// process is a process that is in another namespace than the initial one, or has
// threads that are.
type process struct {
	// main is where its first thread is, and with it all that weren't told to be
	// elsewhere; nil for the initial namespace and for nowhere.
	main *TaskStay
	// ended says that its first thread has ended before the others.
	ended bool
	// parted are the threads that are where main isn't, by TID.
	parted map[uint32]*TaskStay
	// rest are the stays of those that stayed behind when the first one left, in the
	// initial namespace too.
	rest []*TaskStay
	// behind are the threads of which the first one says that they stay where it is
	// about to leave.
	behind []uint32
}

// tasks is who is where.
type tasks struct {
	// processes are by PID.
	processes map[uint32]*process
	// gone is when a process, or a thread, was last seen to leave, until the
	// opening snapshot, which may still have it, is applied.
	gone    map[taskKey]uint64
	cgroups map[uint64]string
}

// The stays of a namespace that are over and are kept: the first, among which is
// who made it, and the last.
const (
	keptFirst = 16
	keptLast  = 48
)

// HandleTask takes a task that came into a namespace or left one.
func (a *Analyzer) HandleTask(t *event.Task) {
	a.m.TaskEvents++
	a.tick(t.Time)
	switch t.Op {
	case event.TaskFork:
		a.forked(t)
	case event.TaskSwitch:
		a.switched(t)
	case event.TaskExec:
		a.executed(t)
	case event.TaskExit:
		a.exited(t)
	case event.TaskBehind:
		p := a.processOf(t)
		p.behind = append(p.behind, t.TID)
	default:
		a.odd++
	}
}

// HandleCgroup takes the path of a cgroup.
func (a *Analyzer) HandleCgroup(c *event.CgroupPath) {
	a.tick(c.Time)
	if len(a.tasks.cgroups) < maxCgroups {
		a.tasks.cgroups[c.ID] = c.Path
	}
}

// Bounds of what is remembered.
const (
	maxCgroups = 1 << 16
	maxGone    = 1 << 16
)

func isLeader(t *event.Task) bool { return t.PID == t.TID }

// processOf returns the process of t, which is made up if it is new.
func (a *Analyzer) processOf(t *event.Task) *process {
	p := a.tasks.processes[t.PID]
	if p == nil {
		p = &process{}
		a.tasks.processes[t.PID] = p
	}
	return p
}

// release forgets a process that is nowhere but in the initial namespace.
func (a *Analyzer) release(pid uint32, p *process) {
	if p.main != nil || slices.ContainsFunc(p.rest, func(s *TaskStay) bool { return !s.Netns.canon().Initial }) {
		return
	}
	for _, s := range p.parted {
		if !s.Netns.canon().Initial {
			return
		}
	}
	delete(a.tasks.processes, pid)
}

// forked: a task was born.
func (a *Analyzer) forked(t *event.Task) {
	if isLeader(t) {
		a.vanish(t.PID, t.Time) // whoever had the number before is gone
		p := a.processOf(t)
		p.main = a.taskArrives(t, ArrivedFork)
		a.release(t.PID, p)
		return
	}
	p := a.processOf(t)
	if !p.isBehind(t.TID) { // or it was told of by its leader, which left just then
		a.part(p, t, ArrivedFork)
	}
	a.release(t.PID, p)
}

// switched: a task changed its namespaces.
func (a *Analyzer) switched(t *event.Task) {
	from, to := a.netns(t.From, t.Time), a.netns(t.Net, t.Time)
	if from == nil || to == nil {
		a.odd++
		return
	}
	p := a.processOf(t)
	defer a.release(t.PID, p)
	if from == to {
		a.told(p, t)
		return
	}
	arrived, left := ArrivedSetns, LeftSetns
	if to.Birth != nil && to.setupTID == t.TID && !to.occupied {
		arrived, left = ArrivedUnshare, LeftUnshare
	}
	if !isLeader(t) {
		a.threadLeaves(p, t, from, left, to)
		// Or else it is with its process again.
		if s := p.at(to); (s == nil || s != p.main) && (p.main != nil || p.ended || !to.Initial) {
			a.part(p, t, arrived)
		}
		return
	}
	a.placeLeader(p, t, from)
	a.leaderLeaves(p, t, from, left, to)
	a.leaderJoins(p, t, to, arrived)
}

// executed: a task runs another program. All other threads of its process have
// ended.
func (a *Analyzer) executed(t *event.Task) {
	n := a.netns(t.Net, t.Time)
	if n == nil {
		a.odd++
		return
	}
	p := a.processOf(t)
	here := p.at(n)
	for _, tid := range slices.Sorted(maps.Keys(p.parted)) {
		s := p.parted[tid]
		if s.Netns.canon() == n && here == nil {
			// The thread that has become the process.
			here, s.TID = s, 0
			a.rekey(s, tid)
			continue
		}
		a.taskLeaves(s, t.Time, LeftExit, nil)
	}
	for _, s := range append(p.rest, p.main) {
		if s != nil && s != here {
			a.taskLeaves(s, t.Time, LeftExit, nil)
		}
	}
	if n.Initial {
		here = nil
	}
	*p = process{main: here}
	if here != nil {
		here.withLeader()
	}
	a.told(p, t)
	a.release(t.PID, p)
}

// exited: a task lets go of its namespaces.
func (a *Analyzer) exited(t *event.Task) {
	n := a.netns(t.Net, t.Time)
	if n == nil {
		a.odd++
		return
	}
	known := a.tasks.processes[t.PID] != nil
	p := a.processOf(t)
	switch {
	case isLeader(t):
		a.placeLeader(p, t, n)
		a.leaderLeaves(p, t, n, LeftExit, nil)
		p.ended = true
	case known:
		a.threadLeaves(p, t, n, LeftExit, nil)
	}
	if t.Threads == 0 && (p.ended || isLeader(t)) {
		a.endProcess(p, t.Time)
	}
	a.release(t.PID, p)
}

// told takes what t says of a task that stays where it is.
func (a *Analyzer) told(p *process, t *event.Task) {
	n := a.netns(t.Net, t.Time)
	switch s := p.parted[t.TID]; {
	case !isLeader(t) && s != nil:
		s.tell(t)
	case !isLeader(t) || n == nil || n.Initial:
	default:
		a.placeLeader(p, t, n)
		p.main.tell(t)
		n.sawTask(t.PID, t.Comm)
	}
}

// placeLeader makes up what must have happened, if the first thread isn't where
// it says it is.
func (a *Analyzer) placeLeader(p *process, t *event.Task, n *Netns) {
	was := p.main
	switch {
	case was != nil && was.Netns.canon() == n:
		return
	case was == nil && !p.ended:
		if !n.Initial {
			p.main = a.preexisting(t, n)
		}
		return
	case p.ended:
		a.lostSight(p, t.Time) // its number is another's
	default:
		p.main = nil
		a.taskLostSight(was, t.Time)
	}
	if n.Initial {
		return
	}
	if p.main = p.at(n); p.main != nil {
		p.rest = slices.DeleteFunc(p.rest, func(s *TaskStay) bool { return s == p.main })
		return
	}
	p.main = newTaskStay(t, n, ArrivedUnknown)
	p.main.From, p.main.Inferred = t.Time, true
	a.enterNetns(p.main, t.Time)
}

// at returns the stay in n of a process, not of a parted thread, nil if it has
// none.
func (p *process) at(n *Netns) *TaskStay {
	for _, s := range append(p.rest[:len(p.rest):len(p.rest)], p.main) {
		if s != nil && s.Netns.canon() == n {
			return s
		}
	}
	return nil
}

// leaderLeaves ends the first thread's stay in n. Other threads that were with it
// stay behind.
func (a *Analyzer) leaderLeaves(p *process, t *event.Task, n *Netns, how Departure, to *Netns) {
	s := p.main
	p.main = nil
	switch {
	case s != nil:
		s.tell(t)
	case n.Initial:
		s = newTaskStay(t, n, ArrivedPreexisting)
	default:
		return
	}
	s.behind = nil
	if t.BehindKnown {
		// Records may be lost: of these, then the threads are counted only; and that
		// of the first one before.
		s.threads = max(0, int(t.Behind)-len(p.behind))
		for _, tid := range p.behind[max(0, len(p.behind)-int(t.Behind)):] {
			if p.parted[tid] == nil {
				s.stays(tid)
			}
		}
	} else {
		s.threads = max(0, int(t.Threads)-len(p.parted)-p.restThreads())
	}
	p.behind = nil
	if s.others() > 0 {
		s.ThreadsSince = t.Time
		p.rest = append(p.rest, s)
		return
	}
	a.taskLeaves(s, t.Time, how, to)
}

// stays notes that a thread stays when the first one leaves.
func (s *TaskStay) stays(tid uint32) {
	if s.behind == nil {
		s.behind = make(map[uint32]bool)
	}
	s.behind[tid] = true
}

// withLeader notes that the first thread is there, and so the process.
func (s *TaskStay) withLeader() { s.ThreadsSince, s.threads, s.behind = 0, 0, nil }

// others is how many threads are left, when the first one has gone.
func (s *TaskStay) others() int { return s.threads + len(s.behind) }

// isBehind reports whether a thread is among those that are known to have stayed.
func (p *process) isBehind(tid uint32) bool {
	return slices.ContainsFunc(p.rest, func(s *TaskStay) bool { return s.behind[tid] })
}

func (p *process) restThreads() (n int) {
	for _, s := range p.rest {
		n += s.others()
	}
	return n
}

// leaderJoins begins the first thread's stay in n, where threads of its may be
// already.
func (a *Analyzer) leaderJoins(p *process, t *event.Task, n *Netns, how Arrival) {
	for _, tid := range slices.Sorted(maps.Keys(p.parted)) {
		s := p.parted[tid]
		if s.Netns.canon() == n {
			a.taskLeaves(s, t.Time, LeftJoined, nil)
			delete(p.parted, tid)
		}
	}
	if n.Initial {
		p.rest = slices.DeleteFunc(p.rest, func(s *TaskStay) bool { return s.Netns.canon() == n })
		return
	}
	if p.main = p.at(n); p.main == nil {
		p.main = a.taskArrives(t, how)
		return
	}
	p.rest = slices.DeleteFunc(p.rest, func(s *TaskStay) bool { return s == p.main })
	p.main.withLeader()
	p.main.tell(t)
}

// part begins the stay of a thread that isn't where its process is.
func (a *Analyzer) part(p *process, t *event.Task, how Arrival) {
	if s := p.parted[t.TID]; s != nil {
		a.taskLostSight(s, t.Time)
	}
	if s := a.taskArrives(t, how); s != nil {
		p.addParted(s)
	}
}

func (p *process) addParted(s *TaskStay) {
	if p.parted == nil {
		p.parted = make(map[uint32]*TaskStay)
	}
	p.parted[s.TID] = s
}

// threadLeaves ends what is known of a thread in n: a stay of its own, or a share
// in that of those who stayed behind there.
func (a *Analyzer) threadLeaves(p *process, t *event.Task, n *Netns, how Departure, to *Netns) {
	if s := p.parted[t.TID]; s != nil {
		delete(p.parted, t.TID)
		s.tell(t)
		a.taskLeaves(s, t.Time, how, to)
		return
	}
	for i, s := range p.rest {
		switch {
		case s.behind[t.TID]:
			delete(s.behind, t.TID)
		case s.threads > 0 && s.Netns.canon() == n && !p.isBehind(t.TID):
			s.threads--
			if p.ended && len(p.rest) == 1 && len(s.behind) == 0 {
				// Those that were on their way out when it was counted are no more.
				s.threads = max(0, int(t.Threads)-len(p.parted))
			}
		default:
			continue
		}
		if s.others() == 0 {
			p.rest = slices.Delete(p.rest, i, i+1)
			a.taskLeaves(s, t.Time, how, to)
		}
		return
	}
}

// endProcess ends all stays of a process that has no thread any more.
func (a *Analyzer) endProcess(p *process, at uint64) {
	for _, s := range p.rest {
		a.taskLeaves(s, at, LeftExit, nil)
	}
	for _, tid := range slices.Sorted(maps.Keys(p.parted)) {
		a.taskLostSight(p.parted[tid], at)
	}
	*p = process{}
}

// vanish ends a process whose end is missing: its number is another's.
func (a *Analyzer) vanish(pid uint32, at uint64) {
	if p := a.tasks.processes[pid]; p != nil {
		a.lostSight(p, at)
		delete(a.tasks.processes, pid)
	}
}

// lostSight ends all stays of a process whose end is missing.
func (a *Analyzer) lostSight(p *process, at uint64) {
	for _, s := range append(p.rest, p.main) {
		if s != nil {
			a.taskLostSight(s, at)
		}
	}
	for _, tid := range slices.Sorted(maps.Keys(p.parted)) {
		a.taskLostSight(p.parted[tid], at)
	}
	*p = process{}
}
