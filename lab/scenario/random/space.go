// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// space is a network namespace, as far as this program knows: it lives while it has holders.
type space struct {
	ID      int    `json:"id"`
	Inum    uint64 `json:"inum"`
	holders []*holder
	// links is how many interfaces were there at the last look.
	links int
}

// The kinds of holder.
const (
	byName   = "name"   // a mount in /run/netns
	byMount  = "mount"  // a mount elsewhere
	byFile   = "file"   // an open file
	bySocket = "socket" // a socket that was opened in it
	byThread = "thread"
	byAgent  = "process"
	// byPrivate is a mount that only a process with a mount namespace of its own has.
	byPrivate = "private mount"
	// byOthers are the threads of a process whose first one has left.
	byOthers = "other threads"
)

// holder is what keeps a namespace alive.
type holder struct {
	kind string
	// path leads to the namespace; a socket's does so by SIOCGSKNS only.
	path string
	// task is what it is by number, 0 if it isn't one.
	task   int
	thread *thread
	agent  *agent
	file   *os.File
	// permanent is what this program itself needs.
	permanent bool
}

const (
	// namesDir is where `ip netns` keeps names, mountsDir where no tool looks.
	namesDir   = "/run/netns"
	mountsDir  = "/run/random"
	privateDir = "/run/private"
)

// open opens the namespace that h holds.
func (h *holder) open() (*os.File, error) {
	if h.kind != bySocket {
		return os.Open(h.path)
	}
	fd, err := unix.IoctlRetInt(int(h.file.Fd()), unix.SIOCGSKNS)
	if err != nil {
		return nil, fmt.Errorf("asking a socket for its namespace: %w", err)
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "namespace"), nil
}

// release lets go of the namespace.
func (h *holder) release(kill bool) error {
	switch h.kind {
	case byName, byMount:
		if err := unix.Unmount(h.path, unix.MNT_DETACH); err != nil {
			return err
		}
		return os.Remove(h.path)
	case byFile, bySocket:
		return h.file.Close()
	case byThread:
		h.thread.end()
		return nil
	default:
		return h.agent.end(kill)
	}
}

// open opens the namespace in any way there is.
func (s *space) open() (*os.File, error) {
	err := errors.New("nothing holds it")
	for _, h := range s.holders {
		var file *os.File
		if file, err = h.open(); err == nil {
			return file, nil
		}
	}
	return nil, fmt.Errorf("opening namespace %d: %w", s.ID, notAnErrno(err))
}

// task returns the number of a task that is in the namespace, 0 if there is none.
func (s *space) task() int {
	for _, h := range s.holders {
		if h.task != 0 {
			return h.task
		}
	}
	return 0
}

// identify reads the numbers of the namespace that file is.
func (s *space) identify(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return notAnErrno(err)
	}
	s.Inum = info.Sys().(*syscall.Stat_t).Ino
	return nil
}

// threadInum is the number of the calling thread's network namespace.
func threadInum() (uint64, error) {
	var stat unix.Stat_t
	err := unix.Stat(threadNamespace, &stat)
	return stat.Ino, notAnErrno(err)
}

// bind makes a name of the namespace at path, which mustn't be there.
func bind(namespace, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0)
	if err != nil {
		return err
	}
	file.Close()
	if err := unix.Mount(namespace, path, "none", unix.MS_BIND, ""); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
