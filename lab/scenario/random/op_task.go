// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// hold keeps a namespace alive in one way more.
func (w *world) hold() (*attempt, error) {
	s := w.anywhere()
	if s == w.initial || len(s.holders) > 3 {
		return nil, nil
	}
	file, err := s.open()
	if err != nil {
		return nil, err
	}
	h := &holder{kind: pick(w.rand, []string{byFile, bySocket, byMount, byPrivate}), file: file}
	if h.kind != byFile {
		defer file.Close()
	}
	if h.kind == byPrivate {
		able := w.holding(func(h *holder) bool { return h.kind == byAgent && h.agent.mounts })
		if len(able) == 0 {
			return nil, nil
		}
		h.agent = pick(w.rand, able).holder.agent
	}
	w.holds++
	a, err := w.try(h.kind, args{"id": s.ID}, func() error { return w.take(s, h, file) })
	if err == nil && a.Errno == 0 {
		s.holders = append(s.holders, h)
	}
	return a, err
}

// take has h hold the namespace that file is.
func (w *world) take(s *space, h *holder, file *os.File) error {
	path, name := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), file.Fd()), fmt.Sprint(w.holds)
	switch h.kind {
	case byFile:
		h.path = path
		return nil
	case byMount:
		h.path = filepath.Join(mountsDir, name)
		return bind(path, h.path)
	case byPrivate:
		h.path = filepath.Join(fmt.Sprintf("/proc/%d/root", h.agent.pid), privateDir, name)
		_, err := h.agent.tell("mount", path, filepath.Join(privateDir, name))
		return err
	default:
		return w.visit(s, func() error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			h.file = os.NewFile(uintptr(fd), "socket")
			return err
		})
	}
}

// release has something let go of its namespace: what is the last in it lets it die. Threads and processes end.
func (w *world) release() (*attempt, error) {
	all := w.holding(func(h *holder) bool { return h.kind != byName && h.kind != byPrivate && h.kind != byOthers })
	if len(all) == 0 {
		return nil, nil
	}
	x := pick(w.rand, all)
	kill := w.chance(50)
	with := args{"id": x.space.ID}
	a, err := w.try(x.holder.kind, with, func() error { return x.holder.release(kill) })
	if err != nil || a.Errno != 0 {
		return a, err
	}
	w.let(x, with)
	w.loseBound(x.holder)
	if x.holder.kind == byThread {
		w.ended = append(w.ended, x.holder.thread)
	}
	if x.holder.kind == byAgent {
		for _, y := range w.holding(func(h *holder) bool { return h.agent == x.holder.agent }) {
			w.let(y, with)
		}
	}
	return a, nil
}

// enter has a task go to another namespace, or a new one, or to what isn't one.
func (w *world) enter() (*attempt, error) {
	tasks := w.holding(func(h *holder) bool { return h.kind == byThread || h.kind == byAgent })
	if len(tasks) == 0 {
		return nil, nil
	}
	x := pick(w.rand, tasks)
	with := args{"task": x.holder.task, "id": x.space.ID}
	switch n := w.rand.IntN(10); {
	case n == 0:
		return w.try("not a netns", with, func() error { return x.holder.enter("/proc/self/ns/uts") })
	case n == 1:
		return w.try("gone", with, func() error { return x.holder.enter("/run/netns/none") })
	case n == 2 && !w.crowded():
		return w.leaveForNew(x, with)
	}
	return w.enterOther(x, with)
}

// enter takes a task to the namespace at path.
func (h *holder) enter(path string) error {
	if h.kind == byAgent {
		_, err := h.agent.tell("enter", path)
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return h.thread.do(func() error { return unix.Setns(int(file.Fd()), unix.CLONE_NEWNET) })
}

// leaveForNew has a task make a namespace and leave the one it was in.
func (w *world) leaveForNew(x held, with args) (*attempt, error) {
	a, err := w.try("new", with, func() error {
		if x.holder.kind == byAgent {
			_, err := x.holder.agent.tell("unshare")
			return err
		}
		return x.holder.thread.do(func() error { return unix.Unshare(unix.CLONE_NEWNET) })
	})
	if err != nil || a.Errno != 0 {
		return a, err
	}
	if err := w.leave(x, with); err != nil {
		return nil, err
	}
	return w.welcome(a, nil, x.holder, with)
}

func (w *world) enterOther(x held, with args) (*attempt, error) {
	to := w.elsewhere(x.space)
	if to == nil {
		return nil, nil
	}
	file, err := to.open()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	with["to"] = to.ID
	a, err := w.try("", with, func() error {
		return x.holder.enter(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), file.Fd()))
	})
	if err != nil || a.Errno != 0 {
		return a, err
	}
	if err := w.leave(x, with); err != nil {
		return nil, err
	}
	to.holders = append(to.holders, x.holder)
	return a, nil
}

// leave notes that a task has left a namespace. A process's other threads, which Go's runtime has, stay where it
// began.
func (w *world) leave(x held, with args) error {
	if a := x.holder.agent; a != nil && a.others == 0 {
		var err error
		if a.others, err = a.otherThread(); err != nil {
			return err
		}
		path := fmt.Sprintf("/proc/%d/task/%d/ns/net", a.pid, a.others)
		x.space.holders = append(x.space.holders, &holder{kind: byOthers, agent: a, task: a.others, path: path})
	}
	w.let(x, with)
	return nil
}
