// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// radioClass has a folder for each radio of the initial namespace.
const radioClass = "/sys/class/ieee80211"

// genlHead is the size of struct genlmsghdr: command, version, two reserved bytes.
const genlHead = 4

// cell is where the radios meet. With its address and its frequency fixed, mac80211 makes it at once,
// without a scan (ieee80211_sta_find_ibss), and the radios never have two to merge.
var cell = struct {
	name      string
	address   net.HardwareAddr
	frequency uint32
}{"nstrace", net.HardwareAddr{2, 0x4e, 0x53, 0, 0, 1}, 2412}

// radios is a socket for nl80211 of one namespace.
type radios struct {
	*netlink.Conn
	namespace *namespace
	family    netlink.HeaderType
	// mlme is the number of the group that tells of stations.
	mlme uint32
}

func openRadios(n *namespace) (*radios, error) {
	conn, err := n.open(unix.NETLINK_GENERIC)
	if err != nil {
		return nil, err
	}
	r := &radios{Conn: conn, namespace: n}
	if err := r.find(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("looking for nl80211: %w", err)
	}
	return r, nil
}

// find asks for the numbers of nl80211.
func (r *radios) find() error {
	attributes := netlink.NewAttributeEncoder()
	attributes.String(unix.CTRL_ATTR_FAMILY_NAME, unix.NL80211_GENL_NAME)
	r.family = unix.GENL_ID_CTRL
	answer, err := r.ask(unix.CTRL_CMD_GETFAMILY, 0, attributes)
	if err != nil {
		return err
	}
	for _, m := range answer {
		d, err := decode(m)
		if err != nil {
			return err
		}
		for d.Next() {
			switch d.Type() {
			case unix.CTRL_ATTR_FAMILY_ID:
				r.family = netlink.HeaderType(d.Uint16())
			case unix.CTRL_ATTR_MCAST_GROUPS:
				d.Nested(r.findGroups)
			}
		}
		if d.Err() != nil {
			return d.Err()
		}
	}
	if r.family == unix.GENL_ID_CTRL || r.mlme == 0 {
		return errors.New("its numbers are missing")
	}
	return nil
}

func (r *radios) findGroups(list *netlink.AttributeDecoder) error {
	for list.Next() {
		list.Nested(func(group *netlink.AttributeDecoder) error {
			var name string
			var id uint32
			for group.Next() {
				switch group.Type() {
				case unix.CTRL_ATTR_MCAST_GRP_NAME:
					name = group.String()
				case unix.CTRL_ATTR_MCAST_GRP_ID:
					id = group.Uint32()
				}
			}
			if name == unix.NL80211_MULTICAST_GROUP_MLME {
				r.mlme = id
			}
			return group.Err()
		})
	}
	return list.Err()
}

func decode(m netlink.Message) (*netlink.AttributeDecoder, error) {
	if len(m.Data) < genlHead {
		return nil, errors.New("a generic netlink message is too short")
	}
	return netlink.NewAttributeDecoder(m.Data[genlHead:])
}

// ask sends a command and returns the one message that answers it: what was asked for, or with
// netlink.Acknowledge that it is done.
func (r *radios) ask(command uint8, flags netlink.HeaderFlags, attributes *netlink.AttributeEncoder) ([]netlink.Message, error) {
	data, err := attributes.Encode()
	if err != nil {
		return nil, err
	}
	return r.Execute(netlink.Message{
		Header: netlink.Header{Type: r.family, Flags: netlink.Request | flags},
		Data:   append([]byte{command, 1, 0, 0}, data...),
	})
}

// tell sends a command and waits until it is done.
func (r *radios) tell(command uint8, attributes *netlink.AttributeEncoder) error {
	_, err := r.ask(command, netlink.Acknowledge, attributes)
	return err
}

// radio begins a request about a radio of the initial namespace.
func radio(name string) (*netlink.AttributeEncoder, error) {
	text, err := os.ReadFile(filepath.Join(radioClass, name, "index"))
	if err != nil {
		return nil, err
	}
	index, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	if err != nil {
		return nil, err
	}
	attributes := netlink.NewAttributeEncoder()
	attributes.Uint32(unix.NL80211_ATTR_WIPHY, uint32(index))
	return attributes, nil
}

func (r *radios) moveToFile(name string, to *namespace) error {
	attributes, err := radio(name)
	if err != nil {
		return err
	}
	file, err := os.Open(to.path)
	if err != nil {
		return err
	}
	defer file.Close()
	attributes.Uint32(unix.NL80211_ATTR_NETNS_FD, uint32(file.Fd()))
	if err = r.tell(unix.NL80211_CMD_SET_WIPHY_NETNS, attributes); err != nil {
		return fmt.Errorf("moving %s to %s: %w", name, to.name, err)
	}
	return nil
}

func (r *radios) moveToProcess(name string, pid int) error {
	attributes, err := radio(name)
	if err != nil {
		return err
	}
	attributes.Uint32(unix.NL80211_ATTR_PID, uint32(pid))
	if err = r.tell(unix.NL80211_CMD_SET_WIPHY_NETNS, attributes); err != nil {
		return fmt.Errorf("moving %s to where process %d is: %w", name, pid, err)
	}
	return nil
}

// addAccessPoint adds vap0 to phy0.
func addAccessPoint(links *linkWatch) error {
	step("add a virtual access point to phy0: it goes where its radio is")
	r, err := openRadios(initial())
	if err != nil {
		return err
	}
	defer r.Close()
	attributes, err := radio("phy0")
	if err != nil {
		return err
	}
	attributes.String(unix.NL80211_ATTR_IFNAME, "vap0")
	attributes.Uint32(unix.NL80211_ATTR_IFTYPE, unix.NL80211_IFTYPE_AP)
	if err := r.tell(unix.NL80211_CMD_NEW_INTERFACE, attributes); err != nil {
		return fmt.Errorf("adding vap0 to phy0: %w", err)
	}
	return links.await("vap0")
}

// join has an interface join the cell.
func (r *radios) join(name string) error {
	index, err := r.namespace.index(name)
	if err != nil {
		return err
	}
	kind := netlink.NewAttributeEncoder()
	kind.Uint32(unix.NL80211_ATTR_IFINDEX, uint32(index))
	kind.Uint32(unix.NL80211_ATTR_IFTYPE, unix.NL80211_IFTYPE_ADHOC)
	if err := r.tell(unix.NL80211_CMD_SET_INTERFACE, kind); err != nil {
		return fmt.Errorf("making %s fit for an IBSS: %w", name, err)
	}
	if err := r.namespace.up(name); err != nil {
		return err
	}
	attributes := netlink.NewAttributeEncoder()
	attributes.Uint32(unix.NL80211_ATTR_IFINDEX, uint32(index))
	attributes.Bytes(unix.NL80211_ATTR_SSID, []byte(cell.name))
	attributes.Bytes(unix.NL80211_ATTR_MAC, cell.address)
	attributes.Uint32(unix.NL80211_ATTR_WIPHY_FREQ, cell.frequency)
	attributes.Flag(unix.NL80211_ATTR_FREQ_FIXED, true)
	if err := r.tell(unix.NL80211_CMD_JOIN_IBSS, attributes); err != nil {
		return fmt.Errorf("joining %s to an IBSS: %w", name, err)
	}
	return nil
}

// awaitStation waits until the kernel has heard another station: before that it sends it nothing but
// broadcasts.
func (r *radios) awaitStation() error {
	return await(r.Conn, "a station heard in "+r.namespace.name, func(m netlink.Message) (bool, error) {
		return m.Header.Type == r.family && len(m.Data) >= genlHead && m.Data[0] == unix.NL80211_CMD_NEW_STATION, nil
	})
}
