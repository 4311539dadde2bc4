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

// visit completes what is known of a namespace. It returns false if the
// namespace is gone. What can't be read is a problem and stays unknown.
func (v *visitor) visit(ns *found) (event.NetnsState, bool) {
	state := ns.state
	fd, err := v.open(ns)
	if err != nil {
		if vanished(err) || errors.Is(err, errOtherNamespace) {
			return state, false
		}
		v.problem("open", state, "run as root, or with CAP_SYS_PTRACE", err)
		return state, true
	}
	defer unix.Close(fd)
	// Refused outside the caller's user namespace: unknown then, no problem.
	state.OwnerUserNS, _ = ownerUserNS(fd)
	if v.here != state.Inum {
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			state.Cookie = fileCookie(fd)
			v.problem("enter", state, "run as root, or with CAP_SYS_ADMIN", err)
			return state, true
		}
		v.here = state.Inum
	}
	v.look(&state)
	return state, true
}

// open opens the namespace by the first path that still leads there.
func (v *visitor) open(ns *found) (int, error) {
	err := error(unix.ENOENT)
	for _, path := range ns.paths {
		fd, openErr := openNamespace(path, ns.state.Inum)
		if openErr == nil {
			return fd, nil
		}
		// A refusal says more than a path that is gone.
		if !vanished(openErr) && !errors.Is(openErr, errOtherNamespace) {
			err = openErr
		}
	}
	return -1, err
}

// look reads the namespace the thread is in.
func (v *visitor) look(state *event.NetnsState) {
	route, err := openNetlink(unix.NETLINK_ROUTE, v.buf)
	if err != nil {
		v.problem("look into", *state, "", err)
		return
	}
	defer route.close()
	state.Cookie, err = socketCookie(route.fd)
	if err != nil {
		v.problem("read SO_NETNS_COOKIE of", *state, "", err)
	}
	state.Links, err = readLinks(route)
	if err != nil {
		v.problem("list the links of", *state, "", err)
	}
	if v.family != 0 {
		v.lookWireless(state)
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
	if err := addWireless(generic, v.family, state.Links); err != nil {
		v.problem("list the wireless interfaces of", *state, "", err)
	}
}

func (v *visitor) problem(what string, state event.NetnsState, hint string, err error) {
	v.problems.add(what, fmt.Sprintf("net:[%d]", state.Inum), hint, err)
}
