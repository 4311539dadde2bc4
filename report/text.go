// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/event"
)

// writer puts the text report together.
type writer struct {
	strings.Builder
	m        *analyze.Model
	o        Options
	arrivals map[arrival]*analyze.Move
}

// Text writes the report of m to w for a person to read. With namespaces chosen
// it tells their lives one by one, else the whole story.
func Text(w io.Writer, m *analyze.Model, o Options) error {
	t := &writer{m: m, o: o}
	t.head()
	t.verdict()
	t.findings()
	if len(o.Netns) != 0 {
		for _, n := range o.Netns {
			t.life(n)
		}
	} else {
		t.namespaces()
		t.radios()
		t.timeline()
		t.interfaces()
		t.deliveries()
		t.pernet()
		t.audit()
		t.probes()
	}
	if _, err := io.WriteString(w, t.String()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func (t *writer) line(format string, args ...any) {
	fmt.Fprintf(&t.Builder, format, args...)
	t.WriteByte('\n')
}

// section begins a part of the report.
func (t *writer) section(title string) {
	t.line("\n%s", title)
}

// at is a time since the recording began, "" if unknown.
func (t *writer) at(v uint64, unknown string) string {
	if v == 0 {
		return unknown
	}
	return t.m.Since(v)
}

// head says what this is a report of.
func (t *writer) head() {
	r := t.m.Recording
	host := ""
	if r.Host != "" {
		host = " of " + escape(r.Host)
	}
	system := ""
	if r.Kernel != "" {
		system = ", Linux " + escape(r.Kernel)
		if r.Arch != "" {
			system += " " + escape(r.Arch)
		}
	}
	t.line("nstrace recording%s%s", host, system)
	when := "at an unknown time"
	if s := started(t.m); !s.IsZero() {
		when = s.Format("2006-01-02 15:04:05 MST")
	}
	lost := "lost unknown"
	if t.m.Ledger != nil || t.m.Lost != 0 {
		lost = fmt.Sprintf("%d lost", t.m.Lost)
	}
	t.line("began %s, lasted %s%s; %d lifecycle events, %s", when, analyze.Span(span(t.m.Began, t.m.Ended)), t.ending(), t.m.Events, lost)
	if len(r.Command) != 0 {
		t.line("command: %s", escapeAll(r.Command, " "))
	}
}

// ending says why the recording ended.
func (t *writer) ending() string {
	e := t.m.End
	if e == nil {
		return " as far as it goes"
	}
	out := ""
	switch e.Reason {
	case "":
	case "command":
		out = ", until its command ended"
	default:
		out = ", ended by " + escape(e.Reason)
	}
	if e.ExitStatus != nil {
		out += fmt.Sprintf(" with status %d", *e.ExitStatus)
	}
	return out
}

// verdict says what the recording may have missed, before anything else.
func (t *writer) verdict() {
	t.WriteByte('\n')
	if t.m.Clean() {
		text := "Nothing is known to be missing from this recording"
		if n := len(t.m.Unknown); n != 0 {
			text += fmt.Sprintf("; whether the kernel skipped any call is unknown for %s", probeList(t.m.Unknown, t.m.Ledger))
		}
		wrap(&t.Builder, "", "  ", text+".")
	} else {
		t.line("THIS RECORDING IS NOT COMPLETE:")
	}
	for _, s := range t.m.Verdict {
		wrap(&t.Builder, mark(s.Severity), "            ", s.Text+".")
	}
	if n := len(t.m.Unknown); n != 0 && !t.m.Clean() {
		wrap(&t.Builder, mark(analyze.Info), "            ", "whether the kernel skipped any call is unknown for "+probeList(t.m.Unknown, t.m.Ledger)+".")
	}
}

// probeList names probes, or says that it is all of them.
func probeList(names []string, l *event.Ledger) string {
	if l != nil {
		attached := 0
		for _, p := range l.Probes {
			if p.Status == event.StatusAttached {
				attached++
			}
		}
		if attached == len(names) && attached > 1 {
			return fmt.Sprintf("all %d probes", attached)
		}
	}
	return escapeAll(names, ", ")
}

func mark(s analyze.Severity) string {
	return fmt.Sprintf("  %-8s  ", s)
}

// findings tells what the user will want to know. What concerns the recording
// itself has been said in the verdict.
func (t *writer) findings() {
	said := make(map[string]bool)
	for _, s := range t.m.Verdict {
		said[s.Rule] = true
	}
	var list []analyze.Finding
	for _, f := range t.m.Findings {
		if !said[f.Rule] && listed(f, t.o) {
			list = append(list, f)
		}
	}
	if len(list) == 0 {
		t.section("FINDINGS: none")
		return
	}
	t.section("FINDINGS")
	for _, f := range list {
		first := fmt.Sprintf("%s%11s  ", mark(f.Severity), t.at(f.At, ""))
		indent := strings.Repeat(" ", len(first))
		wrap(&t.Builder, first, indent, f.Text)
		if f.Advice != "" {
			t.line("%s$ %s", indent, f.Advice) // never broken: it is there to be typed
		}
	}
}

// names is a namespace's names with what became of them.
func (t *writer) names(n *analyze.Netns) string {
	if n.Initial && len(n.Names) == 0 {
		return "init"
	}
	var out []string
	current := n.CurrentNames()
	for i, x := range n.Names {
		s := escape(x.Name)
		if x.Until != 0 && n.Ended == 0 {
			again := false
			for _, c := range current {
				again = again || c.Name == x.Name
			}
			if again {
				continue
			}
			s += " (name removed at " + t.m.Since(x.Until) + ")"
		}
		if i > 0 && strings.HasPrefix(s, escape(n.Names[i-1].Name)+" ") {
			continue
		}
		out = append(out, s)
	}
	if n.Initial {
		out = append([]string{"init"}, out...)
	}
	if len(out) == 0 {
		return "-"
	}
	return strings.Join(out, ", ")
}

// bornBy says how a namespace began.
func (t *writer) bornBy(n *analyze.Netns) string {
	switch {
	case n.Initial:
		return "at boot"
	case n.Failed():
		return fmt.Sprintf("%s by %s, failed: %s", t.m.Since(n.Birth.At), n.Birth.Who(), analyze.ErrnoName(n.Birth.Errno))
	case n.Birth != nil:
		s := fmt.Sprintf("%s by %s", t.m.Since(n.Birth.At), n.Birth.Who())
		if n.Birth.Setup != 0 {
			s += ", in " + analyze.Span(n.Birth.Setup)
		}
		return s
	case n.Origin == analyze.Preexisting:
		return "before the recording"
	}
	return "unknown (inferred)"
}

// death says how a namespace ended.
func (t *writer) death(n *analyze.Netns) string {
	switch {
	case n.Failed():
		return "never lived"
	case n.EndInferred:
		return fmt.Sprintf("gone by %s (inferred)", t.m.Since(n.Ended))
	case n.Ended != 0 && n.Put != nil:
		s := fmt.Sprintf("%s, %s after its last put by %s", t.m.Since(n.Ended), analyze.Span(span(n.Put.At, n.Ended)), n.Put.Who())
		if n.CleanupAt != 0 {
			s += fmt.Sprintf(" (clean-up %s)", analyze.Span(span(n.CleanupAt, n.Ended)))
		}
		return s
	case n.Ended != 0:
		return t.m.Since(n.Ended)
	case n.Put != nil:
		return fmt.Sprintf("dying: put at %s by %s, not gone at the end", t.m.Since(n.Put.At), n.Put.Who())
	}
	return "-"
}

func (t *writer) namespaces() {
	t.section("NAMESPACES")
	tab := newTable("id", "name", "inum", "born", "died")
	hidden := 0
	for _, n := range t.m.Namespaces {
		if !t.o.during(birthAt(n), n.Ended) {
			hidden++
			continue
		}
		inum := "?"
		if n.Inum != 0 {
			inum = fmt.Sprint(n.Inum)
		}
		tab.row(n.ID, t.names(n), inum, t.bornBy(n), t.death(n))
	}
	tab.write(&t.Builder, "  ")
	if hidden != 0 {
		t.line("  (%d outside the time asked for)", hidden)
	}
}

func birthAt(n *analyze.Netns) uint64 {
	if n.Birth == nil {
		return 0
	}
	return n.Birth.At
}

func (t *writer) radios() {
	if len(t.m.Wiphys) == 0 {
		return
	}
	t.section("RADIOS")
	tab := newTable("radio", "index", "namespace", "from", "until", "how")
	for _, w := range t.m.Wiphys {
		name, index := w.Label(), "?"
		if w.Index >= 0 {
			index = fmt.Sprint(w.Index)
		}
		for i, s := range w.Stays {
			if i > 0 {
				name, index = "", ""
			}
			tab.row(name, index, s.Netns.Label(), t.at(s.From, "before"), t.at(s.Until, "the end"), t.wiphyHow(w, s))
		}
		if len(w.Stays) == 0 {
			tab.row(name, index, "?", "", "", "never seen registered")
		}
	}
	tab.write(&t.Builder, "  ")
}

// wiphyHow says how a radio came into a namespace and how it left.
func (t *writer) wiphyHow(w *analyze.Wiphy, s *analyze.WiphyStay) string {
	out := "there already"
	switch {
	case s.Arrived == analyze.ArrivedCreated && w.Birth != nil:
		out = "created by " + w.Birth.Who()
	case s.Arrived == analyze.ArrivedCreated:
		out = "created"
	case s.Arrived == analyze.ArrivedMoved:
		out = "moved"
		if m := t.moveInto(w, s.From); m != nil && m.Cause == analyze.CauseDeath {
			out = fmt.Sprintf("came home: %s died", m.From.Label())
		} else if m != nil {
			out = "moved by " + m.Who()
		}
	}
	if s.Inferred {
		out += " (inferred)"
	}
	if s.Left == analyze.LeftRemoved {
		out += ", then removed"
		if w.DiedWith != nil {
			out += " with " + w.DiedWith.Label()
		} else if w.EndedBy != nil {
			out += " by " + w.EndedBy.Who()
		}
	}
	if s.EndInferred {
		out += "; left unseen"
	}
	return out
}

// arrival is what a stay and the move that began it have in common.
type arrival struct {
	what any
	at   uint64
}

// moveInto returns the move that brought something somewhere at a time, nil if
// it wasn't seen.
func (t *writer) moveInto(what any, at uint64) *analyze.Move {
	if t.arrivals == nil {
		t.arrivals = make(map[arrival]*analyze.Move)
		for _, m := range t.m.Moves {
			switch {
			case !m.OK():
			case m.Wiphy != nil:
				t.arrivals[arrival{m.Wiphy, m.Done}] = m
			default:
				t.arrivals[arrival{m.Device, m.Done}] = m
			}
		}
	}
	return t.arrivals[arrival{what, at}]
}

func (t *writer) interfaces() {
	tab := newTable("interface", "number", "kind", "namespace", "from", "until", "how")
	rows, hidden := 0, 0
	for _, d := range t.m.Devices {
		for i, s := range d.Stays {
			if !t.o.during(s.From, s.Until) {
				continue
			}
			if boring(d, s) && len(d.Stays) == 1 && len(s.Names) < 2 {
				hidden++
				continue
			}
			rows++
			kind := d.KindLabel()
			if i > 0 {
				kind = ""
			}
			tab.row(stayName(d, s), number(s.Ifindex), kind, s.Netns.Label(), t.at(s.From, "before"), t.at(s.Until, "the end"), t.deviceHow(d, s))
		}
	}
	if rows == 0 {
		return
	}
	t.section("INTERFACES")
	tab.write(&t.Builder, "  ")
	if hidden != 0 {
		t.line("  (%d that came and stayed with their namespaces, like lo, are not listed; --ns lists them)", hidden)
	}
}

// stayName is what an interface was called in a namespace, in order.
func stayName(d *analyze.Device, s *analyze.Stay) string {
	if len(s.Names) == 0 {
		return d.Label()
	}
	return escapeAll(s.Names, " -> ")
}

func number(ifindex int32) string {
	if ifindex == 0 {
		return "?"
	}
	return fmt.Sprint(ifindex)
}

// deviceHow says how an interface came into a namespace and how it left.
func (t *writer) deviceHow(d *analyze.Device, s *analyze.Stay) string {
	out := "there already"
	switch s.Arrived {
	case analyze.ArrivedCreated:
		out = "created"
		if d.Birth != nil {
			out += " by " + d.Birth.Who()
		}
	case analyze.ArrivedMoved:
		out = "moved"
		switch m := t.moveInto(d, s.From); {
		case m == nil:
		case m.Rollback:
			out = "came back with " + d.Wiphy.Label()
		case m.Cause == analyze.CauseCarried:
			out += " with " + d.Wiphy.Label()
		case m.Cause == analyze.CauseDeath:
			out = fmt.Sprintf("came home: %s died", m.From.Label())
		default:
			out += " by " + m.Who()
		}
	}
	if s.Inferred {
		out += " (inferred)"
	}
	if s.Left == analyze.LeftRemoved {
		out += ", then removed"
	}
	if s.EndInferred {
		out += " (not seen leaving)"
	}
	return out
}

func (t *writer) deliveries() {
	t.section("DELIVERED BY WI-FI")
	switch {
	case t.m.Recording.Delivery == "off":
		t.line("  not recorded (--delivery off)")
		return
	case len(t.m.Delivery) == 0:
		t.line("  nothing")
		return
	}
	tab := t.deliveryTable()
	for _, n := range t.m.Namespaces {
		t.deliveryRows(tab, n)
	}
	tab.write(&t.Builder, "  ")
}

func (t *writer) deliveryTable() *table {
	return newTable("namespace", "interface", "path", "packets", "bytes", "rx_packets", "").numbers(3, 4, 5)
}

// deliveryRows adds a namespace's rows. The kernel's count is of all paths of an
// interface, so it stands beside their sum.
func (t *writer) deliveryRows(tab *table, n *analyze.Netns) {
	for i := 0; i < len(n.Delivery); {
		first := n.Delivery[i]
		var sum uint64
		end := i
		for ; end < len(n.Delivery) && n.Delivery[end].Device == first.Device && n.Delivery[end].Ifindex == first.Ifindex; end++ {
			sum += n.Delivery[end].Packets
		}
		for j := i; j < end; j++ {
			d := n.Delivery[j]
			rx, cmp := "", ""
			if j == end-1 {
				rx, cmp = compared(sum, d.RxPackets)
				if end-i > 1 && cmp != "" {
					cmp = fmt.Sprintf("%s (sum %d)", cmp, sum)
				}
			}
			tab.row(n.Label(), nameIn(d), d.Path.String(), fmt.Sprint(d.Packets), fmt.Sprint(d.Bytes), rx, cmp)
		}
		i = end
	}
}

// nameIn is what the row's interface was called in its namespace.
func nameIn(d *analyze.Delivery) string {
	for i := len(d.Device.Stays) - 1; i >= 0; i-- {
		if s := d.Device.Stays[i]; s.Netns == d.Netns && s.Ifindex == d.Ifindex && s.Name() != "" {
			return escape(s.Name())
		}
	}
	return d.Device.Label()
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
	tab := newTable("at", "action", "operations", "module", "took", "namespaces", "by", "result").numbers(5)
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
		mod, took, count := "?", "?", "?"
		if m := module(p); m != "" {
			mod = escape(m)
		}
		if p.Done != 0 {
			took = analyze.Span(span(p.At, p.Done))
		}
		if p.Namespaces != nil {
			count = fmt.Sprint(*p.Namespaces)
		}
		tab.row(t.m.Since(p.At), action(p), name, mod, took, count, p.Who(), result(p.Result, p.Errno))
	}
	if rows == 0 {
		return
	}
	t.section("PERNET OPERATIONS")
	tab.write(&t.Builder, "  ")
}

// result says how a call ended.
func result(r analyze.Result, errno uint32) string {
	switch r {
	case analyze.ResultOK:
		return "ok"
	case analyze.ResultFailed:
		return analyze.ErrnoName(errno)
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
	tab := newTable("probe", "hook", "status", "hits", "lost", "missed", "").numbers(3, 4, 5)
	for _, p := range l.Probes {
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
		hits, lost, missed := "-", "-", "-"
		if p.Status == event.StatusAttached {
			hits, lost, missed = fmt.Sprint(p.Hits), fmt.Sprint(p.Lost), "unknown"
			if p.Missed != nil {
				missed = fmt.Sprint(*p.Missed)
			}
		}
		tab.row(escape(p.Name), hook, escape(string(p.Status)), hits, lost, missed, note)
	}
	tab.write(&t.Builder, "  ")
}
