// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"slices"
	"testing"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/event"
	"github.com/nstrace/nstrace/trace"
)

// tape is what a file holds, unabridged, where a report tells only what it means.
type tape struct {
	*analyze.Analyzer // takes what isn't of interest here
	began             uint64
	events            []event.Event
	losses            []event.Loss
	ledger            event.Ledger
	summary           *trace.Summary
}

func (f *tape) HandleRecording(r *event.Recording) {
	f.began = r.Began
	f.Analyzer.HandleRecording(r)
}

func (f *tape) HandleEvent(e *event.Event)   { f.events = append(f.events, *e) }
func (f *tape) HandleLoss(l *event.Loss)     { f.losses = append(f.losses, *l) }
func (f *tape) HandleLedger(l *event.Ledger) { f.ledger = *l }

// play reads all of a file.
func play(t *testing.T, file string) *tape {
	t.Helper()
	r, err := trace.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f := &tape{Analyzer: analyze.New()}
	if err := r.Replay(f, trace.ReplayOptions{}); err != nil {
		t.Fatal(err)
	}
	if f.summary, err = r.Verify(); err != nil {
		t.Fatal(err)
	}
	return f
}

// of is the account of one kind of record.
func (f *tape) of(kind string) trace.KindSummary {
	i := slices.IndexFunc(f.summary.Kinds, func(k trace.KindSummary) bool { return k.Kind == kind })
	if i < 0 {
		return trace.KindSummary{Kind: kind}
	}
	return f.summary.Kinds[i]
}

// ring is one ring's account.
func (f *tape) ring(name string) event.RingLedger {
	i := slices.IndexFunc(f.ledger.Rings, func(r event.RingLedger) bool { return r.Name == name })
	if i < 0 {
		return event.RingLedger{Name: name}
	}
	return f.ledger.Rings[i]
}

// count returns how many events of a kind there are.
func (f *tape) count(kind event.Kind) (n uint64) {
	for i := range f.events {
		if f.events[i].Kind == kind {
			n++
		}
	}
	return n
}

// by finds the first event of a namespace's birth by a program of that name.
func (f *tape) by(comm string) *event.Event {
	i := slices.IndexFunc(f.events, func(e event.Event) bool {
		return e.Comm == comm && e.Kind == event.KindSetupNet && e.Phase == event.PhaseExit
	})
	if i < 0 {
		return nil
	}
	return &f.events[i]
}
