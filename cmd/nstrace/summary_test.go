// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/event"
	"github.com/nstrace/nstrace/probes"
	"github.com/nstrace/nstrace/record"
)

// TestMissing: one line for each cause, whatever functions it is about.
func TestMissing(t *testing.T) {
	failed := func(name, function, reason string) event.ProbeLedger {
		return event.ProbeLedger{Name: name, Function: function, Status: event.StatusFailed, Reason: reason, Loses: "the " + name}
	}
	absent := func(name, module string) event.ProbeLedger {
		return event.ProbeLedger{Name: name, Needs: module, Status: event.StatusAbsent, Reason: "no function " + name, Loses: "the " + name}
	}
	got := missing([]event.ProbeLedger{
		{Name: "fine", Status: event.StatusAttached, Reason: "no fentry"},
		failed("a", "a_function", "fentry: a_function: no"),
		absent("m1", "cfg80211"),
		absent("lonely", ""),
		failed("b", "b_function", "fentry: b_function: no"),
		failed("odd", "odd", "fentry: odd: strange"),
		absent("m2", "cfg80211"),
		absent("n", "mac80211"),
		failed("c", "c_function", "fentry: c_function: no"),
		failed("d", "d_function", "fentry: d_function: no"),
	})
	want := []string{
		"4 probes failed (a, b, c and 1 more): fentry: a_function: no",
		"2 probes absent, of module cfg80211 (m1, m2): no function m1",
		"probe lonely absent: no function lonely; not seen: the lonely",
		"probe odd failed: fentry: odd: strange; not seen: the odd",
		"probe n absent: no function n; not seen: the n",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

// A recording whose filters let nothing through says so, and one without packets
// doesn't.
func TestSummaryOfFilters(t *testing.T) {
	for _, c := range []struct {
		packets, records uint64
		devices          []string
		want             bool
	}{
		{9, 0, []string{"wlan00"}, true},
		{9, 1, []string{"wlan0"}, false},
		{0, 0, []string{"wlan0"}, false},
		{9, 0, nil, false},
	} {
		var o record.Options
		o.Probes.Delivery, o.Probes.Packets.Devices = probes.DeliveryPackets, c.devices
		var r record.Result
		r.Packets = c.packets
		r.Ledger.Rings = []event.RingLedger{{Name: "packets", Received: c.records}}
		var out strings.Builder
		summarise(&out, &o, &r)
		if got := strings.Contains(out.String(), "--device"); got != c.want {
			t.Errorf("%+v: %s", c, out.String())
		}
	}
}
