// SPDX-License-Identifier: Apache-2.0

package probes

import (
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
func (a *attached) misses(f *features) misses {
	now := a.missesNow(f)
	if a.missedAfter != nil {
		now = *a.missedAfter
	}
	now = now.since(a.missedBefore)
	if a.missedEarlier != nil {
		now = now.plus(*a.missedEarlier)
	}
	return now
}

// missesNow asks the kernel.
func (a *attached) missesNow(f *features) misses {
	return misses{missedBy(f, a.ledger.Hook, a.entry, a.entryLink), missedBy(f, a.ledger.Hook, a.exit, a.exitLink)}
}

func missedBy(f *features, hook string, p *ebpf.Program, l link.Link) *uint64 {
	var n uint64
	switch {
	case p == nil || hook != hookKprobe && !f.Recursion:
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
		missed, known := linkMisses(l)
		if !known {
			return nil
		}
		n += missed
	}
	return &n
}

// linkMisses returns what a kprobe's link knows of missed calls: nmissed of its
// kprobe, and of its kretprobe.
func linkMisses(l link.Link) (n uint64, known bool) {
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
