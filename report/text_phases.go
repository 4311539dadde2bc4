// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/nstrace/nstrace/analyze"
)

// noticeable is how long a namespace must have had to wait, in nanoseconds, for
// that to be told with its birth.
const noticeable = 10_000_000

// waited says how long a namespace had to wait, "" if that is nothing to tell.
func waited(b *analyze.Birth) string {
	if b.Wait() < noticeable {
		return ""
	}
	return fmt.Sprintf(" after %s of waiting", analyze.Span(b.Wait()))
}

// phases tells one namespace's life phase by phase, with what each subsystem
// took of its set-up and tear-down.
func (t *writer) phases(n *analyze.Netns) {
	tab := newTable()
	var steps []*analyze.Steps
	row := func(what, at, took, how string) { tab.row(what, at, took, how) }
	if b := n.Birth; b != nil {
		t.birthPhases(b, row)
		steps = append(steps, b.Steps)
	}
	if b := n.Birth; b != nil && n.Put != nil && !b.Inferred {
		row("life", t.at(b.At+b.Setup, ""), analyze.Span(span(b.At+b.Setup, n.Put.At)), "")
	}
	if n.Put != nil && n.CleanupAt != 0 {
		row("queue", t.at(n.Put.At, ""), analyze.Span(span(n.Put.At, n.CleanupAt)), "for the clean-up, after its last put by "+n.Put.Who())
	}
	if n.CleanupAt != 0 {
		how := ""
		if c := n.Cleanup; c != nil {
			how = cleanupHow(c)
			steps = append(steps, c.Steps)
		}
		took := "?"
		if n.Ended != 0 && !n.EndInferred {
			took = analyze.Span(span(n.CleanupAt, n.Ended))
		}
		row("clean-up", t.at(n.CleanupAt, ""), took, how)
	}
	if len(tab.rows) == 0 {
		return
	}
	t.line("\n  phases:")
	tab.numbers(2).write(&t.Builder, "    ")
	for i, what := range []string{"set-up", "clean-up"} {
		if i < len(steps) {
			if n.Birth == nil {
				what = "clean-up"
			}
			t.slowest(what, steps[i])
		}
	}
}

func (t *writer) birthPhases(b *analyze.Birth, row func(what, at, took, how string)) {
	if b.Asked != 0 {
		took := "?"
		if !b.Inferred {
			took = analyze.Span(b.Wait())
		}
		how := "for memory and pernet_ops_rwsem, asked for by " + b.Who()
		if b.Caller != nil {
			how += " in " + b.Caller.Label()
		}
		if behind := t.m.Blockers(b.Behind); len(behind) != 0 {
			how += "; behind " + strings.Join(behind, "; ")
		}
		row("wait", t.at(b.Asked, ""), took, how)
	}
	took, how := "?", stepsHow(b.Steps)
	if b.Setup != 0 {
		took = analyze.Span(b.Setup)
	}
	if b.Errno != 0 {
		how = strings.TrimPrefix(how+", failed: "+analyze.ErrnoName(b.Errno), ", ")
	}
	row("set-up", t.at(b.At, ""), took, how)
}

func cleanupHow(c *analyze.Cleanup) string {
	var how []string
	if c.Who() != "" {
		how = append(how, "by "+c.Who())
	}
	if c.Namespaces > 1 {
		how = append(how, fmt.Sprintf("with %d others", c.Namespaces-1))
	}
	if s := stepsHow(c.Steps); s != "" {
		how = append(how, s)
	}
	return strings.Join(how, ", ")
}

// stepsHow says how many subsystems there were, "" if that isn't known.
func stepsHow(s *analyze.Steps) string {
	if s == nil {
		return ""
	}
	more := ""
	if s.Skipped != 0 {
		more = fmt.Sprintf(", and %d more that weren't recorded", s.Skipped)
	}
	return fmt.Sprintf("%d subsystems, %s in all%s", s.Number, analyze.Span(s.Total), more)
}

// slowest lists the subsystems that took longest.
func (t *writer) slowest(of string, s *analyze.Steps) {
	steps := t.m.Slowest(s)
	if len(steps) == 0 {
		return
	}
	title := "\n  slowest in its %s:"
	if uint64(len(steps)) == s.Number {
		title = "\n  subsystems in its %s, the slowest first:"
	}
	t.line(title, of)
	tab := newTable().numbers(0, 3)
	for _, x := range steps {
		result := ""
		if x.Errno != 0 {
			result = "failed: " + analyze.ErrnoName(x.Errno)
		}
		tab.row(analyze.Span(x.Duration), x.Label(), escape(cmp.Or(owner(x.Subsystem), "?")), fmt.Sprintf("no. %d", x.Order), result)
	}
	tab.write(&t.Builder, "    ")
}

// maxSubsystems is how many subsystems the text lists.
const maxSubsystems = 10

// subsystems lists those that took most of all set-ups and tear-downs.
func (t *writer) subsystems() {
	all := slices.Clone(t.m.Subsystems)
	slices.SortStableFunc(all, func(x, y *analyze.Subsystem) int {
		return cmp.Compare(y.SetUp.Total+y.TearDown.Total, x.SetUp.Total+x.TearDown.Total)
	})
	if len(all) == 0 {
		return
	}
	down := slices.ContainsFunc(all, func(s *analyze.Subsystem) bool { return s.TearDown.Times != 0 })
	head := []string{"subsystem", "module", "set-ups", "in all", "longest", "in"}
	if down {
		head = append(head, "clean-ups", "in all", "longest")
	}
	t.section("SUBSYSTEMS, by what they took of set-ups and clean-ups")
	tab := newTable(head...).numbers(2, 3, 4, 6, 7, 8)
	for _, s := range all[:min(len(all), maxSubsystems)] {
		in := ""
		if s.SetUp.In != nil {
			in = s.SetUp.In.Label()
		}
		cells := []string{
			s.Label(), escape(cmp.Or(owner(s), "?")),
			fmt.Sprint(s.SetUp.Times), analyze.Span(s.SetUp.Total), analyze.Span(s.SetUp.Longest), in,
		}
		if down {
			cells = append(cells, fmt.Sprint(s.TearDown.Times), analyze.Span(s.TearDown.Total), analyze.Span(s.TearDown.Longest))
		}
		tab.row(cells...)
	}
	tab.write(&t.Builder, "  ")
	if more := len(all) - maxSubsystems; more > 0 {
		t.line("  (%d more took less; the JSON report has all)", more)
	}
}

// requestItems tells of requests for namespaces that made none.
func (t *writer) requestItems(add adder) {
	for _, r := range t.m.Refusals {
		about := []*analyze.Netns{r.Caller}
		times := ""
		if r.Count > 1 {
			times = fmt.Sprintf("; %d times, until %s", r.Count, t.m.Since(r.Last))
		}
		who := "others"
		if r.Comm != "" || r.PID != 0 {
			who = r.Who()
		}
		add(r.At, about, "%s asked for a namespace and was refused: %s%s", who, analyze.ErrnoName(r.Errno), times)
	}
	for _, r := range t.m.Requests {
		how := "had none at the end"
		if r.Result == analyze.ResultUnknown {
			how = "what became of that was lost"
		}
		add(r.At, []*analyze.Netns{r.Caller}, "%s asked for a namespace; %s", r.Who(), how)
	}
}
