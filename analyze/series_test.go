// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func total(in []uint64) (sum uint64) {
	for _, n := range in {
		sum += n
	}
	return sum
}

func TestSeries(t *testing.T) {
	const ms = 1_000_000
	type increment struct {
		parts   []Period
		packets uint64
	}
	at := func(from, to, n uint64) increment { return increment{[]Period{{from * ms, to * ms}}, n} }
	tests := []struct {
		name string
		in   []increment
		// want is the first bucket, the step and the packets.
		want string
		// resolution is in milliseconds.
		resolution uint64
	}{
		{"an instant", []increment{at(250, 250, 7)}, "2 100 [7]", 0},
		{"within a bucket", []increment{at(210, 290, 7)}, "2 100 [7]", 0},
		{"on the grid", []increment{at(200, 300, 7)}, "2 100 [7 0]", 100},
		{"over two", []increment{at(250, 350, 10)}, "2 100 [5 5]", 100},
		{"what doesn't divide", []increment{at(250, 450, 11)}, "2 100 [2 6 3]", 200},
		{"silence between", []increment{at(10, 90, 3), at(310, 390, 4)}, "0 100 [3 0 0 4]", 0},
		{"the earlier last", []increment{at(310, 390, 4), at(10, 90, 3)}, "0 100 [3 0 0 4]", 0},
		{"away meanwhile", []increment{{[]Period{{100 * ms, 200 * ms}, {500 * ms, 550 * ms}}, 9}}, "1 100 [6 0 0 0 3]", 450},
		{"too long for 100 ms", []increment{at(0, 0, 1), at(100, 100, 2), at(12_000, 12_000, 4)}, "0 200 " + fmt.Sprint(append(append([]uint64{3}, make([]uint64, 59)...), 4)), 0},
		{"an odd beginning", []increment{at(100, 100, 1), at(200, 200, 2), at(300, 300, 4), at(12_150, 12_150, 8)}, "0 200 " + fmt.Sprint(append(append([]uint64{1, 6}, make([]uint64, 58)...), 8)), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var s series
			for _, x := range tt.in {
				s.add(x.parts, &figures{x.packets, x.packets * 10})
			}
			if got := fmt.Sprintln(s.first, s.step/ms, s.of(allPackets)); got != tt.want+"\n" {
				t.Errorf("got %swant %s", got, tt.want)
			}
			if s.resolution != tt.resolution*ms {
				t.Errorf("resolution %d", s.resolution)
			}
			if b := s.of(allBytes); total(b) != 10*total(s.of(allPackets)) {
				t.Errorf("bytes %v", b)
			}
		})
	}
}

// increments are random ones: parts in order, of any length.
func increments(r *rand.Rand, n int) (parts [][]Period, packets []uint64) {
	scale := uint64(1) << r.UintN(64)
	for range n {
		var x []Period
		t := r.Uint64N(scale)
		for range 1 + r.UintN(3) {
			from := t + r.Uint64N(1+(math.MaxUint64-t)/8)%scale
			to := from + r.Uint64N(1+(math.MaxUint64-from)/8)%scale
			x, t = append(x, Period{from, to}), to
		}
		parts, packets = append(parts, x), append(packets, r.Uint64()>>r.UintN(64))
	}
	return parts, packets
}

// Whatever comes in whatever order, nothing is lost, there are never too many
// buckets, and each packet is within the time it came in, as far as buckets go.
func TestSeriesKeepsAll(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		parts, packets := increments(r, 1+r.IntN(40))
		var s, half series
		var sum uint64
		from, to := uint64(math.MaxUint64), uint64(0)
		for i, x := range parts {
			into := &s
			if r.UintN(2) == 0 {
				into = &half
			}
			into.add(x, &figures{packets[i], packets[i] / 2})
			sum += packets[i]
			from, to = min(from, x[0].From), max(to, x[len(x)-1].To)
			if len(into.buckets) > maxBuckets {
				t.Fatalf("seed %d: %d buckets", seed, len(into.buckets))
			}
		}
		if len(s.buckets) == 0 {
			s, half = half, s
		}
		s.merge(&half)
		if got := total(s.of(allPackets)); got != sum {
			t.Fatalf("seed %d: %d packets in the buckets, %d came", seed, got, sum)
		}
		last := s.first + uint64(len(s.buckets)) - 1
		if s.first != from/s.step || last != to/s.step || len(s.buckets) > maxBuckets {
			t.Fatalf("seed %d: buckets %d to %d of %d ns, for %d to %d", seed, s.first, last, s.step, from, to)
		}
	}
}

func TestFit(t *testing.T) {
	tests := []struct {
		in   []uint64
		sum  uint64
		want []uint64
		ok   bool
	}{
		{[]uint64{1, 2, 3}, 6, []uint64{1, 2, 3}, true},
		{[]uint64{10, 20, 30}, 54, []uint64{9, 18, 27}, true},
		{[]uint64{10, 0, 10}, 21, []uint64{10, 0, 11}, true},
		{[]uint64{5, 5}, 0, []uint64{0, 0}, true},
		{[]uint64{0, 0}, 7, []uint64{0, 0}, false},
		{nil, 0, nil, true},
	}
	for _, tt := range tests {
		if ok := fit(tt.in, tt.sum); ok != tt.ok || !slices.Equal(tt.in, tt.want) {
			t.Errorf("to %d: %v %v, want %v", tt.sum, ok, tt.in, tt.want)
		}
	}
}

// What is spread over buckets differs from what comes evenly by less than a packet.
func TestSeriesSpreadsEvenly(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for range 1000 {
		var s series
		from, length, n := r.Uint64N(1e9), 1+r.Uint64N(5e9), r.Uint64N(1e6)
		s.add([]Period{{from, from + length}}, &figures{n, n})
		for i, got := range s.of(allPackets) {
			begin := max(from, (s.first+uint64(i))*s.step)
			end := max(begin, min(from+length, (s.first+uint64(i)+1)*s.step))
			if want := float64(n) * float64(end-begin) / float64(length); math.Abs(float64(got)-want) > 1 {
				t.Fatalf("%d packets from %d for %d: bucket %d has %d, not %.1f", n, from, length, i, got, want)
			}
		}
	}
}

// Buckets that become longer have what those they are made of had.
func TestSeriesWiden(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 9))
	for range 1000 {
		var s series
		for range 30 {
			at := r.Uint64N(100 * finest)
			s.add([]Period{{at, at}}, &figures{r.Uint64N(10)})
		}
		want := make([]uint64, 100)
		for i, n := range s.of(allPackets) {
			want[(s.first+uint64(i))/2] += n
		}
		s.widen()
		got := make([]uint64, 100)
		copy(got[s.first:], s.of(allPackets))
		if !slices.Equal(got, want) {
			t.Fatalf("got %v\nwant %v", got, want)
		}
	}
}
