// SPDX-License-Identifier: Apache-2.0

package record

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// Kept is a capability that a recording doesn't give up once it has attached.
type Kept struct {
	Capability string
	// Why says what for.
	Why string
	// Spare says that CAP_SYS_ADMIN contains it, so that it is kept only where that
	// is missing, ForCommand that it is kept only with a command.
	Spare, ForCommand bool
	bit               uint
}

// KeptCapabilities returns those that a recording keeps to its end if it has them.
// It gives up all others: what they are for is done, or is done by descriptors
// that are open.
func KeptCapabilities() []Kept {
	return []Kept{
		{
			bit: unix.CAP_SYS_ADMIN, Capability: "CAP_SYS_ADMIN",
			Why: "to enter namespaces (setns), for the snapshot at the end and for the cookies of names that come; to read the maps, " +
				"which kernels before 5.19 may refuse others; to load and attach programs for modules that are loaded meanwhile",
		},
		{
			bit: unix.CAP_SYS_PTRACE, Capability: "CAP_SYS_PTRACE",
			Why: "to see which namespaces other processes are in or have open (/proc/PID/ns, pidfd_getfd), for the snapshot at the end",
		},
		{
			bit: unix.CAP_DAC_READ_SEARCH, Capability: "CAP_DAC_READ_SEARCH",
			Why: "to get at namespaces through other users' folders, for the snapshot at the end; to name cgroups by their ids (open_by_handle_at)",
		},
		{
			bit: unix.CAP_NET_ADMIN, Capability: "CAP_NET_ADMIN",
			Why: "to open namespaces to which nothing leads but a socket (SIOCGSKNS), for the snapshot at the end",
		},
		{
			bit: unix.CAP_KILL, Capability: "CAP_KILL", ForCommand: true,
			Why: "to end a COMMAND that has become another user's",
		},
		{
			bit: unix.CAP_BPF, Capability: "CAP_BPF", Spare: true,
			Why: "to read the maps; to load programs for modules that are loaded meanwhile",
		},
		{
			bit: unix.CAP_PERFMON, Capability: "CAP_PERFMON", Spare: true,
			Why: "to load and attach programs for modules that are loaded meanwhile",
		},
	}
}

// capSet is a set of capabilities, as /proc/PID/status has it.
type capSet uint64

func (s capSet) has(c uint) bool { return s&(1<<c) != 0 }

// kept returns what of had a recording has a use for to its end.
func kept(had capSet, o *Options) capSet {
	var keep capSet
	for _, k := range KeptCapabilities() {
		spare := k.Spare && had.has(unix.CAP_SYS_ADMIN) || k.ForCommand && len(o.Command) == 0
		if had.has(k.bit) && !spare {
			keep |= 1 << k.bit
		}
	}
	return keep
}

// forReadyFile is needed until the ready file is made, which may be in another
// user's folder, as with sudo.
const forReadyFile capSet = 1 << unix.CAP_DAC_OVERRIDE

// giveUp gives up for good, in all threads, all capabilities but keep, and soon
// when it is called again with less. An error ends the recording: whoever relies on
// this must be able to.
func giveUp(keep, soon capSet) error {
	had, err := effective()
	if err == nil {
		err = errors.Join(limitExec(had, keep), setCapabilities(had&(keep|soon)))
	}
	if err != nil {
		return fmt.Errorf("give up privileges: %w", err)
	}
	return nil
}

// effective returns the capabilities in effect.
func effective() (capSet, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, fmt.Errorf("read this process's capabilities: %w", err)
	}
	return capSet(data[0].Effective) | capSet(data[1].Effective)<<32, nil
}

// limitExec makes sure that no program can be run with more than keep: should
// somebody get hold of this process, root's privileges would be one execve away.
func limitExec(had, keep capSet) error {
	// Without CAP_SETPCAP the bounding set stays. No new privileges are enough
	// already; two locks hold better than one.
	for c := uint(0); had.has(unix.CAP_SETPCAP); c++ {
		in, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0)
		if err != nil {
			break // beyond the last one that this kernel knows
		}
		if in == 1 && !keep.has(c) {
			if err := prctl(unix.PR_CAPBSET_DROP, uintptr(c)); err != nil {
				return fmt.Errorf("prctl(PR_CAPBSET_DROP, %d): %w", c, err)
			}
		}
	}
	if err := prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL); err != nil {
		return fmt.Errorf("prctl(PR_CAP_AMBIENT): %w", err)
	}
	if err := prctl(unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return fmt.Errorf("prctl(PR_SET_NO_NEW_PRIVS): %w", err)
	}
	return nil
}

// setCapabilities makes caps, which are in effect already, all that are permitted.
func setCapabilities(caps capSet) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	low, high := uint32(caps), uint32(caps>>32)
	data := [2]unix.CapUserData{{Effective: low, Permitted: low}, {Effective: high, Permitted: high}}
	_, _, errno := psx.Syscall3(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
	if errno != 0 {
		return fmt.Errorf("capset: %w", errno)
	}
	return nil
}

// prctl is prctl(2) in every thread: capabilities are each thread's own.
func prctl(option int, arg uintptr) error {
	_, _, errno := psx.Syscall6(unix.SYS_PRCTL, uintptr(option), arg, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
