// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

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
		Rings: []event.RingLedger{
			{Name: s.lifecycle.name, Size: s.lifecycle.size, Received: s.lifecycleN, Lost: s.lifecycleSeq.lost},
		},
	}
	if s.options.Delivery == DeliveryPackets {
		l.Rings = append(l.Rings, event.RingLedger{
			Name: s.packets.name, Size: s.packets.size, Received: s.packetsN, Lost: s.packetsSeq.lost,
		})
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
	for _, a := range s.probes {
		p, err := s.probeLedger(a)
		if err != nil {
			return l, err
		}
		l.Probes = append(l.Probes, p)
	}
	return l, nil
}

func (s *Set) probeLedger(a *attached) (event.ProbeLedger, error) {
	p := a.ledger
	var stats []bpfNstProbeStats
	if err := s.loader.maps["probe_stats"].Lookup(uint32(a.id), &stats); err != nil {
		return p, fmt.Errorf("read the counters of %s: %w", a.name, err)
	}
	for _, n := range stats {
		p.Hits += n.Hits
		p.Lost += n.Lost
	}
	p.Missed = s.missed(a)
	if m := s.modules.states[a.module]; m != nil {
		p.ModuleGone, p.ModuleCame = m.gone, m.came
	}
	return p, nil
}

// missed adds up what the kernel tells about calls whose programs didn't run;
// nil where it doesn't tell.
func (s *Set) missed(a *attached) *uint64 {
	if a.ledger.Status != event.StatusAttached {
		return nil
	}
	if a.ledger.Hook == hookFentry && !s.kernel.Features.FentryMisses {
		return nil
	}
	if a.ledger.Hook == hookKprobe && !s.kernel.Features.KprobeMisses {
		return nil
	}
	var sum uint64
	for _, p := range []*ebpf.Program{a.entry, a.exit} {
		if p == nil {
			continue
		}
		stats, err := p.Stats()
		if err != nil {
			return nil
		}
		sum += stats.RecursionMisses
	}
	for _, l := range []link.Link{a.entryLink, a.exitLink} {
		n, known := linkMisses(l)
		if !known {
			return nil
		}
		sum += n
	}
	return &sum
}

// linkMisses returns what a kprobe's link knows of missed calls (kprobe and
// kretprobe nmissed); 0 for other links, which have no such count.
func linkMisses(l link.Link) (n uint64, known bool) {
	if l == nil {
		return 0, true
	}
	if _, ok := l.(link.PerfEvent); !ok {
		return 0, true
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
