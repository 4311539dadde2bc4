// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// linkNames are few, so that they clash.
const linkNames = 14

// randomLinkName is a legal name, taken or not.
func (w *world) randomLinkName() string { return fmt.Sprintf("d%d", w.rand.IntN(linkNames)) }

// ofKind is what rtnetlink wants to know of a link's kind.
func ofKind(a *netlink.AttributeEncoder, kind string, data func(*netlink.AttributeEncoder)) {
	a.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
		info.String(unix.IFLA_INFO_KIND, kind)
		if data != nil {
			info.Nested(unix.IFLA_INFO_DATA, func(d *netlink.AttributeEncoder) error {
				data(d)
				return nil
			})
		}
		return nil
	})
}

// veth is a pair to make: the peer may be in another namespace, told by a task or by a file.
type veth struct {
	name, peer string
	peerTID    int
	peerFile   *os.File
	index      int
}

func (v veth) add(conn *netlink.Conn) error {
	return request{
		command: unix.RTM_NEWLINK, flags: netlink.Create | netlink.Excl, index: v.index,
		attributes: func(a *netlink.AttributeEncoder) {
			a.String(unix.IFLA_IFNAME, v.name)
			ofKind(a, "veth", func(data *netlink.AttributeEncoder) {
				peer := netlink.NewAttributeEncoder()
				peer.String(unix.IFLA_IFNAME, v.peer)
				if v.peerTID != 0 {
					peer.Uint32(unix.IFLA_NET_NS_PID, uint32(v.peerTID))
				}
				if v.peerFile != nil {
					peer.Uint32(unix.IFLA_NET_NS_FD, uint32(v.peerFile.Fd()))
				}
				data.Do(vethInfoPeer, func() ([]byte, error) {
					encoded, err := peer.Encode()
					return append(linkHead(0, 0, 0), encoded...), err
				})
			})
		},
	}.do(conn)
}

// addLink makes an interface of some kind.
func (w *world) addLink() (*attempt, error) {
	s := w.anywhere()
	var a *attempt
	err := w.visitLinks(s, func(conn *netlink.Conn, links []*link) (err error) {
		if len(links) >= maxLinks {
			return nil
		}
		switch w.rand.IntN(8) {
		case 0, 1:
			a, err = w.addVeth(s, conn)
		case 2, 3:
			a, err = w.addOnParent(s, conn, links)
		case 4:
			a, err = w.addMistaken(s, conn, links)
		default:
			a, err = w.addSimple(s, conn)
		}
		return err
	})
	return a, notAnErrno(err)
}

// simple is an interface to make that is nothing but a name and a number, which may be 0, in a namespace, which
// may be nil for that which is asked.
type simple struct {
	name, kind string
	index      int
	target     *os.File
}

func (l simple) request() request {
	r := request{command: unix.RTM_NEWLINK, flags: netlink.Create | netlink.Excl, index: l.index}
	r.attributes = func(a *netlink.AttributeEncoder) {
		a.String(unix.IFLA_IFNAME, l.name)
		ofKind(a, l.kind, nil)
		if l.target != nil {
			a.Uint32(unix.IFLA_NET_NS_FD, uint32(l.target.Fd()))
		}
	}
	return r
}

func (w *world) addSimple(s *space, conn *netlink.Conn) (*attempt, error) {
	l := simple{name: w.randomLinkName(), kind: pick(w.rand, []string{"dummy", "dummy", "bridge", "ifb"})}
	if w.chance(20) {
		l.name = l.kind + "%d"
	}
	with := args{"id": s.ID, "name": l.name}
	if w.chance(25) {
		l.index = w.randomIndex()
		with["ifindex"] = l.index
	}
	var err error
	if l.target, err = w.maybeElsewhere(s, with); err != nil {
		return nil, err
	}
	defer l.target.Close()
	return w.try(l.kind, with, func() error { return l.request().do(conn) })
}

// randomIndex is a number for an interface. They are few, so that they clash and come back.
func (w *world) randomIndex() int { return 20 + w.rand.IntN(12) }

// maybeElsewhere opens another namespace now and then.
func (w *world) maybeElsewhere(s *space, with args) (*os.File, error) {
	if !w.chance(20) {
		return nil, nil
	}
	to := w.elsewhere(s)
	if to == nil {
		return nil, nil
	}
	with["to"] = to.ID
	return to.open()
}

func (w *world) addVeth(s *space, conn *netlink.Conn) (*attempt, error) {
	v := veth{name: w.randomLinkName(), peer: w.randomLinkName()}
	with := args{"id": s.ID, "name": v.name, "peer": v.peer}
	variation := "veth"
	if to := w.elsewhere(s); to != nil && w.chance(70) {
		variation, with["to"] = "veth across", to.ID
		if v.peerTID = to.task(); v.peerTID == 0 || w.chance(50) {
			file, err := to.open()
			if err != nil {
				return nil, err
			}
			defer file.Close()
			v.peerTID, v.peerFile = 0, file
		}
	}
	return w.try(variation, with, func() error { return v.add(conn) })
}

// addOnParent makes an interface on top of another.
func (w *world) addOnParent(s *space, conn *netlink.Conn, links []*link) (*attempt, error) {
	var parents []*link
	for _, l := range links {
		if l.kind == "dummy" || l.kind == "veth" {
			parents = append(parents, l)
		}
	}
	if len(parents) == 0 {
		return nil, nil
	}
	parent := pick(w.rand, parents)
	name := w.randomLinkName()
	kind := pick(w.rand, []string{"vlan", "macvlan"})
	id := uint16(1 + w.rand.IntN(3)) // few, so that they clash
	r := request{command: unix.RTM_NEWLINK, flags: netlink.Create | netlink.Excl}
	r.attributes = func(a *netlink.AttributeEncoder) {
		a.String(unix.IFLA_IFNAME, name)
		a.Uint32(unix.IFLA_LINK, uint32(parent.index))
		ofKind(a, kind, func(data *netlink.AttributeEncoder) {
			if kind == "vlan" {
				data.Uint16(iflaVlanID, id)
			} else {
				data.Uint32(iflaMacvlanMode, macvlanBridge)
			}
		})
	}
	return w.try(kind, args{"id": s.ID, "name": name, "on": parent.name}, func() error { return r.do(conn) })
}

// addMistaken asks for what can't be.
func (w *world) addMistaken(s *space, conn *netlink.Conn, links []*link) (*attempt, error) {
	name, kind, variation := "a/b", "dummy", "bad name"
	switch w.rand.IntN(12) {
	case 0: // the kernel has modprobe look for it, which takes its time
		kind, name, variation = "nosuchkind", w.randomLinkName(), "no such kind"
	case 1, 2, 3, 4, 5, 6:
		name, variation = pick(w.rand, links).name, "taken name"
	}
	return w.try(variation, args{"id": s.ID, "name": name}, func() error { return simple{name: name, kind: kind}.request().do(conn) })
}

// deleteLink removes an interface, if it is of a kind that rtnetlink may remove.
func (w *world) deleteLink() (*attempt, error) {
	return w.changeLink(func(conn *netlink.Conn, l *link, with args) (*attempt, error) {
		r := request{command: unix.RTM_DELLINK, index: l.index}
		variation := l.variation()
		if w.chance(5) {
			r.index, variation = noSuchIndex, "gone"
		}
		return w.try(variation, with, func() error { return r.do(conn) })
	})
}

// noSuchIndex is the number of no interface.
const noSuchIndex = 1_000_000

// variation tells interfaces apart by what the kernel lets be done to them.
func (l *link) variation() string {
	switch {
	case l.typ == arphrdLoopback:
		return "lo"
	case l.wireless:
		return "wlan"
	}
	return ""
}

// changeLink picks an interface and tries something with it.
func (w *world) changeLink(f func(*netlink.Conn, *link, args) (*attempt, error)) (*attempt, error) {
	s := w.amongLinks()
	var a *attempt
	err := w.visitLinks(s, func(conn *netlink.Conn, links []*link) error {
		l := pick(w.rand, links)
		if l.typ == arphrdLoopback && len(links) > 1 && w.chance(80) {
			l = pick(w.rand, links)
		}
		if l.name == sentinelName {
			return nil
		}
		if err := w.mark(s, links); err != nil {
			return err
		}
		var err error
		a, err = f(conn, l, args{"id": s.ID, "ifindex": l.index, "name": l.name, "kind": l.kind})
		return err
	})
	return a, notAnErrno(err)
}

// mark finds out which interfaces of the namespace that the thread is in are wireless.
func (w *world) mark(s *space, links []*link) error {
	if !slices.ContainsFunc(w.radios, func(r *radio) bool { return r.in == s }) {
		return nil
	}
	conn, err := dialGeneric()
	if err != nil {
		return err
	}
	defer conn.Close()
	vifs, err := listVifs(conn, w.nl80211)
	if err != nil {
		return err
	}
	for _, v := range vifs {
		for _, l := range links {
			l.wireless = l.wireless || v.index == l.index
		}
	}
	return nil
}

// renameLink gives an interface another name, or one that is taken or no name.
func (w *world) renameLink() (*attempt, error) {
	return w.changeLink(func(conn *netlink.Conn, l *link, with args) (*attempt, error) {
		name, variation := w.randomLinkName(), l.variation()
		switch w.rand.IntN(8) {
		case 0:
			name, variation = "a/b", "bad name"
		case 1:
			name, variation = l.name, "same name"
		case 2:
			name, variation = "n%d", "pattern"
		case 3:
			name, variation = "lo", "taken name"
		case 4:
			name = fmt.Sprintf("wlan%d", w.rand.IntN(4)) // where radios that come home want to be
		}
		with["new"] = name
		r := request{command: unix.RTM_SETLINK, index: l.index}
		r.attributes = func(a *netlink.AttributeEncoder) { a.String(unix.IFLA_IFNAME, name) }
		return w.try(variation, with, func() error { return r.do(conn) })
	})
}

// setLinkUp takes an interface up or down.
func (w *world) setLinkUp() (*attempt, error) {
	return w.changeLink(func(conn *netlink.Conn, l *link, with args) (*attempt, error) {
		r := request{command: unix.RTM_SETLINK, index: l.index, mask: unix.IFF_UP}
		if !l.up {
			r.set = unix.IFF_UP
		}
		return w.try(l.variation(), with, func() error { return r.do(conn) })
	})
}

// nameLinkToo gives an interface a further name, or takes one away.
func (w *world) nameLinkToo() (*attempt, error) {
	return w.changeLink(func(conn *netlink.Conn, l *link, with args) (*attempt, error) {
		r := request{command: unix.RTM_NEWLINKPROP, flags: netlink.Create | netlink.Excl, index: l.index}
		variation := "add"
		if w.chance(30) {
			r, variation = request{command: unix.RTM_DELLINKPROP, index: l.index}, "remove"
		}
		name := w.randomLinkName()
		if w.chance(40) {
			name = fmt.Sprintf("wlan%d", w.rand.IntN(4))
		}
		with["new"] = name
		r.attributes = func(a *netlink.AttributeEncoder) {
			a.Nested(unix.IFLA_PROP_LIST, func(list *netlink.AttributeEncoder) error {
				list.String(unix.IFLA_ALT_IFNAME, name)
				return nil
			})
		}
		return w.try(variation, with, func() error { return r.do(conn) })
	})
}

// enslaveLink puts an interface on a bridge, or takes it off.
func (w *world) enslaveLink() (*attempt, error) {
	s := w.amongLinks()
	var a *attempt
	err := w.visitLinks(s, func(conn *netlink.Conn, links []*link) error {
		var bridges []*link
		for _, l := range links {
			if l.kind == "bridge" {
				bridges = append(bridges, l)
			}
		}
		if len(bridges) == 0 {
			return nil
		}
		l, bridge := pick(w.rand, links), pick(w.rand, bridges)
		master := bridge.index
		if l.master != 0 {
			master = 0
		}
		r := request{command: unix.RTM_SETLINK, index: l.index}
		r.attributes = func(a *netlink.AttributeEncoder) { a.Uint32(unix.IFLA_MASTER, uint32(master)) }
		var err error
		a, err = w.try("", args{"id": s.ID, "name": l.name, "master": master}, func() error { return r.do(conn) })
		return err
	})
	return a, notAnErrno(err)
}
