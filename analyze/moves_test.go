// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/analyze/story"
	"github.com/nstrace/nstrace/event"
)

var (
	phy0  = &story.Phy{Ptr: 0xaa00, Index: 0, Name: "phy0"}
	wlan0 = story.Netdev{Ptr: 0xdd00, Net: story.Initial, Ifindex: 3, Name: "wlan0", Phy: phy0}
	eth0  = story.Netdev{Ptr: 0xdd10, Net: story.Initial, Ifindex: 4, Name: "eth0", Kind: "veth"}
)

// stand begins a story with a radio and a namespace called red.
func stand() *tale {
	s := begin()
	s.Radio(phy0, story.Initial, wlan0)
	s.Setup(red)
	s.Name(red, "red", true)
	return s
}

// movesOf writes all moves in short.
func movesOf(m *Model) string {
	var out []string
	for _, x := range m.Moves {
		s := fmt.Sprintf("%s:%s>%s:%s:%s", x.Label(), x.From.Label(), x.To.Label(), x.Result, x.Cause)
		if x.Rollback {
			s += ":rollback"
		}
		if (x.Carrier != nil) != (x.Cause == CauseCarried) {
			s += ":orphan"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

// residence writes where radio w was, in short.
func residence(w *Wiphy) string {
	var out []string
	for _, s := range w.Stays {
		word := fmt.Sprintf("%s:%s:%s", s.Netns.Label(), s.Arrived, s.Left)
		if s.Inferred || s.EndInferred {
			word += ":inferred"
		}
		out = append(out, word)
	}
	return strings.Join(out, " ")
}

func TestMoves(t *testing.T) {
	tests := []struct {
		name      string
		tell      func(*tale)
		moves     string
		residence string
	}{
		{"by request", func(s *tale) {
			s.Switch(phy0, story.Initial, red, story.Outcome{}, func() { s.Move(wlan0, red, story.Outcome{}) })
		}, "phy0:init>red:ok:request wlan0:init>red:ok:carried-by-wiphy", "init:created:moved red:moved:"},
		{"while an interrupt lets a namespace go", func(s *tale) {
			s.Setup(blue)
			s.Switch(phy0, story.Initial, red, story.Outcome{}, func() {
				within := s.Within
				s.Within = 0
				s.Put(blue)
				s.Within = within
				s.Move(wlan0, red, story.Outcome{})
			})
		}, "phy0:init>red:ok:request wlan0:init>red:ok:carried-by-wiphy", "init:created:moved red:moved:"},
		{"to where it is", func(s *tale) {
			s.Switch(phy0, story.Initial, story.Initial, story.Outcome{}, nil)
		}, "phy0:init>init:ok:request", "init:created:"},
		{"refused", func(s *tale) {
			s.Switch(phy0, story.Initial, red, story.Outcome{Errno: 95}, nil)
		}, "phy0:init>red:failed:request", "init:created:"},
		{
			"rolled back", func(s *tale) {
				vap := wlan0
				vap.Ptr, vap.Ifindex, vap.Name = 0xdd01, 5, "vap0"
				s.Vif(vap)
				s.Switch(phy0, story.Initial, red, story.Outcome{Errno: 17}, func() {
					moved := s.Move(wlan0, red, story.Outcome{})
					s.Move(vap, red, story.Outcome{Errno: 17})
					s.Move(moved, story.Initial, story.Outcome{})
				})
			}, "phy0:init>red:failed:request wlan0:init>red:ok:carried-by-wiphy vap0:init>red:failed:carried-by-wiphy wlan0:red>init:ok:carried-by-wiphy:rollback",
			"init:created:",
		},
		{
			"taken back, and one left behind", func(s *tale) {
				vap, sta := wlan0, wlan0
				vap.Ptr, vap.Ifindex, vap.Name = 0xdd01, 5, "vap0"
				sta.Ptr, sta.Ifindex, sta.Name = 0xdd02, 6, "sta0"
				s.Vif(vap)
				s.Vif(sta)
				s.Switch(phy0, story.Initial, red, story.Outcome{Stayed: true}, func() {
					moved := s.Move(wlan0, red, story.Outcome{})
					s.Move(sta, red, story.Outcome{})
					s.Move(vap, red, story.Outcome{Errno: 17})
					s.Move(moved, story.Initial, story.Outcome{})
				})
			}, "phy0:init>red:undone:request wlan0:init>red:ok:carried-by-wiphy sta0:init>red:ok:carried-by-wiphy vap0:init>red:failed:carried-by-wiphy wlan0:red>init:ok:carried-by-wiphy:rollback",
			"init:created:",
		},
		{"still running", func(s *tale) {
			s.Switch(phy0, story.Initial, red, story.Outcome{Half: "enter"}, nil)
		}, "phy0:init>red:running:request", "init:created:"},
		{"exit lost, interfaces gone", func(s *tale) {
			s.Switch(phy0, story.Initial, red, story.Outcome{Half: "enter"}, func() { s.Move(wlan0, red, story.Outcome{}) })
			s.Setup(blue) // by the same thread
		}, "phy0:init>red:unknown:request wlan0:init>red:ok:carried-by-wiphy", "init:created:moved:inferred red:moved::inferred"},
		{"enter lost", func(s *tale) {
			s.Switch(phy0, story.Initial, red, story.Outcome{Half: "exit"}, func() { s.Move(wlan0, red, story.Outcome{}) })
		}, "wlan0:init>red:ok:carried-by-wiphy:orphan phy0:init>red:ok:request", "init:created:moved red:moved:"},
		{
			"home on death", func(s *tale) {
				d := wlan0
				s.Switch(phy0, story.Initial, red, story.Outcome{}, func() { d = s.Move(wlan0, red, story.Outcome{}) })
				s.Cleanup(red, func() {
					s.Switch(phy0, red, story.Initial, story.Outcome{}, func() { s.Move(d, story.Initial, story.Outcome{}) })
				})
			}, "phy0:init>red:ok:request wlan0:init>red:ok:carried-by-wiphy phy0:red>init:ok:namespace-death wlan0:red>init:ok:carried-by-wiphy",
			"init:created:moved red:moved:moved init:moved:",
		},
		{"a netdev by request", func(s *tale) {
			s.Register(eth0)
			s.Move(eth0, red, story.Outcome{})
		}, "eth0:init>red:ok:request", "init:created:"},
		{"a netdev home on death", func(s *tale) {
			d := eth0
			d.Net = red
			s.Register(d)
			s.Cleanup(red, func() { s.Move(d, story.Initial, story.Outcome{}) })
		}, "eth0:red>init:ok:namespace-death", "init:created:"},
		{"an exit the kernel couldn't pair", func(s *tale) {
			s.Register(eth0)
			s.Move(eth0, red, story.Outcome{Half: "enter"})
			s.Send(event.Event{Kind: event.KindNetdevMove, Phase: event.PhaseExit, Flags: event.FlagNoEntry})
		}, "eth0:init>red:ok:request", "init:created:"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := stand()
			tt.tell(s)
			m := s.end()
			if got := movesOf(m); got != tt.moves {
				t.Errorf("moves\ngot  %s\nwant %s", got, tt.moves)
			}
			if got := residence(m.Wiphys[0]); got != tt.residence {
				t.Errorf("residence\ngot  %s\nwant %s", got, tt.residence)
			}
		})
	}
}

func TestSymbols(t *testing.T) {
	s := begin()
	register := func(k event.Kind) {
		e := event.Event{Kind: k, Phase: event.PhaseEnter, Ops: 0xa, Fn: 0xb}
		s.Send(e)
		e.Phase = event.PhaseExit
		s.Send(e)
	}
	register(event.KindRegisterPernet)
	s.HandleSymbol(&event.Symbol{Time: s.Tick(), Addr: 0xb, Name: "one_init", Module: "one"})
	register(event.KindUnregisterPernet)
	s.T += 2000 * story.MS
	register(event.KindRegisterPernet) // another module at the same address
	s.HandleSymbol(&event.Symbol{Time: s.Tick(), Addr: 0xb, Name: "two_init", Module: "two"})
	register(event.KindUnregisterPernet)
	m := s.end()
	want := []string{"one_init/one", "one_init/one", "two_init/two", "two_init/two"}
	for i, p := range m.Pernet {
		if got := p.Fn + "/" + p.Module; got != want[i] {
			t.Errorf("%d: got %s, want %s", i, got, want[i])
		}
	}
}
