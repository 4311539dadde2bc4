// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"cmp"
	"fmt"
	"maps"

	"github.com/nstrace/nstrace/event"
)

// Ledger says what was attached and what may be missing, as of now.
func (s *Set) Ledger() (event.Ledger, error) {
	now, err := bootTime()
	if err != nil {
		return event.Ledger{}, err
	}
	l := event.Ledger{
		Time: now, Undecoded: s.decoder.undecoded,
	}
	for _, st := range s.numbered() {
		if st == &s.packets && s.options.Delivery != DeliveryPackets {
			continue
		}
		l.Rings = append(l.Rings, event.RingLedger{Name: st.seq.ring, Size: st.size, Received: st.received, Lost: st.seq.lost})
	}
	drops := s.loader.maps["drops"]
	if l.CallsDropped, err = sumPerCPU(drops, uint32(bpfNstDropNST_DROP_CALLS)); err != nil {
		return l, fmt.Errorf("read the loss counters: %w", err)
	}
	if l.FlowsDropped, err = sumPerCPU(drops, uint32(bpfNstDropNST_DROP_FLOWS)); err != nil {
		return l, fmt.Errorf("read the loss counters: %w", err)
	}
	baffled, err := sumPerCPU(drops, uint32(bpfNstDropNST_DROP_LAYOUT))
	if err != nil {
		return l, fmt.Errorf("read the loss counters: %w", err)
	}
	l.Undecoded += baffled
	return l, s.probeLedgers(&l)
}

// probeLedgers adds each probe's account.
func (s *Set) probeLedgers(l *event.Ledger) error {
	stats, open, err := s.settledCalls()
	if err != nil {
		return err
	}
	marked, err := s.counters.marked()
	if err != nil {
		return err
	}
	t := s.loader.tally(s.probes)
	for _, a := range s.probes {
		p := a.ledger
		n := stats[a.id]
		p.Hits, p.Lost = n.Hits, n.Lost
		if a.id == bpfNstKindNST_RECEIVE {
			p.Hits += marked
		}
		if a.ledger.Status == event.StatusAttached {
			missed := a.misses(t)
			if a.returns {
				s.returns.account(&p, a.id, &n, open[a.id], missed.exit)
				missed.exit = cmp.Or(missed.exit, p.ReturnsMissed)
			}
			p.Missed = missed.sum()
			p.Reason = joinReasons(p.Reason, a.lacks)
		}
		if m := s.modules.states[a.module]; m != nil {
			p.ModuleGone, p.ModuleCame = m.gone, m.came
		}
		l.Probes = append(l.Probes, p)
	}
	return nil
}

// settledCalls returns the probes' counters and what is left of their calls. A
// call that returns between the two readings would be in both, or in neither,
// so they are read again then. While recording, calls may never stop to return;
// once it is over, those that are left do.
func (s *Set) settledCalls() (stats map[bpfNstKind]bpfNstProbeStats, open map[bpfNstKind]left, err error) {
	if stats, err = s.readStats(); err != nil {
		return nil, nil, err
	}
	for range 10 {
		before := stats
		if open, err = s.returns.look(s.probes); err != nil {
			return nil, nil, err
		}
		if stats, err = s.readStats(); err != nil {
			return nil, nil, err
		}
		if maps.Equal(before, stats) {
			break
		}
	}
	return stats, open, nil
}

// readStats adds up what the CPUs counted.
func (s *Set) readStats() (map[bpfNstKind]bpfNstProbeStats, error) {
	sums := map[bpfNstKind]bpfNstProbeStats{}
	var cpus []bpfNstCpu
	if err := s.loader.maps["cpus"].Lookup(uint32(0), &cpus); err != nil {
		return nil, fmt.Errorf("read the counters of packets: %w", err)
	}
	for _, a := range s.probes {
		var stats []bpfNstProbeStats
		if err := s.loader.maps["probe_stats"].Lookup(uint32(a.id), &stats); err != nil {
			return nil, fmt.Errorf("read the counters of %s: %w", a.name, err)
		}
		var sum bpfNstProbeStats
		for _, n := range stats {
			sum.Hits += n.Hits
			sum.Lost += n.Lost
			for i := range n.Returns {
				sum.Returns[i] += n.Returns[i]
			}
		}
		for i := range cpus {
			sum.Hits += cpus[i].Hits[a.id]
		}
		sums[a.id] = sum
	}
	return sums, nil
}
