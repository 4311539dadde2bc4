// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/event"
)

// genlHeader is the size of struct genlmsghdr: command, version, two reserved
// bytes.
const genlHeader = 4

// errShortGenl says that a message ends before its attributes begin.
var errShortGenl = errors.New("a generic netlink message is too short")

// wirelessFamily returns nl80211's number, the same in every namespace, or 0 if
// the kernel has no nl80211 (now).
//
// It lists the families instead of asking for "nl80211" by name, for that would
// load cfg80211 (ctrl_getfamily in net/netlink/genetlink.c requests the module
// of a name it doesn't know), and a recorder loads nothing.
func wirelessFamily(generic *netlinkSocket) (uint16, error) {
	var family uint16
	err := generic.dump(unix.GENL_ID_CTRL, genlRequest(unix.CTRL_CMD_GETFAMILY),
		func() { family = 0 },
		func(body []byte) error {
			id, name, err := decodeFamily(body)
			if err == nil && name == unix.NL80211_GENL_NAME {
				family = id
			}
			return err
		})
	return family, err
}

// readWiphys returns the radios of the socket's namespace, sorted by index.
func readWiphys(generic *netlinkSocket, family uint16) ([]event.Wiphy, error) {
	var wiphys map[int32]event.Wiphy
	// Without the flag the kernel leaves out what doesn't fit into one message.
	request := append(genlRequest(unix.NL80211_CMD_GET_WIPHY), flagAttribute(unix.NL80211_ATTR_SPLIT_WIPHY_DUMP)...)
	err := generic.dump(family, request,
		func() { wiphys = map[int32]event.Wiphy{} },
		func(body []byte) error {
			part, err := decodeWiphy(body)
			if err != nil {
				return err
			}
			// Each message has a part of what there is to say about a wiphy.
			known := wiphys[part.Index]
			known.Index = part.Index
			if part.Name != "" {
				known.Name = part.Name
			}
			known.CanSwitch = known.CanSwitch || part.CanSwitch
			wiphys[part.Index] = known
			return nil
		})
	var sorted []event.Wiphy
	for _, wiphy := range wiphys {
		sorted = append(sorted, wiphy)
	}
	sort.Slice(sorted, func(i, j int) bool { return sorted[i].Index < sorted[j].Index })
	return sorted, err
}

// readWdevs returns the interfaces of the radios of the socket's namespace,
// sorted by wiphy and number.
func readWdevs(generic *netlinkSocket, family uint16) ([]event.Wdev, error) {
	var wdevs []event.Wdev
	err := generic.dump(family, genlRequest(unix.NL80211_CMD_GET_INTERFACE),
		func() { wdevs = nil },
		func(body []byte) error {
			wdev, err := decodeWdev(body)
			if err == nil {
				wdevs = append(wdevs, wdev)
			}
			return err
		})
	slices.SortFunc(wdevs, func(a, b event.Wdev) int {
		return cmp.Or(cmp.Compare(a.Wiphy, b.Wiphy), cmp.Compare(a.ID, b.ID))
	})
	return wdevs, err
}

// addWireless fills in what nl80211 knows about links. An interface that its radio
// left behind in another namespace is listed with the number it has there.
func addWireless(links []event.Link, wdevs []event.Wdev) {
	for i := range links {
		for _, wdev := range wdevs {
			if wdev.Ifindex == links[i].Ifindex && wdev.Name == links[i].Name {
				links[i].Wiphy, links[i].Iftype = wdev.Wiphy, wdev.Iftype
			}
		}
	}
}

// genlRequest is the head of a request (struct genlmsghdr).
func genlRequest(command uint8) []byte { return []byte{command, 1, 0, 0} }

// flagAttribute is a struct nlattr without a value.
func flagAttribute(attribute uint16) []byte {
	data, err := netlink.MarshalAttributes([]netlink.Attribute{{Type: attribute}})
	if err != nil {
		panic(err) // only an attribute of 64 KiB can't be encoded
	}
	return data
}

// genlAttributes calls each for every attribute of a generic netlink message.
func genlAttributes(body []byte, each func(*netlink.AttributeDecoder)) error {
	if len(body) < genlHeader {
		return errShortGenl
	}
	attributes, err := netlink.NewAttributeDecoder(body[genlHeader:])
	if err != nil {
		return fmt.Errorf("read a generic netlink message: %w", err)
	}
	for attributes.Next() {
		each(attributes)
	}
	if err := attributes.Err(); err != nil {
		return fmt.Errorf("read a generic netlink message: %w", err)
	}
	return nil
}

// decodeFamily reads a CTRL_CMD_NEWFAMILY message (ctrl_fill_info).
func decodeFamily(body []byte) (id uint16, name string, err error) {
	err = genlAttributes(body, func(attributes *netlink.AttributeDecoder) {
		switch attributes.Type() {
		case unix.CTRL_ATTR_FAMILY_ID:
			id = attributes.Uint16()
		case unix.CTRL_ATTR_FAMILY_NAME:
			name = attributes.String()
		}
	})
	return id, name, err
}

// decodeWiphy reads one NL80211_CMD_NEW_WIPHY message of a split dump
// (nl80211_send_wiphy in net/wireless/nl80211.c).
func decodeWiphy(body []byte) (event.Wiphy, error) {
	wiphy := event.Wiphy{Index: -1}
	err := genlAttributes(body, func(attributes *netlink.AttributeDecoder) {
		switch attributes.Type() {
		case unix.NL80211_ATTR_WIPHY:
			wiphy.Index = int32(attributes.Uint32())
		case unix.NL80211_ATTR_WIPHY_NAME:
			wiphy.Name = attributes.String()
		case unix.NL80211_ATTR_SUPPORTED_COMMANDS:
			attributes.Nested(func(commands *netlink.AttributeDecoder) error {
				for commands.Next() {
					if commands.Uint32() == unix.NL80211_CMD_SET_WIPHY_NETNS {
						wiphy.CanSwitch = true
					}
				}
				return nil
			})
		}
	})
	if err == nil && wiphy.Index < 0 {
		err = errors.New("a wiphy message names no wiphy")
	}
	return wiphy, err
}

// decodeWdev reads an NL80211_CMD_NEW_INTERFACE message (nl80211_send_iface). A
// wdev without a netdev has no ifindex: 0.
func decodeWdev(body []byte) (event.Wdev, error) {
	wdev := event.Wdev{Wiphy: -1}
	err := genlAttributes(body, func(attributes *netlink.AttributeDecoder) {
		switch attributes.Type() {
		case unix.NL80211_ATTR_IFINDEX:
			wdev.Ifindex = int32(attributes.Uint32())
		case unix.NL80211_ATTR_IFNAME:
			wdev.Name = attributes.String()
		case unix.NL80211_ATTR_WDEV:
			wdev.ID = attributes.Uint64()
		case unix.NL80211_ATTR_WIPHY:
			wdev.Wiphy = int32(attributes.Uint32())
		case unix.NL80211_ATTR_IFTYPE:
			wdev.Iftype = attributes.Uint32()
		}
	})
	return wdev, err
}
