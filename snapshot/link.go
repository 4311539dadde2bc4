// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"encoding/binary"
	"fmt"
	"sort"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/event"
)

// readLinks returns the netdevs of the socket's namespace, sorted by ifindex.
// With an error the list may be incomplete.
func readLinks(route *netlinkSocket) ([]event.Link, error) {
	var links []event.Link
	var now uint64
	err := route.dump(unix.RTM_GETLINK, make([]byte, unix.SizeofIfInfomsg),
		func() { links, now = []event.Link{}, boottime() },
		func(body []byte) error {
			link, err := decodeLink(body)
			if err != nil {
				return err
			}
			if link.Stats {
				link.StatsTime = now
			}
			links = append(links, link)
			return nil
		})
	sort.Slice(links, func(i, j int) bool { return links[i].Ifindex < links[j].Ifindex })
	return links, err
}

// decodeLink reads an RTM_NEWLINK message: struct ifinfomsg, then IFLA_*
// attributes (rtnl_fill_ifinfo in net/core/rtnetlink.c).
func decodeLink(body []byte) (event.Link, error) {
	if len(body) < unix.SizeofIfInfomsg {
		return event.Link{}, fmt.Errorf("a link message of %d bytes is too short", len(body))
	}
	link := event.Link{
		DevType: binary.NativeEndian.Uint16(body[2:]),
		Ifindex: int32(binary.NativeEndian.Uint32(body[4:])),
		Flags:   binary.NativeEndian.Uint32(body[8:]),
		Wiphy:   -1,
	}
	attributes, err := netlink.NewAttributeDecoder(body[unix.SizeofIfInfomsg:])
	if err != nil {
		return event.Link{}, fmt.Errorf("read the attributes of link %d: %w", link.Ifindex, err)
	}
	for attributes.Next() {
		decodeLinkAttribute(&link, attributes)
	}
	if err := attributes.Err(); err != nil {
		return event.Link{}, fmt.Errorf("read the attributes of link %d: %w", link.Ifindex, err)
	}
	return link, nil
}

func decodeLinkAttribute(link *event.Link, attributes *netlink.AttributeDecoder) {
	switch attributes.Type() {
	case unix.IFLA_IFNAME:
		link.Name = attributes.String()
	case unix.IFLA_PROP_LIST:
		attributes.Nested(func(properties *netlink.AttributeDecoder) error {
			for properties.Next() {
				if properties.Type() == unix.IFLA_ALT_IFNAME {
					link.AltNames = append(link.AltNames, properties.String())
				}
			}
			return nil
		})
	case unix.IFLA_LINKINFO:
		attributes.Nested(func(info *netlink.AttributeDecoder) error {
			for info.Next() {
				if info.Type() == unix.IFLA_INFO_KIND {
					link.Kind = info.String()
				}
			}
			return nil
		})
	case unix.IFLA_OPERSTATE:
		link.OperState = attributes.Uint8()
	case unix.IFLA_MASTER:
		link.Master = attributes.Int32()
	case unix.IFLA_LINK:
		// Given where it isn't the link itself, and 0 then where there is none
		// (rtnl_fill_ifinfo).
		link.Lower = attributes.Int32()
	case unix.IFLA_LINK_NETNSID:
		nsid := attributes.Int32()
		link.LowerNSID = &nsid
	case unix.IFLA_STATS64:
		decodeStats(link, attributes.Bytes())
	}
}

// decodeStats reads the front of a struct rtnl_link_stats64: rx_packets,
// tx_packets, rx_bytes. Without them the counters stay unknown.
func decodeStats(link *event.Link, stats []byte) {
	if len(stats) < 24 {
		return
	}
	link.Stats = true
	link.RxPackets = binary.NativeEndian.Uint64(stats[0:])
	link.RxBytes = binary.NativeEndian.Uint64(stats[16:])
}
