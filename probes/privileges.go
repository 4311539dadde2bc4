// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// ErrPrivileges says that this process may not trace.
var ErrPrivileges = errors.New("not enough privileges to trace the kernel")

// privilegeError is an ErrPrivileges that says what is missing and what to do.
type privilegeError struct{ what, remedy string }

func (e *privilegeError) Error() string {
	return fmt.Sprintf("%v: %s; %s", ErrPrivileges, e.what, e.remedy)
}
func (e *privilegeError) Unwrap() error { return ErrPrivileges }

const (
	remedyRoot      = "run it as root (sudo nstrace record)"
	remedyUserNS    = "outside of the user namespace, run it as root (sudo nstrace record)"
	remedyLockLimit = "run ulimit -l unlimited before, or give it CAP_SYS_RESOURCE"
)

// Capability is one that a recording has a use for, see capabilities(7).
type Capability struct {
	Name string
	// Required says that there is no recording without it.
	Required bool
	// Loses says what a recording lacks without it.
	Loses string
	bit   uint
}

// Capabilities returns those that a recording has a use for on some kernel.
func Capabilities() []Capability {
	return []Capability{
		{"CAP_BPF", true, "everything: it allows to load programs", unix.CAP_BPF},
		{"CAP_PERFMON", true, "everything: it allows programs to read the kernel's memory", unix.CAP_PERFMON},
		{"CAP_SYS_RESOURCE", true, "everything, before Linux 5.11: it allows to raise the limit of locked memory, by which maps go there", unix.CAP_SYS_RESOURCE},
		{
			"CAP_SYS_ADMIN", false,
			"what is in other namespaces when the recording begins and ends", unix.CAP_SYS_ADMIN,
		},
		{
			"CAP_SYS_PTRACE", false,
			"what is in namespaces that only other users' processes lead to, when the recording begins and ends", unix.CAP_SYS_PTRACE,
		},
		{
			"CAP_DAC_READ_SEARCH", false,
			"what is in namespaces that only mounts in other users' folders lead to, when the recording begins and ends", unix.CAP_DAC_READ_SEARCH,
		},
		{
			"CAP_NET_ADMIN", false,
			"what is in namespaces that only a socket leads to, when the recording begins and ends, and without CAP_SYS_ADMIN who writes to /proc/sys/net", unix.CAP_NET_ADMIN,
		},
		{
			"CAP_SYSLOG", false,
			"the names of the functions that subsystems have run for namespaces, and on some kernels their own packet counts beside those of deliveries", unix.CAP_SYSLOG,
		},
	}
}

// Lack is a capability that this process doesn't have.
type Lack struct {
	Capability string
	Required   bool
	Loses      string
}

// Lacks returns which capabilities a recording has a use for on this kernel and
// this process doesn't have. CAP_SYS_ADMIN contains CAP_BPF and CAP_PERFMON
// (bpf_capable and perfmon_capable in include/linux/capability.h), and
// CAP_NET_ADMIN as far as programs go (bpf_prog_load in kernel/bpf/syscall.c).
func Lacks() ([]Lack, error) {
	has, err := capabilities()
	if err != nil {
		return nil, err
	}
	var lacks []Lack
	for _, c := range Capabilities() {
		switch c.bit {
		case unix.CAP_BPF, unix.CAP_PERFMON:
			if has(unix.CAP_SYS_ADMIN) {
				continue
			}
		case unix.CAP_SYS_RESOURCE:
			// Kernels before 5.11 charge maps to RLIMIT_MEMLOCK; on others this does
			// nothing. Nor is the capability needed where there is no limit. Which
			// kernel this is can't be told by one who may not make maps.
			if !has(unix.CAP_BPF) && !has(unix.CAP_SYS_ADMIN) || !errors.Is(rlimit.RemoveMemlock(), unix.EPERM) {
				continue
			}
		}
		if !has(c.bit) {
			lacks = append(lacks, Lack{c.Name, c.Required, c.Loses})
		}
	}
	return lacks, nil
}

// capabilities returns which capabilities are in effect for this thread.
func capabilities() (has func(uint) bool, err error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return nil, fmt.Errorf("read this process's capabilities: %w", err)
	}
	if inUserNamespace() {
		return func(uint) bool { return false }, nil
	}
	return func(c uint) bool { return data[c/32].Effective&(1<<(c%32)) != 0 }, nil
}

// opensByNumber reports whether the kernel opens namespaces by their numbers, since
// 6.18, so that no path has to lead there. It tries it with this process's own.
func opensByNumber() bool {
	own, err := unix.Open("/proc/self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(own)
	var st unix.Stat_t
	var id uint64
	if err := unix.Fstat(own, &st); err != nil {
		return false
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(own), unix.NS_GET_ID, uintptr(unsafe.Pointer(&id))); errno != 0 {
		return false
	}
	// A struct nsfs_file_handle (include/uapi/linux/nsfs.h) of the type FILEID_NSFS.
	handle := binary.NativeEndian.AppendUint64(nil, id)
	handle = binary.NativeEndian.AppendUint32(handle, unix.CLONE_NEWNET)
	handle = binary.NativeEndian.AppendUint32(handle, uint32(st.Ino))
	fd, err := unix.OpenByHandleAt(unix.FD_NSFS_ROOT, unix.NewFileHandle(0xf1, handle), unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// addressesHidden reports whether the addresses of the kernel's symbols are
// hidden from this process (kallsyms_show_value in kernel/kallsyms.c). The first
// few are 0 on x86 anyway: they count from where each CPU's memory begins.
func addressesHidden() bool {
	f, err := os.Open(kallsyms)
	if err != nil {
		return true
	}
	defer f.Close()
	found, err := parseSymbols(io.LimitReader(f, 1<<16), func(addr uint64, _ []byte) bool { return addr != 0 })
	return err != nil || len(found) == 0
}

// initialUserNS is what /proc/self/ns/user leads to in the machine's own user
// namespace (PROC_USER_INIT_INO in include/linux/proc_ns.h).
const initialUserNS = "user:[4026531837]"

// inUserNamespace reports whether this process's capabilities are those of
// another user namespace than the machine's own, and no good for tracing.
func inUserNamespace() bool {
	ns, err := os.Readlink("/proc/self/ns/user")
	return err == nil && ns != initialUserNS
}

// checkPrivileges names the capabilities that are missing before anything is
// tried: what the kernel would answer is a bare EPERM from somewhere.
func checkPrivileges() error {
	lacks, err := Lacks()
	if err != nil {
		return err
	}
	var missing []string
	for _, l := range lacks {
		if l.Required {
			missing = append(missing, l.Capability)
		}
	}
	list := strings.Join(missing, " and ")
	switch {
	case len(missing) == 0:
		return nil
	case inUserNamespace():
		return &privilegeError{
			list + " missing, since root in a user namespace (unshare -U, a rootless container) isn't root of the machine",
			remedyUserNS,
		}
	case list == "CAP_SYS_RESOURCE":
		return &privilegeError{list + " missing, which this kernel wants to raise the limit of locked memory", remedyLockLimit}
	}
	return &privilegeError{list + " missing", remedyRoot}
}

// denials are what the kernel refuses this process although it may load
// programs; "" where it doesn't.
type denials struct {
	// ModuleTypes says why types of modules can't be referred to, which fentry
	// on their functions needs.
	ModuleTypes string `json:"module_types,omitempty"`
	Kprobes     string `json:"kprobes,omitempty"`
	// Cgroups says why programs can't be attached to cgroups.
	Cgroups string `json:"cgroups,omitempty"`
}

// readDenials asks for what only some kernels allow without CAP_SYS_ADMIN.
// Nothing is left behind.
func readDenials() denials {
	var d denials
	types := new(btf.HandleIterator)
	types.Next()
	if errors.Is(types.Err(), unix.EPERM) {
		d.ModuleTypes = "without CAP_SYS_ADMIN this kernel lets nobody refer to types of modules"
	}
	types.Handle.Close()
	// Debian's kernels refuse all of perf where perf_event_paranoid is 3, its
	// default there.
	attr := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_DUMMY, Bits: unix.PerfBitDisabled}
	fd, err := unix.PerfEventOpen(&attr, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err == nil {
		unix.Close(fd)
	}
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		d.Kprobes = "without CAP_SYS_ADMIN this kernel allows no perf events (sysctl kernel.perf_event_paranoid=2 might)"
	}
	if has, err := capabilities(); err == nil && !has(unix.CAP_NET_ADMIN) && !has(unix.CAP_SYS_ADMIN) {
		d.Cgroups = "without CAP_NET_ADMIN no program can be attached to a cgroup"
	}
	return d
}

// deny reports whether it is for these that a probe can't be had.
func (d *denials) deny(c *choice) bool {
	return len(c.hooks) == 0 && slices.ContainsFunc([]string{d.ModuleTypes, d.Kprobes, d.Cgroups}, func(why string) bool {
		return why != "" && strings.Contains(c.reason, why)
	})
}
