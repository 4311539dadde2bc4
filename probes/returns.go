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
	calls, steps *ebpf.Map
	threads      *threads
	// buried counts, by the probe's id, calls that were taken out of the table
	// because their threads are dead: nothing else would.
	buried map[bpfNstKind]uint64
}

func newReturns(calls, steps *ebpf.Map) *returns {
	return &returns{calls: calls, steps: steps, threads: newThreads(), buried: map[bpfNstKind]uint64{}}
}

// left is what is left of a probe's calls in the table.
type left struct {
	running, over, unknown uint64
}

// add counts one more.
func (l *left) add(f fate) {
	switch f {
	case fateRunning:
		l.running++
	case fateOver:
		l.over++
	case fateUnknown:
		l.unknown++
	}
}

// look goes through the table of running calls, and that of the subsystems' steps,
// and tells by probe what became of those they have.
func (r *returns) look(probes []*attached) (map[bpfNstKind]left, error) {
	functions := map[bpfNstKind]string{}
	for _, a := range probes {
		functions[a.id] = a.function.Name
	}
	found := map[bpfNstKind]left{}
	return found, errors.Join(r.lookAtCalls(functions, found), r.lookAtSteps(functions, found))
}

func (r *returns) lookAtCalls(functions map[bpfNstKind]string, found map[bpfNstKind]left) error {
	var (
		key  bpfCallKey
		call bpfCall
		dead []bpfCallKey
		kind []bpfNstKind // of each, 0 if its return isn't awaited
	)
	calls := r.calls.Iterate()
	for calls.Next(&key, &call) {
		k := bpfNstKind(key.Kind)
		f := r.threads.fate(key.Tid, call.Start, functions[k])
		if call.Assumed != 0 {
			k = 0
		}
		if f == fateDead {
			dead, kind = append(dead, key), append(kind, k)
		}
		l := found[k]
		l.add(f)
		found[k] = l
	}
	for i, key := range dead {
		if r.calls.Delete(&key) == nil {
			r.buried[kind[i]]++
		}
	}
	return iterated("running calls", calls)
}

// lookAtSteps does the same with the calls that are collected (bpf/steps.h): a
// thread is in one at most.
func (r *returns) lookAtSteps(functions map[bpfNstKind]string, found map[bpfNstKind]left) error {
	var (
		tid  uint32
		s    bpfSteps
		dead []uint32
		kind []bpfNstKind
	)
	steps := r.steps.Iterate()
	for steps.Next(&tid, &s) {
		// The step that is running is behind those counted.
		k, n := bpfNstKind(s.Record.Kind), int(s.Record.Count)
		if s.Running == 0 {
			k, n = 0, n-1
		}
		if n < 0 || n >= len(s.Step) {
			continue // it has just begun
		}
		f := r.threads.fate(tid, s.Step[n].Began, functions[k])
		if f == fateDead {
			dead, kind = append(dead, tid), append(kind, k)
		}
		l := found[k]
		l.add(f)
		found[k] = l
	}
	for i, tid := range dead {
		if r.steps.Delete(&tid) == nil {
			r.buried[kind[i]]++
		}
	}
	return iterated("running steps", steps)
}

// iterated returns how going through a table ended. One that is aborted goes on
// while calls begin and end: the next look has what it didn't see.
func iterated(what string, table *ebpf.MapIterator) error {
	if err := table.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("read the table of %s: %w", what, err)
	}
	return nil
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
