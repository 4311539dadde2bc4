// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// onOwnThread runs fn on a thread that nothing else will ever run on: fn may
// move it to other network namespaces and needn't bring it back. The returned
// channel is closed when fn has returned.
func onOwnThread(fn func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			defer close(done)
			fn()
			return // still locked: the runtime ends the thread
		}
		// The process's main thread must not be moved: it can't be ended, and
		// /proc/self/ns is its. Keep it busy, so that fn gets another.
		<-onOwnThread(fn)
		runtime.UnlockOSThread()
		close(done)
	}()
	return done
}
