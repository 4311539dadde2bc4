// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// thread is an OS thread that does what it is told and nothing else. To the kernel it is a task with namespaces
// of its own; setns, unshare and a request that names a task by its number treat it as they do a process.
type thread struct {
	id   int
	jobs chan func()
	// began is when, by the kernel's count: numbers come back.
	began string
}

func startThread() *thread {
	t := &thread{jobs: make(chan func())}
	ready := make(chan struct{})
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with this goroutine
		t.id = unix.Gettid()
		t.began = beginOf(t.id)
		close(ready)
		for job := range t.jobs {
			job()
		}
	}()
	<-ready
	return t
}

// do calls f on the thread.
func (t *thread) do(f func() error) error {
	result := make(chan error)
	t.jobs <- func() { result <- f() }
	return <-result
}

// end lets the thread end, soon.
func (t *thread) end() { close(t.jobs) }

// gone reports whether the kernel has taken the thread off its lists, which it does after it has let go of the
// thread's namespaces (do_exit in kernel/exit.c).
func (t *thread) gone() bool { return beginOf(t.id) != t.began }

// beginOf returns when a thread of this process began, in clock ticks since the machine did; "" if there is none of
// that number.
func beginOf(tid int) string {
	text, err := os.ReadFile(taskPath(tid, "stat"))
	if err != nil {
		return ""
	}
	// The name, the second field, may have spaces; the 22nd is what is wanted (proc(5)).
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	return fields[22-3]
}

// taskPath is a file in /proc of one of this process's threads.
func taskPath(tid int, file string) string {
	return fmt.Sprintf("/proc/%d/task/%d/%s", os.Getpid(), tid, file)
}

// threadNamespace is the network namespace of the calling thread.
const threadNamespace = "/proc/thread-self/ns/net"
