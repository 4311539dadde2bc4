// SPDX-License-Identifier: Apache-2.0

package story

import "github.com/nstrace/nstrace/event"

// UserNS is the initial user namespace of the stories.
const UserNS = 4026531837

// Ask is the entry of copy_net_ns.
func (s *Story) Ask(userNS uint32) {
	s.Send(event.Event{Kind: event.KindCopyNet, Phase: event.PhaseEnter, UserNS: userNS})
}

// Answer is its return: n, or an errno.
func (s *Story) Answer(n event.NetRef, userNS, errno uint32, start uint64) {
	if errno != 0 {
		n = event.NetRef{}
	}
	s.Send(event.Event{Kind: event.KindCopyNet, Phase: event.PhaseExit, UserNS: userNS, Net: n, Ret: errno, Start: start})
}

// Create is all of copy_net_ns: the request, the set-up, and what each subsystem
// took of it.
func (s *Story) Create(n event.NetRef, steps ...event.Step) {
	s.Ask(UserNS)
	start := s.T
	s.Setup(n)
	s.Steps(event.KindSetupNet, n, steps...)
	s.Answer(n, UserNS, 0, start)
}

// Steps are the subsystems' shares of what has just ended. Those without a
// beginning begin where the one before them ends.
func (s *Story) Steps(kind event.Kind, n event.NetRef, steps ...event.Step) {
	began := s.T
	for _, x := range steps {
		began -= x.Duration
	}
	for _, x := range steps {
		x.Time, x.Kind, x.TID, x.Net = s.T, kind, s.PID, n
		if x.Began == 0 {
			x.Began = began
		}
		began += x.Duration
		s.HandleStep(&x)
	}
}

// Want is a subsystem's request to register or unregister its operations.
func (s *Story) Want(kind event.Kind, ops, fn uint64) {
	s.Send(event.Event{Kind: event.KindPernetRequest, Ops: ops, Fn: fn, Arg: uint64(kind)})
}

// Registration is (un)register_pernet_operations around f.
func (s *Story) Registration(kind event.Kind, ops, fn, count uint64, errno uint32, f func()) {
	e := event.Event{Kind: kind, Phase: event.PhaseEnter, Ops: ops, Fn: fn}
	s.Send(e)
	start := s.T
	if f != nil {
		f()
	}
	e.Phase, e.Start, e.Count, e.Ret = event.PhaseExit, start, count, errno
	s.Send(e)
}

// Name of an address.
func (s *Story) Symbol(addr uint64, name, module string) {
	s.HandleSymbol(&event.Symbol{Time: s.Tick(), Addr: addr, Name: name, Module: module})
}
