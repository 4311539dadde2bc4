// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/nstrace/nstrace/event"
)

// Subsystem is one set of pernet operations, from its registration to its end:
// its address may be another's afterwards.
type Subsystem struct {
	// Ops, Init, Exit and Module are names, "" if unknown. BuiltIn says that the
	// code is in the kernel itself.
	Ops, Init, Exit, Module string
	BuiltIn                 bool
	OpsAddr                 uint64
	// SetUp and TearDown are its shares of all set-ups and tear-downs.
	SetUp, TearDown Share

	initAddr, exitAddr uint64
	since              uint64 // when it was first heard of
}

// Share adds up what one subsystem took, in nanoseconds.
type Share struct {
	Times, Failed  uint64
	Total, Longest uint64
	// In is the namespace, or one of the batch, that took longest, nil if it is
	// not in the model (any more).
	In *Netns
}

// Steps is what the subsystems took of one set-up or tear-down, one after the
// other.
type Steps struct {
	// Number is how many were told and Total how long they took together, in
	// nanoseconds. Skipped is how many more there were.
	Number, Skipped uint64
	Total           uint64

	slowest []step
}

// step is a [Step] as it is kept: there may be ten for each namespace.
type step struct {
	took      uint64
	subsystem uint32
	order     uint16
	errno     uint16
}

// Step is one subsystem's share of one set-up or tear-down.
type Step struct {
	*Subsystem
	// Order is its place in the order in which they ran, from 1 on.
	Order int
	// Duration is in nanoseconds.
	Duration uint64
	// Errno is that of an init that failed.
	Errno uint32
}

// maxSlowest is how many steps are kept of each set-up or tear-down.
const maxSlowest = 10

// Slowest returns the steps that took longest, the slowest first, at most ten;
// one that failed is always among them.
func (m *Model) Slowest(s *Steps) []Step {
	if s == nil {
		return nil
	}
	out := make([]Step, len(s.slowest))
	for i, x := range s.slowest {
		out[i] = Step{Subsystem: m.Subsystems[x.subsystem], Order: int(x.order), Duration: x.took, Errno: uint32(x.errno)}
	}
	return out
}

// Failed returns the step that failed, nil if none did or it is unknown.
func (m *Model) Failed(s *Steps) *Step {
	for _, x := range m.Slowest(s) {
		if x.Errno != 0 {
			return &x
		}
	}
	return nil
}

// Label is what the subsystem is called, escaped.
func (s *Subsystem) Label() string {
	if name := cmp.Or(s.Ops, s.Init, s.Exit); name != "" {
		return Escape(name)
	}
	return fmt.Sprintf("pernet operations at %#x", s.OpsAddr)
}

// Full is its label with the module it belongs to, escaped.
func (s *Subsystem) Full() string {
	if s.Module == "" {
		return s.Label()
	}
	return fmt.Sprintf("%s (%s)", s.Label(), Escape(s.Module))
}

// subsystem returns the index of a step's subsystem.
func (a *Analyzer) subsystem(s *event.Step) uint32 {
	i, known := a.subsystems[s.Ops]
	if !known {
		i = uint32(len(a.m.Subsystems))
		a.m.Subsystems = append(a.m.Subsystems, &Subsystem{OpsAddr: s.Ops, since: s.Began})
		a.subsystems[s.Ops] = i
	}
	x := a.m.Subsystems[i]
	if s.Kind == event.KindSetupNet {
		x.initAddr = s.Fn
	} else {
		x.exitAddr = s.Fn
	}
	return i
}

// HandleStep takes a subsystem's share of a set-up or tear-down.
func (a *Analyzer) HandleStep(s *event.Step) {
	a.tick(s.Time)
	switch s.Kind {
	case event.KindSetupNet:
		if n := a.setUpBy(s); n != nil {
			if n.Birth.Steps == nil {
				n.Birth.Steps = &Steps{}
			}
			a.addStep(n.Birth.Steps, s, n)
			return
		}
	case event.KindCleanupNet:
		if c := a.cleanups.last[s.TID]; c != nil {
			if c.Steps == nil {
				c.Steps = &Steps{}
			}
			a.addStep(c.Steps, s, c.one)
			return
		}
	default:
		a.odd++
		return
	}
	a.addStep(&Steps{}, s, nil) // its set-up is unknown, the subsystem isn't
}

// setUpBy returns the namespace whose set-up a step was part of. The steps come
// right after its exit, or with the same time before it.
func (a *Analyzer) setUpBy(s *event.Step) *Netns {
	lives := a.nets.byPtr[s.Net.Ptr]
	if s.Net.Ptr == 0 || len(lives) == 0 {
		return nil
	}
	n := lives[len(lives)-1].canon()
	if n.Birth == nil || n.setupTID != s.TID || n.contradicts(s.Net) || s.Began != 0 && s.Began < n.Birth.At {
		return nil
	}
	return n
}

// addStep takes one step of a set-up or tear-down into account.
func (a *Analyzer) addStep(to *Steps, s *event.Step, n *Netns) {
	to.Skipped += uint64(s.Skipped)
	if s.Ops == 0 {
		return // nothing but how many were skipped
	}
	to.Number++
	to.Total += s.Duration
	index := a.subsystem(s)
	x := a.m.Subsystems[index]
	share := &x.SetUp
	if s.Kind == event.KindCleanupNet {
		share = &x.TearDown
	}
	share.add(s, n)
	to.keep(step{took: s.Duration, subsystem: index, order: uint16(to.Number), errno: uint16(s.Ret)})
}

func (x *Share) add(s *event.Step, n *Netns) {
	x.Times++
	x.Total += s.Duration
	if s.Ret != 0 {
		x.Failed++
	}
	if s.Duration > x.Longest || x.In == nil {
		x.Longest, x.In = s.Duration, n
	}
}

// keep keeps a step if it is one of the slowest, or failed.
func (to *Steps) keep(s step) {
	if to.slowest == nil {
		to.slowest = make([]step, 0, maxSlowest)
	}
	at, _ := slices.BinarySearchFunc(to.slowest, s, func(x, y step) int { return cmp.Compare(y.took, x.took) })
	if len(to.slowest) == maxSlowest {
		if at == maxSlowest && s.errno == 0 {
			return
		}
		at = min(at, maxSlowest-1)
		to.slowest = to.slowest[:maxSlowest-1]
	}
	to.slowest = slices.Insert(to.slowest, at, s)
}

// finishSubsystems gives the subsystems their names, when all symbols are known.
func (a *Analyzer) finishSubsystems() {
	for _, s := range a.m.Subsystems {
		var module string
		var known bool
		s.Ops, s.Init, module, known = a.nameOps(s.OpsAddr, s.initAddr, s.since)
		if s.exitAddr != 0 {
			exit, haveExit := a.symbol(s.exitAddr, s.since)
			s.Exit = exit.Name
			if !known && haveExit {
				module, known = exit.Module, true
			}
		}
		s.Module, s.BuiltIn = module, known && module == ""
		s.SetUp.In, s.TearDown.In = s.SetUp.In.listed(), s.TearDown.In.listed()
	}
}

// Cleanup is one run of cleanup_net: a batch of namespaces that are torn down
// together.
type Cleanup struct {
	// The beginning, and the kernel worker that runs it.
	Deed
	// Done is when it was over, 0 if it wasn't.
	Done uint64
	// Namespaces is how many were seen to end in it.
	Namespaces int
	// Steps is nil if they aren't known: see Steps.
	Steps *Steps

	one *Netns // one of them
}

// cleanups keeps the latest, for what is told of them afterwards.
type cleanups struct {
	last   map[uint32]*Cleanup // by thread
	recent []*Cleanup
}

// maxRecent is how many of what may have held pernet_ops_rwsem is remembered for
// those who waited for it.
const maxRecent = 64

func remember[T any](recent []T, x T) []T {
	if len(recent) == maxRecent {
		copy(recent, recent[1:])
		recent = recent[:maxRecent-1]
	}
	return append(recent, x)
}

// beginCleanup notes that a batch begins.
func (a *Analyzer) beginCleanup(d Deed, tid uint32) *Cleanup {
	c := &Cleanup{Deed: d}
	if len(a.cleanups.last) == maxRecent { // kernel workers come and go
		clear(a.cleanups.last)
	}
	a.cleanups.last[tid] = c
	a.cleanups.recent = remember(a.cleanups.recent, c)
	return c
}

// took notes that n ended in the batch.
func (c *Cleanup) took(n *Netns) {
	if n.Cleanup != nil {
		return
	}
	n.Cleanup, n.CleanupAt = c, c.At
	c.Namespaces++
	c.one = n
}
