// SPDX-License-Identifier: Apache-2.0

package report

import (
	"strings"
	"testing"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/event"
)

// The kernel's count stands beside the last path that it is of, whatever other
// paths the interface has.
func TestDeliveryRows(t *testing.T) {
	rx := uint64(12)
	n := &analyze.Netns{ID: "ns2"}
	d := &analyze.Device{}
	for _, p := range []struct {
		path    event.Path
		packets uint64
	}{{event.PathDeliverSKB, 10}, {event.PathStack, 2}, {event.PathLoopback, 5}} {
		n.Delivery = append(n.Delivery, &analyze.Delivery{Netns: n, Device: d, Path: p.path, Packets: p.packets, RxPackets: &rx})
	}
	w := &writer{}
	tab := w.deliveryTable()
	w.deliveryRows(tab, n)
	tab.write(&w.Builder, "")
	for _, line := range []struct{ path, end string }{
		{"ieee80211_deliver_skb", "0"}, {"stack", "12  = (sum 12)"}, {"loopback", "0"},
	} {
		if !hasLine(w.String(), line.path, line.end) {
			t.Errorf("no line of %q that ends with %q:\n%s", line.path, line.end, w.String())
		}
	}
}

// hasLine reports whether one line has a word and an end.
func hasLine(text, word, end string) bool {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.Contains(line, " "+word+" ") && strings.HasSuffix(line, end) {
			return true
		}
	}
	return false
}

// What the kernel calls a drop and may be none is explained, once for each reason.
func TestDropNotes(t *testing.T) {
	n, d := &analyze.Netns{ID: "ns2"}, &analyze.Device{}
	w := &writer{}
	w.drops([]*analyze.Drop{
		{Netns: n, Device: d, Reason: "NO_SOCKET", Packets: 2},
		{Netns: n, Device: d, Reason: "NETFILTER_DROP", Packets: 1},
		{Netns: n, Device: d, Ifindex: 3, Reason: "NO_SOCKET", Packets: 1},
	}, "  ")
	if got := strings.Count(w.String(), "isn't always a loss"); got != 1 {
		t.Errorf("%d explanations, want one:\n%s", got, w.String())
	}
}
