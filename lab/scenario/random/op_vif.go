// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// vifTypes are what interfaces of a radio can be.
var vifTypes = []struct {
	name string
	typ  uint32
}{
	{"station", unix.NL80211_IFTYPE_STATION},
	{"ap", unix.NL80211_IFTYPE_AP},
	{"monitor", unix.NL80211_IFTYPE_MONITOR},
	{"mesh", unix.NL80211_IFTYPE_MESH_POINT},
	{"p2p-device", unix.NL80211_IFTYPE_P2P_DEVICE},
	{"p2p-device", unix.NL80211_IFTYPE_P2P_DEVICE},
}

// maxVifs is how many interfaces a radio is given.
const maxVifs = 5

// addVif adds an interface to a radio.
func (w *world) addVif() (*attempt, error) {
	return w.aboutRadio(func(r *radio, s *space, conn *netlink.Conn, with args, variation string) (*attempt, error) {
		vifs, err := listVifs(conn, w.nl80211)
		if err != nil {
			return nil, err
		}
		of := 0
		for _, v := range vifs {
			if v.wiphy == r.index {
				of++
			}
		}
		if of >= maxVifs {
			return nil, nil
		}
		kind := pick(w.rand, vifTypes)
		name := fmt.Sprintf("v%d", w.rand.IntN(8))
		if w.chance(15) {
			name = fmt.Sprintf("wlan%d", w.rand.IntN(6))
		}
		with["name"] = name
		if variation == "" {
			variation = kind.name
		}
		return w.try(variation, with, func() error {
			// A note of what was made answers it; an acknowledgement would come behind that.
			_, err := w.nl80211.ask(conn, unix.NL80211_CMD_NEW_INTERFACE, 0, func(a *netlink.AttributeEncoder) {
				a.Uint32(unix.NL80211_ATTR_WIPHY, uint32(r.index))
				a.String(unix.NL80211_ATTR_IFNAME, name)
				a.Uint32(unix.NL80211_ATTR_IFTYPE, kind.typ)
				a.Bytes(unix.NL80211_ATTR_MAC, []byte{2, 0, 0, byte(w.born), byte(r.index), byte(w.rand.IntN(256))})
			})
			return err
		})
	})
}

// deleteVif removes an interface of a radio, or starts or stops a P2P device, or asks for one that isn't there.
func (w *world) deleteVif() (*attempt, error) {
	return w.aboutRadio(func(_ *radio, _ *space, conn *netlink.Conn, with args, _ string) (*attempt, error) {
		vifs, err := listVifs(conn, w.nl80211)
		if err != nil {
			return nil, err
		}
		if len(vifs) == 0 {
			return nil, nil
		}
		v := pick(w.rand, vifs)
		with["name"], with["index"], with["ifindex"] = v.name, v.wiphy, v.index
		command, variation := uint8(unix.NL80211_CMD_DEL_INTERFACE), "netdev"
		if v.index == 0 {
			variation = "no netdev"
			switch w.rand.IntN(5) {
			case 0, 1:
				command, variation = unix.NL80211_CMD_START_P2P_DEVICE, "start"
			case 2:
				command, variation = unix.NL80211_CMD_STOP_P2P_DEVICE, "stop"
			}
		}
		wdev := v.wdev
		if w.chance(10) {
			wdev, variation = v.wdev+1000, "gone"
		}
		return w.try(variation, with, func() error {
			return w.nl80211.do(conn, command, func(a *netlink.AttributeEncoder) { a.Uint64(unix.NL80211_ATTR_WDEV, wdev) })
		})
	})
}
