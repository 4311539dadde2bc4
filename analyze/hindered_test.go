// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"slices"
	"testing"

	"github.com/nstrace/nstrace/event"
)

// TestVerdictHindered: what the recorder couldn't see spoils the recording, and
// each cause is told once, with all that it cost.
func TestVerdictHindered(t *testing.T) {
	failed := func(name, function, reason string) event.ProbeLedger {
		return event.ProbeLedger{Name: name, Function: function, Status: event.StatusFailed, Reason: reason, Loses: "the " + name + "s"}
	}
	a := New()
	a.HandleRecording(&event.Recording{})
	a.HandleSnapshot(&event.Snapshot{})
	a.HandleSnapshot(&event.Snapshot{Closing: true})
	a.HandleLedger(&event.Ledger{
		Problems: []event.Problem{{What: "CAP_X missing: a recording lacks y", Remedy: "be root"}, {What: "something \x1b else"}},
		Probes: []event.ProbeLedger{
			failed("birth", "setup", "fentry: setup: no"), failed("move", "switch", "not allowed"), failed("death", "cleanup", "fentry: cleanup: no"),
			{Name: "other", Status: event.StatusFailed},
		},
	})
	a.HandleEnd(&event.End{Reason: "command"})
	m := a.Model()
	var got []string
	for _, s := range m.Verdict {
		if s.Severity != Warning {
			t.Errorf("%q is %v", s.Text, s.Severity)
		}
		got = append(got, s.Text)
	}
	want := []string{
		"CAP_X missing: a recording lacks y; be root",
		`something \x1b else`,
		"probes birth and death could not be attached (fentry: setup: no); without them: the births; the deaths",
		"probe move could not be attached (not allowed); without it: the moves",
		"probe other could not be attached",
	}
	if !slices.Equal(got, want) || m.Clean() {
		t.Errorf("clean %v; got\n%q\nwant\n%q", m.Clean(), got, want)
	}
}
