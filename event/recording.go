// SPDX-License-Identifier: Apache-2.0

package event

// Recording says what a trace is a recording of. It is the head of the file.
type Recording struct {
	// Tool is the version of the nstrace that wrote it.
	Tool string `json:"tool"`
	Host string `json:"host"`
	// Kernel and Arch are uname's release and machine, Version its version.
	Kernel  string `json:"kernel"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
	// BootID is /proc/sys/kernel/random/boot_id: cookies, pointers and times
	// compare only within one boot.
	BootID string `json:"boot_id"`
	// CPUs is the number of possible CPUs.
	CPUs int `json:"cpus"`
	// Command is nstrace's own command line, hostile like every user's string.
	Command []string `json:"command"`
	// Delivery is "count", "packets" or "off".
	Delivery string `json:"delivery"`
	// Packets says what is recorded of packets; nil if all there are, without their
	// bytes.
	Packets *PacketOptions `json:"packets,omitempty"`
	// AllDevices says that packets of any netdev were counted where they enter the
	// stack, and not only those of wireless ones.
	AllDevices bool `json:"all_devices,omitempty"`
	// InitNet is the inum of the initial namespace as /proc/1/ns/net had it, 0
	// if unknown.
	InitNet uint32 `json:"init_net"`
	// Began is when the last probe was attached: what happened before it may be
	// missing. Report times count from here.
	Began uint64 `json:"began_ns"`
	// Clock relates boot time to wall time at the start.
	Clock Clock `json:"clock"`
}

// PacketOptions say which packets are recorded one by one, and what of each.
// Counts are of all.
type PacketOptions struct {
	// Snaplen is how many bytes of each at most.
	Snaplen uint32 `json:"snaplen,omitempty"`
	// Netns are namespaces as the user named them, Devices names of netdevs, and
	// Ethertypes numbers; each is empty where it doesn't matter. A packet must
	// be of one of each.
	Netns      []string `json:"netns,omitempty"`
	Devices    []string `json:"devices,omitempty"`
	Ethertypes []uint16 `json:"ethertypes,omitempty"`
}

// Filtered reports whether there are packets that were not to be recorded.
func (o *PacketOptions) Filtered() bool {
	return o != nil && (len(o.Netns) > 0 || len(o.Devices) > 0 || len(o.Ethertypes) > 0)
}

// Clock is one reading of two clocks at once.
type Clock struct {
	// Boot is CLOCK_BOOTTIME, Wall CLOCK_REALTIME, in nanoseconds.
	Boot uint64 `json:"boot_ns"`
	Wall int64  `json:"wall_ns"`
}

// End closes a complete recording.
type End struct {
	Time  uint64 `json:"time_ns"`
	Clock Clock  `json:"clock"`
	// Reason says why the recording ended: "interrupt", "terminated", "duration",
	// "command", "disk-full", "error".
	Reason string `json:"reason"`
	// Error has more for "disk-full" and "error".
	Error string `json:"error,omitempty"`
	// ExitStatus is the recorded command's, null without one.
	ExitStatus *int `json:"exit_status,omitempty"`
}

// Symbol names an address that occurs in an event (Ops, Fn).
type Symbol struct {
	Time uint64 `json:"time_ns"`
	Addr uint64 `json:"addr"`
	Name string `json:"name"`
	// Module is the owning kernel module, "" for the kernel itself.
	Module string `json:"module,omitempty"`
}

// NameChange says that a name for a namespace appeared or went away: a mount of
// it (as `ip netns add` makes in /run/netns).
type NameChange struct {
	Time uint64 `json:"time_ns"`
	// Name is the last element of Path. Hostile.
	Name string `json:"name"`
	Path string `json:"path"`
	// Inum is of the namespace the name stands for, when Added; its Cookie is 0
	// if unknown.
	Inum   uint32 `json:"inum"`
	Cookie uint64 `json:"cookie,omitempty"`
	// Added is false when the name went away.
	Added bool `json:"added"`
}
