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
	// PathStack is the stack's own entrance (tracepoint netif_receive_skb), for
	// what only it saw.
	PathStack
	// PathControlPort is cfg80211_rx_control_port, for what only it saw: such
	// packets don't enter the namespace, somebody has them from nl80211.
	PathControlPort
	// PathDropped is no way in: packets that had entered by any path, and that the
	// stack dropped.
	PathDropped
	// PathLoopback is for the namespace's own multicast packets, which its stack
	// gets as well (dev_loopback_xmit). rx_packets doesn't have them.
	PathLoopback
	// PathStationUpdate is cfg80211_send_layer2_update, which makes a packet up when
	// a station has come to an access point. rx_packets doesn't have it, and
	// PathStack has it, too.
	PathStationUpdate
	// PathNetifRx is netif_rx, for what a monitor gets of what its own radio has sent
	// (ieee80211_tx_monitor). rx_packets doesn't have it.
	PathNetifRx
	PathCount
)

var pathNames = [PathCount]string{
	"none", "ieee80211_deliver_skb", "ieee80211_rx_8023", "stack", "control port", "dropped", "loopback",
	"cfg80211_send_layer2_update", "netif_rx",
}

// Received reports whether the kernel counts packets of that path in rx_packets.
func (p Path) Received() bool {
	return p != PathLoopback && p != PathStationUpdate && p != PathNetifRx && p != PathDropped
}

// ByMac80211 reports whether mac80211 had packets of that path, as Ethernet and one
// by one: the stack may merge them (GRO) before it counts.
func (p Path) ByMac80211() bool { return p == PathDeliverSKB || p == PathRx8023 }

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
	// packet of the flow came (0 if unknown). Last can be as much too early as a tick
	// of the kernel's clock takes (CONFIG_HZ: 1 to 10 ms), but not before Since.
	Time, First, Last uint64
	// Since is when the flow was read before: these packets came after it. 0 for
	// its first Count, and in recordings that don't tell.
	Since uint64
	// Packets and Bytes are increments. Bytes counts what rx_bytes does: the
	// packet with its Ethernet header.
	//
	// The first two paths have what mac80211 received for the interface, which is
	// what rx_packets counts. Their ethertypes only the stack knows: Packets, Bytes,
	// Control and ControlBytes are those of all of them, where Protocol is 0, and
	// Entered and EnteredBytes by ethertype. Early recordings have all by ethertype.
	Packets, Bytes uint64
	// Entered is how many of these the stack got, EnteredBytes how long they were,
	// and Control and ControlBytes are for those that nl80211's control port got;
	// of the first two paths only. The rest went no further than to another station
	// of the same access point, or was on its way. Unless EnteredKnown, the stack's
	// entrance wasn't probed and Entered is 0.
	EnteredKnown          bool
	Entered, EnteredBytes uint64
	Control, ControlBytes uint64
	// Merged is how many packets GRO made part of others before the stack got them.
	// Then EnteredBytes, or Bytes of [PathStack], is too few by their headers.
	Merged uint64
	// Protocol is the ethertype in host order; ETH_P_802_2 (4) for frames that have a
	// length instead, 0 if there are too many others.
	Protocol uint16
	// Reason is why packets of [PathDropped] were dropped: a name of enum
	// skb_drop_reason without its prefix; "" if the kernel gives none, then Where is
	// the address that dropped them.
	Reason string
	Where  uint64
	// Base says that BasePackets and BaseBytes hold the kernel's own receive
	// counters of the device just before the flow's first packet. Only the
	// first Count of a flow has them.
	Base                   bool
	BasePackets, BaseBytes uint64
}

// Delivered is how many of its packets came into the namespace. Where it is unknown
// how many the stack got, it is taken to have got all but the control port's.
func (c *Count) Delivered() uint64 {
	switch {
	case c.Path == PathDropped || c.Path == PathControlPort || c.Path == PathStationUpdate:
		return 0
	case c.Path == PathStack || c.Path == PathLoopback || c.Path == PathNetifRx:
		return c.Packets
	case c.EnteredKnown:
		return c.Entered
	}
	return c.Packets - min(c.Packets, c.Control)
}

// DeliveredBytes is how long these were.
func (c *Count) DeliveredBytes() uint64 {
	switch {
	case c.Path == PathStack || c.Path == PathLoopback || c.Path == PathNetifRx:
		return c.Bytes
	case c.Delivered() == 0:
		return 0
	case c.EnteredKnown && c.Entered+c.Control != c.Packets:
		return c.EnteredBytes
	}
	return c.Bytes - min(c.Bytes, c.ControlBytes) // not short of what GRO merged
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
