// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"slices"
	"testing"

	"github.com/nstrace/nstrace/analyze/story"
	"github.com/nstrace/nstrace/event"
)

// TestUnwritten: what could not be written is placed, where that is known.
func TestUnwritten(t *testing.T) {
	for from, want := range map[uint64]string{
		0:               "3 records of what happened at a time that is not known could not be written to the file",
		1500 * story.MS: "3 records of what happened after +0.500 s could not be written to the file",
	} {
		s := stand()
		s.HandleLedger(&event.Ledger{Time: s.Tick(), Unwritten: 3, UnwrittenFrom: from})
		m := s.a.Model()
		if !slices.ContainsFunc(m.Verdict, func(f Statement) bool { return f.Text == want && f.At == from && f.Severity == Error }) {
			t.Errorf("%+v, want %q", m.Verdict, want)
		}
		if m.Lost != 3 || m.Clean() {
			t.Errorf("%d lost, clean: %v", m.Lost, m.Clean())
		}
	}
}
