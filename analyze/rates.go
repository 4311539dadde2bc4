// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"cmp"
	"slices"
	"time"

	"github.com/nstrace/nstrace/event"
)

// The kernel counts, and the counters are read about ten times a second: of when
// packets came, that is all there is to know. So a row's deliveries over time are
// buckets of 100 ms or more, and what came between two readings is spread evenly
// over the time in which it can have come. Memory doesn't grow with the recording:
// when there would be too many buckets, two at a time become one.

const (
	maxBuckets = 120
	// finest is how long a bucket lasts at least, in nanoseconds.
	finest = uint64(100 * time.Millisecond)
)

// Rates is what a row of deliveries got over time.
type Rates struct {
	// From is when the first bucket begins (boot time, as all times), Step how long
	// each lasts: 100 ms times a power of two. Buckets of all rows lie on one grid,
	// which begins with the recording.
	From, Step uint64
	// Packets and Bytes are what came in each bucket, 120 at most. They sum up to the
	// row's.
	Packets, Bytes []uint64
	// Resolution is the longest time, in nanoseconds, that packets were spread over
	// evenly because nothing more is known of when they came. Where it is longer than
	// Step, that is how fine the rates are.
	Resolution uint64
	// Holes are the times of which counts may be missing, in order.
	Holes []Period
}

// Period is a time from one instant to another.
type Period struct{ From, To uint64 }

// Bucket returns when bucket i begins and ends.
func (r *Rates) Bucket(i int) (from, to uint64) {
	from = r.From + uint64(i)*r.Step
	return from, from + r.Step
}

// Known reports whether bucket i has all that came in its time.
func (r *Rates) Known(i int) bool {
	from, to := r.Bucket(i)
	return !slices.ContainsFunc(r.Holes, func(h Period) bool { return h.From < to && from < h.To })
}

// Peak returns the bucket that got the most packets of those that are known, -1 if
// there is none.
func (r *Rates) Peak() int {
	peak := -1
	for i, n := range r.Packets {
		if r.Known(i) && (peak < 0 || n > r.Packets[peak]) {
			peak = i
		}
	}
	return peak
}

// Cut returns the buckets that overlap the time between since and until (0: no
// limit), nil if there are none. A bucket that an edge falls into is whole.
func (r *Rates) Cut(since, until uint64) *Rates {
	if r == nil {
		return nil
	}
	first, end := 0, len(r.Packets)
	for ; first < end; first++ {
		if _, to := r.Bucket(first); since == 0 || to > since {
			break
		}
	}
	for ; first < end; end-- {
		if from, _ := r.Bucket(end - 1); until == 0 || from <= until {
			break
		}
	}
	if first == end {
		return nil
	}
	c := *r
	c.From, _ = r.Bucket(first)
	c.Packets, c.Bytes = r.Packets[first:end], r.Bytes[first:end]
	return &c
}

// readings is what is known of when the counters were read.
type readings struct {
	// latest is the latest reading that told anything, before the one before it.
	latest, before uint64
	holes          []Period
	// torn says that the latest hole lasts until the next reading.
	torn  bool
	parts []Period
}

// read notes a reading.
func (r *readings) read(t uint64) {
	if t == r.latest {
		return
	}
	if r.torn {
		r.holes[len(r.holes)-1].To = t
		r.torn = false
	}
	r.before, r.latest = r.latest, t
}

// tear notes that counts may be missing from now on, and maybe of the latest
// reading, up to the next. Beyond a number of holes what is between them is one.
func (r *readings) tear() {
	const maxHoles = 64
	switch n := len(r.holes); {
	case r.torn:
	case n > 0 && (n == maxHoles || r.holes[n-1].To >= r.before):
		r.torn = true
	default:
		r.holes = append(r.holes, Period{From: r.before})
		r.torn = true
	}
}

// pace takes what came of a row's packets since the reading before.
func (a *Analyzer) pace(r *row, c *event.Count) {
	parts := a.came(r, c)
	for i := range parts[1:] {
		r.lulls.keep(Period{parts[i].To, parts[i+1].From})
	}
	r.lulls.count(c.Time, parts[0].From, parts[len(parts)-1].To)
	for i := range parts {
		parts[i].From, parts[i].To = sub(parts[i].From, a.m.Began), sub(parts[i].To, a.m.Began)
	}
	r.series.add(parts, &figures{allPackets: c.Delivered(), allBytes: c.DeliveredBytes()})
}

// came returns when the packets of a count can have come: after the reading before
// and not before the first packet, until the last; and while the interface was
// there, if it was also elsewhere meanwhile. The result is good until the next
// call.
func (a *Analyzer) came(r *row, c *event.Count) []Period {
	to := cmp.Or(c.Last, c.Time)
	from := max(c.Since, c.First)
	if c.Since == 0 {
		from = max(from, a.readings.before, a.m.Began)
	}
	if c.Packets == 1 || from > to {
		from = to
	}
	parts := a.readings.parts[:0]
	for i := len(r.Device.Stays) - 1; i >= 0; i-- {
		s := r.Device.Stays[i]
		gone := s.Until
		if gone == 0 || s.EndInferred {
			gone = to
		}
		if gone < from {
			break
		}
		if s.Netns.canon() != r.Netns.canon() || s.Ifindex != r.Ifindex {
			continue
		}
		x := Period{max(from, s.From), min(to, gone)}
		if s.Inferred {
			x.From = from
		}
		if x.From <= x.To {
			parts = append(parts, x)
		}
	}
	slices.Reverse(parts)
	// The last packet's time is certain. If it is in none of the stays, they are not
	// what they seem.
	if len(parts) == 0 || parts[len(parts)-1].To != to {
		parts = append(parts[:0], Period{from, to})
	}
	a.readings.parts = parts
	return parts
}

// finishPace makes what is to be told of the rows over time.
func (a *Analyzer) finishPace() {
	var places []place
	quiet := make(map[place]*lulls)
	for _, r := range a.rowOrder {
		if !r.merged {
			a.finishRates(r)
		}
		p := place{r.Netns.canon(), r.Device, r.Ifindex}
		switch l := quiet[p]; {
		case l == nil:
			quiet[p] = r.lulls
			places = append(places, p)
		case l != r.lulls && !r.lulls.merged:
			l.merge(r.lulls)
		}
	}
	a.finishSilences(places, quiet)
}

// finishRates puts a row's rates together, nil if nothing is known of when its
// packets came.
func (a *Analyzer) finishRates(r *row) {
	s := &r.series
	if len(s.buckets) == 0 {
		return
	}
	rates := &Rates{
		From: a.m.Began + s.first*s.step, Step: s.step, Packets: s.of(allPackets), Bytes: s.of(allBytes), Resolution: s.resolution,
	}
	if !fit(rates.Packets, r.Packets) || !fit(rates.Bytes, r.Bytes) {
		return
	}
	for _, h := range a.holes() {
		// The first packet's time is in every count of a flow: before it nothing is
		// missing.
		if h.To > r.First {
			rates.Holes = append(rates.Holes, h)
		}
	}
	if rates.Peak() >= 0 {
		r.Rates = rates
	}
}

// holes returns the times of which counts may be missing.
func (a *Analyzer) holes() []Period {
	r := &a.readings
	if r.torn {
		r.holes[len(r.holes)-1].To = a.m.Ended
		r.torn = false
	}
	if l := a.m.Ledger; l != nil && l.Unwritten != 0 {
		return append(slices.Clone(r.holes), Period{l.UnwrittenFrom, a.m.Ended})
	}
	return r.holes
}
