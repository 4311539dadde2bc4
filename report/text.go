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
	// hidden are the namespaces and netdevs that aren't listed, folds what became of them
	// and of those that aren't in the model.
	hidden        map[*analyze.Netns]bool
	hiddenDevices map[*analyze.Device]bool
	folds         map[string]*analyze.Fold
}

// Text writes the report of m to w for a person to read. With namespaces chosen
// it tells their lives one by one, else the whole story.
func Text(w io.Writer, m *analyze.Model, o Options) error {
	t := &writer{m: m, o: o}
	t.hide()
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
		t.deliveriesOverTime()
		t.pernet()
		t.subsystems()
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
		if t.m.LostMore {
			lost = fmt.Sprintf("%d or more lost", t.m.Lost)
		}
	}
	t.line("began %s, lasted %s%s; %d lifecycle events, %s", when, analyze.Span(span(t.m.Began, t.m.Ended)), t.ending(), t.m.Events, lost)
	if len(r.Command) != 0 {
		t.line("command: %s", escapeAll(r.Command, " "))
	}
	if what := packetRecords(r.Packets); what != "" {
		t.line("packets: %s", what)
	}
	if t.o.Since != 0 || t.o.Until != 0 {
		t.line("shown: what happened from %s to %s; there may be more before and after", t.at(t.o.Since, "the beginning"), t.at(t.o.Until, "the end"))
	}
}

// packetRecords says which packets have records, and what these have; "" if all, and
// nothing of them.
func packetRecords(o *event.PacketOptions) string {
	if o == nil {
		return ""
	}
	var parts []string
	if o.Snaplen != 0 {
		parts = append(parts, fmt.Sprintf("the first %d bytes of each recorded", o.Snaplen))
	}
	if o.Filtered() {
		var only []string
		if len(o.Netns) > 0 {
			only = append(only, "into "+escapeAll(o.Netns, " or "))
		}
		if len(o.Devices) > 0 {
			only = append(only, "to "+escapeAll(o.Devices, " or "))
		}
		if len(o.Ethertypes) > 0 {
			types := make([]string, len(o.Ethertypes))
			for i, n := range o.Ethertypes {
				types[i] = fmt.Sprintf("%#04x", n)
			}
			only = append(only, "of type "+strings.Join(types, " or "))
		}
		parts = append(parts, "recorded one by one only "+strings.Join(only, ", ")+", but all are counted")
	}
	return strings.Join(parts, "; ")
}

// ending says why the recording ended.
func (t *writer) ending() string {
	e := t.m.End
	if e == nil {
		return " as far as it goes"
	}
	why, known := endings[e.Reason]
	if !known {
		why = ", ended by " + escape(e.Reason)
	}
	switch {
	case e.ExitStatus == nil:
		return why
	case e.Reason == "command":
		return fmt.Sprintf("%s with status %d", why, *e.ExitStatus)
	default:
		return fmt.Sprintf("%s (its command ended with status %d)", why, *e.ExitStatus)
	}
}

// endings has the reasons of event.End in words.
var endings = map[string]string{
	"":           "",
	"command":    ", until its command ended",
	"duration":   ", until its time was over",
	"interrupt":  ", until it was interrupted",
	"terminated": ", until it was terminated",
	"disk-full":  ", until the disk was full",
	"error":      ", until an error ended it",
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

// maxAlike is how many findings by one rule the text lists.
const maxAlike = 20

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
	more := make(map[string]int)
	said = make(map[string]bool)
	for _, f := range list {
		if more[f.Rule]++; more[f.Rule] > maxAlike && !t.o.All && len(t.o.Netns) == 0 {
			continue
		}
		first := fmt.Sprintf("%s%11s  ", mark(f.Severity), t.at(f.At, ""))
		indent := strings.Repeat(" ", len(first))
		wrap(&t.Builder, first, indent, f.Text)
		if f.Advice != "" {
			t.line("%s$ %s", indent, f.Advice) // never broken: it is there to be typed
		}
	}
	for _, f := range list {
		if n := more[f.Rule] - maxAlike; n > 0 && !said[f.Rule] && !t.o.All && len(t.o.Netns) == 0 {
			said[f.Rule] = true
			wrap(&t.Builder, mark(f.Severity), "            ", fmt.Sprintf("%d more times: %s (--all lists them).", n, analyze.Rules[f.Rule]))
		}
	}
}
