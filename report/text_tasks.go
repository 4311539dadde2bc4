// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/nstrace/nstrace/analyze"
)

// visit is a task's coming, its going, or both.
type visit struct {
	at   uint64
	stay *analyze.TaskStay
	how  visitKind
}

type visitKind int

const (
	visitCame visitKind = iota
	visitLeft
	visitBoth
	// visitParted: the first thread of a process left, and others stayed.
	visitParted
)

// What of a kind happens more often than this between two other lines of a
// timeline is one line.
const maxVisits = 4

// withTasks adds who came into n and left it to what else happened there. Those
// who came and went while nothing else did have one line, and if there are many,
// they share it.
func (t *writer) withTasks(n *analyze.Netns, others []item) []item {
	var out []item
	visits := t.visits(n)
	about := []*analyze.Netns{n}
	for i := 0; i <= len(others); i++ {
		until := len(visits)
		if i < len(others) {
			until, _ = slices.BinarySearchFunc(visits, others[i].at, func(v visit, at uint64) int { return cmp.Compare(v.at, at) })
		}
		var between []item
		for _, lines := range alike(whole(visits[:until])) {
			if len(lines) > maxVisits {
				between = append(between, item{at: lines[0].at, text: t.visitors(lines), about: about})
				continue
			}
			for _, v := range lines {
				between = append(between, item{at: v.at, text: t.visitText(n, v), about: about})
			}
		}
		slices.SortStableFunc(between, func(x, y item) int { return cmp.Compare(x.at, y.at) })
		out, visits = append(out, between...), visits[until:]
		if i < len(others) {
			out = append(out, others[i])
		}
	}
	return out
}

// visits are those that pass the options, in order.
func (t *writer) visits(n *analyze.Netns) []visit {
	var out []visit
	add := func(at uint64, s *analyze.TaskStay, how visitKind) {
		if at != 0 && t.o.when(at) {
			out = append(out, visit{at, s, how})
		}
	}
	for _, s := range n.TaskStays {
		add(s.From, s, visitCame)
		add(s.ThreadsSince, s, visitParted)
		add(s.Until, s, visitLeft)
	}
	slices.SortStableFunc(out, func(x, y visit) int { return cmp.Compare(x.at, y.at) })
	return out
}

// whole makes one of the coming and the going of a task.
func whole(in []visit) []visit {
	came := make(map[*analyze.TaskStay]int)
	var out []visit
	for _, v := range in {
		switch i, ok := came[v.stay]; {
		case v.how == visitCame:
			came[v.stay] = len(out)
		case v.how == visitLeft && ok:
			out[i].how = visitBoth
			continue
		case v.how == visitParted && ok && v.stay.Until != 0 && v.stay.Until <= in[len(in)-1].at:
			continue // it is gone altogether
		}
		out = append(out, v)
	}
	return out
}

// alike puts visits of one kind together.
func alike(in []visit) [][]visit {
	out := make([][]visit, visitParted+1)
	for _, v := range in {
		out[v.how] = append(out[v.how], v)
	}
	return out
}

// visitors tells of many in one line.
func (t *writer) visitors(in []visit) string {
	last := uint64(0)
	comms := make(map[string]int)
	for _, v := range in {
		comms[v.stay.Comm]++
		last = max(last, v.at)
		if v.how == visitBoth {
			last = max(last, v.stay.Until)
		}
	}
	what := "came and went"
	switch in[0].how {
	case visitCame:
		what = "came in"
	case visitLeft:
		what = "left"
	case visitParted:
		what = "left threads behind"
	}
	text := fmt.Sprintf("%d tasks %s until %s: %s", len(in), what, t.m.Since(last), commList(comms))
	if len(comms) == 1 {
		text = fmt.Sprintf("%d tasks of %s %s until %s", len(in), program(in[0].stay.Comm), what, t.m.Since(last))
	}
	return text
}

func program(comm string) string {
	if comm == "" {
		return "an unknown program"
	}
	return escape(comm)
}

// maxComms is how many programs are named.
const maxComms = 4

// commList says how many tasks there are of each program, the most first.
func commList(comms map[string]int) string {
	names := make([]string, 0, len(comms))
	for c := range comms {
		names = append(names, c)
	}
	slices.SortFunc(names, func(x, y string) int { return cmp.Or(cmp.Compare(comms[y], comms[x]), cmp.Compare(x, y)) })
	var out []string
	rest := 0
	for i, c := range names {
		if i >= maxComms && len(names) > maxComms+1 {
			rest += comms[c]
			continue
		}
		out = append(out, fmt.Sprintf("%d of %s", comms[c], program(c)))
	}
	if rest != 0 {
		out = append(out, fmt.Sprintf("%d of %d others", rest, len(names)-maxComms))
	}
	return strings.Join(out, ", ")
}

// visitText tells of one.
func (t *writer) visitText(n *analyze.Netns, v visit) string {
	s := v.stay
	switch v.how {
	case visitCame:
		return whoCame(s) + " " + t.came(n, s) + contained(s)
	case visitLeft:
		return whoCame(s) + " " + left(s)
	case visitParted:
		return fmt.Sprintf("the first thread of %s left, others stayed", s.Who())
	}
	return fmt.Sprintf("%s %s and %s %s later", whoCame(s), t.came(n, s), left(s), analyze.Span(span(s.From, s.Until)))
}

// whoCame is the process, or the thread of one that came without it.
func whoCame(s *analyze.TaskStay) string {
	if s.TID != 0 {
		return fmt.Sprintf("thread %d of %s", s.TID, analyze.Task(s.PID, s.Comm))
	}
	return s.Who()
}

// came says how a task came in.
func (t *writer) came(n *analyze.Netns, s *analyze.TaskStay) string {
	from := ""
	if s.CameFrom != nil && s.CameFrom != n {
		from = " from " + s.CameFrom.Label()
	}
	if s.Inferred {
		return "is in it by now (its arrival was not seen)"
	}
	switch s.Arrived {
	case analyze.ArrivedUnshare:
		return "came in" + from + " (unshare)"
	case analyze.ArrivedSetns:
		return "came in" + from + " (setns)"
	case analyze.ArrivedFork:
		by := ""
		in := n
		if from != "" {
			in = s.CameFrom
		}
		if s.Parent != 0 {
			by = " by " + analyze.Task(s.Parent, in.Tasks()[s.Parent])
		}
		if in != n {
			by += " in " + in.Label()
		}
		return "was forked" + by
	}
	return "came in" + from
}

// left says how a task left.
func left(s *analyze.TaskStay) string {
	to := ""
	if s.WentTo != nil && s.WentTo != s.Netns {
		to = " for " + s.WentTo.Label()
	}
	switch {
	case s.EndInferred:
		return "was not there any more (not seen leaving)"
	case s.Left == analyze.LeftExit:
		return "ended"
	case s.Left == analyze.LeftUnshare:
		return "left" + to + " (unshare)"
	case s.Left == analyze.LeftJoined:
		return "was joined by its process"
	}
	return "left" + to + " (setns)"
}

// containers are those that tasks in n were in.
func containers(n *analyze.Netns) string {
	var out []string
	for _, s := range n.TaskStays {
		if s.Container == nil {
			continue
		}
		if name := analyze.EscapeText(s.Container.String()); !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	if more := len(out) - maxHolders; more > 0 {
		out = append(out[:maxHolders], fmt.Sprintf("%d more", more))
	}
	return strings.Join(out, ", ")
}

// contained says in which container a task is.
func contained(s *analyze.TaskStay) string {
	if s.Container == nil {
		return ""
	}
	return ", in " + analyze.EscapeText(s.Container.String())
}

// maxTenants is how many of the tasks that were in a namespace the text lists.
const maxTenants = 12

// tenants lists who was in n, and so held it: of many those who are there at the
// end, and who stayed the longest.
func (t *writer) tenants(n *analyze.Netns) {
	var all []*analyze.TaskStay
	for _, s := range n.TaskStays {
		if t.o.during(s.From, s.Until) {
			all = append(all, s)
		}
	}
	some, rest := t.longest(all)
	if len(some) == 0 {
		return
	}
	tab := newTable("task", "from", "until", "how", "other namespaces", "cgroup")
	for _, s := range some {
		tab.row(whoCame(s), t.at(s.From, "before"), t.at(s.Until, "the end"), t.stayHow(n, s), otherNamespaces(s), cgroup(s))
	}
	t.line("\n  tasks in it:")
	tab.write(&t.Builder, "    ")
	if len(rest) != 0 {
		t.line("    and %s (--all lists them)", t.others(rest))
	}
}

// longest returns those of all that the table lists, in order of their coming, and
// the others: first those who are there at the end, then the longest first.
func (t *writer) longest(all []*analyze.TaskStay) (some, rest []*analyze.TaskStay) {
	if t.o.All || len(all) <= maxTenants {
		return all, nil
	}
	order := slices.Clone(all)
	slices.SortStableFunc(order, func(x, y *analyze.TaskStay) int {
		if (x.Until == 0) != (y.Until == 0) {
			return cmp.Compare(x.Until, y.Until)
		}
		return cmp.Compare(t.stayed(y), t.stayed(x))
	})
	rest = order[maxTenants:]
	out := make(map[*analyze.TaskStay]bool, len(rest))
	for _, s := range rest {
		out[s] = true
	}
	return slices.DeleteFunc(all, func(s *analyze.TaskStay) bool { return out[s] }), rest
}

// others says what those have in common who aren't listed.
func (t *writer) others(rest []*analyze.TaskStay) string {
	gone := slices.IndexFunc(rest, func(s *analyze.TaskStay) bool { return s.Until != 0 })
	text := fmt.Sprintf("%d others", len(rest))
	switch {
	case gone < 0:
		return text + ", all until the end"
	case gone > 0:
		text += fmt.Sprintf(", %d of them until the end, and of the rest none", gone)
	default:
		text += ", none of them"
	}
	return text + " for longer than " + analyze.Span(t.stayed(rest[gone]))
}

// stayed is how long a task was there, as far as the recording tells.
func (t *writer) stayed(s *analyze.TaskStay) uint64 {
	return span(cmp.Or(s.From, t.m.Began), cmp.Or(s.Until, t.m.Ended))
}

// omittedBy is when those that weren't kept were gone.
func (t *writer) omittedBy(n *analyze.Netns) uint64 {
	return min(t.m.Ended, cmp.Or(n.TasksGone.OmittedBy(), t.m.Ended))
}

// stayHow says how a task came and how it left.
func (t *writer) stayHow(n *analyze.Netns, s *analyze.TaskStay) string {
	out := "there already"
	if s.Arrived != analyze.ArrivedPreexisting || s.Inferred && s.From != 0 {
		out = t.came(n, s)
	} else if s.Inferred {
		out += " (inferred)"
	}
	if s.ThreadsSince != 0 {
		out += fmt.Sprintf(", from %s on only threads of it", t.m.Since(s.ThreadsSince))
	}
	if s.Left != "" {
		out += ", " + left(s)
	}
	return out
}

// Numbers of the initial namespaces (include/linux/proc_ns.h): they are the same
// on every kernel. That of mount namespaces is, from 6.17 on.
const (
	initTime   = 0xeffffffa
	initCgroup = 0xeffffffb
	initPID    = 0xeffffffc
	initUser   = 0xeffffffd
	initUTS    = 0xeffffffe
	initIPC    = 0xefffffff
	initMnt    = 0xeffffff8
)

// otherNamespaces are the other ones a task was in, but for the initial ones.
func otherNamespaces(s *analyze.TaskStay) string {
	var out []string
	known := false
	for _, x := range []struct {
		kind    string
		inum    uint32
		initial uint32
	}{
		{"mnt", s.Others.Mnt, initMnt},
		{"pid", s.Others.PID, initPID},
		{"uts", s.Others.UTS, initUTS},
		{"ipc", s.Others.IPC, initIPC},
		{"cgroup", s.Others.Cgroup, initCgroup},
		{"time", s.Others.Time, initTime},
		{"user", s.Others.User, initUser},
	} {
		known = known || x.inum != 0
		if x.inum != 0 && x.inum != x.initial {
			out = append(out, fmt.Sprintf("%s:[%d]", x.kind, x.inum))
		}
	}
	switch {
	case !known:
		return "?"
	case len(out) == 0:
		return "initial"
	}
	return strings.Join(out, " ")
}

// cgroup is the container a task is in, or else its cgroup.
func cgroup(s *analyze.TaskStay) string {
	switch {
	case s.Container != nil:
		return analyze.EscapeText(s.Container.String())
	case s.Cgroup != "":
		return escape(s.Cgroup)
	}
	return "?"
}
