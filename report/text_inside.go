// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"strings"

	"github.com/nstrace/nstrace/analyze"
)

// nsidItems tells of the numbers that were asked for, and in one namespace's life
// of those that the kernel gave by itself as well.
func (t *writer) nsidItems(n *analyze.Netns, add adder) {
	for _, x := range n.Nsids {
		about := []*analyze.Netns{n}
		if x.Requested {
			about = append(about, x.Peer)
		} else if len(t.o.Netns) == 0 {
			continue
		}
		switch {
		case x.By == nil:
		case x.Requested:
			add(x.By.At, about, "%s gave %s the number %d in %s (nsid)", x.By.Who(), peer(x.Peer), x.ID, n.Label())
		default:
			add(x.By.At, about, "the kernel gave %s the number %d in %s, for %s (nsid)", peer(x.Peer), x.ID, n.Label(), x.By.Who())
		}
		if x.Until != 0 && len(t.o.Netns) != 0 {
			seen := ""
			if x.EndInferred {
				seen = " by now (not seen)"
			}
			add(x.Until, []*analyze.Netns{n}, "%s has the number %d in %s no more%s (nsid)", peer(x.Peer), x.ID, n.Label(), seen)
		}
	}
}

// nsidRefusals tells of the numbers that were not given.
func (t *writer) nsidRefusals(add adder) {
	for _, r := range t.m.NsidRefusals {
		add(r.At, []*analyze.Netns{r.Netns, r.Peer}, "%s asked for a number for %s in %s: %s",
			r.Who(), peer(r.Peer), label(r.Netns), analyze.ErrnoName(r.Errno))
	}
}

func label(n *analyze.Netns) string {
	if n == nil {
		return "an unknown namespace"
	}
	return n.Label()
}

func peer(n *analyze.Netns) string { return label(n) }

// nsids lists the numbers by which n knows others.
func (t *writer) nsids(n *analyze.Netns) {
	tab := newTable("number", "namespace", "from", "until", "how").numbers(0)
	rows := 0
	for _, x := range n.Nsids {
		from, how := uint64(0), "there already"
		if x.By != nil {
			from, how = x.By.At, "given by the kernel, for "+x.By.Who()
			if x.Requested {
				how = "asked for by " + x.By.Who()
			}
		}
		if x.EndInferred {
			how += " (not seen to end)"
		}
		if !t.o.during(from, x.Until) {
			continue
		}
		tab.row(fmt.Sprint(x.ID), peer(x.Peer), t.at(from, "before"), t.at(x.Until, "the end"), how)
		rows++
	}
	if rows == 0 {
		return
	}
	t.line("\n  numbers by which it knows others (nsid):")
	tab.write(&t.Builder, "    ")
	if n.NsidsOmitted != 0 {
		t.line("    and %d before those, which are no more", n.NsidsOmitted)
	}
}

// sysctlItems tells of writes to files below /proc/sys/net. In the story of all
// namespaces, many that a process made one after the other share a line.
func (t *writer) sysctlItems(n *analyze.Netns, add adder) {
	about := []*analyze.Netns{n}
	all := n.Sysctls.Writes
	for i := 0; i < len(all); {
		end := i + 1
		for end < len(all) && all[end].PID == all[i].PID && all[end].Comm == all[i].Comm {
			end++
		}
		if end-i > maxVisits && len(t.o.Netns) == 0 {
			add(all[i].At, about, "%s wrote to %d files below /proc/sys/net in %s until %s, the last of them %s (--ns lists them)",
				all[i].Who(), end-i, n.Label(), t.m.Since(all[end-1].At), escape(all[end-1].Path))
			i = end
			continue
		}
		for ; i < end; i++ {
			times := ""
			if all[i].Times > 1 {
				times = fmt.Sprintf(", told %d times", all[i].Times)
			}
			add(all[i].At, about, "%s wrote %s to %s in %s (it had %s)%s",
				all[i].Who(), value(all[i].New), escape(all[i].Path), n.Label(), value(all[i].Old), times)
		}
	}
}

// value is what a file below /proc/sys has, without the end of the line. One of
// many lines may be cut.
func value(s string) string {
	s = strings.TrimSpace(s)
	if s == "" {
		return "nothing"
	}
	return escape(s)
}

// omitted says what of a namespace's life wasn't kept.
func (t *writer) omitted(n *analyze.Netns) {
	if n.TasksGone.Omitted != 0 {
		t.line("  (%d tasks that came, and were gone by %s, are not listed)", n.TasksGone.Omitted, t.m.Since(t.omittedBy(n)))
	}
	if n.Sysctls.Omitted != 0 {
		t.line("  (%d writes to files below /proc/sys/net, between the first and the last of them, are not listed)", n.Sysctls.Omitted)
	}
}
