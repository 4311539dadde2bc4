// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"

	"github.com/nstrace/nstrace/analyze"
)

// chartWidth is how many columns the chart of a row's packets has.
const chartWidth = 32

// deliveriesOverTime tells of all namespaces when their packets came.
func (t *writer) deliveriesOverTime() {
	var b strings.Builder
	var all []*analyze.Delivery
	for _, n := range t.m.Namespaces {
		all = append(all, n.Delivery...)
	}
	t.overTime(&b, "  ", all...)
	for _, n := range t.m.Namespaces {
		t.silences(&b, "  ", n)
	}
	if b.Len() != 0 {
		t.section("DELIVERED OVER TIME")
		t.WriteString(b.String())
	}
}

// lifeOverTime tells of one namespace when its packets came.
func (t *writer) lifeOverTime(n *analyze.Netns) {
	var b strings.Builder
	t.overTime(&b, "    ", n.Delivery...)
	t.silences(&b, "    ", n)
	if b.Len() != 0 {
		t.line("\n  over time:")
		t.WriteString(b.String())
	}
}

// overTime says when the packets of some rows came. The charts are all over the
// same time, so that what stopped in one namespace can be seen to go on in another.
func (t *writer) overTime(b *strings.Builder, indent string, deliveries ...*analyze.Delivery) {
	from, until := t.shownTime()
	tab := newTable("namespace", "interface", "path", "from", "until", "packets/s", "bit/s", "peak packets/s", "peak bit/s", "peak at", chartHead(from, until)).numbers(5, 6, 7, 8)
	paths := make(map[any]bool)
	severalPaths, edge := false, uint64(0)
	for _, d := range deliveries {
		r := d.Rates.Cut(t.o.Since, t.o.Until)
		if d.Rates == nil && d.Packets != 0 {
			tab.row(d.Netns.Label(), nameIn(d), d.Path.String(), "unknown", "unknown", "unknown", "unknown", "unknown", "unknown")
			continue
		}
		if r == nil {
			continue // nothing came in that time
		}
		where := [3]any{d.Netns, d.Device, d.Ifindex}
		severalPaths = severalPaths || paths[where]
		paths[where] = true
		x := rated{d, r}
		first, last := x.span()
		if t.cuts(rated{d, d.Rates}) {
			edge = max(edge, r.Step, r.Resolution)
		}
		perSecond, bits := x.average()
		most, mostBits, at := t.peak(x)
		tab.row(d.Netns.Label(), nameIn(d), d.Path.String(), t.m.Since(first), t.m.Since(last), perSecond, bits, most, mostBits, at, x.chart(from, until))
	}
	if len(tab.rows) == 1 {
		return
	}
	if !severalPaths {
		tab.without(2)
	}
	tab.write(b, indent)
	if edge != 0 {
		wrap(b, indent, indent, fmt.Sprintf("At the edges of the time asked for these figures are good to %s: what came within that is not told apart.", analyze.Span(edge)))
	}
}

// shownTime is what the charts are over: the time asked for, or the recording.
func (t *writer) shownTime() (from, until uint64) {
	from, until = max(t.m.Began, t.o.Since), t.m.Ended
	if t.o.Until != 0 {
		until = min(until, t.o.Until)
	}
	return from, max(until, from+1)
}

// cuts reports whether some of a row's packets came before or after the time asked
// for.
func (t *writer) cuts(x rated) bool {
	first, last := x.span()
	return first < t.o.Since || t.o.Until != 0 && t.o.Until < last
}

// rated is a row with as much of its rates as is to be shown.
type rated struct {
	*analyze.Delivery
	*analyze.Rates
}

// span is from the row's first packet to its last, or as much of it as is shown.
func (x rated) span() (first, last uint64) {
	first, _ = x.Bucket(0)
	_, last = x.Bucket(len(x.Rates.Packets) - 1)
	if x.First != 0 {
		first = max(first, x.First)
	}
	if x.Last != 0 {
		last = max(first, min(last, x.Last))
	}
	return first, last
}

// average is over the time from the first packet to the last, or where something is
// cut off over what is left, without the time elsewhere.
func (x rated) average() (packets, bits string) {
	first, last := x.span()
	if n := len(x.Rates.Packets); n != len(x.Delivery.Rates.Packets) {
		first, _ = x.Bucket(0)
		_, last = x.Bucket(n - 1)
	}
	time := uint64(0)
	for s := range x.stays() {
		time += span(max(first, s.From), min(last, cmp.Or(s.Until, last)))
	}
	var p, b uint64
	for i := range x.Rates.Packets {
		if !x.Known(i) {
			return "unknown", "unknown"
		}
		p += x.Rates.Packets[i]
		b += x.Rates.Bytes[i]
	}
	if time < 2*x.Step {
		return "-", "-" // too short to be a rate
	}
	return rate(p, time), bandwidth(b, time)
}

// peak is the most that came in a bucket, and when that began; or, if that is later,
// when anything did.
func (t *writer) peak(x rated) (packets, bits, at string) {
	r := x.Rates
	i := r.Peak()
	if i < 0 {
		return "unknown", "unknown", ""
	}
	from, _ := x.Bucket(i)
	if x.First > from {
		from = x.First
	}
	return rate(r.Packets[i], r.Step), bandwidth(r.Bytes[i], r.Step), fmt.Sprintf("%s, for %s", t.m.Since(from), analyze.Span(r.Step))
}

// rate is how many there were in a second.
func rate(n, time uint64) string { return digits(perSecond(n, time)) }

// bandwidth is in bits.
func bandwidth(bytes, time uint64) string {
	v := perSecond(bytes, time) * 8
	for _, unit := range []string{"", "k", "M", "G"} {
		if v < 999.5 {
			return digits(v) + " " + unit + "bit/s"
		}
		v /= 1000
	}
	return digits(v) + " Tbit/s"
}

func perSecond(n, time uint64) float64 { return float64(n) / (float64(time) / 1e9) }

// digits is a number to three digits or to the whole, whichever is more.
func digits(v float64) string {
	decimals := 0
	for limit := 99.95; decimals < 2 && v < limit; limit /= 10 {
		decimals++
	}
	if v == math.Trunc(v) {
		decimals = 0
	}
	return strconv.FormatFloat(v, 'f', decimals, 64)
}

// bars are the heights of a chart's columns.
var bars = []rune("▁▂▃▄▅▆▇█")

func chartHead(from, until uint64) string {
	return fmt.Sprintf("over %s, %s a column", analyze.Span(until-from), analyze.Span((until-from)/chartWidth))
}

// chart draws packets: a dot is a time in the namespace without any, blank is a
// time elsewhere, and a question mark one of which counts may be missing.
func (x rated) chart(from, until uint64) string {
	width := float64(until-from) / chartWidth
	var columns [chartWidth]float64
	var unknown [chartWidth]bool
	highest := 0.0
	for c := range columns {
		begin := from + uint64(float64(c)*width)
		end := from + uint64(float64(c+1)*width)
		columns[c], unknown[c] = x.within(begin, end)
		highest = max(highest, columns[c])
	}
	var b strings.Builder
	for c, n := range columns {
		begin := from + uint64(float64(c)*width)
		switch {
		case unknown[c]:
			b.WriteRune('?')
		case n > 0:
			b.WriteRune(bars[max(0, int(math.Ceil(n/highest*float64(len(bars))))-1)])
		case x.there(begin, begin+uint64(width)):
			b.WriteRune('·')
		default:
			b.WriteRune(' ')
		}
	}
	return b.String()
}

// within is how many packets came between two times, if those of a bucket came
// evenly between the first packet and the last.
func (x rated) within(begin, end uint64) (n float64, unknown bool) {
	first, last := x.span()
	for i, packets := range x.Rates.Packets {
		from, to := x.Bucket(i)
		if from >= end || to <= begin {
			continue
		}
		unknown = unknown || !x.Known(i)
		from, to = max(from, first), min(to, last)
		if from >= to { // an instant, or all there is
			if begin <= from && from < end {
				n += float64(packets)
			}
			continue
		}
		if overlap := span(max(from, begin), min(to, end)); overlap > 0 {
			n += float64(packets) * float64(overlap) / float64(to-from)
		}
	}
	return n, unknown
}

// there reports whether the interface was in the namespace for some of a time.
func (x rated) there(begin, end uint64) bool {
	for s := range x.stays() {
		if s.From <= end && (s.Until == 0 || s.Until > begin) {
			return true
		}
	}
	return false
}

// stays are the interface's in the namespace.
func (x rated) stays() iter.Seq[*analyze.Stay] {
	return func(yield func(*analyze.Stay) bool) {
		for _, s := range x.Device.Stays {
			if s.Netns == x.Netns && s.Ifindex == x.Ifindex && !yield(s) {
				return
			}
		}
	}
}

// silences tells of times when nothing came.
func (t *writer) silences(b *strings.Builder, indent string, n *analyze.Netns) {
	for _, s := range n.Silences {
		if !t.o.during(s.From, s.Until) {
			continue
		}
		when := fmt.Sprintf("from %s to %s, for %s", t.m.Since(s.From), t.m.Since(s.Until), analyze.Span(span(s.From, s.Until)))
		if s.Until == 0 {
			when = fmt.Sprintf("after %s", t.m.Since(s.From))
		}
		why := t.m.Where(s)
		if why != "" {
			why = "; it was " + why
		}
		name := nameIn(&analyze.Delivery{Netns: n, Device: s.Device, Ifindex: s.Ifindex})
		wrap(b, indent, indent+"  ", fmt.Sprintf("Nothing came to %s in %s %s%s.", name, n.Label(), when, why))
	}
}
