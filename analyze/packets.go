// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"fmt"

	"github.com/nstrace/nstrace/event"
)

// rulePackets is the rule by which they are to be the same.
const rulePackets = "packets-differ"

// packetCheck compares the records of packets, one by one, with the kernel's
// counts of the same packets: two ways to the same number.
type packetCheck struct {
	counted map[recordKey]uint64
	sums    []event.PacketSum
	handled bool
}

// recordKey is what both are told apart by. The counters may know more.
type recordKey struct {
	net     event.NetRef
	dev     uint64
	ifindex int32
	path    event.Path
}

func recordKeyOf(f *event.Flow) recordKey { return recordKey{f.Net, f.Dev, f.Ifindex, f.Path} }

// counts takes what a flow delivered. Only for what mac80211 had is there a record
// of each packet counted.
func (c *packetCheck) counts(n *event.Count) {
	if !n.Path.ByMac80211() {
		return
	}
	if c.counted == nil {
		c.counted = make(map[recordKey]uint64)
	}
	c.counted[recordKeyOf(&n.Flow)] += n.Packets
}

// HandlePacketSums takes what the packet records of each flow add up to, once
// everything else was handled. Without it the records aren't compared with the
// counts.
func (a *Analyzer) HandlePacketSums(sums []event.PacketSum) {
	a.packets.sums, a.packets.handled = append([]event.PacketSum(nil), sums...), true
}

// findPackets: packets that were counted and have no record though none was lost,
// and the other way round.
func (a *Analyzer) findPackets() {
	c := &a.packets
	// Without an end, the last counts and the last records are of different times.
	if !c.handled || a.m.End == nil || a.m.Recording.Delivery != "packets" {
		return
	}
	recorded := make(map[recordKey]uint64, len(c.sums))
	for i := range c.sums {
		if s := &c.sums[i]; s.Path.ByMac80211() {
			recorded[recordKeyOf(&s.Flow)] += s.Packets
		}
	}
	var counted, uncounted, unrecorded uint64
	for k, n := range c.counted {
		counted += n
		unrecorded += sub(n, recorded[k])
	}
	if a.m.Recording.Packets.Filtered() {
		unrecorded = 0 // which of them were wanted, nobody knows
	}
	for k, n := range recorded {
		uncounted += sub(n, c.counted[k])
	}
	if l := a.m.Ledger; l != nil {
		uncounted = sub(uncounted, l.FlowsDropped)
	}
	if n := sub(unrecorded, a.m.Lost); n > 0 && !a.m.LostMore {
		a.find(Finding{
			Rule: rulePackets, Severity: Warning, Subject: "recording",
			Text: fmt.Sprintf("Of %s that were counted, %d have no record of their own; records known to be lost: %d. The recording doesn't tell of every packet one by one.",
				plural(counted, "packet"), unrecorded, a.m.Lost),
		})
	}
	if uncounted > 0 && len(a.m.Damage) == 0 {
		a.find(Finding{
			Rule: rulePackets, Severity: Warning, Subject: "recording",
			Text: fmt.Sprintf("Packets that are recorded one by one and missing from the counts: %d. The counts of delivered packets are too low.", uncounted),
		})
	}
}
