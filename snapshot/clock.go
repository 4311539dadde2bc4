// SPDX-License-Identifier: Apache-2.0

package snapshot

import "golang.org/x/sys/unix"

// boottime returns CLOCK_BOOTTIME in nanoseconds: the clock of every event.
func boottime() uint64 {
	var ts unix.Timespec
	// It can fail for a bad clock or a bad pointer only, and this clock is there
	// since Linux 2.6.39.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return uint64(ts.Nano())
}
