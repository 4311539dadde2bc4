// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// maxWays bounds the ways of one kind remembered to reach one namespace. Each
// may be gone when it is tried, but hardly all.
const maxWays = 16

// ways are how a namespace can be opened.
type ways struct {
	// paths lead to it in our mount namespace or in /proc.
	paths []string
	// sockets belong to it: see SIOCGSKNS in socket(7).
	sockets []openSocket
	// afar are paths through the root of a task in another mount namespace. Who
	// made that may have made a file system that never answers, so these are the
	// last to be tried.
	afar []string
}

// openSocket is a socket, or /dev/net/tun, that a task has open.
type openSocket struct{ tid, fd int }

func (w *ways) any() bool { return len(w.paths)+len(w.sockets)+len(w.afar) > 0 }

func (w *ways) addPath(path string) {
	if len(w.paths) < maxWays {
		w.paths = append(w.paths, path)
	}
}

func (w *ways) addSocket(tid, fd int) {
	if len(w.sockets) < maxWays {
		w.sockets = append(w.sockets, openSocket{tid, fd})
	}
}

func (w *ways) addAfar(path string) {
	if len(w.afar) < maxWays {
		w.afar = append(w.afar, path)
	}
}

// open opens the namespace inum by the first way that still leads there. cookie
// is 0 if it is unknown.
func (w *ways) open(inum uint32, cookie uint64) (int, error) {
	err := error(unix.ENOENT)
	try := func(fd int, openErr error) (int, bool) {
		if openErr == nil {
			return fd, true
		}
		// A refusal says more than a way that is gone.
		if !vanished(openErr) && !errors.Is(openErr, errOtherNamespace) {
			err = openErr
		}
		return -1, false
	}
	for _, path := range w.paths {
		if fd, ok := try(openNamespace(path, inum)); ok {
			return fd, nil
		}
	}
	if cookie != 0 {
		// The kernel may not have this; then its refusal says nothing.
		if fd, err := openByID(inum, cookie); err == nil {
			return fd, nil
		}
	}
	for _, s := range w.sockets {
		if fd, ok := try(openBySocket(s, inum)); ok {
			return fd, nil
		}
	}
	for _, path := range w.afar {
		if fd, ok := try(openNamespace(path, inum)); ok {
			return fd, nil
		}
	}
	return -1, err
}

// openBySocket opens the namespace that another task's socket belongs to. For a
// moment the socket is ours as well; that is why it is only done where no other
// way leads there.
func openBySocket(s openSocket, inum uint32) (int, error) {
	task, err := unix.PidfdOpen(s.tid, 0)
	if err == unix.EINVAL || err == unix.ENOENT {
		// A thread that leads no process needs PIDFD_THREAD, since 6.9.
		task, err = unix.PidfdOpen(s.tid, unix.O_EXCL)
	}
	if err != nil {
		return -1, fmt.Errorf("open process %d: %w", s.tid, err)
	}
	defer unix.Close(task)
	socket, err := unix.PidfdGetfd(task, s.fd, 0)
	if err == unix.EBADF {
		err = unix.ENOENT // it was closed
	}
	if err != nil {
		return -1, fmt.Errorf("copy file %d of process %d: %w", s.fd, s.tid, err)
	}
	defer unix.Close(socket)
	fd, err := unix.IoctlRetInt(socket, unix.SIOCGSKNS)
	if err == unix.ENOTTY || err == unix.EOPNOTSUPP {
		err = unix.ENOENT // something else by now
	}
	if err != nil {
		return -1, fmt.Errorf("ask a socket for its namespace: %w", err)
	}
	return verified(fd, inum)
}

// fileidNSFS is the type of a handle of nsfs (FILEID_NSFS in
// include/linux/exportfs.h).
const fileidNSFS = 0xf1

// openByID opens a namespace by its number in the kernel's tree of namespaces,
// since 6.18: a struct nsfs_file_handle of its id, type and inum. It has to be in
// use by a task, an open file or a mount somewhere.
func openByID(inum uint32, id uint64) (int, error) {
	handle := binary.NativeEndian.AppendUint64(nil, id)
	handle = binary.NativeEndian.AppendUint32(handle, unix.CLONE_NEWNET)
	handle = binary.NativeEndian.AppendUint32(handle, inum)
	fd, err := unix.OpenByHandleAt(unix.FD_NSFS_ROOT, unix.NewFileHandle(fileidNSFS, handle), unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open the namespace by its number: %w", err)
	}
	return verified(fd, inum)
}
