// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"io"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// misses are how often the kernel let a call pass without running the program
// at its entry or at its return; nil where it doesn't tell.
type misses struct{ entry, exit *uint64 }

// sum is nil unless both are known.
func (m misses) sum() *uint64 {
	if m.entry == nil || m.exit == nil {
		return nil
	}
	n := *m.entry + *m.exit
	return &n
}

// since takes away what was missed before the recording.
func (m misses) since(before misses) misses {
	return misses{difference(m.entry, before.entry), difference(m.exit, before.exit)}
}

// plus adds those of a hook that was there earlier.
func (m misses) plus(earlier misses) misses {
	return misses{total(m.entry, earlier.entry), total(m.exit, earlier.exit)}
}

func total(n, earlier *uint64) *uint64 {
	if n == nil || earlier == nil {
		return nil
	}
	t := *n + *earlier
	return &t
}

func difference(n, before *uint64) *uint64 {
	if n == nil || before == nil {
		return nil
	}
	d := *n - *before
	return &d
}

// misses are those of the recording: up to now, or to when it was over.
func (a *attached) misses(t *tally) misses {
	now := t.misses(a)
	if a.missedAfter != nil {
		now = *a.missedAfter
	}
	now = now.since(a.missedBefore)
	if a.missedEarlier != nil {
		now = now.plus(*a.missedEarlier)
	}
	return now
}

// tally is what the kernel tells of all hooks at one time.
type tally struct {
	features *features
	// events are the counts of trace events, by their names.
	events map[string]eventCount
	// skipped are, by the name of its trace event, the hits at which the kernel
	// didn't run a program that counts its runs.
	skipped map[string]uint64
}

// tally asks the kernel.
func (l *loader) tally(probes []*attached) *tally {
	t := &tally{features: &l.kernel.Features}
	if !slices.ContainsFunc(probes, (*attached).hasEvent) {
		return t
	}
	var err error
	if !l.countsRuns() {
		if t.events, err = l.events.counts(); err != nil {
			t.events = nil // so they are unknown
		}
		return t
	}
	// A hit is counted before the run, so at any one moment there may be one
	// more. The least of several readings has none that is just running.
	t.skipped = map[string]uint64{}
	for range 5 {
		before := readRuns(probes)
		if t.events, err = l.events.counts(); err != nil {
			return &tally{features: t.features}
		}
		for name, runs := range readRuns(probes) {
			skipped := t.events[name].hits - runs
			known, ok := t.skipped[name]
			if runs == before[name] && skipped <= t.events[name].hits && (!ok || skipped < known) {
				t.skipped[name] = skipped
			}
		}
	}
	return t
}

func (a *attached) hasEvent() bool {
	_, entry := a.entryLink.(*traceEvent)
	_, exit := a.exitLink.(*traceEvent)
	return entry || exit
}

// readRuns returns how often programs ran that count their runs.
func readRuns(probes []*attached) map[string]uint64 {
	runs := map[string]uint64{}
	for _, a := range probes {
		if e, ok := a.entryLink.(*traceEvent); ok && a.runs != nil {
			if n, err := sumPerCPU(a.runs, 0); err == nil {
				runs[e.name] = n
			}
		}
	}
	return runs
}

func (t *tally) misses(a *attached) misses {
	m := misses{t.missedBy(a.ledger.Hook, a.entry, a.entryLink), t.missedBy(a.ledger.Hook, a.exit, a.exitLink)}
	if e, ok := a.entryLink.(*traceEvent); ok && !t.features.KprobeMisses {
		m.entry = t.missedByEntry(e)
	}
	return m
}

// missedByEntry is for kernels that count only what a trace event misses.
func (t *tally) missedByEntry(e *traceEvent) *uint64 {
	skipped, ok := t.skipped[e.name]
	if !ok {
		return nil
	}
	skipped += t.events[e.name].missed
	return &skipped
}

func (t *tally) missedBy(hook string, p *ebpf.Program, by io.Closer) *uint64 {
	var n uint64
	f := t.features
	switch {
	case p == nil || hook == hookCgroup || hook != hookKprobe && !f.Recursion:
		return &n // there is nothing that could be missed
	case hook != hookKprobe && !f.FentryMisses, hook == hookKprobe && !f.KprobeMisses:
		return nil
	}
	stats, err := p.Stats()
	if err != nil {
		return nil
	}
	n = stats.RecursionMisses
	if hook == hookKprobe {
		missed, known := t.missedByKprobe(by)
		if !known {
			return nil
		}
		n += missed
	}
	return &n
}

// missedByKprobe returns what the kernel tells of a kprobe's missed calls:
// nmissed of it, and of its kretprobe.
func (t *tally) missedByKprobe(by io.Closer) (n uint64, known bool) {
	if e, ok := by.(*traceEvent); ok {
		count, known := t.events[e.name]
		return count.missed, known
	}
	l, ok := by.(link.Link)
	if !ok {
		return 0, false
	}
	info, err := l.Info()
	if err != nil {
		return 0, false
	}
	event := info.PerfEvent()
	if event == nil {
		return 0, false
	}
	kprobe := event.Kprobe()
	if kprobe == nil {
		return 0, false
	}
	return kprobe.Missed, true
}
