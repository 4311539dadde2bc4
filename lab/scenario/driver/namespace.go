// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// namesDir is where `ip netns` keeps names.
	namesDir = "/run/netns"
	// ownNamespace is a thread's own network namespace.
	ownNamespace = "/proc/thread-self/ns/net"
)

// namespace is a network namespace with a name; "init" is the one this program was started in.
type namespace struct{ name, path string }

func initial() *namespace { return &namespace{"init", "/proc/self/ns/net"} }

// add makes a namespace with a name, as `ip netns add` does, and makes it quiet.
func add(name string) (*namespace, error) {
	if err := os.MkdirAll(namesDir, 0o755); err != nil {
		return nil, err
	}
	n := &namespace{name, filepath.Join(namesDir, name)}
	file, err := os.OpenFile(n.path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0)
	if err != nil {
		return nil, err
	}
	file.Close()
	err = onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		if err := unix.Mount(ownNamespace, n.path, "none", unix.MS_BIND, ""); err != nil {
			return err
		}
		return quieten()
	})
	if err != nil {
		return nil, fmt.Errorf("adding namespace %s: %w", name, err)
	}
	return n, n.up("lo")
}

// quieten keeps IPv6 of the calling thread's namespace from speaking up by itself, at times of its own
// choosing: the packets here shall all have a reason.
func quieten() error {
	files, err := filepath.Glob("/proc/sys/net/ipv6/conf/*/disable_ipv6")
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := os.WriteFile(file, []byte("1\n"), 0); err != nil {
			return err
		}
	}
	return nil
}

// remove takes the name away, and with it, if nobody else is there, the namespace.
func (n *namespace) remove() error {
	if err := unix.Unmount(n.path, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("removing namespace %s: %w", n.name, err)
	}
	return os.Remove(n.path)
}

// do calls f in the namespace.
func (n *namespace) do(f func() error) error {
	file, err := os.Open(n.path)
	if err != nil {
		return err
	}
	defer file.Close()
	return onOwnThread(func() error {
		if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering namespace %s: %w", n.name, err)
		}
		return f()
	})
}

// onOwnThread calls f on a thread of its own, which then ends and lets go of its namespace.
func onOwnThread(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: that ends the thread
		result <- f()
	}()
	return <-result
}

// inum is the number in net:[INUM].
func (n *namespace) inum() (uint64, error) {
	info, err := os.Stat(n.path)
	if err != nil {
		return 0, err
	}
	return info.Sys().(*syscall.Stat_t).Ino, nil
}
