// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/nstrace/nstrace/event"
)

// returns accounts for the returns of calls whose entries were seen. Most are
// seen. That one was missed may be proven by what its thread does afterwards
// (bpf/calls.h), or because the thread isn't in the call any more.
type returns struct {
	calls   *ebpf.Map
	threads *threads
	// buried counts, by the probe's id, calls that were taken out of the table
	// because their threads are dead: nothing else would.
	buried map[bpfNstKind]uint64
}

func newReturns(calls *ebpf.Map) *returns {
	return &returns{calls: calls, threads: newThreads(), buried: map[bpfNstKind]uint64{}}
}

// left is what is left of a probe's calls in the table.
type left struct {
	running, over, unknown uint64
}

// look goes through the table of running calls, and tells by probe what became
// of those it has.
func (r *returns) look(probes []*attached) (map[bpfNstKind]left, error) {
	functions := map[uint16]string{}
	for _, a := range probes {
		functions[uint16(a.id)] = a.function.Name
	}
	var (
		key  bpfCallKey
		call bpfCall
		dead []bpfCallKey
	)
	found := map[bpfNstKind]left{}
	calls := r.calls.Iterate()
	for calls.Next(&key, &call) {
		if call.Assumed != 0 {
			continue
		}
		l := found[bpfNstKind(key.Kind)]
		switch r.threads.fate(key.Tid, call.Start, functions[key.Kind]) {
		case fateRunning:
			l.running++
		case fateOver:
			l.over++
		case fateDead:
			dead = append(dead, key)
		case fateUnknown:
			l.unknown++
		}
		found[bpfNstKind(key.Kind)] = l
	}
	// Aborted is one that goes on while calls begin and end: the next look has
	// what it didn't see.
	if err := calls.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return nil, fmt.Errorf("read the table of running calls: %w", err)
	}
	for _, key := range dead {
		if r.calls.Delete(&key) == nil {
			r.buried[bpfNstKind(key.Kind)]++
		}
	}
	return found, nil
}

// account fills in what is known of a probe's returns. missed is how many of
// them the kernel says it let pass, nil if it doesn't.
func (r *returns) account(p *event.ProbeLedger, id bpfNstKind, stats *bpfNstProbeStats, l left, missed *uint64) {
	seen := stats.Returns[bpfNstReturnNST_RETURN_SEEN]
	proven := stats.Returns[bpfNstReturnNST_RETURN_MISSED] + r.buried[id] + l.over
	p.CallsDropped = stats.Returns[bpfNstReturnNST_RETURN_UNEXPECTED]
	p.Strays = stats.Returns[bpfNstReturnNST_RETURN_STRAY]
	p.Open = l.running
	p.Returns = &seen
	switch {
	case l.unknown == 0:
	case missed != nil && *missed <= proven:
		p.Open += l.unknown // all that were missed are accounted for
	default:
		return
	}
	p.ReturnsMissed = &proven
}
