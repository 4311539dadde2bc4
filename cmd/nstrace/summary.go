// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/nstrace/nstrace/event"
	"github.com/nstrace/nstrace/probes"
	"github.com/nstrace/nstrace/record"
)

// summarise says on standard error what was recorded and what is missing, one line
// for each cause: the report has the rest.
func summarise(w io.Writer, o *record.Options, r *record.Result) {
	into := strconv.Quote(o.Output)
	if o.Output == record.Stdout {
		into = "standard output"
	}
	packets := fmt.Sprintf("counted %d delivered packets", r.Packets)
	records := recordsOf(&r.Ledger)
	if o.Probes.Delivery == probes.DeliveryPackets {
		packets += fmt.Sprintf(", with a record for %d,", records)
	}
	fmt.Fprintf(w, "nstrace: recorded %d events and %s into %s (%s)\n", r.Events, packets, into, size(r.Bytes))
	if f := &o.Probes.Packets; records == 0 && r.Packets > 0 && len(o.Netns)+len(f.Devices)+len(f.Ethertypes) > 0 {
		fmt.Fprintln(w, "nstrace: none of them was right by --ns, --device and --ethertype; is there a mistake in these?")
	}
	for _, m := range missing(r.Ledger.Probes) {
		fmt.Fprintf(w, "nstrace: %s\n", m)
	}
	if n := r.Lost + r.Ledger.Unwritten; n > 0 {
		fmt.Fprintf(w, "nstrace: %d records were lost; the report says where\n", n)
	}
	if r.Ledger.FlowsDropped > 0 {
		fmt.Fprintf(w, "nstrace: %d packets were not counted: too many interfaces at once\n", r.Ledger.FlowsDropped)
	}
}

// recordsOf is how many packets have a record of their own.
func recordsOf(l *event.Ledger) uint64 {
	for _, r := range l.Rings {
		if r.Name == "packets" {
			return r.Received
		}
	}
	return 0
}

// missing tells of the probes that aren't attached, together what has one cause:
// a failure of the same kind, or a module that isn't there.
func missing(all []event.ProbeLedger) []string {
	type cause struct {
		status event.Status
		what   string
	}
	var causes []cause
	found := map[cause][]event.ProbeLedger{}
	for _, p := range all {
		c := cause{p.Status, p.Cause()}
		switch {
		case p.Status == event.StatusAttached:
			continue
		case p.Status == event.StatusAbsent && p.Needs != "":
			c.what = p.Needs
		}
		if found[c] == nil {
			causes = append(causes, c)
		}
		found[c] = append(found[c], p)
	}
	var lines []string
	for _, c := range causes {
		some := found[c]
		first := some[0]
		switch {
		case len(some) == 1:
			lines = append(lines, fmt.Sprintf("probe %s %s: %s; not seen: %s", first.Name, c.status, first.Reason, first.Loses))
		case c.what == first.Needs:
			lines = append(lines, fmt.Sprintf("%d probes %s, of module %s (%s): %s", len(some), c.status, first.Needs, few(some), first.Reason))
		default:
			lines = append(lines, fmt.Sprintf("%d probes %s (%s): %s", len(some), c.status, few(some), first.Reason))
		}
	}
	return lines
}

// fewProbes is how many are named; the report names all.
const fewProbes = 3

func few(all []event.ProbeLedger) string {
	var names []string
	for _, p := range all[:min(len(all), fewProbes)] {
		names = append(names, p.Name)
	}
	list := strings.Join(names, ", ")
	if more := len(all) - fewProbes; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return list
}

func size(bytes int64) string {
	switch {
	case bytes >= 10<<20:
		return fmt.Sprintf("%d MiB", bytes>>20)
	case bytes >= 10<<10:
		return fmt.Sprintf("%d KiB", bytes>>10)
	}
	return fmt.Sprintf("%d bytes", bytes)
}
