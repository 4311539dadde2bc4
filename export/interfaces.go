// SPDX-License-Identifier: Apache-2.0

package export

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/gopacket/gopacket/layers"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/event"
)

// iface is a netdev while it is in one namespace: an interface of the capture.
type iface struct {
	// stay is nil for one of which nothing is known but its packets.
	stay *analyze.Stay
	// id is its number in the capture, -1 before it has one.
	id   int
	link layers.LinkType
	// omitted says why its packets are left out, "" if they aren't.
	omitted string
	packets uint64
	last    uint64
	// moves are those that brought the netdev here, of which the capture hasn't
	// told yet.
	moves []*analyze.Move
}

// interfaces finds the interface of a packet.
type interfaces struct {
	model  *analyze.Model
	wanted []*analyze.Netns
	byPtr  map[uint64][]*analyze.Stay
	stays  map[*analyze.Stay]*iface
	// unknown are those without a stay.
	unknown map[event.Flow]*iface
	recent  map[event.Flow]*iface
	moves   map[*analyze.Device][]*analyze.Move
	renames map[*analyze.Device][]*analyze.Rename
}

func newInterfaces(m *analyze.Model, wanted []*analyze.Netns) *interfaces {
	x := &interfaces{
		model: m, wanted: wanted, byPtr: map[uint64][]*analyze.Stay{}, stays: map[*analyze.Stay]*iface{},
		unknown: map[event.Flow]*iface{}, recent: map[event.Flow]*iface{},
		moves: map[*analyze.Device][]*analyze.Move{}, renames: map[*analyze.Device][]*analyze.Rename{},
	}
	for _, d := range m.Devices {
		x.byPtr[d.Ptr] = append(x.byPtr[d.Ptr], d.Stays...)
	}
	for _, v := range m.Moves {
		if v.Device != nil && v.OK() {
			x.moves[v.Device] = append(x.moves[v.Device], v)
		}
	}
	for _, r := range m.Renames {
		if r.Device != nil && r.Errno == 0 {
			x.renames[r.Device] = append(x.renames[r.Device], r)
		}
	}
	return x
}

// of returns the interface that a packet came by.
func (x *interfaces) of(p *event.Packet) *iface {
	key := p.Flow
	if i := x.recent[key]; i != nil && i.stay != nil && during(i.stay, p.Time) {
		return i
	}
	stay := x.stay(&p.Flow, p.Time)
	i := x.stays[stay]
	if stay == nil {
		i = x.unknown[key]
	}
	if i == nil {
		i = x.add(stay, p)
	}
	if len(x.recent) >= maxRecent {
		clear(x.recent)
	}
	x.recent[key] = i
	return i
}

// maxRecent bounds what is remembered of flows.
const maxRecent = 1 << 14

func (x *interfaces) add(stay *analyze.Stay, p *event.Packet) *iface {
	i := &iface{stay: stay, id: -1}
	var devType uint32
	if stay == nil {
		x.unknown[p.Flow] = i
	} else {
		x.stays[stay] = i
		devType = stay.Device.DevType
		i.moves = x.movesTo(stay)
	}
	switch {
	case len(x.wanted) > 0 && (stay == nil || !slices.Contains(x.wanted, stay.Netns)):
		i.omitted = notWanted
	default:
		i.link, i.omitted = linkType(devType, p.Path)
	}
	return i
}

// notWanted is why packets of other namespaces are left out; that needs no saying.
const notWanted = "not wanted"

// Of include/uapi/linux/if_arp.h.
const (
	arphrdEther    = 1
	arphrdLoopback = 772
	arphrd80211    = 801
	arphrdPrism    = 802
	arphrdRadiotap = 803
)

// linkType is what packets of a netdev begin with, and why that isn't known.
func linkType(devType uint32, path event.Path) (link layers.LinkType, unknown string) {
	switch devType {
	case arphrdEther, arphrdLoopback:
		return layers.LinkTypeEthernet, ""
	case arphrd80211:
		return layers.LinkTypeIEEE802_11, ""
	case arphrdPrism:
		return layers.LinkTypePrismHeader, ""
	case arphrdRadiotap:
		return layers.LinkTypeIEEE80211Radio, ""
	case 0:
		// mac80211 delivers Ethernet to these functions, whatever the netdev.
		if path.ByMac80211() {
			return layers.LinkTypeEthernet, ""
		}
		return 0, "what their packets begin with is unknown"
	}
	return 0, fmt.Sprintf("there is no link type for devices of type %d", devType)
}

func during(s *analyze.Stay, t uint64) bool { return s.From <= t && (s.Until == 0 || t <= s.Until) }

// stay returns where the netdev of a flow was at time t, nil if nothing is known of
// it. What noticed an arrival may have been later than the first packet, and what
// noticed a departure before the last: then it is the nearest.
func (x *interfaces) stay(f *event.Flow, t uint64) *analyze.Stay {
	var nearest *analyze.Stay
	best := uint64(1<<64 - 1)
	for _, s := range x.byPtr[f.Dev] {
		if s.Ifindex != f.Ifindex || !isNetns(s.Netns, f.Net) {
			continue
		}
		var away uint64
		switch {
		case t < s.From:
			away = s.From - t
		case s.Until != 0 && t > s.Until:
			away = t - s.Until
		}
		if away < best {
			nearest, best = s, away
		}
	}
	return nearest
}

// isNetns reports whether a reference means n. A cookie is never used again.
func isNetns(n *analyze.Netns, r event.NetRef) bool {
	if n.Cookie != 0 && r.Cookie != 0 {
		return n.Cookie == r.Cookie
	}
	return n.Inum == r.Inum && (n.Ptr == 0 || r.Ptr == 0 || n.Ptr == r.Ptr)
}

// movesTo lists the moves of a netdev between its stay before this and this.
func (x *interfaces) movesTo(s *analyze.Stay) []*analyze.Move {
	if s.Arrived != analyze.ArrivedMoved {
		return nil
	}
	var last *analyze.Move
	for _, v := range x.moves[s.Device] {
		if v.To == s.Netns && v.At <= s.From && (last == nil || v.At >= last.At) {
			last = v
		}
	}
	if last == nil {
		return nil
	}
	return []*analyze.Move{last}
}

// name is what an interface is called in the capture: the netdev and its namespace as
// they are called at time t.
func (x *interfaces) name(i *iface, p *event.Packet) string {
	if i.stay == nil {
		return fmt.Sprintf("if%d@net:[%d]", p.Ifindex, p.Net.Inum)
	}
	return x.deviceName(i.stay, p.Time) + "@" + netnsName(i.stay.Netns, p.Time)
}

func (x *interfaces) deviceName(s *analyze.Stay, t uint64) string {
	name := ""
	if len(s.Names) > 0 {
		name = s.Names[0]
	}
	for _, r := range x.renames[s.Device] {
		if r.At <= t && r.At >= s.From && (s.Until == 0 || r.At <= s.Until) {
			name = r.New
		}
	}
	if name == "" {
		return fmt.Sprintf("if%d", s.Ifindex)
	}
	return analyze.Escape(name)
}

// netnsName is a name that n has at time t, its inum if it has none.
func netnsName(n *analyze.Netns, t uint64) string {
	for _, x := range n.Names {
		if x.From <= t && (x.Until == 0 || t <= x.Until) {
			return analyze.Escape(x.Name)
		}
	}
	switch {
	case n.Initial:
		return "init"
	case n.Inum != 0:
		return fmt.Sprintf("net:[%d]", n.Inum)
	}
	return n.ID
}

// description says what an interface was beyond its name.
func (x *interfaces) description(i *iface) string {
	if i.stay == nil {
		return "a netdev of which nothing is known but its packets"
	}
	s, m := i.stay, x.model
	d := fmt.Sprintf("ifindex %d, in namespace %s (net:[%d], %s in the report)", s.Ifindex, s.Netns.Label(), s.Netns.Inum, s.Netns.ID)
	if s.From != 0 {
		d += " from " + m.Since(s.From)
	}
	if s.Until != 0 {
		d += " until " + m.Since(s.Until)
	}
	if w := s.Device.Wiphy; w != nil {
		d += ", of " + w.Label()
	}
	return d
}

// received is the kernel's count of what the interface received, false where it can't
// be told from what it received when it was there before.
func (x *interfaces) received(i *iface) (uint64, bool) {
	if i.stay == nil {
		return 0, false
	}
	s := i.stay
	for _, other := range s.Device.Stays {
		if other != s && other.Netns == s.Netns && other.Ifindex == s.Ifindex {
			return 0, false
		}
	}
	var n uint64
	found := false
	for _, d := range x.model.Delivery {
		if d.Netns == s.Netns && d.Device == s.Device && d.Ifindex == s.Ifindex && d.RxPackets != nil {
			n, found = *d.RxPackets, true // for all paths together
		}
	}
	return n, found
}

// sorted lists the interfaces that are in the capture.
func (x *interfaces) sorted() []*iface {
	var all []*iface
	for _, i := range x.stays {
		all = append(all, i)
	}
	for _, i := range x.unknown {
		all = append(all, i)
	}
	all = slices.DeleteFunc(all, func(i *iface) bool { return i.id < 0 })
	slices.SortFunc(all, func(a, b *iface) int { return cmp.Compare(a.id, b.id) })
	return all
}
