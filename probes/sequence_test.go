// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/nstrace/nstrace/event"
)

// told collects losses.
type told []event.Loss

func (l *told) add(loss *event.Loss) { *l = append(*l, *loss) }

func (l told) sum() (n uint64) {
	for i := range l {
		n += l[i].Count
	}
	return n
}

func (l told) wants(t *testing.T, want ...event.Loss) {
	t.Helper()
	if !slices.Equal(l, want) {
		t.Fatalf("losses\n got %+v\nwant %+v", l, want)
	}
}

func TestSequenceWhole(t *testing.T) {
	var losses told
	s := sequence{ring: "lifecycle"}
	for n := range uint64(100) {
		s.saw(uint32(n%2), n/2, 1000+n)
		s.settle(false, losses.add)
	}
	s.settle(true, losses.add)
	s.tail(0, 50, 2000, losses.add)
	s.tail(1, 50, 2000, losses.add)
	s.tail(2, 0, 2000, losses.add) // a CPU that sent nothing
	losses.wants(t)
	if s.lost != 0 {
		t.Errorf("lost %d", s.lost)
	}
}

// TestSequenceSettles: a gap is a loss only after it stayed open through whole
// drains that began after it appeared.
func TestSequenceSettles(t *testing.T) {
	var losses told
	s := sequence{ring: "lifecycle"}
	s.saw(0, 0, 100)
	s.settle(false, losses.add)
	s.saw(0, 4, 140) // 1, 2, 3 are missing
	s.settle(false, losses.add)
	losses.wants(t) // this drain was under way when the gap appeared
	s.settle(false, losses.add)
	losses.wants(t) // one whole drain
	s.saw(0, 5, 150)
	s.settle(false, losses.add)
	losses.wants(t, event.Loss{Ring: "lifecycle", CPU: 0, From: 100, To: 140, Count: 3})
	// Once told, it stays told, and isn't told again.
	s.saw(0, 2, 120)
	s.settle(true, losses.add)
	if len(losses) != 1 || s.lost != 3 {
		t.Errorf("lost %d, told of %+v", s.lost, losses)
	}
}

func TestSequenceSettlesFinally(t *testing.T) {
	var losses told
	s := sequence{ring: "packets"}
	s.saw(3, 2, 50)
	s.saw(3, 4, 60)
	s.saw(1, 1, 70)
	s.settle(true, losses.add)
	losses.wants(t,
		event.Loss{Ring: "packets", CPU: 1, From: 0, To: 70, Count: 1},
		event.Loss{Ring: "packets", CPU: 3, From: 0, To: 50, Count: 2},
		event.Loss{Ring: "packets", CPU: 3, From: 50, To: 60, Count: 1},
	)
	if s.lost != 4 {
		t.Errorf("lost %d", s.lost)
	}
}

// TestSequenceLate closes gaps of five numbers, 1 to 5, from all sides.
func TestSequenceLate(t *testing.T) {
	for _, c := range []struct {
		name string
		late []uint64
		want []uint64 // the counts that are left
	}{
		{"first", []uint64{1}, []uint64{4}},
		{"last", []uint64{5}, []uint64{4}},
		{"middle", []uint64{3}, []uint64{2, 2}},
		{"two", []uint64{2, 4}, []uint64{1, 1, 1}},
		{"the same twice", []uint64{3, 3}, []uint64{2, 2}},
		{"all, forwards", []uint64{1, 2, 3, 4, 5}, nil},
		{"all, backwards", []uint64{5, 4, 3, 2, 1}, nil},
		{"all, mixed", []uint64{3, 1, 5, 4, 2}, nil},
		{"none of them", []uint64{0, 6}, []uint64{5}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var losses told
			s := sequence{ring: "lifecycle"}
			s.saw(0, 0, 100)
			s.saw(0, 6, 200)
			s.settle(false, losses.add)
			for i, seq := range c.late {
				s.saw(0, seq, 101+uint64(i))
			}
			s.settle(false, losses.add)
			s.settle(false, losses.add)
			var counts []uint64
			for _, l := range losses {
				counts = append(counts, l.Count)
				if l.From != 100 || l.To != 200 || l.Ring != "lifecycle" || l.CPU != 0 {
					t.Errorf("got %+v", l)
				}
			}
			if !slices.Equal(counts, c.want) || s.lost != losses.sum() {
				t.Errorf("lost %d, told of %v, want %v", s.lost, counts, c.want)
			}
			s.saw(0, 7, 300)
			s.tail(0, 8, 400, func(l *event.Loss) { t.Errorf("a late number broke the count: %+v", l) })
		})
	}
}

func TestSequenceTail(t *testing.T) {
	var losses told
	s := sequence{ring: "lifecycle"}
	s.saw(0, 0, 100)
	s.saw(0, 1, 90) // taken earlier than the one before
	s.tail(0, 5, 1000, losses.add)
	s.tail(2, 7, 1000, losses.add) // none of its records came
	s.tail(0, 5, 1001, losses.add) // asked again
	s.tail(0, 1, 1001, losses.add) // less than came
	losses.wants(t,
		event.Loss{Ring: "lifecycle", CPU: 0, From: 100, To: 1000, Count: 3},
		event.Loss{Ring: "lifecycle", CPU: 2, From: 0, To: 1000, Count: 7},
	)
	if s.lost != 10 {
		t.Errorf("lost %d", s.lost)
	}
}

// TestSequenceExact drops records at random and shuffles the others within a
// window, as preemption does: the losses are exactly what was dropped.
func TestSequenceExact(t *testing.T) {
	for seed := range uint64(300) {
		sequenceExact(t, seed)
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

func sequenceExact(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	const cpus = 3
	window := 1 + rng.IntN(8)
	type record struct {
		cpu       uint32
		seq, time uint64
	}
	var streams [cpus][]record
	var sent, dropped [cpus]uint64
	rate := rng.Float64() * 0.9
	for cpu := range cpus {
		var order []float64
		sent[cpu] = uint64(rng.IntN(200))
		for seq := range sent[cpu] {
			if rng.Float64() < rate {
				dropped[cpu]++
				continue
			}
			streams[cpu] = append(streams[cpu], record{uint32(cpu), seq, 1000 + seq})
			order = append(order, float64(len(order))+rng.Float64()*float64(window))
		}
		index := make([]int, len(order))
		for i := range index {
			index[i] = i
		}
		slices.SortFunc(index, func(a, b int) int {
			if order[a] < order[b] {
				return -1
			}
			return 1
		})
		shuffled := make([]record, len(index))
		for i, j := range index {
			shuffled[i] = streams[cpu][j]
		}
		streams[cpu] = shuffled
	}

	var losses told
	s := sequence{ring: "lifecycle"}
	for more := true; more; {
		more = false
		for cpu := range cpus {
			// At least a window's worth in a drain: so a number is late by two
			// drains at most.
			n := min(window+rng.IntN(window), len(streams[cpu]))
			for _, r := range streams[cpu][:n] {
				s.saw(r.cpu, r.seq, r.time)
			}
			streams[cpu] = streams[cpu][n:]
			more = more || len(streams[cpu]) > 0
		}
		s.settle(false, losses.add)
	}
	s.settle(true, losses.add)
	for cpu, n := range sent {
		s.tail(cpu, n, 5000, losses.add)
	}

	var got [cpus]uint64
	for _, l := range losses {
		got[l.CPU] += l.Count
		if l.Count == 0 || l.To < l.From {
			t.Errorf("got %+v", l)
		}
	}
	if got != dropped {
		t.Errorf("dropped %d, told of %d", dropped, got)
	}
	if s.lost != losses.sum() {
		t.Errorf("counted %d, told of %d", s.lost, losses.sum())
	}
}

// BenchmarkSequence is the ordinary case: the next number of one of two CPUs.
func BenchmarkSequence(b *testing.B) {
	s := sequence{ring: "lifecycle"}
	n := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		s.saw(uint32(n&1), n>>1, n)
		n++
	}
	s.settle(true, func(l *event.Loss) { b.Fatalf("lost %+v", l) })
}
