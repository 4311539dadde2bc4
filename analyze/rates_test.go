// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/analyze/story"
	"github.com/nstrace/nstrace/event"
)

const second = 1000 * story.MS

// checkRates is what must hold of any row.
func checkRates(t *testing.T, d *Delivery) {
	t.Helper()
	r := d.Rates
	if r == nil {
		return
	}
	if len(r.Packets) == 0 || len(r.Packets) > maxBuckets || len(r.Packets) != len(r.Bytes) {
		t.Errorf("%d and %d buckets", len(r.Packets), len(r.Bytes))
	}
	if total(r.Packets) != d.Packets || total(r.Bytes) != d.Bytes {
		t.Errorf("%d packets and %d bytes over time, %d and %d in all", total(r.Packets), total(r.Bytes), d.Packets, d.Bytes)
	}
}

// ratesOf writes a row's rates in short: its first bucket since the recording
// began, the length, and the packets.
func (m *Model) ratesOf(d *Delivery) string {
	if d.Rates == nil {
		return d.Netns.Label() + ": unknown"
	}
	return fmt.Sprintf("%s: %d+%d %v", d.Netns.Label(), (d.Rates.From-m.Began)/story.MS, d.Rates.Step/story.MS, d.Rates.Packets)
}

func (m *Model) allRates() string {
	var out []string
	for _, d := range m.Delivery {
		out = append(out, m.ratesOf(d))
	}
	return strings.Join(out, "; ")
}

// later is a time since the recording began, and tells the story from then on.
func (s *tale) later(ms uint64) uint64 {
	s.T = (1000 + ms) * story.MS
	return s.T
}

// read is a reading at a time; since and last are times, too, all of them in
// milliseconds since the recording began.
func (s *tale) read(d story.Netdev, at, since, last, packets uint64) {
	s.later(at)
	if since != 0 {
		since = (1000 + since) * story.MS
	}
	s.Read(d, since, (1000+last)*story.MS, packets)
}

func TestRates(t *testing.T) {
	in := func(n event.NetRef) story.Netdev { d := wlan0; d.Net = n; return d }
	tests := []struct {
		name string
		tell func(*tale)
		want string
	}{
		{"one packet is as exact as can be", func(s *tale) {
			s.read(wlan0, 1400, 300, 1290, 1)
		}, "init: 1200+100 [1]"},
		{"as exact as the readings", func(s *tale) {
			s.read(wlan0, 1300, 1200, 1290, 9)
			s.read(wlan0, 1400, 1300, 1390, 18)
		}, "init: 1200+100 [9 18]"},
		{"readings that are late", func(s *tale) {
			s.read(wlan0, 1300, 1200, 1300, 10)
			s.read(wlan0, 1700, 1300, 1650, 70)
		}, "init: 1200+100 [10 20 20 20 10]"},
		{"a reading long after the one before told something", func(s *tale) {
			s.read(wlan0, 1300, 1200, 1290, 10)
			s.read(wlan0, 1700, 1600, 1690, 10)
		}, "init: 1200+100 [10 0 0 0 10]"},
		{"a recording that doesn't tell the reading before", func(s *tale) {
			s.read(wlan0, 1300, 0, 1290, 1)
			s.read(wlan0, 1600, 0, 1500, 4)
		}, "init: 1200+100 [1 2 2 0]"},
		{"moved", func(s *tale) {
			s.read(wlan0, 1300, 1200, 1290, 10)
			s.later(1320)
			d := s.Move(wlan0, red, story.Outcome{})
			s.read(wlan0, 1400, 1300, 1310, 5)
			s.read(d, 1400, 0, 1390, 1)
			s.read(d, 1500, 1400, 1490, 30)
		}, "init: 1200+100 [10 5]; red: 1300+100 [1 30]"},
		{"moved and back between two readings", func(s *tale) {
			s.read(wlan0, 1200, 1100, 1190, 10)
			s.later(1209)
			d := s.Move(wlan0, red, story.Outcome{}) // till 1211
			s.later(1388)
			s.Move(d, story.Initial, story.Outcome{}) // till 1390
			s.read(d, 1400, 0, 1300, 1)
			s.read(in(story.Initial), 1400, 1200, 1397, 12)
		}, "init: 1100+100 [10 7 5]; red: 1300+100 [1]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := stand()
			tt.tell(s)
			m := s.end()
			if got := m.allRates(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			for _, d := range m.Delivery {
				checkRates(t, d)
			}
		})
	}
}

// Random readings, of devices that move, of any packets: the buckets sum up to the
// rows, and no bucket of one namespace is from a time elsewhere.
func TestRatesSumUp(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		s := stand()
		d, before, arrived := wlan0, s.T, uint64(0)
		stays := map[event.NetRef][]Period{}
		move := func() {
			from := d.Net
			to := red
			if from == red {
				to = story.Initial
			}
			s.Read(d, before, s.T, 1+r.Uint64N(50))
			d = s.Move(d, to, story.Outcome{})
			stays[from] = append(stays[from], Period{arrived, s.T})
			arrived = s.T
		}
		for range 300 {
			s.T += r.Uint64N(1 << r.UintN(32))
			if r.UintN(8) == 0 {
				move()
				continue
			}
			s.Read(d, before, max(before, arrived)+r.Uint64N(1+sub(s.T, max(before, arrived))), 1+r.Uint64N(1000))
			before = s.T
		}
		stays[d.Net] = append(stays[d.Net], Period{arrived, s.T})
		m := s.end()
		for _, x := range m.Delivery {
			checkRates(t, x)
			ref := red
			if x.Netns.Initial {
				ref = story.Initial
			}
			for i, n := range x.Rates.Packets {
				from, to := x.Rates.Bucket(i)
				there := false
				for _, p := range stays[ref] {
					there = there || p.From <= to && from <= p.To
				}
				if n != 0 && !there {
					t.Errorf("seed %d: %d packets in %s from %s on, when it was elsewhere", seed, n, x.Netns.Label(), m.Since(from))
				}
			}
		}
	}
}

func TestRatesHoles(t *testing.T) {
	tests := []struct {
		name string
		tell func(*tale)
		want string // of each bucket, whether it is known
	}{
		{"none", func(*tale) {}, "1111111"},
		{"damage", func(s *tale) { s.HandleDamage(&event.Damage{Time: s.T, Reason: "flipped"}) }, "1000001"},
		{"the end is missing", func(s *tale) { s.HandleDamage(&event.Damage{Time: s.T, Truncated: true}) }, "1111111"},
		{"damage twice", func(s *tale) {
			s.HandleDamage(&event.Damage{Time: s.T})
			s.HandleDamage(&event.Damage{Time: s.T})
		}, "1000001"},
		{"a full disk", func(s *tale) {
			s.HandleLedger(&event.Ledger{Time: s.T, Unwritten: 3, UnwrittenFrom: s.T})
		}, "1100000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := stand()
			s.read(wlan0, 1100, 1000, 1090, 10)
			s.read(wlan0, 1200, 1100, 1190, 10)
			tt.tell(s)
			s.read(wlan0, 1600, 1500, 1590, 10)
			s.read(wlan0, 1700, 1600, 1690, 10)
			late := wlan0
			late.Ptr, late.Ifindex = 0xdd77, 17
			s.later(1750)
			s.Register(late)
			s.Received(late, 3, nil) // begins after the damage, so nothing of it is missing
			m := s.a.Model()
			got := ""
			for i := range m.Delivery[0].Rates.Packets {
				if m.Delivery[0].Rates.Known(i) {
					got += "1"
				} else {
					got += "0"
				}
			}
			if got != tt.want {
				t.Errorf("known: %s, want %s", got, tt.want)
			}
			if last := m.Delivery[1].Rates; tt.name == "damage" && !last.Known(0) {
				t.Errorf("the later interface has holes %v", last.Holes)
			}
		})
	}
}

func TestRatesCut(t *testing.T) {
	r := &Rates{From: 1000, Step: 100, Packets: []uint64{1, 2, 3, 4}, Bytes: []uint64{10, 20, 30, 40}}
	tests := []struct {
		since, until uint64
		from         uint64
		want         string
	}{
		{0, 0, 1000, "[1 2 3 4]"},
		{1100, 0, 1100, "[2 3 4]"},
		{1099, 0, 1000, "[1 2 3 4]"},
		{1150, 1250, 1100, "[2 3]"},
		{0, 1199, 1000, "[1 2]"},
		{1250, 1250, 1200, "[3]"},
		{1400, 0, 0, "[]"},
		{0, 999, 0, "[]"},
		{500, 9000, 1000, "[1 2 3 4]"},
	}
	for _, tt := range tests {
		c := r.Cut(tt.since, tt.until)
		if c == nil {
			c = &Rates{}
		}
		if c.From != tt.from || fmt.Sprint(c.Packets) != tt.want || len(c.Bytes) != len(c.Packets) {
			t.Errorf("%d to %d: from %d %v %v", tt.since, tt.until, c.From, c.Packets, c.Bytes)
		}
	}
	if (*Rates)(nil).Cut(1, 2) != nil {
		t.Error("something out of nothing")
	}
}

// BenchmarkCounts is a reading every 100 ms of an interface that moved often.
func BenchmarkCounts(b *testing.B) {
	b.ReportAllocs()
	s := stand()
	d := wlan0
	for range 100 {
		d = s.Move(d, red, story.Outcome{})
		d = s.Move(d, story.Initial, story.Outcome{})
	}
	count := event.Count{Flow: event.Flow{Net: d.Net, Dev: d.Ptr, Ifindex: d.Ifindex, Path: event.PathDeliverSKB}}
	s.Read(d, s.T, s.T, 1)
	b.ResetTimer()
	for b.Loop() {
		count.Since = s.T
		s.T += 100 * story.MS
		count.Time, count.Last = s.T, s.T-story.MS
		count.Packets, count.Bytes = 500, 70_000
		s.HandleCount(&count)
	}
}

// However long a recording gets, a reading of a flow that is known makes no garbage.
func TestCountsAllocateNothing(t *testing.T) {
	s := stand()
	s.Read(wlan0, s.T, s.T, 1)
	count := event.Count{Flow: event.Flow{Net: wlan0.Net, Dev: wlan0.Ptr, Ifindex: wlan0.Ifindex, Path: event.PathDeliverSKB}}
	reading := func() {
		count.Since = s.T
		s.T += 100 * story.MS
		count.Time, count.Last, count.Packets, count.Bytes = s.T, s.T-story.MS, 500, 70_000
		s.HandleCount(&count)
	}
	for range 2 * maxBuckets {
		reading()
	}
	if n := testing.AllocsPerRun(5000, reading); n != 0 {
		t.Errorf("%v allocations for a reading", n)
	}
}
