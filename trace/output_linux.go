// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"math"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const openNoFollow = syscall.O_NOFOLLOW

// fallocKeepSize is FALLOC_FL_KEEP_SIZE (linux/falloc.h).
const fallocKeepSize = 1

// reserve makes the disk have space for n bytes of f from off on, without
// making f longer.
func reserve(f *os.File, off, n int64) error {
	for {
		err := syscall.Fallocate(int(f.Fd()), fallocKeepSize, off, n)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// fileSizeLimit is RLIMIT_FSIZE, false if there is none.
func fileSizeLimit() (int64, bool) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &l); err != nil || l.Cur > math.MaxInt64 {
		return 0, false
	}
	return int64(l.Cur), true
}

// takesFiles finds out whether a file can be made in a directory: by making one
// without a name, which leaves nothing behind however this process ends.
func takesFiles(dir string) error {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return unix.Close(fd)
	}
	// Not every file system can: the network's and FAT can't, overlayfs since 6.1.
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EINVAL) {
		err = unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	}
	return err
}

// dup duplicates a descriptor to one above the standard ones.
func dup(fd int) (int, error) {
	return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
}
