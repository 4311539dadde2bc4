// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"math"
	"os"
	"syscall"
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
