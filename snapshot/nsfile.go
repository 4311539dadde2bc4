// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// errOtherNamespace says that a path leads to another namespace than it did.
var errOtherNamespace = errors.New("it is another namespace now")

// openNamespace opens the nsfs file at path if it is still the network
// namespace inum. It fails with [errOtherNamespace] if it isn't.
func openNamespace(path string, inum uint32) (int, error) {
	// Should the mount be gone, what was under it is a file of anybody's making:
	// don't wait for it (O_NONBLOCK) nor let it become our terminal.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return -1, err
	}
	return verified(fd, inum)
}

// verified returns fd if it is the network namespace inum, and closes it
// otherwise.
func verified(fd int, inum uint32) (int, error) {
	var stat unix.Stat_t
	var fs unix.Statfs_t
	err := unix.Fstat(fd, &stat)
	if err == nil {
		err = unix.Fstatfs(fd, &fs)
	}
	if err == nil && (fs.Type != unix.NSFS_MAGIC || stat.Ino != uint64(inum)) {
		err = errOtherNamespace
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// ownerUserNS returns the inum of the user namespace that owns a namespace
// (NS_GET_USERNS, ns_ioctl in fs/nsfs.c). The kernel refuses with EPERM where
// that isn't the caller's own user namespace or one below it.
func ownerUserNS(fd int) (uint32, error) {
	owner, err := unix.IoctlRetInt(fd, unix.NS_GET_USERNS)
	if err != nil {
		return 0, err
	}
	defer unix.Close(owner)
	var stat unix.Stat_t
	if err := unix.Fstat(owner, &stat); err != nil {
		return 0, err
	}
	return uint32(stat.Ino), nil
}

// socketCookie returns the cookie of the network namespace a socket belongs to
// (SO_NETNS_COOKIE, since 5.14), 0 where the kernel doesn't tell.
func socketCookie(fd int) (uint64, error) {
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err == unix.ENOPROTOOPT {
		return 0, nil
	}
	return cookie, err
}

// fileCookie asks nsfs itself for the cookie, which needs no entering: since
// 6.18 (NS_GET_ID) it is the number of every namespace. 0 where the kernel
// doesn't tell.
func fileCookie(fd int) uint64 {
	var id uint64
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.NS_GET_ID, uintptr(unsafe.Pointer(&id)))
	if errno != 0 {
		return 0
	}
	return id
}

// enteredCookie moves the calling thread into the namespace and back to learn
// its cookie.
func enteredCookie(fd int) (uint64, error) {
	// Without a way back the thread's end has to let go of the namespace.
	if home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
		defer unix.Close(home)
		defer func() { _ = unix.Setns(home, unix.CLONE_NEWNET) }()
	}
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return 0, fmt.Errorf("enter the network namespace: %w", err)
	}
	// A unix socket: closing it lets go of the namespace at once, unlike netlink.
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open a socket in the network namespace: %w", err)
	}
	defer unix.Close(socket)
	return socketCookie(socket)
}
