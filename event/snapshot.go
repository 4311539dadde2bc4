// SPDX-License-Identifier: Apache-2.0

package event

// Snapshot is the state of the machine as the kernel tells it to user space, at
// the start or at the end of a recording.
type Snapshot struct {
	// Begin and Finish are when it was begun and complete: things may have
	// changed in between, and then events tell.
	Begin  uint64 `json:"begin_ns"`
	Finish uint64 `json:"finish_ns"`
	// Closing is true for the snapshot at the end.
	Closing    bool         `json:"closing"`
	Namespaces []NetnsState `json:"namespaces"`
	// Errors lists what couldn't be looked at, each with the kernel's answer.
	Errors []string `json:"errors,omitempty"`
	// Unseen lists the kinds of holder that weren't looked for, or can't be
	// seen: a namespace without holders is kept by one of these.
	Unseen []string `json:"unseen,omitempty"`
}

// NetnsState is one namespace in a snapshot.
type NetnsState struct {
	Inum uint32 `json:"inum"`
	// Cookie is SO_NETNS_COOKIE, 0 where the kernel doesn't tell.
	Cookie uint64 `json:"cookie,omitempty"`
	// Ptr is the address of the struct net, 0 if unknown.
	Ptr uint64 `json:"ptr,omitempty"`
	// Initial says that it is PID 1's namespace as seen from the initial pid
	// namespace.
	Initial bool `json:"initial,omitempty"`
	// Names are its names under /run/netns, and the paths of its mounts
	// elsewhere in nstrace's mount namespace, sorted. A path has a slash in it,
	// a name can't.
	Names []string `json:"names,omitempty"`
	// OwnerUserNS is the inum of the owning user namespace (NS_GET_USERNS), 0 if
	// unknown.
	OwnerUserNS uint32 `json:"owner_user_ns,omitempty"`
	// References is the kernel's own count of what keeps it alive, 0 if unknown.
	// Tasks with the same namespaces share one, as do all open files and mounts
	// of it.
	References uint32 `json:"references,omitempty"`
	// Holders are what keeps it alive, as far as was looked: the first few of
	// Held.
	Holders []Holder   `json:"holders,omitempty"`
	Held    HoldCounts `json:"held"`
	// Tasks are the processes that are in it, and the threads that are there
	// while their process is elsewhere; in the initial namespace only such
	// threads. Of very many the first are listed: Held counts them.
	Tasks []Resident `json:"tasks,omitempty"`
	// NSIDs are the numbers by which it knows others, in order.
	NSIDs []NSID `json:"nsids,omitempty"`
	// Links is nil if it couldn't be entered.
	Links  []Link  `json:"links"`
	Wiphys []Wiphy `json:"wiphys,omitempty"`
	// Wdevs are the interfaces of Wiphys, with and without a netdev, by wiphy and
	// ID.
	Wdevs []Wdev `json:"wdevs,omitempty"`
}

// HoldCounts is how many holders of each kind a namespace has.
type HoldCounts struct {
	// Tasks counts processes, and threads that aren't where their process is.
	Tasks uint32 `json:"tasks,omitempty"`
	// Mounts counts mount points in nstrace's own mount namespace, OtherMounts
	// those in the others.
	Mounts      uint32 `json:"mounts,omitempty"`
	OtherMounts uint32 `json:"other_mounts,omitempty"`
	// Files counts open files of every kind, sockets too, each as often as some
	// process has it open.
	Files uint32 `json:"files,omitempty"`
}

// Holder is something that keeps a namespace alive.
type Holder struct {
	// Kind is "task", "mount", or what a task somewhere else has open: "file"
	// (the namespace itself), "socket", "tun" (/dev/net/tun) or "proc" (a file of
	// /proc/net).
	Kind string `json:"kind"`
	// PID and Comm are the task's; of a mount outside nstrace's mount namespace
	// those of a task that sees it.
	PID  uint32 `json:"pid,omitempty"`
	Comm string `json:"comm,omitempty"`
	// TID is that of a thread that left its process's namespace, 0 for a process.
	TID uint32 `json:"tid,omitempty"`
	// Path is the mount point or the open file in /proc, and for a thread that
	// left its process's namespace its own link.
	Path string `json:"path,omitempty"`
	// MountNS is the inum of the mount namespace in which Path is a mount point,
	// 0 for nstrace's own.
	MountNS uint32 `json:"mount_ns,omitempty"`
	// Cgroup is the task's path in the cgroup v2 hierarchy, or in that of systemd
	// without one: containers are known by it.
	Cgroup string `json:"cgroup,omitempty"`
}

// Resident is a task in a namespace.
type Resident struct {
	// PID is the process, TID the thread that is there without it, 0 for the
	// process itself.
	PID uint32 `json:"pid"`
	TID uint32 `json:"tid,omitempty"`
	// Comm and Cgroup are as in [Holder].
	Comm   string `json:"comm,omitempty"`
	Cgroup string `json:"cgroup,omitempty"`
}

// NSID is a number by which one namespace knows another (RTM_GETNSID).
type NSID struct {
	ID int32 `json:"id"`
	// Inum and Cookie are the other's, 0 if unknown.
	Inum   uint32 `json:"inum,omitempty"`
	Cookie uint64 `json:"cookie,omitempty"`
}

// Link is a netdev as rtnetlink and nl80211 describe it.
type Link struct {
	Ifindex int32  `json:"ifindex"`
	Name    string `json:"name"`
	// AltNames are its other names (IFLA_ALT_IFNAME).
	AltNames []string `json:"alt_names,omitempty"`
	// Kind is IFLA_INFO_KIND ("veth"), "" if it has none.
	Kind string `json:"kind,omitempty"`
	// Driver is the driver of the device behind it, "" if there is none or it
	// can't be told.
	Driver string `json:"driver,omitempty"`
	// DevType is an ARPHRD_* number, Flags the IFF_* ones.
	DevType uint16 `json:"dev_type"`
	Flags   uint32 `json:"flags,omitempty"`
	// OperState is an IF_OPER_* number (RFC 2863); 0 is unknown.
	OperState uint8 `json:"oper_state,omitempty"`
	// Master is the ifindex of the bridge or bond it is a port of, 0 if it isn't.
	Master int32 `json:"master,omitempty"`
	// Lower is IFLA_LINK: the ifindex of a veth's peer, or of the link beneath a
	// VLAN; 0 if there is none. It is in the namespace that LowerNSID is the
	// number of, in the same one if that is nil.
	Lower     int32  `json:"lower,omitempty"`
	LowerNSID *int32 `json:"lower_nsid,omitempty"`
	// Iftype is the enum nl80211_iftype of a wireless netdev, 0 otherwise.
	Iftype uint32 `json:"iftype,omitempty"`
	// Wiphy is the index of its wiphy, -1 if it isn't wireless.
	Wiphy int32 `json:"wiphy"`
	// RxPackets and RxBytes are IFLA_STATS64, valid with Stats, read at
	// StatsTime.
	Stats     bool   `json:"stats"`
	StatsTime uint64 `json:"stats_ns,omitempty"`
	RxPackets uint64 `json:"rx_packets"`
	RxBytes   uint64 `json:"rx_bytes"`
}

// Wdev is an interface of a wiphy (struct wireless_dev) as nl80211 describes it.
type Wdev struct {
	// ID is NL80211_ATTR_WDEV: the index of the wiphy in the upper half, a number
	// that never repeats on it in the lower.
	ID    uint64 `json:"id"`
	Wiphy int32  `json:"wiphy"`
	// Iftype is an enum nl80211_iftype.
	Iftype uint32 `json:"iftype"`
	// Ifindex and Name are its netdev's, 0 and "" if it has none. That may be in
	// another namespace, if its radio left it behind (FlagStayed).
	Ifindex int32  `json:"ifindex,omitempty"`
	Name    string `json:"name,omitempty"`
}

// Wiphy is a radio as nl80211 describes it.
type Wiphy struct {
	Index int32  `json:"index"`
	Name  string `json:"name"`
	// CanSwitch says that NL80211_CMD_SET_WIPHY_NETNS is among the commands the
	// wiphy supports.
	CanSwitch bool `json:"can_switch"`
	// Driver is the driver of its device, Device the device's name ("0000:03:00.0",
	// "hwsim0"); "" if there is none or it can't be told.
	Driver string `json:"driver,omitempty"`
	Device string `json:"device,omitempty"`
}
