// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// fate is what became of a call whose return hasn't been seen.
type fate int

const (
	// fateUnknown: it can't be told from here.
	fateUnknown fate = iota
	// fateRunning: its thread is still in it.
	fateRunning
	// fateOver: its thread is elsewhere, so its return was missed.
	fateOver
	// fateDead: its thread is no more, so its return was missed and will never
	// come.
	fateDead
)

// threads tells what threads are doing, as far as procfs does.
type threads struct {
	proc string
	// initial says that its thread ids are those the programs see.
	initial bool
}

// initPIDNamespace is the inode of the first pid namespace (PROC_PID_INIT_INO in
// include/linux/proc_ns.h).
const initPIDNamespace = 0xEFFFFFFC

func newThreads() *threads {
	var st unix.Stat_t
	err := unix.Stat("/proc/self/ns/pid", &st)
	return &threads{proc: "/proc", initial: err == nil && st.Ino == initPIDNamespace}
}

// fate tells what became of a thread's call of a function since a boot time in
// nanoseconds.
func (t *threads) fate(tid uint32, since uint64, function string) fate {
	if !t.initial {
		return fateUnknown
	}
	// procfs may hide threads of others, this call doesn't.
	var cpus unix.CPUSet
	if errors.Is(unix.SchedGetaffinity(int(tid), &cpus), unix.ESRCH) {
		return fateDead
	}
	dir := filepath.Join(t.proc, strconv.Itoa(int(tid)))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return fateUnknown
	}
	began, ended, ok := parseStat(stat)
	switch {
	case !ok:
		return fateUnknown
	case ended || began > since: // another thread has its number now
		return fateDead
	}
	stack, err := os.ReadFile(filepath.Join(dir, "stack"))
	if err != nil || len(stack) == 0 { // a running thread has none to show
		return fateUnknown
	}
	if onStack(stack, function) {
		return fateRunning
	}
	return fateOver
}

// tick is the unit of times in procfs: USER_HZ is 100 on all architectures that
// programs are built for.
const tick = uint64(10 * time.Millisecond)

// parseStat reads when a thread began, rounded down, and whether it has ended,
// from /proc/TID/stat (proc_pid_stat(5)): fields 22 and 3, behind a name that
// may hold anything.
func parseStat(stat []byte) (began uint64, ended, ok bool) {
	_, rest, found := bytes.Cut(stat[max(0, bytes.LastIndexByte(stat, ')')):], []byte(") "))
	fields := strings.Fields(string(rest))
	if !found || len(fields) < 20 {
		return 0, false, false
	}
	ticks, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0, false, false
	}
	return ticks * tick, fields[0] == "Z" || fields[0] == "X", true
}

// onStack looks for a function, or what the compiler made of it, in lines such as
// "[<0>] setup_net+0xe5/0x2e0".
func onStack(stack []byte, function string) bool {
	for line := range bytes.Lines(stack) {
		_, name, _ := bytes.Cut(line, []byte("] "))
		name, _, _ = bytes.Cut(bytes.TrimSpace(name), []byte{'+'})
		if s := string(name); s == function || strings.HasPrefix(s, function+".") {
			return true
		}
	}
	return false
}
