// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// burstSize is how many threads do the same at a time.
const burstSize = 4

// burst has some threads each make a namespace and an interface in it, which it moves to the next thread's, and
// end: all at a time, so that the kernel is never through with one when the next begins.
func (w *world) burst() (*attempt, error) {
	threads := make([]*thread, burstSize)
	for i := range threads {
		threads[i] = startThread()
	}
	done := make([]burstDone, burstSize)
	with := args{"done": done}
	a, err := w.try("", with, func() error {
		var begun, ended sync.WaitGroup
		begun.Add(burstSize)
		errs := make([]error, burstSize)
		for i, t := range threads {
			next := threads[(i+1)%burstSize].id
			ended.Go(func() {
				errs[i] = t.do(func() error {
					err := done[i].begin()
					begun.Done()
					begun.Wait() // the next one has a namespace of its own
					if err != nil {
						return err
					}
					return done[i].give(fmt.Sprint("burst", i), next)
				})
				t.end()
			})
		}
		ended.Wait()
		for _, err := range errs {
			if err != nil {
				return notAnErrno(err)
			}
		}
		return nil
	})
	w.ended = append(w.ended, threads...)
	return a, err
}

// burstDone is what one of the threads has done.
type burstDone struct {
	Inum uint64 `json:"inum"`
	// Errno is the kernel's answer to the move: the next thread may have ended.
	Errno int `json:"errno"`
}

func (d *burstDone) begin() (err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	d.Inum, err = threadInum()
	return err
}

// give makes an interface and moves it to a task's namespace. Each has the first number that is free, so there it
// gets another.
func (d *burstDone) give(name string, task int) error {
	conn, err := dialRoute()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := (simple{name: name, kind: "dummy"}).request().do(conn); err != nil {
		return err
	}
	r := request{command: unix.RTM_SETLINK}
	r.attributes = func(a *netlink.AttributeEncoder) {
		a.String(unix.IFLA_IFNAME, name)
		a.Uint32(unix.IFLA_NET_NS_PID, uint32(task))
	}
	if err := r.do(conn); err != nil {
		d.Errno = errnoOf(err)
	}
	return nil
}
