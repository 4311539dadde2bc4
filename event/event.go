// SPDX-License-Identifier: Apache-2.0

package event

import "fmt"

// Kind says which kernel function an [Event] is about. The numbers are part of
// the trace file and of the eBPF programs' record (bpf/record.h): never renumber.
type Kind uint16

// The kinds, with the phases in which each is sent and the fields it fills
// beside the common ones (Seq to Caller).
const (
	// KindNone is no event: a record of this kind is corrupt.
	KindNone Kind = iota

	// KindSetupNet is setup_net, enter and exit. Net is the new namespace; its
	// Inum is valid on exit only. Ret is the errno. The life of a namespace
	// begins at enter; an exit with an error ends it. Arg is, on enter, when
	// copy_net_ns was, 0 if unknown.
	KindSetupNet
	// KindPutNet is __put_net, an instant: the last reference to Net is gone
	// and its clean-up is queued. Start, if known, is when it was let go.
	KindPutNet
	// KindCleanupNet is cleanup_net, enter and exit: one batch of dying
	// namespaces, in a kernel worker. It names no namespace.
	KindCleanupNet
	// KindFreeNet is net_free, net_drop_ns or net_passive_dec called from
	// cleanup_net, an instant: the clean-up of Net is complete.
	KindFreeNet

	// KindRegisterPernet is register_pernet_operations, enter and exit. Ops and
	// Fn say which subsystem; Count (exit) is how many namespaces its init ran
	// in. It runs with pernet_ops_rwsem held for writing; Arg is, on enter, when
	// the function that waited for that was entered, 0 if unknown.
	KindRegisterPernet
	// KindUnregisterPernet is unregister_pernet_operations, enter and exit. Arg is
	// as with KindRegisterPernet.
	KindUnregisterPernet

	// KindWiphyNew is wiphy_new_nm, exit. Wiphy is 0 when it failed.
	KindWiphyNew
	// KindWiphyRegister is wiphy_register, exit. Net is where the wiphy is born,
	// Driver the name of its driver, FlagCanSwitch whether that lets it move.
	KindWiphyRegister
	// KindWiphyUnregister is wiphy_unregister, enter and exit.
	KindWiphyUnregister
	// KindWiphyFree is cfg80211_dev_free, an instant.
	KindWiphyFree
	// KindWiphyRename is cfg80211_dev_rename, exit. WiphyName is the old name,
	// NewName the one asked for.
	KindWiphyRename
	// KindWiphySwitch is cfg80211_switch_netns, enter and exit: Wiphy goes from
	// Net to Net2 with all its interfaces. Ret is the errno.
	KindWiphySwitch

	// KindIfAdd is ieee80211_if_add, exit. Dev, Wdev, Name, Ifindex and Net are of
	// the new interface; Dev is 0 for one without a netdev. With an errno in Ret,
	// Name is the one asked for.
	KindIfAdd
	// KindIfRemove is ieee80211_if_remove, an instant: one interface is being
	// removed on request (bulk removal doesn't come here).
	KindIfRemove

	// KindNetdevRegister is register_netdevice, exit: a netdev is born in Net.
	KindNetdevRegister
	// KindNetdevUnregister is netdev_unregister_kobject, an instant: a netdev
	// leaves Net for good. It receives no more; RxPackets is final.
	KindNetdevUnregister
	// KindNetdevMove is (__)dev_change_net_namespace, enter and exit: Dev goes
	// from Net to Net2. On exit NewName and NewIfindex are what it is called
	// there, RxPackets what it had received when it left.
	KindNetdevMove
	// KindNetdevRename is dev_change_name, exit: Name became NewName. With an errno
	// in Ret, NewName is the one asked for.
	KindNetdevRename

	// KindCopyNet is copy_net_ns with CLONE_NEWNET, enter and exit: a task asks
	// for a new namespace. Caller is the one it is in, UserNS the user namespace
	// that will own the new one, Net (exit) the new one, unknown if it failed.
	// Ret is the errno. Between its entry and setup_net's are the allocation
	// and the wait for pernet_ops_rwsem.
	KindCopyNet
	// KindPernetRequest is (un)register_pernet_subsys or _device, an instant: a
	// subsystem asks to (un)register and begins to wait for pernet_ops_rwsem.
	// Arg is the kind it asks for, KindRegisterPernet or KindUnregisterPernet.
	KindPernetRequest
	// KindNL80211 is a request over nl80211 that may create, delete, rename, retype
	// or move something, exit. Arg is the command (enum nl80211_commands), Ret the
	// errno, Stage how far it came. Caller is the namespace of the task that asks,
	// Net that of its socket, where the kernel looks up what the request names;
	// UserNS, CallerUserNS and FlagNetAdmin say whether the task may. Of its
	// attributes: WiphyIndex (-1 without one), Ifindex, WdevID, Name
	// (NL80211_ATTR_IFNAME), WiphyName (the new one), Iftype; and for a move either
	// TargetPID or Net2, the namespace of a file descriptor. Wiphy is the radio
	// that was found, 0 if none was. What it caused was done by the same thread
	// between Start and Time.
	KindNL80211
	// KindNetByPID is get_net_ns_by_pid, exit: TargetPID, as the calling task's
	// pid namespace counts, means Net; or nobody, and then Ret is ESRCH. Arg is
	// that process's number in the initial pid namespace (0 if unknown) and
	// NewName its comm.
	KindNetByPID
	// KindNsid is a namespace number: from now on Net knows Net2 by Nsid. Arg says
	// how: 0 (NsidGiven), the kernel gave it by itself, an instant;
	// 1 (NsidRequested), it was asked for (RTM_NEWNSID), exit, and Ret is the
	// errno, with an Nsid of -1 if it was refused; 2 (NsidRemoved), Net knows
	// nobody by it any more, since who it stood for is dying, an instant.
	KindNsid
	// KindSysctl is a write to a file below /proc/sys/net, an instant taken
	// before it is carried out. Path is the file ("net/ipv4/ip_forward"), Name the
	// value it has, NewName the one written, both cut to 63 bytes. Net is
	// the writer's namespace.
	KindSysctl
	// KindWdevUnregister is cfg80211_unregister_wdev, an instant: Wdev, which has
	// no netdev, leaves Wiphy for good. Net is where Wiphy is.
	KindWdevUnregister
	// KindRTNetlink is a request over rtnetlink that creates, deletes, renames or
	// moves a netdev, exit. Arg is the message's type (RTM_NEWLINK, RTM_DELLINK,
	// RTM_SETLINK), LinkKind IFLA_INFO_KIND. Net is the namespace of the socket,
	// where Ifindex (0 without one) is looked up, Name is IFLA_IFNAME: the new name,
	// or without an Ifindex that of the netdev it is about. The rest is as with
	// KindNL80211, but for Stage; Nsid is IFLA_TARGET_NETNSID (-1 without one).
	KindRTNetlink
	// KindWdevRegister is cfg80211_register_wdev, exit: Wdev, which has no netdev,
	// joins Wiphy and gets its WdevID. Net is where Wiphy is.
	KindWdevRegister

	// KindCount is one more than the last kind.
	KindCount
)

var kindNames = [KindCount]string{
	KindNone:             "none",
	KindSetupNet:         "setup_net",
	KindPutNet:           "put_net",
	KindCleanupNet:       "cleanup_net",
	KindFreeNet:          "free_net",
	KindRegisterPernet:   "register_pernet_operations",
	KindUnregisterPernet: "unregister_pernet_operations",
	KindWiphyNew:         "wiphy_new_nm",
	KindWiphyRegister:    "wiphy_register",
	KindWiphyUnregister:  "wiphy_unregister",
	KindWiphyFree:        "wiphy_free",
	KindWiphyRename:      "wiphy_rename",
	KindWiphySwitch:      "cfg80211_switch_netns",
	KindIfAdd:            "ieee80211_if_add",
	KindIfRemove:         "ieee80211_if_remove",
	KindNetdevRegister:   "register_netdevice",
	KindNetdevUnregister: "unregister_netdevice",
	KindNetdevMove:       "dev_change_net_namespace",
	KindNetdevRename:     "dev_change_name",
	KindCopyNet:          "copy_net_ns",
	KindPernetRequest:    "register_pernet_subsys",
	KindNL80211:          "genl_rcv_msg",
	KindNetByPID:         "get_net_ns_by_pid",
	KindNsid:             "peernet2id_alloc",
	KindSysctl:           "sysctl",
	KindWdevUnregister:   "cfg80211_unregister_wdev",
	KindRTNetlink:        "rtnetlink_rcv_msg",
	KindWdevRegister:     "cfg80211_register_wdev",
}

// The values of Arg for KindNsid.
const (
	NsidGiven     = 0
	NsidRequested = 1
	NsidRemoved   = 2
)

// String returns the name of the probe that sends events of this kind.
func (k Kind) String() string {
	if k < KindCount {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint16(k))
}

// In reports whether k is set in a mask such as [Event.Within].
func (k Kind) In(mask uint32) bool { return mask&(1<<k) != 0 }

// Phase says at which moment of a function's run an event was taken.
type Phase uint8

// The phases. The numbers are part of the trace file.
const (
	// PhaseInstant is a function whose call alone matters.
	PhaseInstant Phase = iota
	// PhaseEnter is the function's entry.
	PhaseEnter
	// PhaseExit is its return: Start is the time of its entry.
	PhaseExit
)

// Flags qualify an event.
type Flags uint8

const (
	// FlagRx says RxPackets and RxBytes were read. Without it they are unknown.
	FlagRx Flags = 1 << iota
	// FlagNoEntry says an exit's entry was not seen: Start, and whatever had to
	// be read before the call, is unknown.
	FlagNoEntry
	// FlagCanSwitch says that a wiphy's driver allows it to change namespaces
	// (WIPHY_FLAG_NETNS_OK); meaningful where Driver was read.
	FlagCanSwitch
	// FlagNetAdmin says that the task of a request has CAP_NET_ADMIN in UserNS,
	// by the rules of cap_capable; security modules may see it otherwise.
	FlagNetAdmin
	// FlagStayed says that the radio of a KindWiphySwitch is where it was, though
	// the kernel said that it went.
	FlagStayed
)

// Stage says how far a request over nl80211 came.
type Stage uint8

// The stages. The numbers are part of the trace file.
const (
	// StageUnknown: the probes that tell are missing.
	StageUnknown Stage = iota
	// StageRefused: generic netlink refused it (permission, attributes) before
	// nl80211 saw it.
	StageRefused
	// StagePreDoit: nl80211_pre_doit refused it, which looks the wiphy or the
	// interface up in the caller's namespace.
	StagePreDoit
	// StageHandled: the command's handler ran, and Ret is its answer.
	StageHandled
)

// NetRef is what an event knows about a namespace.
type NetRef struct {
	// Ptr is the address of the struct net, 0 for no namespace. Reused.
	Ptr uint64
	// Cookie is struct net.net_cookie, 0 where the kernel has none (yet).
	Cookie uint64
	// Inum is struct net.ns.inum, 0 before the kernel has given one. Reused.
	Inum uint32
}

// Known reports whether n refers to a namespace at all.
func (n NetRef) Known() bool { return n.Ptr != 0 || n.Cookie != 0 || n.Inum != 0 }

// Event is one lifecycle event. Which fields beyond the common ones are filled
// depends on Kind; the others are zero. Strings that a user program can choose
// (Comm and all names) are as the kernel had them: hostile.
type Event struct {
	// Seq counts the lifecycle records of one CPU from 0, taken before ring
	// space was reserved, so a gap is a loss.
	Seq uint64
	// Time is when the event was taken.
	Time uint64
	// Start is, on exit, when the function was entered; 0 if unknown.
	Start uint64
	CPU   uint32
	Kind  Kind
	Phase Phase
	Flags Flags
	// PID is the process (tgid) that ran the function and TID its thread, in the
	// initial pid namespace, as task_struct.tgid and .pid. A kernel worker for
	// work nobody waits for.
	PID, TID uint32
	// Within is a mask of the kinds whose function this thread was running when
	// it called this one: a netdev that moves within KindWiphySwitch was carried
	// by its radio, a radio that moves within KindCleanupNet was sent home.
	Within uint32
	// Comm is the thread's name (task_struct.comm).
	Comm string
	// Caller is the namespace of the running task (current->nsproxy->net_ns).
	Caller NetRef

	// Net is the namespace the event is about, Net2 the target of a move.
	Net, Net2 NetRef
	// Ret is, on exit, the errno as a positive number, 0 for success.
	Ret uint32

	// Dev is the address of the struct net_device. Reused.
	Dev uint64
	// Wiphy is the address of the struct wiphy; with Dev, the wiphy of that
	// netdev (net_device.ieee80211_ptr->wiphy), 0 if it isn't wireless.
	Wiphy uint64
	// WiphyIndex is cfg80211_registered_device.wiphy_idx, -1 if unknown. It is
	// meaningful only where Wiphy isn't 0.
	WiphyIndex int32
	// Ifindex is the netdev's number in Net; NewIfindex the one in Net2.
	Ifindex, NewIfindex int32
	// Iftype is the kernel's enum nl80211_iftype, 0 (unspecified) if unknown.
	Iftype uint32
	// DevType is net_device.type, an ARPHRD_* number.
	DevType uint32
	// Name is the netdev's name, NewName its name, or its wiphy's, afterwards.
	Name, NewName string
	// WiphyName is the wiphy's name.
	WiphyName string
	// LinkKind is rtnl_link_ops.kind ("veth", "bridge"); "" if it has none.
	LinkKind string
	// RxPackets and RxBytes are the kernel's own receive counters of Dev, as
	// `ip -s link` shows them, valid with FlagRx.
	RxPackets, RxBytes uint64

	// Ops is the address of the struct pernet_operations, Fn that of its init,
	// or if it has none its exit. Symbols have their names.
	Ops, Fn uint64
	// Count is how many namespaces were visited.
	Count uint64

	// UserNS is the inum of a user namespace, 0 if unknown: of a request the one
	// that owns Net. CallerUserNS is that of the task's credentials.
	UserNS, CallerUserNS uint32
	// Arg, Stage and TargetPID are a request's: see the kinds.
	Arg       uint64
	Stage     Stage
	TargetPID uint32
	// Nsid is a namespace's number in another, -1 for none.
	Nsid int32
	// Wdev is the address of a struct wireless_dev. Reused.
	Wdev uint64
	// WdevID is wireless_dev.identifier, the low half of NL80211_ATTR_WDEV: its
	// number within the wiphy, never repeated there; 0 if unknown.
	WdevID uint32
	// Driver is the name of a wiphy's driver (wiphy.dev.parent->driver->name).
	Driver string
	// Path is that of a sysctl, below /proc/sys.
	Path string
}
