// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"math/bits"
	"slices"
)

// What a series counts, each by itself.
const (
	allPackets = iota
	allBytes
	columns
)

type figures [columns]uint64

// series counts in buckets of equal length, as many as maxBuckets: where time goes
// on, they get longer. Its times are since some beginning, which is the beginning
// of bucket 0; only those from first on are there.
type series struct {
	step, first uint64
	buckets     []figures
	resolution  uint64
}

// of returns one column.
func (s *series) of(column int) []uint64 {
	out := make([]uint64, len(s.buckets))
	for i := range s.buckets {
		out[i] = s.buckets[i][column]
	}
	return out
}

// add spreads something evenly over parts of the time, in order: at least one,
// which may be an instant.
func (s *series) add(parts []Period, n *figures) {
	last := parts[len(parts)-1].To
	s.reach(parts[0].From, last)
	if parts[0].From/s.step != last/s.step {
		s.resolution = max(s.resolution, last-parts[0].From)
	}
	var total, passed uint64
	for _, x := range parts {
		total += x.To - x.From
	}
	var done figures
	for _, x := range parts {
		for t := x.From; t < x.To; {
			end := t + min(s.step-t%s.step, x.To-t)
			passed += end - t
			for c := range n {
				now := share(n[c], passed, total)
				s.buckets[t/s.step-s.first][c] += now - done[c]
				done[c] = now
			}
			t = end
		}
	}
	for c := range n { // an instant has no length to be spread over
		s.buckets[last/s.step-s.first][c] += n[c] - done[c]
	}
}

// share is n*part/whole, where part is not more than whole and that not 0.
func share(n, part, whole uint64) uint64 {
	if part == whole {
		return n
	}
	hi, lo := bits.Mul64(n, part)
	q, _ := bits.Div64(hi, lo, whole)
	return q
}

// fit changes figures in proportion, so that they add up to a sum that is only
// known in the end; false if there are none.
func fit(in []uint64, sum uint64) bool {
	var whole, part, done uint64
	for _, n := range in {
		whole += n
	}
	if whole == sum {
		return true
	}
	if whole == 0 {
		return false
	}
	for i, n := range in {
		part += n
		now := share(sum, min(part, whole), whole) // sums of a hostile file may overflow
		in[i], done = now-done, now
	}
	return true
}

// reach makes room for times from one to another.
func (s *series) reach(from, to uint64) {
	if s.step == 0 {
		s.step, s.first = finest, from/finest
	}
	for {
		lo, hi := from/s.step, to/s.step
		if len(s.buckets) != 0 {
			lo, hi = min(lo, s.first), max(hi, s.first+uint64(len(s.buckets))-1)
		} else {
			s.first = lo
		}
		if hi-lo < maxBuckets {
			s.grow(lo, hi)
			return
		}
		s.widen()
	}
}

// grow makes room from one bucket to another.
func (s *series) grow(lo, hi uint64) {
	var empty figures
	for ; s.first > lo; s.first-- {
		s.buckets = slices.Insert(s.buckets, 0, empty)
	}
	for s.first+uint64(len(s.buckets)) <= hi {
		s.buckets = append(s.buckets, empty)
	}
}

// widen makes buckets twice as long: two become one, of which the first is even.
func (s *series) widen() {
	odd := int(s.first % 2)
	for i, n := range s.buckets {
		s.buckets[i] = figures{}
		into := &s.buckets[(i+odd)/2]
		for c := range n {
			into[c] += n[c]
		}
	}
	if len(s.buckets) != 0 {
		s.buckets = s.buckets[:(len(s.buckets)+odd+1)/2]
	}
	s.first /= 2
	s.step *= 2
}

// merge adds what another series has, which it may change.
func (s *series) merge(o *series) {
	if len(o.buckets) == 0 {
		return
	}
	for o.step < s.step {
		o.widen()
	}
	for i := range o.buckets {
		at := (o.first + uint64(i)) * o.step
		s.add([]Period{{at, at}}, &o.buckets[i])
	}
	for s.step < o.step {
		s.widen()
	}
	s.resolution = max(s.resolution, o.resolution)
}
