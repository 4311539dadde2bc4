// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"fmt"
	"strings"
	"time"

	"github.com/nstrace/nstrace/event"
)

// findDelivery: where our count of delivered packets isn't the kernel's.
func (a *Analyzer) findDelivery() {
	if a.m.Recording.Delivery == "off" {
		return
	}
	sums := make(map[place]uint64)
	for _, d := range a.m.Delivery {
		sums[place{d.Netns, d.Device, d.Ifindex}] += d.Received()
	}
	done := make(map[place]bool)
	for _, d := range a.m.Delivery {
		p := place{d.Netns, d.Device, d.Ifindex}
		if d.RxPackets == nil || done[p] || sums[p] == *d.RxPackets {
			continue
		}
		done[p] = true
		a.findDiffers(d, sums[p])
	}
	a.findUncounted()
	a.findSilences()
}

func (a *Analyzer) findDiffers(d *Delivery, ours uint64) {
	kernel := *d.RxPackets
	by := fmt.Sprintf("%d fewer", sub(kernel, ours))
	if ours > kernel {
		by = fmt.Sprintf("%d more", ours-kernel)
	}
	severity := Warning
	if ours < kernel && a.stillComing(d) {
		severity = Info
	}
	a.find(Finding{
		Rule: "delivery-differs", Severity: severity, Subject: d.Device.Label(), At: d.Last, About: []*Netns{d.Netns},
		Text: fmt.Sprintf("%s were counted into %s in %s, %s than the kernel's rx_packets (%d) over the same time. Possible: %s.",
			plural(ours, "packet"), d.Device.Label(), d.Netns.Label(), by, kernel, strings.Join(a.reasons(d.Device, d.Netns, ours > kernel), "; ")),
	})
}

// stillComing reports whether packets came up to the end of the recording: the
// kernel's counter, read a moment after counting stopped, has those that came
// in between.
func (a *Analyzer) stillComing(d *Delivery) bool {
	const lately = uint64(time.Second)
	s := d.Device.At()
	return s != nil && s.Netns == d.Netns && sub(a.m.Ended, d.Last) < lately
}

// reasons lists what may explain a difference, the evident ones first.
func (a *Analyzer) reasons(d *Device, n *Netns, more bool) []string {
	var out []string
	if l := a.m.Ledger; l != nil {
		if l.FlowsDropped != 0 {
			out = append(out, plural(l.FlowsDropped, "packet")+" not counted because the table of flows was full")
		}
		for _, p := range l.Probes {
			if !deliveryProbe(p.Name) {
				continue
			}
			switch {
			case p.Status == event.StatusFailed || p.Status == event.StatusAbsent:
				out = append(out, "probe "+Escape(p.Name)+" is "+string(p.Status))
			case p.Missed != nil && *p.Missed != 0:
				out = append(out, fmt.Sprintf("the kernel skipped the probe %s %s", Escape(p.Name), plural(*p.Missed, "time")))
			}
		}
	}
	if len(a.m.Damage) != 0 {
		out = append(out, "counts were in the damaged part of the file")
	}
	var there, pre bool
	for _, s := range d.Stays {
		if s.Netns == n {
			there = there || s.Left == ""
			pre = pre || s.Arrived == ArrivedPreexisting
		}
	}
	if there && !more {
		out = append(out, "packets that came between the end of counting and the closing snapshot")
	}
	if pre {
		out = append(out, "packets that came between the beginning of counting and the opening snapshot")
	}
	if more {
		out = append(out, "packets in flight when a counter was read")
	} else {
		out = append(out, "a way into the stack without a probe")
	}
	return out
}

// deliveryProbe reports whether a probe of that name counts deliveries.
func deliveryProbe(name string) bool {
	for p := event.PathDeliverSKB; p < event.PathCount; p++ {
		if name == p.String() {
			return true
		}
	}
	return name == "netif_receive_skb"
}

// findUncounted: wireless interfaces that received by the kernel's account and
// not by ours.
func (a *Analyzer) findUncounted() {
	counted := make(map[*Stay]bool)
	for _, d := range a.m.Delivery {
		for _, s := range d.Device.Stays {
			if s.Netns == d.Netns && s.Ifindex == d.Ifindex {
				counted[s] = true
			}
		}
	}
	for _, d := range a.m.Devices {
		for _, s := range d.Stays {
			if d.Wiphy == nil || counted[s] || !s.rxIn.known || !s.rxOut.known || s.rxOut.packets <= s.rxIn.packets {
				continue
			}
			n := s.rxOut.packets - s.rxIn.packets
			a.find(Finding{
				Rule: "delivery-differs", Severity: Warning, Subject: d.Label(), At: s.Until, About: []*Netns{s.Netns},
				Text: fmt.Sprintf("no packet was counted into %s in %s, but the kernel's rx_packets says %s over the same time. Possible: %s.",
					d.Label(), s.Netns.Label(), plural(n, "packet"), strings.Join(a.reasons(d, s.Netns, false), "; ")),
			})
		}
	}
}
