// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// noSuchTask is above the number of any task (PID_MAX_LIMIT in linux/threads.h).
const noSuchTask = 4<<20 + 1

// moveLink takes an interface to another namespace, in any of the ways there are, legal or not.
func (w *world) moveLink() (*attempt, error) {
	s := w.amongLinks()
	to := w.elsewhere(s)
	if to == nil {
		return nil, nil
	}
	if w.chance(4) {
		to = s
	}
	target, err := to.open()
	if err != nil {
		return nil, err
	}
	defer target.Close()
	var a *attempt
	err = w.visitLinks(s, func(conn *netlink.Conn, links []*link) (err error) {
		if err := w.mark(s, links); err != nil {
			return err
		}
		m := w.chooseMove(links)
		m.to, m.target = to, target
		a, err = w.tryMove(conn, s, m)
		return err
	})
	return a, notAnErrno(err)
}

// move is a move to try.
type move struct {
	link     *link
	index    int
	to       *space
	target   *os.File
	newName  string
	newIndex int
	mistake  string
}

// chooseMove picks an interface and a way to move it.
func (w *world) chooseMove(links []*link) move {
	l := pick(w.rand, links)
	for range 5 {
		if l.variation() == "" {
			break
		}
		l = pick(w.rand, links)
	}
	m := move{link: l, index: l.index}
	switch w.rand.IntN(16) {
	case 0:
		m.mistake = "not a netns"
	case 1:
		m.mistake = "no such task"
	case 2:
		m.mistake, m.index = "gone", noSuchIndex
	case 3, 4:
		m.newName = w.randomLinkName()
	case 5, 6:
		m.newName = "m%d"
	case 7, 8:
		m.newIndex = w.randomIndex()
	case 9:
		m.newIndex = 1 // which is lo's
	}
	return m
}

// variation says what kind of move it is.
func (m *move) variation() string {
	switch {
	case m.mistake != "":
		return m.mistake
	case m.link.variation() != "":
		return m.link.variation()
	case m.newIndex != 0:
		return "by number"
	case m.newName != "":
		return "by name"
	}
	return ""
}

func (w *world) tryMove(conn *netlink.Conn, s *space, m move) (*attempt, error) {
	with := args{"id": s.ID, "to": m.to.ID, "ifindex": m.index, "name": m.link.name, "how": "file"}
	attribute, value := uint16(unix.IFLA_NET_NS_FD), uint32(m.target.Fd())
	if task := m.to.task(); task != 0 && w.chance(50) {
		attribute, value, with["how"] = unix.IFLA_NET_NS_PID, uint32(task), "task"
	}
	switch m.mistake {
	case "no such task":
		attribute, value, with["how"] = unix.IFLA_NET_NS_PID, noSuchTask, "task"
	case "not a netns":
		other, err := os.Open("/proc/self/ns/uts")
		if err != nil {
			return nil, err
		}
		defer other.Close()
		attribute, value, with["how"] = unix.IFLA_NET_NS_FD, uint32(other.Fd()), "file"
	}
	r := request{command: unix.RTM_SETLINK, index: m.index}
	r.attributes = func(a *netlink.AttributeEncoder) {
		a.Uint32(attribute, value)
		if m.newName != "" {
			a.String(unix.IFLA_IFNAME, m.newName)
			with["new"] = m.newName
		}
		if m.newIndex != 0 {
			a.Int32(iflaNewIfindex, int32(m.newIndex))
			with["new_ifindex"] = m.newIndex
		}
	}
	return w.try(m.variation(), with, func() error { return r.do(conn) })
}
