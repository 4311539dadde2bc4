// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/analyze/story"
	"github.com/nstrace/nstrace/event"
)

// told writes a model's silences in short.
func (m *Model) told() string {
	var out []string
	for _, n := range m.Namespaces {
		for _, s := range n.Silences {
			until := "the end"
			if s.Until != 0 {
				until = m.Since(s.Until)
			}
			x := fmt.Sprintf("%s/%s %s to %s", n.Label(), s.Device.Label(), m.Since(s.From), until)
			if s.Steady {
				x += " (steady)"
			}
			for _, e := range s.Elsewhere {
				x += " in " + e.Netns.Label()
			}
			out = append(out, x)
		}
	}
	return strings.Join(out, "; ")
}

// steadily is a packet just before each of the readings, which are every so many
// milliseconds from one time to another, the first and the last included.
func (s *tale) steadily(d story.Netdev, from, to, every uint64) {
	for t := from; t <= to; t += every {
		s.read(d, t, t-every, t-1, 5)
	}
}

func TestSilences(t *testing.T) {
	tests := []struct {
		name string
		tell func(*tale)
		want string
	}{
		{"none", func(s *tale) {
			s.steadily(wlan0, 1000, 9000, 100)
		}, ""},
		{"out of the blue", func(s *tale) {
			s.steadily(wlan0, 1000, 3000, 100)
			s.steadily(wlan0, 6000, 8000, 100)
		}, "init/wlan0 +2.999 s to +5.900 s (steady)"},
		{"too short to tell", func(s *tale) {
			s.steadily(wlan0, 1000, 3000, 100)
			s.steadily(wlan0, 4000, 6000, 100)
		}, ""},
		{"packets that seldom come", func(s *tale) {
			for at := uint64(1000); at < 40_000; at += 1000 {
				s.read(wlan0, at, at-100, at-1, 1)
			}
		}, ""},
		{"seldom, then not at all", func(s *tale) {
			for at := uint64(1000); at <= 20_000; at += 1000 {
				s.read(wlan0, at, at-100, at-1, 1)
			}
			s.later(24_000)
		}, ""},
		{"a few packets, later traffic", func(s *tale) {
			s.steadily(wlan0, 1000, 1500, 100)
			s.steadily(wlan0, 6000, 8000, 100)
		}, ""},
		{"nothing any more", func(s *tale) {
			s.steadily(wlan0, 1000, 4000, 100)
			s.later(9000)
		}, "init/wlan0 +3.999 s to the end (steady)"},
		{"gone", func(s *tale) {
			s.steadily(wlan0, 1000, 4000, 100)
			s.Unregister(wlan0)
			s.later(9000)
		}, ""},
		{"there and back", func(s *tale) {
			s.steadily(wlan0, 1000, 4000, 100)
			d := s.Move(wlan0, red, story.Outcome{})
			s.later(6000)
			s.Move(d, story.Initial, story.Outcome{})
			s.steadily(wlan0, 7000, 9000, 100)
		}, "init/wlan0 +3.999 s to +6.900 s (steady) in red"},
		{"back within a moment", func(s *tale) {
			s.steadily(wlan0, 1000, 4000, 100)
			d := s.Move(wlan0, red, story.Outcome{})
			s.later(4250)
			s.Move(d, story.Initial, story.Outcome{})
			s.read(wlan0, 4300, 4000, 4290, 20)
			s.steadily(wlan0, 4400, 9000, 100)
		}, "init/wlan0 +4.002 s to +4.252 s in red"},
		{"back, and nothing", func(s *tale) {
			s.steadily(wlan0, 1000, 4000, 100)
			d := s.Move(wlan0, red, story.Outcome{})
			s.later(4200)
			s.Move(d, story.Initial, story.Outcome{})
			s.later(9000)
		}, "init/wlan0 +3.999 s to the end (steady) in red"},
		{"left for good", func(s *tale) {
			s.steadily(wlan0, 1000, 4000, 100)
			d := s.Move(wlan0, red, story.Outcome{})
			s.steadily(d, 6000, 8000, 100)
		}, ""},
		{"by another path meanwhile", func(s *tale) {
			s.steadily(wlan0, 1000, 4000, 100)
			for at := uint64(4100); at < 7000; at += 100 {
				s.later(at)
				s.HandleCount(&event.Count{
					Flow: event.Flow{Net: wlan0.Net, Dev: wlan0.Ptr, Ifindex: wlan0.Ifindex, Path: event.PathRx8023},
					Time: s.T, Since: s.T - 100*story.MS, Last: s.T - story.MS, Packets: 5,
				})
			}
			s.steadily(wlan0, 7000, 9000, 100)
		}, ""},
		{"the file is damaged", func(s *tale) {
			s.steadily(wlan0, 1000, 3000, 100)
			s.HandleDamage(&event.Damage{Time: s.T})
			s.steadily(wlan0, 6000, 8000, 100)
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := stand()
			tt.tell(s)
			m := s.end()
			if got := m.told(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			f := m.finding(t, "delivery-interrupted")
			if interrupted := strings.Contains(tt.want, "(steady) in"); interrupted != (f != nil) {
				t.Errorf("finding %+v", f)
			}
		})
	}
}

func TestInterruptedIsAFinding(t *testing.T) {
	s := stand()
	for i := range uint64(3) {
		s.steadily(wlan0, 1000+10_000*i, 4000+10_000*i, 100)
		d := s.Move(wlan0, red, story.Outcome{})
		s.later(6000 + (10_000+500)*i)
		s.Move(d, story.Initial, story.Outcome{})
	}
	s.steadily(wlan0, 31_000, 33_000, 100)
	f := s.end().finding(t, "delivery-interrupted")
	want := "packets came steadily into wlan0 in init until +3.999 s; then for 6.90 s none did, and it was in red from +4.002 s to +6.002 s. So it was 2 times more."
	if f == nil || f.Text != want {
		t.Errorf("got  %+v\nwant %s", f, want)
	}
}

// Only the longest silences are kept.
func TestLullsKept(t *testing.T) {
	var l lulls
	at := uint64(1)
	for i := range uint64(100) {
		at += finest * (1 + i*37%100)
		l.count(at, at, at)
	}
	l.commit()
	var got []uint64
	for _, x := range l.longest {
		got = append(got, (x.To-x.From)/finest)
	}
	slices.Sort(got)
	if want := []uint64{93, 94, 95, 96, 97, 98, 99, 100}; !slices.Equal(got, want) {
		t.Errorf("kept %v, want %v", got, want)
	}
}

// Two namespaces that turned out to be one are silent when both are.
func TestLullsMerge(t *testing.T) {
	of := func(times ...uint64) *lulls {
		l := &lulls{}
		for _, x := range times {
			l.count(x*second, x*second, x*second)
		}
		return l
	}
	tests := []struct {
		name string
		a, b *lulls
		want string
	}{
		{"in turn", of(1, 2, 10), of(4, 8), "1-2 2-4 4-8 8-10"},
		{"one after the other", of(1, 3), of(7, 9), "1-3 3-7 7-9"},
		{"nothing in one", of(1, 3), of(), "1-3"},
		{"nothing in the other", of(), of(1, 3), "1-3"},
	}
	for _, tt := range tests {
		tt.a.merge(tt.b)
		slices.SortFunc(tt.a.longest, func(x, y lull) int { return int(x.From) - int(y.From) })
		var got []string
		for _, x := range tt.a.longest {
			got = append(got, fmt.Sprintf("%d-%d", x.From/second, x.To/second))
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, s, tt.want)
		}
	}
}
