// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"strings"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/event"
)

func (t *writer) deliveries() {
	if t.m.Recording.AllDevices {
		t.section("DELIVERED")
	} else {
		t.section("DELIVERED BY WI-FI")
	}
	if len(t.m.Delivery) == 0 {
		t.line("  %s", t.noDelivery())
		return
	}
	tab := t.deliveryTable()
	for _, n := range t.m.Namespaces {
		t.deliveryRows(tab, n)
	}
	tab.unlessEmpty(undeliveredColumn).write(&t.Builder, "  ")
	if len(t.m.Drops) != 0 {
		t.line("\n  of these the stack dropped afterwards:")
		t.drops(t.m.Drops, "  ")
	}
}

// noDelivery says why there are no rows: nothing came, or nobody counted.
func (t *writer) noDelivery() string {
	if t.m.Recording.Delivery == "off" {
		return "not recorded (--delivery off)"
	}
	if t.m.Ledger != nil {
		for _, p := range t.m.Ledger.Probes {
			if p.Name == event.PathDeliverSKB.String() && p.Status == event.StatusAttached {
				return "nothing"
			}
		}
	}
	return "unknown: the probe ieee80211_deliver_skb was not attached"
}

// undeliveredColumn is the one for what was received and not delivered.
const undeliveredColumn = 5

func (t *writer) deliveryTable() *table {
	return newTable("namespace", "interface", "path", "packets", "bytes", "not delivered", "rx_packets", "").numbers(3, 4, 6)
}

// deliveryRows adds a namespace's rows. The kernel's count is of all paths by which an
// interface received, so it stands beside the last of them, with their sum.
func (t *writer) deliveryRows(tab *table, n *analyze.Netns) {
	for i := 0; i < len(n.Delivery); {
		first := n.Delivery[i]
		var all uint64
		end, last, paths := i, i, 0
		for ; end < len(n.Delivery) && n.Delivery[end].Device == first.Device && n.Delivery[end].Ifindex == first.Ifindex; end++ {
			all += n.Delivery[end].Received()
			if n.Delivery[end].Path.Received() {
				last, paths = end, paths+1
			}
		}
		for j := i; j < end; j++ {
			d := n.Delivery[j]
			rx, cmp := "", ""
			if j == last {
				rx, cmp = compared(all, d.RxPackets)
				if paths > 1 && cmp != "" {
					cmp = fmt.Sprintf("%s (sum %d)", cmp, all)
				}
			}
			tab.row(n.Label(), nameIn(d), d.Path.String(), fmt.Sprint(d.Packets), fmt.Sprint(d.Bytes), undelivered(d), rx, cmp)
		}
		i = end
	}
}

// nameIn is what the row's interface was called in its namespace.
func nameIn(d *analyze.Delivery) string { return nameOn(d.Device, d.Netns, d.Ifindex) }

func nameOn(d *analyze.Device, n *analyze.Netns, ifindex int32) string {
	for i := len(d.Stays) - 1; i >= 0; i-- {
		if s := d.Stays[i]; s.Netns == n && s.Ifindex == ifindex && s.Name() != "" {
			return escape(s.Name())
		}
	}
	return d.Label()
}

// compared puts the kernel's count next to ours.
func compared(ours uint64, kernel *uint64) (rx, cmp string) {
	switch {
	case kernel == nil:
		return "unknown", ""
	case ours == *kernel:
		return fmt.Sprint(*kernel), "="
	case ours < *kernel:
		return fmt.Sprint(*kernel), fmt.Sprintf("we have %d fewer", *kernel-ours)
	}
	return fmt.Sprint(*kernel), fmt.Sprintf("we have %d more", ours-*kernel)
}

func (t *writer) pernet() {
	tab := newTable("at", "action", "operations", "module", "waited", "took", "namespaces", "by", "result").numbers(6)
	rows := 0
	for _, p := range t.m.Pernet {
		if !t.o.when(p.At) {
			continue
		}
		rows++
		name := p.Label()
		if p.Ops != "" && p.Fn != "" {
			name += " (" + escape(p.Fn) + ")"
		}
		mod, waited, took, count := "?", "?", "?", "?"
		if p.Asked != 0 && !p.Waiting {
			waited = analyze.Span(span(p.Asked, p.At))
		}
		if m := module(p); m != "" {
			mod = escape(m)
		}
		if p.Done != 0 {
			took = analyze.Span(span(p.At, p.Done))
		}
		if p.Namespaces != nil {
			count = fmt.Sprint(*p.Namespaces)
		}
		tab.row(t.m.Since(p.At), action(p), name, mod, waited, took, count, p.Who(), pernetResult(p))
	}
	if rows == 0 {
		return
	}
	t.section("PERNET OPERATIONS")
	tab.write(&t.Builder, "  ")
}

// pernetResult says how a registration ended.
func pernetResult(p *analyze.Pernet) string {
	if p.Waiting {
		return "still waiting at the end"
	}
	return result(p.Result, p.Errno)
}

// result says how a call ended.
func result(r analyze.Result, errno uint32) string {
	switch r {
	case analyze.ResultOK:
		return "ok"
	case analyze.ResultFailed:
		return analyze.ErrnoName(errno)
	case analyze.ResultUndone:
		return "taken back"
	case analyze.ResultRunning:
		return "still running at the end"
	}
	return "unknown: its return was lost"
}

func (t *writer) audit() {
	au := t.m.Audit
	t.section("AUDIT")
	if au.Compared == 0 {
		wrap(&t.Builder, "  ", "  ", "Not compared: "+au.Note+".")
		return
	}
	if len(au.Differences) == 0 {
		t.line("  At the end the kernel agreed with this report in all of %d points.", au.Compared)
	} else {
		t.line("  At the end the kernel disagreed in %d of %d points:", len(au.Differences), au.Compared)
		tab := newTable("what", "kernel", "this report")
		for _, d := range au.Differences {
			tab.row(d.What, d.Expected, d.Reconstructed)
		}
		tab.write(&t.Builder, "  ")
		if au.Note != "" {
			wrap(&t.Builder, "  ", "  ", "Note: "+au.Note+".")
		}
	}
	for _, n := range au.Unverified {
		t.line("  %s should be there still, but no task or mount showed it to the snapshot.", n.Label())
	}
}

func (t *writer) probes() {
	l := t.m.Ledger
	if l == nil || len(l.Probes) == 0 {
		return
	}
	t.section("PROBES")
	tab := newTable("probe", "hook", "status", "hits", "lost", "missed", "returns", "unseen", "").numbers(3, 4, 5, 6, 7)
	for i := range l.Probes {
		tab.row(probeRow(&l.Probes[i])...)
	}
	tab.write(&t.Builder, "  ")
}

// probeRow is a line of the table of probes. A probe that isn't attached has no
// figures, and one that looks at entries only none of returns.
func probeRow(p *event.ProbeLedger) []string {
	hook := "-"
	if p.Hook != "" {
		hook = escape(p.Hook)
	}
	note := ""
	if p.Function != "" && p.Function != p.Name {
		note = escape(p.Function)
	}
	if p.Reason != "" {
		note = strings.TrimPrefix(note+": "+analyze.EscapeText(p.Reason), ": ")
	}
	hits, lost, missed, returns, unseen := "-", "-", "-", "-", "-"
	if p.Status == event.StatusAttached {
		hits, lost, missed = fmt.Sprint(p.Hits), fmt.Sprint(p.Lost), orUnknown(p.Missed)
		if p.Returns != nil {
			returns, unseen = fmt.Sprint(*p.Returns), orUnknown(p.ReturnsMissed)
		}
	}
	return []string{escape(p.Name), hook, escape(string(p.Status)), hits, lost, missed, returns, unseen, note}
}

func orUnknown(n *uint64) string {
	if n == nil {
		return "unknown"
	}
	return fmt.Sprint(*n)
}
