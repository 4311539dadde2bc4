// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"cmp"
	"fmt"
	"slices"
)

// slow is how long, in nanoseconds, a phase may take before it is worth a
// finding.
const slow = 1_000_000_000

// findNamespaces: slow, failed and unfinished phases.
func (a *Analyzer) findNamespaces() {
	told := make(map[*Cleanup]bool)
	for _, n := range a.m.Namespaces {
		a.findSetup(n)
		switch {
		case n.Dying():
			a.findDying(n)
		case n.Cleanup != nil && told[n.Cleanup]:
		case n.Ended != 0 && n.Put != nil && !n.EndInferred && sub(n.Ended, n.Put.At) >= slow:
			told[n.Cleanup] = true
			a.findSlowCleanup(n)
		}
	}
}

// findSetup: a set-up failed or took long.
func (a *Analyzer) findSetup(n *Netns) {
	b := n.Birth
	switch {
	case b == nil:
	case b.Errno != 0:
		what := "one subsystem's set-up"
		if s := a.m.Failed(b.Steps); s != nil {
			what = "the set-up of " + s.Full()
		}
		a.find(Finding{
			Rule: "setup-failed", Severity: Error, Subject: n.Label(), At: b.At, About: []*Netns{n},
			Text: fmt.Sprintf("%s could not create a namespace: %s failed with %s after %s.", b.Who(), what, ErrnoName(b.Errno), Span(sub(n.Ended, b.At))),
		})
	case b.Setup >= slow:
		a.find(Finding{
			Rule: "setup-slow", Severity: Warning, Subject: n.Label(), At: b.At, About: []*Netns{n},
			Text: fmt.Sprintf("setting up %s for %s took %s%s.", n.Label(), b.Who(), Span(b.Setup), a.m.slowestOf(b.Steps)),
		})
	}
}

// slowestOf says which subsystem took most of it, "" if that is unknown.
func (m *Model) slowestOf(s *Steps) string {
	all := m.Slowest(s)
	if len(all) == 0 {
		return ""
	}
	return fmt.Sprintf(", of which %s took %s", all[0].Full(), Span(all[0].Duration))
}

// findSlowCleanup: the batch that n was in was slow to begin or to end.
func (a *Analyzer) findSlowCleanup(n *Netns) {
	what, about := n.Label(), []*Netns{n}
	if c := n.Cleanup; c != nil && c.Namespaces > 1 {
		what = fmt.Sprintf("%s, with %s,", what, plural(uint64(c.Namespaces-1), "other"))
		about = nil
		for _, o := range a.m.Namespaces {
			if o.Cleanup == c {
				about = append(about, o)
			}
		}
	}
	text := fmt.Sprintf("%s was gone %s after its last reference", what, Span(n.Ended-n.Put.At))
	if n.CleanupAt != 0 {
		text += fmt.Sprintf(": it waited %s for the clean-up to begin, which took %s", Span(sub(n.CleanupAt, n.Put.At)), Span(sub(n.Ended, n.CleanupAt)))
	}
	if n.Cleanup != nil {
		text += a.m.slowestOf(n.Cleanup.Steps)
	}
	a.find(Finding{Rule: "cleanup-slow", Severity: Warning, Subject: n.Label(), At: n.Put.At, About: about, Text: text + "."})
}

// findDying: put, but not gone at the end.
func (a *Analyzer) findDying(n *Netns) {
	age := sub(a.horizon(), n.Put.At)
	f := Finding{
		Rule: "netns-dying", Severity: Info, Subject: n.Label(), At: n.Put.At, About: []*Netns{n},
		Text: fmt.Sprintf("%s was being cleaned up when the recording ended, %s after its last reference went (%s).", n.Label(), Span(age), n.Put.Who()),
	}
	if age >= slow {
		f.Severity = Warning
	}
	if a.missing() {
		f.Text += mayBeOver
	}
	a.find(f)
}

// findLeftBehind: namespaces that nobody is in, and whose name is gone.
func (a *Analyzer) findLeftBehind() {
	type group struct {
		comm, holder string
		members      []*Netns
	}
	var groups []*group
	for _, n := range a.m.Namespaces {
		if !n.Alive() || n.Initial {
			continue
		}
		g := group{comm: n.creator()}
		switch removed := n.nameRemoved(); {
		case removed:
			a.findNameRemoved(n)
			continue
		case !a.m.Closing || n.Birth == nil:
			continue
		default:
			g.holder = a.heldBy(n)
		}
		if g.holder == "" {
			continue
		}
		i := slices.IndexFunc(groups, func(x *group) bool { return x.comm == g.comm && x.holder == g.holder })
		if i < 0 {
			groups = append(groups, &g)
			i = len(groups) - 1
		}
		groups[i].members = append(groups[i].members, n)
	}
	for _, g := range groups {
		a.findGroup(g.comm, g.holder, g.members)
	}
}

func (n *Netns) creator() string {
	if n.Birth == nil {
		return ""
	}
	return n.Birth.Comm
}

// nameRemoved reports whether the namespace had a name and has none any more.
func (n *Netns) nameRemoved() bool {
	return len(n.Names) != 0 && len(n.CurrentNames()) == 0
}

func (a *Analyzer) findGroup(comm, holder string, members []*Netns) {
	var about []string
	for _, n := range members[:min(len(members), 3)] {
		about = append(about, fmt.Sprintf("%s (made at %s)", n.Label(), a.m.Since(n.Birth.At)))
	}
	if more := len(members) - 3; more > 0 {
		about = append(about, fmt.Sprintf("%d more", more))
	}
	first := members[0]
	oldest := sub(a.m.Ended, first.Birth.At)
	f := Finding{
		Rule: "netns-left-behind", Severity: Info, Subject: first.Label(), At: first.Birth.At, About: members,
		Text: fmt.Sprintf("%s made by %s had no task in it when the recording ended, up to %s later, and no last put was seen. Kept by %s: %s.",
			plural(uint64(len(members)), "namespace"), Escape(cmp.Or(comm, "?")), Span(oldest), holder, list(about)),
		Advice: fmt.Sprintf("lsns -t net; find /proc/[0-9]*/fd -lname 'net:*%d*' 2>/dev/null", first.Inum),
	}
	if len(members) > 1 {
		f.Severity = Warning
		f.Subject = plural(uint64(len(members)), "namespace")
	}
	a.find(f)
}

// findNameRemoved: the name went but the namespace didn't, and its radios with
// it.
func (a *Analyzer) findNameRemoved(n *Netns) {
	last := n.Names[len(n.Names)-1]
	f := Finding{
		Rule: "name-removed-netns-alive", Severity: Info, Subject: n.Label(), At: last.Until, About: []*Netns{n},
		Text: fmt.Sprintf("the name %s was removed at %s, but the namespace (net:[%d]) lives on", Escape(last.Name), a.m.Since(last.Until), n.Inum),
	}
	var holders []string
	for _, h := range n.Holders {
		holders = append(holders, HolderLabel(h))
	}
	switch {
	case len(holders) != 0:
		f.Text += ", held by " + list(holders[:min(len(holders), 5)])
	case a.m.Closing:
		f.Text += ", held by " + a.unseenHolder()
	}
	var radios []string
	for _, s := range n.WiphyStays {
		if s.Left == "" {
			radios = append(radios, s.Wiphy.Label())
		}
	}
	if len(radios) != 0 {
		f.Severity = Warning
		f.Text += fmt.Sprintf(". With it stays %s, until the last holder lets go", list(radios))
	}
	f.Text += "."
	if pid := n.holderTask(); pid != 0 {
		f.Advice = fmt.Sprintf("nsenter --net=/proc/%d/ns/net ip link; kill %d", pid, pid)
	}
	a.find(f)
}

func (n *Netns) holderTask() uint32 {
	for _, h := range n.Holders {
		if h.Kind == "task" {
			return h.PID
		}
	}
	return 0
}
