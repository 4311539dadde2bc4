// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Silence is a time without a delivery to an interface in a namespace, by whatever
// path.
type Silence struct {
	Netns   *Netns
	Device  *Device
	Ifindex int32
	// From is when the packet before it came, Until when the next one did at the
	// earliest, 0 if none did up to the end.
	From, Until uint64
	// Steady says that packets had come steadily before: then it is out of the
	// ordinary.
	Steady bool
	// Elsewhere are the stays in other namespaces meanwhile.
	Elsewhere []*Stay
}

// place is an interface in a namespace.
type place struct {
	netns   *Netns
	device  *Device
	ifindex int32
}

const (
	// maxLulls is how many silences of a place are kept, the longest.
	maxLulls = 8
	// stillness is how long a silence after steady traffic lasts at least, in
	// nanoseconds, and timesUsual how many times as long as usual ones.
	stillness  = uint64(time.Second)
	timesUsual = 5
	// steadily is how many readings in a row had packets, or more.
	steadily = 10
)

// lulls are the silences of a place.
type lulls struct {
	// first and last are when packets came; readings is how many readings had some,
	// and run how many since the latest long silence.
	first, last   uint64
	readings, run uint64
	// reading is the one being told, from and to when its packets can have come.
	reading, from, to uint64
	longest           []lull
	merged            bool // into another
}

type lull struct {
	Period
	run uint64
}

// count notes that there were packets between two times. All counts of a reading
// have its time.
func (l *lulls) count(reading, from, to uint64) {
	if reading != l.reading {
		l.commit()
		l.reading, l.from, l.to = reading, from, to
		return
	}
	l.from, l.to = min(l.from, from), max(l.to, to)
}

// commit takes in the reading that was told.
func (l *lulls) commit() {
	if l.reading == 0 {
		return
	}
	if l.last == 0 {
		l.first = l.from
	} else if l.from > l.last {
		l.keep(Period{l.last, l.from})
	}
	l.readings++
	l.run++
	l.last = max(l.last, l.to)
	l.reading = 0
}

// keep keeps a silence if it is one of the longest.
func (l *lulls) keep(p Period) {
	length := p.To - p.From
	if length < finest || slices.ContainsFunc(l.longest, func(x lull) bool { return x.Period == p }) {
		return
	}
	switch {
	case len(l.longest) < maxLulls:
		l.longest = append(l.longest, lull{p, l.run})
	default:
		i := 0
		for j, x := range l.longest {
			if x.To-x.From < l.longest[i].To-l.longest[i].From {
				i = j
			}
		}
		if x := l.longest[i]; length > x.To-x.From {
			l.longest = append(slices.Delete(l.longest, i, i+1), lull{p, l.run})
		}
	}
	if length >= stillness {
		l.run = 0
	}
}

// usual is how far readings with packets are apart as a rule, 0 if unknown.
func (l *lulls) usual() uint64 {
	if l.readings < 2 {
		return 0
	}
	rest, gaps := sub(l.last, l.first), l.readings-1
	lengths := make([]uint64, 0, maxLulls)
	for _, x := range l.longest {
		lengths = append(lengths, x.To-x.From)
		rest = sub(rest, x.To-x.From)
	}
	if few := uint64(len(lengths)); gaps < 2*few {
		slices.Sort(lengths)
		return lengths[len(lengths)/2]
	}
	return rest / (gaps - uint64(len(lengths)))
}

// steady reports whether a silence ended, or interrupted, steady traffic.
func (l *lulls) steady(length, run uint64) bool {
	usual := l.usual()
	return usual != 0 && run >= steadily && length >= stillness && length/timesUsual >= usual
}

// merge takes in the lulls of the same place under another life's name: what is
// left are the times when neither had packets.
func (l *lulls) merge(o *lulls) {
	l.commit()
	o.commit()
	o.merged = true
	if o.last == 0 || l.last == 0 {
		if l.last == 0 {
			*l = *o
			l.merged = false
		}
		return
	}
	mine, others := l.around(o), o.around(l)
	l.longest = nil
	for _, x := range mine {
		for _, y := range others {
			if both := (Period{max(x.From, y.From), min(x.To, y.To)}); both.From < both.To {
				l.run = min(x.run, y.run)
				l.keep(both)
			}
		}
	}
	l.first, l.last = min(l.first, o.first), max(l.last, o.last)
	l.readings += o.readings
	l.run = min(l.run, o.run)
}

// around are its silences with what is before and after, up to where the other's
// are.
func (l *lulls) around(o *lulls) []lull {
	out := slices.Clone(l.longest)
	if o.first < l.first {
		out = append(out, lull{Period{o.first, l.first}, 0})
	}
	if o.last > l.last {
		out = append(out, lull{Period{l.last, o.last}, l.run})
	}
	return out
}

// lullsOf returns those of a place.
func (a *Analyzer) lullsOf(p place) *lulls {
	l := a.lulls[p]
	if l == nil {
		l = &lulls{}
		a.lulls[p] = l
	}
	return l
}

// finishSilences lists the silences worth telling, in order of time: those after
// steady traffic, and those while the interface was elsewhere.
func (a *Analyzer) finishSilences(places []place, of map[place]*lulls) {
	for _, p := range places {
		l := of[p]
		l.commit()
		slices.SortFunc(l.longest, func(x, y lull) int { return cmp.Compare(x.From, y.From) })
		for _, x := range l.longest {
			a.silent(p, x.From, x.To, l.steady(x.To-x.From, x.run))
		}
		end := a.horizon()
		if a.closing != nil {
			end = min(end, a.closing.Begin)
		}
		if s := p.device.At(); s == nil || s.Netns != p.netns || s.Ifindex != p.ifindex {
			continue // it left, so nothing can come
		}
		if l.steady(sub(end, l.last), l.run) {
			a.silent(p, l.last, 0, true)
		}
	}
}

// silent adds a silence, unless something of it may be missing.
func (a *Analyzer) silent(p place, from, until uint64, steady bool) {
	to := cmp.Or(until, a.m.Ended)
	if slices.ContainsFunc(a.holes(), func(h Period) bool { return h.From < to && from < h.To }) {
		return
	}
	s := &Silence{Netns: p.netns, Device: p.device, Ifindex: p.ifindex, From: from, Until: until, Steady: steady}
	for _, x := range p.device.Stays {
		if x.Netns != p.netns && x.From != 0 && x.From >= from && x.From < to {
			s.Elsewhere = append(s.Elsewhere, x)
		}
	}
	if steady || len(s.Elsewhere) != 0 {
		p.netns.Silences = append(p.netns.Silences, s)
	}
}

// findSilences: traffic that stopped and an interface that went elsewhere.
func (a *Analyzer) findSilences() {
	for _, n := range a.m.Namespaces {
		found := make(map[place][]*Silence)
		for _, s := range n.Silences {
			if s.Steady && len(s.Elsewhere) != 0 {
				p := place{s.Netns, s.Device, s.Ifindex}
				found[p] = append(found[p], s)
			}
		}
		for _, s := range n.Silences {
			p := place{s.Netns, s.Device, s.Ifindex}
			if all := found[p]; len(all) != 0 && all[0] == s {
				a.findInterrupted(all)
			}
		}
	}
}

// findInterrupted makes one finding of an interface's interruptions in a namespace.
func (a *Analyzer) findInterrupted(all []*Silence) {
	length := func(s *Silence) uint64 { return sub(cmp.Or(s.Until, a.m.Ended), s.From) }
	worst := slices.MaxFunc(all, func(x, y *Silence) int { return cmp.Compare(length(x), length(y)) })
	about := []*Netns{worst.Netns}
	for _, x := range worst.Elsewhere {
		if !slices.Contains(about, x.Netns) {
			about = append(about, x.Netns)
		}
	}
	more := ""
	if n := len(all) - 1; n > 0 {
		more = fmt.Sprintf(" So it was %s more.", plural(uint64(n), "time"))
	}
	then := "then for " + Span(length(worst)) + " none did"
	if worst.Until == 0 {
		then = "then none did any more"
	}
	a.find(Finding{
		Rule: "delivery-interrupted", Severity: Info, Subject: worst.Device.Label(), At: worst.From, About: about,
		Text: fmt.Sprintf("packets came steadily into %s in %s until %s; %s, and it was %s.%s",
			worst.Device.Label(), worst.Netns.Label(), a.m.Since(worst.From), then, a.m.Where(worst), more),
	})
}

// Where says, in prose, where else the interface was during a silence, "" if it was
// there all the time.
func (m *Model) Where(s *Silence) string {
	if len(s.Elsewhere) == 0 {
		return ""
	}
	x := s.Elsewhere[0]
	more := ""
	if n := len(s.Elsewhere) - 1; n > 0 {
		more = fmt.Sprintf(", and %s more elsewhere", plural(uint64(n), "time"))
	}
	if x.Until == 0 {
		return fmt.Sprintf("in %s from %s on%s", x.Netns.Label(), m.Since(x.From), more)
	}
	return fmt.Sprintf("in %s from %s to %s%s", x.Netns.Label(), m.Since(x.From), m.Since(x.Until), more)
}
