// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"testing"

	"github.com/nstrace/nstrace/analyze/story"
	"github.com/nstrace/nstrace/event"
)

// tale is a story and who listens to it.
type tale struct {
	*story.Story
	a *Analyzer
}

func begin() *tale {
	a := New()
	return &tale{story.New(a), a}
}

func blank() *tale {
	a := New()
	return &tale{story.Blank(a), a}
}

func (s *tale) end(states ...event.NetnsState) *Model {
	s.End(states...)
	return s.a.Model()
}

// finding returns the only finding of a rule, nil if there is none.
func (m *Model) finding(t *testing.T, rule string) *Finding {
	t.Helper()
	var found *Finding
	for i := range m.Findings {
		if m.Findings[i].Rule == rule {
			if found != nil {
				t.Errorf("two findings %q: %q and %q", rule, found.Text, m.Findings[i].Text)
			}
			found = &m.Findings[i]
		}
	}
	return found
}
