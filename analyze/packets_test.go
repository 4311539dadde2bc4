// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"testing"

	"github.com/nstrace/nstrace/event"
)

func TestPacketsDiffer(t *testing.T) {
	flow := event.Flow{Net: wlan0.Net, Dev: wlan0.Ptr, Ifindex: wlan0.Ifindex, Path: event.PathDeliverSKB}
	stack := flow
	stack.Path = event.PathStack
	other := flow
	other.Ifindex++
	sum := func(f event.Flow, n uint64) event.PacketSum {
		return event.PacketSum{Flow: f, Packets: n, First: 1, Last: 2}
	}
	lost := &event.Ledger{Rings: []event.RingLedger{{Name: "packets", Lost: 2}}}
	for _, c := range []struct {
		name   string
		sums   []event.PacketSum
		ledger *event.Ledger
		none   bool // nobody asked
		chosen *event.PacketOptions
		want   string
	}{
		{name: "equal", sums: []event.PacketSum{sum(flow, 5)}},
		{name: "what the stack merges has fewer records", sums: []event.PacketSum{sum(flow, 5), sum(stack, 2)}},
		{name: "missing and lost", sums: []event.PacketSum{sum(flow, 3)}, ledger: lost},
		{
			name: "missing", sums: []event.PacketSum{sum(flow, 3)},
			want: "Of 5 packets that were counted, 2 have no record of their own; records known to be lost: 0. The recording doesn't tell of every packet one by one.",
		},
		{
			name: "more missing than lost", sums: []event.PacketSum{sum(flow, 2)}, ledger: lost,
			want: "Of 5 packets that were counted, 3 have no record of their own; records known to be lost: 2. The recording doesn't tell of every packet one by one.",
		},
		{
			name: "uncounted", sums: []event.PacketSum{sum(flow, 6), sum(other, 2)},
			want: "Packets that are recorded one by one and missing from the counts: 3. The counts of delivered packets are too low.",
		},
		{name: "the table of flows was full", sums: []event.PacketSum{sum(flow, 6)}, ledger: &event.Ledger{FlowsDropped: 1}},
		{name: "not asked", none: true},
		{name: "not wanted", sums: []event.PacketSum{sum(flow, 3)}, chosen: &event.PacketOptions{Netns: []string{"blue"}}},
		{
			name: "uncounted among those wanted", sums: []event.PacketSum{sum(flow, 6)}, chosen: &event.PacketOptions{Netns: []string{"blue"}},
			want: "Packets that are recorded one by one and missing from the counts: 1. The counts of delivered packets are too low.",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := stand()
			s.a.m.Recording.Delivery, s.a.m.Recording.Packets = "packets", c.chosen
			s.Received(wlan0, 5, nil)
			s.a.HandleCount(&event.Count{Flow: stack, Time: s.Tick(), Packets: 40})
			s.End()
			if c.ledger != nil {
				s.HandleLedger(c.ledger)
			}
			if !c.none {
				s.a.HandlePacketSums(c.sums)
			}
			f, got := s.a.Model().finding(t, rulePackets), ""
			if f != nil {
				got = f.Text
			}
			if got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}
