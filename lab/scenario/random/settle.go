// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"runtime"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// sentinelName is what the interface is called whose end tells of a namespace's.
const sentinelName = "sentinel"

// settleDown waits until the kernel is through with what is dead.
func (w *world) settleDown() (*attempt, error) {
	with := args{}
	return w.try("", with, func() error { return w.settle(with, sentinels) })
}

// lastSettling makes sure that nothing is to happen any more.
func (w *world) lastSettling() (*attempt, error) {
	with := args{}
	return w.try("", with, func() error { return w.settle(with, lastSentinels) })
}

// How many namespaces have to go before the kernel is through with others: see settle.
const (
	sentinels     = 2
	lastSentinels = 4
)

// settle returns when the kernel has cleaned up after every namespace that was let go before.
//
// A namespace that is let go is queued, and cleanup_net (net/core/net_namespace.c) takes all that are queued at a
// time; it never runs twice at once. No interface tells when it is through. But a veth pair with its other half
// in the initial namespace goes with a namespace, in the middle of that, and netlink tells of it. When a second
// one goes whose namespace was let go after the first pair went, cleanup_net has been through meanwhile.
//
// A socket that was closed lets go of its namespace later, by RCU. cleanup_net ends with rcu_barrier, so two more
// sentinels, and what those let go has been cleaned up, too.
func (w *world) settle(with args, rounds int) error {
	for _, t := range w.ended {
		for until := time.Now().Add(patience); !t.gone(); {
			// Only since 6.9 has a thread that isn't a process's first an end one could wait for (PIDFD_THREAD).
			if time.Now().After(until) {
				return fmt.Errorf("thread %d doesn't end", t.id)
			}
			runtime.Gosched()
			time.Sleep(100 * time.Microsecond)
		}
	}
	w.ended = nil
	var inums []uint64
	for range rounds {
		if err := w.sentinel(&inums); err != nil {
			return fmt.Errorf("waiting for the end of a namespace: %w", notAnErrno(err))
		}
	}
	with["inums"] = inums
	return nil
}

// sentinel makes a namespace, lets it go and waits until the kernel takes its interfaces down.
func (w *world) sentinel(inums *[]uint64) error {
	conn, err := dialRoute()
	if err != nil {
		return err
	}
	defer conn.Close()
	watch, err := netlink.Dial(unix.NETLINK_ROUTE, nil) // which can wait for a limited time
	if err != nil {
		return err
	}
	defer watch.Close()
	err = w.trip(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		inum, err := threadInum()
		if err != nil {
			return err
		}
		*inums = append(*inums, inum)
		if err := (veth{name: sentinelName, peer: "peer", peerTID: unix.Gettid()}).add(conn); err != nil {
			return err
		}
		return watch.JoinGroup(rtnlGroupLink)
	})
	if err != nil {
		return err
	}
	return awaitEnd(watch, sentinelName)
}

// awaitEnd waits until the kernel says that an interface is gone.
func awaitEnd(watch *netlink.Conn, name string) error {
	if err := watch.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	for {
		messages, err := watch.Receive()
		if err != nil {
			return err
		}
		for _, m := range messages {
			if m.Header.Type != unix.RTM_DELLINK {
				continue
			}
			if l, err := readLink(m); err != nil || l.name == name {
				return err
			}
		}
	}
}
