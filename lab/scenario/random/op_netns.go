// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// namespaceNames are few, so that they clash and come back.
const namespaceNames = 10

// randomName is a name for a namespace, taken or not.
func (w *world) randomName() string { return fmt.Sprintf("r%d", w.rand.IntN(namespaceNames)) }

// made are the arguments that every new namespace is logged with.
func made(s *space, with args) {
	with["inum"], with["id"] = s.Inum, s.ID
}

// crowded says that there are enough namespaces.
func (w *world) crowded() bool { return len(w.spaces) >= maxSpaces }

// addName makes a namespace with a name, as `ip netns add` does: the name's file comes first, so one that is
// taken makes no namespace.
func (w *world) addName() (*attempt, error) {
	if w.crowded() {
		return nil, nil
	}
	name := w.randomName()
	path := filepath.Join(namesDir, name)
	with := args{"name": name}
	h := &holder{kind: byName, path: path}
	a, err := w.try("", with, func() error {
		file, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0)
		if err != nil {
			return err
		}
		file.Close()
		return w.trip(func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			return notAnErrno(unix.Mount(threadNamespace, path, "none", unix.MS_BIND, ""))
		})
	})
	return w.welcome(a, err, h, with)
}

// welcome makes the namespace known that an attempt has made.
func (w *world) welcome(a *attempt, err error, h *holder, with args) (*attempt, error) {
	if err != nil || a.Errno != 0 {
		return a, err
	}
	s, err := w.add(h)
	if err != nil {
		return nil, err
	}
	made(s, with)
	return a, nil
}

// deleteName takes a name away, as `ip netns del` does, or tries to take one that isn't there.
func (w *world) deleteName() (*attempt, error) {
	name := w.randomName()
	path := filepath.Join(namesDir, name)
	with := args{"name": name}
	a, err := w.try("", with, func() error { return (&holder{kind: byName, path: path}).release(false) })
	if err != nil || a.Errno != 0 {
		return a, err
	}
	for _, x := range w.holding(func(h *holder) bool { return h.kind == byName && h.path == path }) {
		w.let(x, with)
	}
	return a, nil
}

// let forgets a holder that has let go, and notes if its namespace dies of it.
func (w *world) let(x held, with args) {
	if w.drop(x.space, x.holder) {
		dead, _ := with["dead"].([]int)
		with["dead"] = append(dead, x.space.ID)
	}
}

// attachName gives a namespace a name, as `ip netns attach` does.
func (w *world) attachName() (*attempt, error) {
	s := w.anywhere()
	name := w.randomName()
	path := filepath.Join(namesDir, name)
	file, err := s.open()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	a, err := w.try("", args{"name": name, "id": s.ID}, func() error { return bind(fmt.Sprintf("/proc/self/fd/%d", file.Fd()), path) })
	if err == nil && a.Errno == 0 {
		s.holders = append(s.holders, &holder{kind: byName, path: path})
	}
	return a, err
}

// addThread makes a namespace that has nothing but a task.
func (w *world) addThread() (*attempt, error) {
	if w.crowded() {
		return nil, nil
	}
	if err := w.reuseNumber(); err != nil {
		return nil, err
	}
	t := startThread()
	w.tasks = append(w.tasks, t.id)
	h := &holder{kind: byThread, thread: t, task: t.id, path: taskPath(t.id, "ns/net")}
	with := args{"tid": t.id}
	a, err := w.try("", with, func() error {
		return t.do(func() error { return unix.Unshare(unix.CLONE_NEWNET) })
	})
	return w.welcome(a, err, h, with)
}

// addProcess starts a process in a namespace of its own.
func (w *world) addProcess() (*attempt, error) { return w.addAgent(unix.CLONE_NEWNET) }

// addUser starts a process in user and network namespaces of its own.
func (w *world) addUser() (*attempt, error) {
	return w.addAgent(unix.CLONE_NEWNET | unix.CLONE_NEWUSER)
}

func (w *world) addAgent(flags uintptr) (*attempt, error) {
	if w.crowded() || len(w.holding(func(h *holder) bool { return h.kind == byAgent })) >= maxAgents {
		return nil, nil
	}
	if err := w.reuseNumber(); err != nil {
		return nil, err
	}
	with := args{}
	h := &holder{kind: byAgent}
	a, err := w.try("", with, func() (err error) {
		h.agent, err = startAgent(flags)
		return err
	})
	return w.bornAgent(a, err, h, with)
}

func (w *world) bornAgent(a *attempt, err error, h *holder, with args) (*attempt, error) {
	if err == nil && a.Errno == 0 {
		h.task, h.path = h.agent.pid, agentNamespace(h.agent)
		with["pid"] = h.agent.pid
		w.tasks = append(w.tasks, h.agent.pid)
	}
	return w.welcome(a, err, h, with)
}

// lastNumber has the number that the kernel gave last to a new task; the next one gets the first that is free behind.
const lastNumber = "/proc/sys/kernel/ns_last_pid"

// reuseNumber has the next new task have the number of one that ended, mostly: two tasks of one number, each in a
// namespace of its own.
func (w *world) reuseNumber() error {
	var ended []int
	for _, number := range w.tasks {
		if unix.Kill(number, 0) == unix.ESRCH {
			ended = append(ended, number)
		}
	}
	if len(ended) == 0 || w.chance(20) {
		return nil
	}
	number := pick(w.rand, ended)
	return notAnErrno(os.WriteFile(lastNumber, fmt.Appendln(nil, number-1), 0))
}

func agentNamespace(a *agent) string { return fmt.Sprintf("/proc/%d/ns/net", a.pid) }

// addMounts starts a process in a mount namespace of its own, and of no other kind.
func (w *world) addMounts() (*attempt, error) {
	if len(w.holding(func(h *holder) bool { return h.kind == byAgent })) >= maxAgents {
		return nil, nil
	}
	with := args{}
	h := &holder{kind: byAgent}
	a, err := w.try("", with, func() (err error) {
		h.agent, err = startAgent(unix.CLONE_NEWNS)
		return err
	})
	if err == nil && a.Errno == 0 {
		h.task, h.path = h.agent.pid, agentNamespace(h.agent)
		with["pid"] = h.agent.pid
		w.initial.holders = append(w.initial.holders, h)
	}
	return a, err
}

// nestUser has a process that is in a user namespace of its own start another in one further in.
func (w *world) nestUser() (*attempt, error) {
	able := w.holding(func(h *holder) bool { return h.kind == byAgent && h.agent.childIn != nil })
	if len(able) == 0 || w.crowded() {
		return nil, nil
	}
	parent := pick(w.rand, able)
	with := args{"parent": parent.holder.agent.pid}
	h := &holder{kind: byAgent}
	a, err := w.try("", with, func() (err error) {
		h.agent, err = parent.holder.agent.nest()
		return err
	})
	return w.bornAgent(a, err, h, with)
}

// flash makes a namespace and leaves it at once.
func (w *world) flash() (*attempt, error) {
	with := args{}
	return w.try("", with, func() error {
		return w.trip(func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			w.born++
			s := space{ID: w.born}
			var err error
			if s.Inum, err = threadInum(); err != nil {
				return err
			}
			made(&s, with)
			with["dead"] = []int{s.ID}
			return nil
		})
	})
}

// limitFile has how many network namespaces a user may have.
const limitFile = "/proc/sys/user/max_net_namespaces"

// refused tries to make a namespace more than there may be.
func (w *world) refused() (*attempt, error) {
	limit, err := os.ReadFile(limitFile)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(limitFile, []byte("0\n"), 0); err != nil {
		return nil, notAnErrno(err)
	}
	a, err := w.try("", nil, func() error {
		return w.trip(func() error { return unix.Unshare(unix.CLONE_NEWNET) })
	})
	if back := os.WriteFile(limitFile, limit, 0); back != nil {
		return nil, notAnErrno(back)
	}
	return a, err
}
