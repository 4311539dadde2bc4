// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// hwsim's generic netlink family (drivers/net/wireless/virtual/mac80211_hwsim.h).
const (
	hwsimModule = "mac80211_hwsim"
	hwsimName   = "MAC80211_HWSIM"

	hwsimNewRadio = 4
	hwsimDelRadio = 5

	hwsimAttrChannels       = 9
	hwsimAttrRadioID        = 10
	hwsimAttrP2PDevice      = 14
	hwsimAttrDestroyOnClose = 16
	hwsimAttrRadioName      = 17
	hwsimAttrNoVif          = 18
)

// genlHead is the size of struct genlmsghdr: command, version, two reserved bytes.
const genlHead = 4

// family is the number of a generic netlink family, which is the same in all namespaces.
type family netlink.HeaderType

func findFamily(conn *netlink.Conn, name string) (family, error) {
	answer, err := family(unix.GENL_ID_CTRL).ask(conn, unix.CTRL_CMD_GETFAMILY, 0, func(a *netlink.AttributeEncoder) {
		a.String(unix.CTRL_ATTR_FAMILY_NAME, name)
	})
	if err != nil {
		return 0, fmt.Errorf("looking for %s: %w", name, err)
	}
	for _, m := range answer {
		d, err := decodeGeneric(m)
		if err != nil {
			return 0, err
		}
		for d.Next() {
			if d.Type() == unix.CTRL_ATTR_FAMILY_ID {
				return family(d.Uint16()), d.Err()
			}
		}
	}
	return 0, fmt.Errorf("looking for %s: its number is missing", name)
}

func decodeGeneric(m netlink.Message) (*netlink.AttributeDecoder, error) {
	if len(m.Data) < genlHead {
		return nil, errors.New("a generic netlink message is too short")
	}
	return netlink.NewAttributeDecoder(m.Data[genlHead:])
}

// ask sends a command and returns what answers it.
func (f family) ask(conn *netlink.Conn, command uint8, flags netlink.HeaderFlags, attributes func(*netlink.AttributeEncoder)) ([]netlink.Message, error) {
	encoder := netlink.NewAttributeEncoder()
	if attributes != nil {
		attributes(encoder)
	}
	data, err := encoder.Encode()
	if err != nil {
		return nil, fmt.Errorf("encoding a request: %w", err)
	}
	return conn.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(f), Flags: netlink.Request | flags},
		Data:   append([]byte{command, 1, 0, 0}, data...),
	})
}

// do sends a command and waits until it is done.
func (f family) do(conn *netlink.Conn, command uint8, attributes func(*netlink.AttributeEncoder)) error {
	_, err := f.ask(conn, command, netlink.Acknowledge, attributes)
	return err
}

// vif is what nl80211 says of an interface of a radio; one without a netdev has no index.
type vif struct {
	wiphy, index int
	name         string
	wdev         uint64
	typ          uint32
}

// listVifs lists the wireless interfaces of conn's namespace.
func listVifs(conn *netlink.Conn, nl80211 family) ([]vif, error) {
	answer, err := nl80211.ask(conn, unix.NL80211_CMD_GET_INTERFACE, netlink.Dump, nil)
	if err != nil {
		return nil, fmt.Errorf("listing wireless interfaces: %w", notAnErrno(err))
	}
	var vifs []vif
	for _, m := range answer {
		v, err := readVif(m)
		if err != nil {
			return nil, err
		}
		vifs = append(vifs, v)
	}
	return vifs, nil
}

func readVif(m netlink.Message) (vif, error) {
	v := vif{wiphy: -1}
	d, err := decodeGeneric(m)
	if err != nil {
		return v, err
	}
	for d.Next() {
		switch d.Type() {
		case unix.NL80211_ATTR_WIPHY:
			v.wiphy = int(d.Uint32())
		case unix.NL80211_ATTR_IFINDEX:
			v.index = int(d.Uint32())
		case unix.NL80211_ATTR_IFNAME:
			v.name = d.String()
		case unix.NL80211_ATTR_IFTYPE:
			v.typ = d.Uint32()
		case unix.NL80211_ATTR_WDEV:
			v.wdev = d.Uint64()
		}
	}
	return v, d.Err()
}

// listWiphys returns the names of the radios of conn's namespace by their index.
func listWiphys(conn *netlink.Conn, nl80211 family) (map[int]string, error) {
	answer, err := nl80211.ask(conn, unix.NL80211_CMD_GET_WIPHY, netlink.Dump, nil)
	if err != nil {
		return nil, fmt.Errorf("listing radios: %w", notAnErrno(err))
	}
	names := map[int]string{}
	for _, m := range answer {
		d, err := decodeGeneric(m)
		if err != nil {
			return nil, err
		}
		index, name := -1, ""
		for d.Next() {
			switch d.Type() {
			case unix.NL80211_ATTR_WIPHY:
				index = int(d.Uint32())
			case unix.NL80211_ATTR_WIPHY_NAME:
				name = d.String()
			}
		}
		if d.Err() != nil {
			return nil, d.Err()
		}
		names[index] = name
	}
	return names, nil
}
