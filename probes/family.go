// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/event"
)

// followRequests tells the programs by what number nl80211's requests are known,
// which is another each time that cfg80211 is loaded, and whether they see how
// far these come. A failure costs only the probe of these requests.
func (s *Set) followRequests() {
	requests, lookups := s.probe("genl_rcv_msg"), s.probe("nl80211_pre_doit")
	if requests == nil || requests.ledger.Status != event.StatusAttached {
		return
	}
	family, err := nl80211Family()
	if err == nil {
		err = errors.Join(
			s.loader.family.Set(uint32(family)),
			s.loader.stages.Set(lookups != nil && lookups.ledger.Status == event.StatusAttached),
		)
	}
	if err != nil {
		requests.ledger.Status = event.StatusFailed
		requests.ledger.Reason = fmt.Sprintf("which requests are nl80211's is unknown: %v", err)
	}
}

// probe returns the probe of that name, nil if it isn't planned.
func (s *Set) probe(name string) *attached {
	for _, a := range s.probes {
		if a.name == name {
			return a
		}
	}
	return nil
}

// nl80211Family returns nl80211's number, 0 if there is no nl80211 (now). It lists
// all families, for asking for one by name loads its module (ctrl_getfamily).
func nl80211Family() (uint16, error) {
	c, err := netlink.Dial(unix.NETLINK_GENERIC, nil)
	if err != nil {
		return 0, fmt.Errorf("open a generic netlink socket: %w", err)
	}
	defer c.Close()
	answers, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.GENL_ID_CTRL, Flags: netlink.Request | netlink.Dump},
		Data:   []byte{unix.CTRL_CMD_GETFAMILY, 1, 0, 0}, // struct genlmsghdr
	})
	if err != nil {
		return 0, fmt.Errorf("list the families of generic netlink: %w", err)
	}
	for _, m := range answers {
		if len(m.Data) < genlHeader {
			return 0, errors.New("list the families of generic netlink: a message is too short")
		}
		id, name, err := decodeFamily(m.Data[genlHeader:])
		if err != nil {
			return 0, fmt.Errorf("list the families of generic netlink: %w", err)
		}
		if name == unix.NL80211_GENL_NAME {
			return id, nil
		}
	}
	return 0, nil
}

// genlHeader is the size of struct genlmsghdr.
const genlHeader = 4

// decodeFamily reads the attributes of a family (ctrl_fill_info).
func decodeFamily(b []byte) (id uint16, name string, err error) {
	attributes, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return 0, "", err
	}
	for attributes.Next() {
		switch attributes.Type() {
		case unix.CTRL_ATTR_FAMILY_ID:
			id = attributes.Uint16()
		case unix.CTRL_ATTR_FAMILY_NAME:
			name = attributes.String()
		}
	}
	return id, name, attributes.Err()
}
