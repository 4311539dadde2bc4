// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"slices"
	"testing"

	"github.com/nstrace/nstrace/event"
)

// TestVerdictMissed: a missed return spoils the recording; the kernel's count of
// it isn't told as another loss; what is unknown is neither.
func TestVerdictMissed(t *testing.T) {
	number := func(n uint64) *uint64 { return &n }
	for _, c := range []struct {
		name                           string
		missed, returns, returnsMissed *uint64
		rules                          []string
		unknown                        bool
	}{
		{"nothing", number(0), number(5), number(0), nil, false},
		{"an older file", number(0), nil, nil, nil, false},
		{"a kernel that doesn't tell", nil, number(5), number(0), nil, true},
		{"nobody could look", number(0), number(5), nil, nil, true},
		{"returns", number(3), number(5), number(3), []string{ruleReturns}, false},
		{"returns, and the kernel doesn't tell", nil, number(5), number(3), []string{ruleReturns}, true},
		{"entries", number(3), number(5), number(0), []string{ruleMissed}, false},
		{"both", number(4), number(5), number(3), []string{ruleReturns, ruleMissed}, false},
		{"some, and of returns nobody knows", number(4), number(5), nil, []string{ruleMissed}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := New()
			a.HandleRecording(&event.Recording{})
			a.HandleSnapshot(&event.Snapshot{})
			a.HandleSnapshot(&event.Snapshot{Closing: true})
			a.HandleLedger(&event.Ledger{Probes: []event.ProbeLedger{{
				Name: "p", Hook: "kprobe", Status: event.StatusAttached, Hits: 8,
				Missed: c.missed, Returns: c.returns, ReturnsMissed: c.returnsMissed,
			}}})
			a.HandleEnd(&event.End{Reason: "command"})
			m := a.Model()
			var rules []string
			for _, s := range m.Verdict {
				rules = append(rules, s.Rule)
			}
			if !slices.Equal(rules, c.rules) || m.Clean() != (len(c.rules) == 0) {
				t.Errorf("verdict %v, clean %v; want %v", m.Verdict, m.Clean(), c.rules)
			}
			if got := slices.Equal(m.Unknown, []string{"p"}); got != c.unknown {
				t.Errorf("unknown of %v, want %v", m.Unknown, c.unknown)
			}
		})
	}
}
