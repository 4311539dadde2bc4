// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/analyze/story"
	"github.com/nstrace/nstrace/event"
)

const (
	eintr  = 4
	enospc = 28
)

// fresh is a namespace that isn't there yet.
var fresh = event.NetRef{Ptr: 0xffffa000, Cookie: 0x5001, Inum: 4026532500}

// subsystems returns steps that take 1, 2, … us.
func someSteps(n int) []event.Step {
	steps := make([]event.Step, n)
	for i := range steps {
		steps[i] = event.Step{Ops: uint64(0xc000 + i*16), Fn: uint64(0xd000 + i*16), Duration: uint64(1000 * (i + 1))}
	}
	return steps
}

// told writes steps down.
func told(m *Model, s *Steps) string {
	var out []string
	for _, x := range m.Slowest(s) {
		t := fmt.Sprintf("%d %s %d", x.Order, x.Label(), x.Duration)
		if x.Errno != 0 {
			t += " " + ErrnoName(x.Errno)
		}
		out = append(out, t)
	}
	return strings.Join(out, ", ")
}

func netnsOf(t *testing.T, m *Model, r event.NetRef) *Netns {
	t.Helper()
	for _, n := range m.Namespaces {
		if n.Ptr == r.Ptr {
			return n
		}
	}
	t.Fatalf("no namespace at %#x", r.Ptr)
	return nil
}

// The phases of a life are told apart, whichever of a request's events are
// missing.
func TestPhases(t *testing.T) {
	for _, c := range []struct {
		name        string
		ask, answer bool
	}{{"whole", true, true}, {"no answer", true, false}, {"no request", false, true}} {
		t.Run(c.name, func(t *testing.T) {
			s := begin()
			s.By(200, "unshare")
			asked := s.T + story.MS
			if c.ask {
				s.Ask(story.UserNS)
			} else {
				s.Tick()
			}
			s.T += 30 * story.MS
			s.Setup(fresh)
			if c.answer {
				s.Answer(fresh, story.UserNS, 0, asked)
			}
			m := s.end()
			n := netnsOf(t, m, fresh)
			b := n.Birth
			if b.Asked != asked || b.At != asked+31*story.MS || b.Wait() != 31*story.MS || b.Setup != 2*story.MS {
				t.Errorf("asked %d, at %d, waited %d, set up in %d", b.Asked-asked, b.At-asked, b.Wait(), b.Setup)
			}
			if n.OwnerUserNS != story.UserNS {
				t.Errorf("owned by %d", n.OwnerUserNS)
			}
			if len(m.Requests)+len(m.Refusals) != 0 {
				t.Errorf("%d requests unanswered, %d refused", len(m.Requests), len(m.Refusals))
			}
			if a := s.a; a.odd != 0 {
				t.Errorf("%d events were odd", a.odd)
			}
		})
	}
}

// Of a request whose set-up was lost the answer still tells that it made a
// namespace, and since when.
func TestAnswerAlone(t *testing.T) {
	s := begin()
	s.By(200, "unshare").Ask(story.UserNS)
	asked := s.T
	s.Answer(fresh, story.UserNS, 0, asked)
	n := netnsOf(t, s.end(), fresh)
	if n.Origin != Created || !n.Birth.Inferred || n.Birth.Asked != asked || n.Birth.Comm != "unshare" || n.Birth.Wait() != 0 {
		t.Errorf("%s, %+v", n.Origin, n.Birth)
	}
}

func TestSlowest(t *testing.T) {
	s := begin()
	steps := someSteps(52)
	steps[7].Duration = 90_000
	s.By(200, "unshare").Create(fresh, steps...)
	s.Symbol(steps[7].Ops, "slow_net_ops", "slowmod")
	s.Symbol(steps[7].Fn, "slow_net_init", "slowmod")
	m := s.end()
	b := netnsOf(t, m, fresh).Birth
	if b.Steps.Number != 52 || b.Steps.Total != 52*53/2*1000+82_000 || b.Steps.Skipped != 0 {
		t.Errorf("%+v", b.Steps)
	}
	want := "8 slow_net_ops 90000"
	for i := 52; i > 43; i-- {
		want += fmt.Sprintf(", %d pernet operations at %#x %d", i, 0xc000+(i-1)*16, i*1000)
	}
	if got := told(m, b.Steps); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	x := m.Slowest(b.Steps)[0]
	if x.Init != "slow_net_init" || x.Full() != "slow_net_ops (slowmod)" || x.SetUp.Times != 1 || x.SetUp.Longest != 90_000 || x.SetUp.In.Ptr != fresh.Ptr {
		t.Errorf("%+v", x)
	}
}

// The steps of one record are told one by one, and what the recorder had no room
// for is counted.
func TestSkippedSteps(t *testing.T) {
	s := begin()
	steps := someSteps(3)
	steps[2].Skipped = 4
	s.Create(fresh, steps...)
	other := event.NetRef{Ptr: 0xffffb000, Cookie: 0x5002, Inum: 4026532501}
	s.Create(other, event.Step{Skipped: 50})
	m := s.end()
	if x := netnsOf(t, m, fresh).Birth.Steps; x.Number != 3 || x.Skipped != 4 {
		t.Errorf("%+v", x)
	}
	if x := netnsOf(t, m, other).Birth.Steps; x.Number != 0 || x.Skipped != 50 || len(m.Slowest(x)) != 0 {
		t.Errorf("%+v", x)
	}
	if len(m.Subsystems) != 3 {
		t.Errorf("%d subsystems", len(m.Subsystems))
	}
}

// A failed set-up names the subsystem, even if others took longer.
func TestFailedStep(t *testing.T) {
	s := begin()
	steps := append(someSteps(20), event.Step{Ops: 0xe000, Fn: 0xe100, Duration: 5, Ret: enomem})
	s.By(200, "unshare").Ask(story.UserNS)
	asked := s.T
	s.Send(event.Event{Kind: event.KindSetupNet, Phase: event.PhaseEnter, Net: event.NetRef{Ptr: fresh.Ptr}})
	s.Send(event.Event{Kind: event.KindSetupNet, Phase: event.PhaseExit, Net: fresh, Ret: enomem, Start: s.T})
	s.Steps(event.KindSetupNet, fresh, steps...)
	s.Answer(fresh, story.UserNS, enomem, asked)
	s.Symbol(0xe000, "bad_net_ops", "badmod")
	m := s.end()
	n := netnsOf(t, m, fresh)
	if !n.Failed() || len(m.Refusals) != 0 {
		t.Errorf("failed: %v; refused: %d", n.Failed(), len(m.Refusals))
	}
	if x := m.Failed(n.Birth.Steps); x == nil || x.Ops != "bad_net_ops" || x.Order != 21 || len(m.Slowest(n.Birth.Steps)) != 10 {
		t.Errorf("%s", told(m, n.Birth.Steps))
	}
	if f := m.finding(t, "setup-failed"); f == nil || !strings.Contains(f.Text, "the set-up of bad_net_ops (badmod) failed with ENOMEM") {
		t.Errorf("%+v", f)
	}
}

// Operations that stand where others stood are others.
func TestSubsystemsInTurn(t *testing.T) {
	s := begin()
	const ops, fn = 0xc100, 0xc200
	for i, name := range []string{"one", "two"} {
		s.Want(event.KindRegisterPernet, ops, fn)
		s.Registration(event.KindRegisterPernet, ops, fn, 1, 0, nil)
		s.Symbol(ops, name, name+"_mod")
		s.T += 2000 * story.MS
		s.Create(event.NetRef{Ptr: fresh.Ptr + uint64(i)*0x1000, Cookie: fresh.Cookie + uint64(i), Inum: fresh.Inum + uint32(i)},
			event.Step{Ops: ops, Fn: fn, Duration: 7})
		s.Want(event.KindUnregisterPernet, ops, fn)
		s.Registration(event.KindUnregisterPernet, ops, fn, 0, 0, nil)
		s.T += 2000 * story.MS
	}
	m := s.end()
	if len(m.Subsystems) != 2 || m.Subsystems[0].Full() != "one (one_mod)" || m.Subsystems[1].Full() != "two (two_mod)" {
		t.Errorf("%+v", m.Subsystems)
	}
	for _, p := range m.Pernet {
		if p.Asked == 0 || p.Waiting || p.At-p.Asked != story.MS || p.Result != ResultOK {
			t.Errorf("%+v", p)
		}
	}
}

// The steps of a tear-down are its batch's.
func TestTearDown(t *testing.T) {
	s := begin()
	other := event.NetRef{Ptr: 0xffffb000, Cookie: 0x5002, Inum: 4026532501}
	s.Create(fresh)
	s.Create(other)
	s.Put(fresh)
	s.Put(other)
	put := s.T
	s.T += 20 * story.MS
	s.By(7, "kworker/u4:0").Send(event.Event{Kind: event.KindCleanupNet, Phase: event.PhaseEnter})
	at := s.T
	s.Inside(event.KindCleanupNet, func() {
		s.Free(fresh)
		s.Free(other)
	})
	s.Send(event.Event{Kind: event.KindCleanupNet, Phase: event.PhaseExit, Start: at})
	s.Steps(event.KindCleanupNet, event.NetRef{}, someSteps(12)...)
	m := s.end()
	n := netnsOf(t, m, other)
	c := n.Cleanup
	if c == nil || c != netnsOf(t, m, fresh).Cleanup || c.At != at || n.CleanupAt != at || c.Namespaces != 2 || c.Done != at+3*story.MS || n.Put.At != put {
		t.Fatalf("%+v", c)
	}
	if c.Steps.Number != 12 || c.Who() != "kworker/u4:0[7]" || m.Slowest(c.Steps)[0].TearDown.In == nil {
		t.Errorf("%+v by %s", c.Steps, c.Who())
	}
}

// Many refusals are one.
func TestRefusals(t *testing.T) {
	s := begin()
	for i := range 5 {
		s.By(uint32(300+i), "storm").Ask(7)
		s.Answer(event.NetRef{}, 7, enospc, s.T)
	}
	s.By(400, "unshare").Ask(story.UserNS)
	start := s.T
	s.T += 500 * story.MS
	s.Answer(event.NetRef{}, story.UserNS, eintr, start)
	m := s.end()
	if len(m.Refusals) != 2 || m.Refusals[0].Count != 5 || m.Refusals[0].UserNS != 7 || m.Refusals[1].Longest != 501*story.MS || len(m.Requests) != 0 {
		t.Fatalf("%+v", m.Refusals)
	}
	if !m.Refusals[0].Caller.Initial {
		t.Errorf("%+v", m.Refusals[0])
	}
}

// Whoever wants to can be refused endlessly, with ever new names.
func TestRefusalsBounded(t *testing.T) {
	s := begin()
	const n = 5000
	for i := range n {
		s.By(uint32(i), fmt.Sprint("storm", i)).Ask(7)
		s.Answer(event.NetRef{}, 7, enospc, s.T)
		s.Ask(7) // and never heard of again: the next proves it to be over
		s.By(uint32(i), "storm").Put(fresh)
	}
	m := s.end()
	count := uint64(0)
	for _, r := range m.Refusals {
		count += r.Count
	}
	if len(m.Refusals) != maxAnswers+1 || count != n || len(m.Requests) != maxAnswers {
		t.Errorf("%d refusals of %d, %d requests", len(m.Refusals), count, len(m.Requests))
	}
}
