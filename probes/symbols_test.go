// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"slices"
	"testing"

	"github.com/nstrace/nstrace/event"
)

func pernet(kind event.Kind, phase event.Phase, ops, fn uint64) *event.Event {
	return &event.Event{Kind: kind, Phase: phase, Ops: ops, Fn: fn}
}

func TestSymbolsMention(t *testing.T) {
	const register, unregister = event.KindRegisterPernet, event.KindUnregisterPernet
	for _, c := range []struct {
		name   string
		events []*event.Event
		want   []uint64
	}{
		{"once", []*event.Event{
			pernet(register, event.PhaseEnter, 1, 2), pernet(register, event.PhaseExit, 1, 2), pernet(unregister, event.PhaseEnter, 1, 2),
		}, []uint64{1, 2}},
		{"no function", []*event.Event{pernet(register, event.PhaseEnter, 1, 0)}, []uint64{1}},
		{"first seen when it leaves", []*event.Event{
			pernet(unregister, event.PhaseEnter, 3, 4), pernet(unregister, event.PhaseExit, 3, 4),
		}, []uint64{3, 4}},
		{"other events", []*event.Event{pernet(event.KindSetupNet, event.PhaseExit, 1, 2)}, nil},
		{"another module at the same place", []*event.Event{
			pernet(register, event.PhaseEnter, 1, 2), pernet(unregister, event.PhaseEnter, 1, 2), pernet(unregister, event.PhaseExit, 1, 2),
			pernet(register, event.PhaseEnter, 1, 5),
		}, []uint64{1, 2, 1, 5}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s symbols
			for _, e := range c.events {
				s.mention(e)
			}
			if !slices.Equal(s.pending, c.want) {
				t.Errorf("asks for %x, want %x", s.pending, c.want)
			}
		})
	}
}

// When a module's operations leave, all that is known of it may be another's.
func TestSymbolsLeave(t *testing.T) {
	s := symbols{asked: map[uint64]string{1: "mod", 2: "mod", 3: "mod", 4: "other", 5: ""}}
	s.mention(pernet(event.KindUnregisterPernet, event.PhaseExit, 1, 2))
	s.mentionStep(&event.Step{Ops: 4, Fn: 5})
	s.mentionStep(&event.Step{Ops: 3, Fn: 2})
	s.mention(pernet(event.KindPernetRequest, event.PhaseInstant, 1, 0))
	if want := []uint64{3, 2, 1}; !slices.Equal(s.pending, want) {
		t.Errorf("asks for %x, want %x", s.pending, want)
	}
}

func TestSymbolsBound(t *testing.T) {
	var s symbols
	for addr := uint64(1); addr < 4*symbolsBound; addr++ {
		s.mention(pernet(event.KindRegisterPernet, event.PhaseEnter, addr, 0))
		s.pending = s.pending[:0]
		if len(s.asked) > symbolsBound+1 {
			t.Fatalf("remembers %d addresses", len(s.asked))
		}
	}
}

func TestSymbolsResolve(t *testing.T) {
	addr := addressOf(t, "register_pernet_subsys")
	var s symbols
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	defer s.close()
	s.mention(pernet(event.KindRegisterPernet, event.PhaseEnter, 1, addr)) // nothing is at 1
	var got []event.Symbol
	report := func(sym *event.Symbol) { got = append(got, *sym) }
	s.resolve(77, report)
	s.resolve(78, report) // nothing new
	if len(got) != 1 || got[0].Time != 77 || got[0].Addr != addr || got[0].Name == "" || got[0].Module != "" {
		t.Errorf("got %+v", got)
	}
}
