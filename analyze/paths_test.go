// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/analyze/story"
	"github.com/nstrace/nstrace/event"
)

// pathsOf writes delivery rows with all that is told of them.
func pathsOf(m *Model) string {
	var out []string
	for _, d := range m.Delivery {
		s := fmt.Sprintf("%s %s %d/%d", d.Device.Label(), d.Path, d.Packets, d.Bytes)
		if u := d.Undelivered; u != nil {
			relayed := "?"
			if u.RelayedBytes != nil {
				relayed = fmt.Sprint(*u.RelayedBytes)
			}
			s += fmt.Sprintf(" relayed %d/%s control %d/%d", u.Relayed, relayed, u.Control, u.ControlBytes)
		}
		for _, e := range d.Ethertypes {
			s += fmt.Sprintf(" %04x:%d/%d", e.Protocol, e.Packets, e.Bytes)
		}
		if d.Merged != 0 {
			s += fmt.Sprintf(" merged %d", d.Merged)
		}
		out = append(out, s)
	}
	for _, d := range m.Drops {
		in := ""
		if d.Function {
			in = "in "
		}
		out = append(out, fmt.Sprintf("%s dropped %s%s %d/%d", d.Device.Label(), in, d.Reason, d.Packets, d.Bytes))
	}
	return strings.Join(out, "; ")
}

func TestPaths(t *testing.T) {
	const ip, eapol, llc = 0x800, 0x888e, 4
	n := func(v uint64) *uint64 { return &v }
	tests := []struct {
		name   string
		counts []event.Count
		want   string
		differ string
		rx     *uint64
	}{
		{"all of it", []event.Count{
			{Flow: event.Flow{Path: event.PathDeliverSKB}, Protocol: ip, Packets: 5, Bytes: 500, Entered: 5, EnteredBytes: 500, EnteredKnown: true},
		}, "wlan0 ieee80211_deliver_skb 5/500 relayed 0/0 control 0/0 0800:5/500", "", n(5)},
		{"by several ethertypes and readings", []event.Count{
			{Flow: event.Flow{Path: event.PathDeliverSKB}, Protocol: eapol, Packets: 1, Bytes: 90, Entered: 1, EnteredBytes: 90, EnteredKnown: true},
			{Flow: event.Flow{Path: event.PathDeliverSKB}, Protocol: ip, Packets: 5, Bytes: 500, Entered: 4, EnteredBytes: 400, EnteredKnown: true},
			{Flow: event.Flow{Path: event.PathDeliverSKB}, Protocol: ip, Entered: 1, EnteredBytes: 100, EnteredKnown: true},
		}, "wlan0 ieee80211_deliver_skb 6/590 relayed 0/0 control 0/0 0800:5/500 888e:1/90", "", n(6)},
		{"some relayed, some for the control port", []event.Count{
			{Flow: event.Flow{Path: event.PathDeliverSKB}, Protocol: ip, Packets: 5, Bytes: 500, Entered: 2, EnteredBytes: 150, EnteredKnown: true},
			{Flow: event.Flow{Path: event.PathDeliverSKB}, Protocol: eapol, Packets: 2, Bytes: 200, Control: 2, ControlBytes: 200, EnteredKnown: true},
		}, "wlan0 ieee80211_deliver_skb 2/150 relayed 3/350 control 2/200 0800:2/150", "", n(7)},
		{"merged by GRO, none relayed", []event.Count{
			{Flow: event.Flow{Path: event.PathDeliverSKB}, Protocol: ip, Packets: 5, Bytes: 500, Entered: 5, EnteredBytes: 300, Merged: 4, EnteredKnown: true},
		}, "wlan0 ieee80211_deliver_skb 5/500 relayed 0/0 control 0/0 0800:5/300", "", n(5)},
		{"merged by GRO, some relayed", []event.Count{
			{Flow: event.Flow{Path: event.PathDeliverSKB}, Protocol: ip, Packets: 6, Bytes: 600, Entered: 5, EnteredBytes: 300, Merged: 4, EnteredKnown: true},
		}, "wlan0 ieee80211_deliver_skb 5/300 relayed 1/? control 0/0 0800:5/300 merged 4", "", n(6)},
		{"the stack's entrance isn't probed", []event.Count{
			{Flow: event.Flow{Path: event.PathDeliverSKB}, Protocol: ip, Packets: 6, Bytes: 600},
		}, "wlan0 ieee80211_deliver_skb 6/600 0800:6/600", "", n(6)},
		{"past mac80211", []event.Count{
			{Flow: event.Flow{Path: event.PathStack}, Protocol: ip, Packets: 6, Bytes: 600, EnteredKnown: true},
			{Flow: event.Flow{Path: event.PathControlPort}, Protocol: eapol, Packets: 2, Bytes: 200, EnteredKnown: true},
		}, "wlan0 stack 6/600 relayed 0/0 control 2/200 0800:6/600", "", n(8)},
		{"made up by cfg80211, and its own multicast", []event.Count{
			{Flow: event.Flow{Path: event.PathStack}, Protocol: llc, Packets: 2, Bytes: 40, EnteredKnown: true},
			{Flow: event.Flow{Path: event.PathStack}, Protocol: ip, Packets: 1, Bytes: 60, EnteredKnown: true},
			{Flow: event.Flow{Path: event.PathStationUpdate}, Protocol: llc, Packets: 2, Bytes: 40, EnteredKnown: true},
			{Flow: event.Flow{Path: event.PathLoopback}, Protocol: ip, Packets: 3, Bytes: 90, EnteredKnown: true},
		}, "wlan0 stack 1/60 0800:1/60; wlan0 cfg80211_send_layer2_update 2/40 0004:2/40; wlan0 loopback 3/90 0800:3/90", "", n(1)},
		{"made up, and the stack never had it", []event.Count{
			{Flow: event.Flow{Path: event.PathStationUpdate}, Protocol: llc, Packets: 1, Bytes: 20, EnteredKnown: true},
		}, "", "", n(0)},
		{"more than the kernel counted", []event.Count{
			{Flow: event.Flow{Path: event.PathStack}, Protocol: ip, Packets: 6, Bytes: 600, EnteredKnown: true},
		}, "wlan0 stack 6/600 0800:6/600", "1 more", n(5)},
		{"dropped", []event.Count{
			{Flow: event.Flow{Path: event.PathDropped}, Protocol: ip, Packets: 2, Bytes: 200, Reason: "NO_SOCKET"},
			{Flow: event.Flow{Path: event.PathDropped}, Protocol: eapol, Packets: 1, Bytes: 90, Reason: "NO_SOCKET"},
			{Flow: event.Flow{Path: event.PathDropped}, Protocol: ip, Packets: 1, Bytes: 50, Where: 0x1010},
			{Flow: event.Flow{Path: event.PathDropped}, Protocol: ip, Packets: 1, Bytes: 50, Where: 0x1020},
			{Flow: event.Flow{Path: event.PathDropped}, Protocol: ip, Packets: 9, Bytes: 900, Reason: "IP_CSUM"},
		}, "wlan0 dropped IP_CSUM 9/900; wlan0 dropped NO_SOCKET 3/290; wlan0 dropped in ip_rcv 2/100", "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := stand()
			s.HandleSymbol(&event.Symbol{Time: s.T, Addr: 0x1010, Name: "ip_rcv"})
			s.HandleSymbol(&event.Symbol{Time: s.T, Addr: 0x1020, Name: "ip_rcv"})
			for _, c := range tt.counts {
				c.Net, c.Dev, c.Ifindex = wlan0.Net, wlan0.Ptr, wlan0.Ifindex
				c.First, c.Last, c.Time = s.T, s.T, s.Tick()
				c.Base = c.Path <= event.PathStack
				s.HandleCount(&c)
			}
			var m *Model
			if tt.rx != nil {
				m = s.end(story.State(story.Initial, story.Link(withRx(wlan0, *tt.rx))), story.State(red))
			} else {
				m = s.end()
			}
			if got := pathsOf(m); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			differ := ""
			for _, f := range m.Findings {
				if f.Rule == "delivery-differs" {
					differ = f.Text
				}
			}
			if (differ == "") != (tt.differ == "") || !strings.Contains(differ, tt.differ) {
				t.Errorf("found %q, want %q", differ, tt.differ)
			}
		})
	}
}
