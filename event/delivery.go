// SPDX-License-Identifier: Apache-2.0

package event

import "fmt"

// Path is the way a packet took from a driver or mac80211 into the stack. The
// numbers are part of the trace file: never renumber.
type Path uint8

// The paths.
const (
	PathNone Path = iota
	// PathDeliverSKB is ieee80211_deliver_skb: mac80211's ordinary receive path.
	PathDeliverSKB
	// PathRx8023 is ieee80211_rx_8023: frames the hardware or the fast path has
	// already turned into Ethernet.
	PathRx8023
	// PathStack is the stack's own entrance, for what only it saw.
	PathStack
	PathCount
)

var pathNames = [PathCount]string{"none", "ieee80211_deliver_skb", "ieee80211_rx_8023", "stack"}

// String returns the path's name as reports print it.
func (p Path) String() string {
	if p < PathCount {
		return pathNames[p]
	}
	return fmt.Sprintf("path(%d)", uint8(p))
}

// Flow is what delivery is counted by: packets of one path into one netdev
// while it was in one namespace. It is comparable.
type Flow struct {
	Net NetRef
	// Dev is the address of the struct net_device. Reused.
	Dev     uint64
	Ifindex int32
	Path    Path
}

// Count is what a flow delivered since the Count before it for the same flow,
// read out of the kernel's own per-CPU counters: nothing is missing from it.
type Count struct {
	Flow
	// Time is when it was read out, First and Last when the first and last
	// packet of the flow came (0 if unknown).
	Time, First, Last uint64
	// Since is when the flow was read before: these packets came after it. 0 for
	// its first Count, and in recordings that don't tell.
	Since uint64
	// Packets and Bytes are increments. Bytes counts what rx_bytes does: the
	// packet with its Ethernet header.
	Packets, Bytes uint64
	// Base says that BasePackets and BaseBytes hold the kernel's own receive
	// counters of the device just before the flow's first packet. Only the
	// first Count of a flow has them.
	Base                   bool
	BasePackets, BaseBytes uint64
}

// Packet is one delivered packet (--delivery packets).
type Packet struct {
	Flow
	// Seq counts the packet records of one CPU from 0, taken before ring space
	// was reserved, so a gap is a loss.
	Seq  uint64
	Time uint64
	CPU  uint32
	// Length is in bytes, with the Ethernet header.
	Length uint32
	// Protocol is the ethertype in host order, 0 if unknown.
	Protocol uint16
	// Data are its first bytes (--snaplen), from the Ethernet header on: what of
	// them was in the linear part of its sk_buff. nil if none were wanted, or to be
	// had.
	Data []byte
}

// PacketSum is what the packet records of one flow add up to.
type PacketSum struct {
	Flow
	Packets, Bytes uint64
	// First and Last are the times of its first and last record.
	First, Last uint64
}
