// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// linkGroup is RTNLGRP_LINK of linux/rtnetlink.h: links that come, change and go.
const linkGroup = 1

// open opens a netlink socket in a namespace.
func (n *namespace) open(family int) (*netlink.Conn, error) {
	file, err := os.Open(n.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	conn, err := netlink.Dial(family, &netlink.Config{NetNS: int(file.Fd())})
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket in %s: %w", n.name, err)
	}
	return conn, nil
}

// rtnetlink asks one thing of a namespace's links. head is the family's header.
func (n *namespace) rtnetlink(command netlink.HeaderType, flags netlink.HeaderFlags, head []byte, attributes *netlink.AttributeEncoder) ([]netlink.Message, error) {
	data, err := attributes.Encode()
	if err != nil {
		return nil, err
	}
	conn, err := n.open(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.Execute(netlink.Message{
		Header: netlink.Header{Type: command, Flags: netlink.Request | flags},
		Data:   append(head, data...),
	})
}

// linkHead is struct ifinfomsg for the interface of that number, or 0.
func linkHead(index int, flags, change uint32) []byte {
	head := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(head[4:], uint32(index))
	binary.NativeEndian.PutUint32(head[8:], flags)
	binary.NativeEndian.PutUint32(head[12:], change)
	return head
}

// link is what rtnetlink says of an interface.
type link struct {
	index              int
	name               string
	rxPackets, rxBytes uint64
}

func readLink(m netlink.Message) (link, error) {
	if len(m.Data) < unix.SizeofIfInfomsg {
		return link{}, errors.New("a link's message is too short")
	}
	l := link{index: int(binary.NativeEndian.Uint32(m.Data[4:]))}
	attributes, err := netlink.NewAttributeDecoder(m.Data[unix.SizeofIfInfomsg:])
	if err != nil {
		return link{}, err
	}
	for attributes.Next() {
		switch attributes.Type() {
		case unix.IFLA_IFNAME:
			l.name = attributes.String()
		case unix.IFLA_STATS64: // struct rtnl_link_stats64
			if stats := attributes.Bytes(); len(stats) >= 24 {
				l.rxPackets = binary.NativeEndian.Uint64(stats)
				l.rxBytes = binary.NativeEndian.Uint64(stats[16:])
			}
		}
	}
	return l, attributes.Err()
}

// links lists a namespace's interfaces.
func (n *namespace) links() ([]link, error) {
	messages, err := n.rtnetlink(unix.RTM_GETLINK, netlink.Dump, linkHead(0, 0, 0), netlink.NewAttributeEncoder())
	if err != nil {
		return nil, fmt.Errorf("listing the links of %s: %w", n.name, err)
	}
	var links []link
	for _, m := range messages {
		l, err := readLink(m)
		if err != nil {
			return nil, err
		}
		links = append(links, l)
	}
	return links, nil
}

// index returns the number of an interface.
func (n *namespace) index(name string) (int, error) {
	links, err := n.links()
	if err != nil {
		return 0, err
	}
	for _, l := range links {
		if l.name == name {
			return l.index, nil
		}
	}
	return 0, fmt.Errorf("there is no %s in %s", name, n.name)
}

// change sends a request about an interface.
func (n *namespace) change(name string, flags, mask uint32, attributes *netlink.AttributeEncoder) error {
	index, err := n.index(name)
	if err != nil {
		return err
	}
	_, err = n.rtnetlink(unix.RTM_NEWLINK, netlink.Acknowledge, linkHead(index, flags, mask), attributes)
	if err != nil {
		return fmt.Errorf("changing %s in %s: %w", name, n.name, err)
	}
	return nil
}

func (n *namespace) up(name string) error {
	return n.change(name, unix.IFF_UP, unix.IFF_UP, netlink.NewAttributeEncoder())
}

func (n *namespace) down(name string) error {
	return n.change(name, 0, unix.IFF_UP, netlink.NewAttributeEncoder())
}

// refuse tries to move wlan0 without its radio.
func refuse(to *namespace) error {
	step("try to move wlan0 without its radio (the kernel refuses)")
	file, err := os.Open(to.path)
	if err != nil {
		return err
	}
	defer file.Close()
	attributes := netlink.NewAttributeEncoder()
	attributes.Uint32(unix.IFLA_NET_NS_FD, uint32(file.Fd()))
	err = initial().change("wlan0", 0, 0, attributes)
	if err == nil {
		return errors.New("wlan0 was moved by itself")
	}
	if !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("the refusal isn't the expected one: %w", err)
	}
	fmt.Println("  ", err)
	return nil
}

// address gives an interface an address.
func (n *namespace) address(name string, prefix netip.Prefix) error {
	index, err := n.index(name)
	if err != nil {
		return err
	}
	head := make([]byte, unix.SizeofIfAddrmsg)
	head[0], head[1] = unix.AF_INET, uint8(prefix.Bits())
	binary.NativeEndian.PutUint32(head[4:], uint32(index))
	attributes := netlink.NewAttributeEncoder()
	attributes.Bytes(unix.IFA_LOCAL, prefix.Addr().AsSlice())
	attributes.Bytes(unix.IFA_ADDRESS, prefix.Addr().AsSlice())
	if _, err := n.rtnetlink(unix.RTM_NEWADDR, netlink.Acknowledge|netlink.Create|netlink.Excl, head, attributes); err != nil {
		return fmt.Errorf("giving %s in %s an address: %w", name, n.name, err)
	}
	return nil
}

// linkWatch hears of the initial namespace's interfaces.
type linkWatch struct{ *netlink.Conn }

func watchLinks() (*linkWatch, error) {
	step("watch the interfaces of the initial namespace, to know when a radio comes home")
	conn, err := initial().open(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	return &linkWatch{conn}, conn.JoinGroup(linkGroup)
}

// await waits until the kernel says that an interface is there.
func (w *linkWatch) await(name string) error {
	return await(w.Conn, name, func(m netlink.Message) (bool, error) {
		if m.Header.Type != unix.RTM_NEWLINK {
			return false, nil
		}
		l, err := readLink(m)
		return l.name == name, err
	})
}

// await reads what a socket's groups bring until it is what is waited for.
func await(conn *netlink.Conn, what string, is func(netlink.Message) (bool, error)) error {
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	for {
		messages, err := conn.Receive()
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		for _, m := range messages {
			if found, err := is(m); found || err != nil {
				return err
			}
		}
	}
}
