// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/event"
)

// visitor goes from namespace to namespace on a thread of its own.
type visitor struct {
	problems *problems
	buf      []byte
	// family is nl80211's, 0 without.
	family uint16
	// home is the namespace the thread came from, here the one it is in (an
	// inum, 0 if unknown).
	home int
	here uint32
}

// newVisitor makes a visitor of the calling thread.
func newVisitor(p *problems) *visitor {
	v := &visitor{problems: p, buf: make([]byte, netlinkBuffer), home: -1}
	if fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
		var stat unix.Stat_t
		if unix.Fstat(fd, &stat) == nil {
			v.here = uint32(stat.Ino)
		}
		v.home = fd
	}
	generic, err := openNetlink(unix.NETLINK_GENERIC, v.buf)
	if err == nil {
		v.family, err = wirelessFamily(generic)
		generic.close()
	}
	if err != nil {
		p.add("look for", "nl80211", "wiphys are unknown", err)
	}
	return v
}

// leave takes the thread back, so that its end doesn't hold up the end of the
// namespace visited last. If that fails the thread's end does it.
func (v *visitor) leave() {
	if v.home >= 0 {
		_ = unix.Setns(v.home, unix.CLONE_NEWNET)
		_ = unix.Close(v.home)
	}
}

// visit completes what is known of a namespace. It returns false if no way leads
// there any more. What can't be read is a problem and stays unknown.
func (v *visitor) visit(ns *found) bool {
	state := &ns.state
	fd, err := ns.open()
	if err != nil {
		if vanished(err) || errors.Is(err, errOtherNamespace) {
			return false
		}
		v.problem("open", *state, "run as root, or with CAP_SYS_PTRACE", err)
		return true
	}
	defer unix.Close(fd)
	// Refused outside the caller's user namespace: unknown then, no problem.
	if owner, err := ownerUserNS(fd); err == nil {
		state.OwnerUserNS = owner
	}
	if err := v.enter(fd, state.Inum); err != nil {
		if cookie := fileCookie(fd); cookie != 0 {
			ns.isLife(cookie)
		}
		v.problem("enter", *state, "run as root, or with CAP_SYS_ADMIN", err)
		return true
	}
	v.look(ns)
	return true
}

// enter takes the thread to an open namespace.
func (v *visitor) enter(fd int, inum uint32) error {
	if v.here == inum {
		return nil
	}
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return err
	}
	v.here = inum
	return nil
}

// look reads the namespace the thread is in.
func (v *visitor) look(ns *found) {
	state := &ns.state
	route, err := openNetlink(unix.NETLINK_ROUTE, v.buf)
	if err != nil {
		v.problem("look into", *state, "", err)
		return
	}
	defer route.close()
	cookie, err := socketCookie(route.fd)
	if err != nil {
		v.problem("read SO_NETNS_COOKIE of", *state, "", err)
	}
	if cookie != 0 {
		ns.isLife(cookie)
	}
	state.Links, err = readLinks(route)
	if err != nil {
		v.problem("list the links of", *state, "", err)
	}
	// After the links: listing those whose peer is elsewhere gives it a number,
	// unless it has one (rtnl_fill_link_netnsid in net/core/rtnetlink.c).
	ids, err := readNSIDs(route)
	if err != nil {
		v.problem("list the nsids of", *state, "", err)
	}
	for _, id := range ids {
		state.NSIDs = append(state.NSIDs, event.NSID{ID: id})
	}
	if v.family != 0 {
		v.lookWireless(state)
	}
	if err := addDrivers(state); err != nil {
		v.problem("ask for the drivers in", *state, "run as root, or with CAP_SYS_ADMIN", err)
	}
}

// lookWireless reads the radios of the namespace the thread is in. A radio and
// its interfaces are always in one namespace (cfg80211_switch_netns).
func (v *visitor) lookWireless(state *event.NetnsState) {
	generic, err := openNetlink(unix.NETLINK_GENERIC, v.buf)
	if err != nil {
		v.problem("list the wiphys of", *state, "", err)
		return
	}
	defer generic.close()
	state.Wiphys, err = readWiphys(generic, v.family)
	if errors.Is(err, unix.ENOENT) {
		v.family = 0 // cfg80211 has just been unloaded
		return
	}
	if err != nil {
		v.problem("list the wiphys of", *state, "", err)
	}
	if len(state.Wiphys) == 0 {
		return
	}
	state.Wdevs, err = readWdevs(generic, v.family)
	if err != nil {
		v.problem("list the wireless interfaces of", *state, "", err)
	}
	addWireless(state.Links, state.Wdevs)
}

func (v *visitor) problem(what string, state event.NetnsState, hint string, err error) {
	v.problems.add(what, fmt.Sprintf("net:[%d]", state.Inum), hint, err)
}
