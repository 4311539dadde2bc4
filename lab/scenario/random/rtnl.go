// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Attributes of linux/if_link.h, linux/veth.h and linux/if_macvlan.h.
const (
	iflaNewIfindex  = 49 // IFLA_NEW_IFINDEX
	vethInfoPeer    = 1
	iflaVlanID      = 1
	iflaMacvlanMode = 1
	macvlanBridge   = 4
	rtextSkipStats  = 8 // RTEXT_FILTER_SKIP_STATS
	rtnlGroupLink   = 1
	arphrdLoopback  = 772
)

// link is what rtnetlink says of an interface.
type link struct {
	index  int
	name   string
	kind   string // IFLA_INFO_KIND
	typ    uint16 // ARPHRD_*
	up     bool
	master int
	// wireless says that nl80211 knows it.
	wireless bool
}

// linkHead is struct ifinfomsg for the interface of that number, or 0.
func linkHead(index int, flags, change uint32) []byte {
	head := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(head[4:], uint32(index))
	binary.NativeEndian.PutUint32(head[8:], flags)
	binary.NativeEndian.PutUint32(head[12:], change)
	return head
}

// request is what to ask of rtnetlink about a link.
type request struct {
	command    netlink.HeaderType
	flags      netlink.HeaderFlags
	index      int
	set, mask  uint32 // interface flags
	attributes func(*netlink.AttributeEncoder)
}

// ask sends it and returns the kernel's answer.
func (r request) ask(conn *netlink.Conn) ([]netlink.Message, error) {
	encoder := netlink.NewAttributeEncoder()
	if r.attributes != nil {
		r.attributes(encoder)
	}
	data, err := encoder.Encode()
	if err != nil {
		return nil, fmt.Errorf("encoding a request: %w", err)
	}
	return conn.Execute(netlink.Message{
		Header: netlink.Header{Type: r.command, Flags: netlink.Request | r.flags},
		Data:   append(linkHead(r.index, r.set, r.mask), data...),
	})
}

// do asks for something to be done.
func (r request) do(conn *netlink.Conn) error {
	r.flags |= netlink.Acknowledge
	_, err := r.ask(conn)
	return err
}

// listLinks lists the interfaces of conn's namespace. Which are wireless it doesn't know.
func listLinks(conn *netlink.Conn) ([]*link, error) {
	messages, err := request{
		command: unix.RTM_GETLINK, flags: netlink.Dump,
		attributes: func(a *netlink.AttributeEncoder) { a.Uint32(unix.IFLA_EXT_MASK, rtextSkipStats) },
	}.ask(conn)
	if err != nil {
		return nil, fmt.Errorf("listing links: %w", notAnErrno(err))
	}
	var links []*link
	for _, m := range messages {
		l, err := readLink(m)
		if err != nil {
			return nil, err
		}
		links = append(links, l)
	}
	return links, nil
}

func readLink(m netlink.Message) (*link, error) {
	if len(m.Data) < unix.SizeofIfInfomsg {
		return nil, errors.New("a link's message is too short")
	}
	l := &link{
		typ:   binary.NativeEndian.Uint16(m.Data[2:]),
		index: int(binary.NativeEndian.Uint32(m.Data[4:])),
		up:    binary.NativeEndian.Uint32(m.Data[8:])&unix.IFF_UP != 0,
	}
	attributes, err := netlink.NewAttributeDecoder(m.Data[unix.SizeofIfInfomsg:])
	if err != nil {
		return nil, err
	}
	for attributes.Next() {
		switch attributes.Type() {
		case unix.IFLA_IFNAME:
			l.name = attributes.String()
		case unix.IFLA_MASTER:
			l.master = int(attributes.Uint32())
		case unix.IFLA_LINKINFO:
			attributes.Nested(func(info *netlink.AttributeDecoder) error {
				for info.Next() {
					if info.Type() == unix.IFLA_INFO_KIND {
						l.kind = info.String()
					}
				}
				return nil
			})
		}
	}
	return l, attributes.Err()
}
