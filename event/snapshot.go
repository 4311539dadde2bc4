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
}

// NetnsState is one namespace in a snapshot.
type NetnsState struct {
	Inum uint32 `json:"inum"`
	// Cookie is SO_NETNS_COOKIE, 0 where the kernel doesn't tell.
	Cookie uint64 `json:"cookie,omitempty"`
	// Initial says that it is PID 1's namespace as seen from the initial pid
	// namespace.
	Initial bool `json:"initial,omitempty"`
	// Names are the names under /run/netns, sorted.
	Names []string `json:"names,omitempty"`
	// OwnerUserNS is the inum of the owning user namespace (NS_GET_USERNS), 0 if
	// unknown.
	OwnerUserNS uint32 `json:"owner_user_ns,omitempty"`
	// Holders are what keeps it alive, as far as was looked.
	Holders []Holder `json:"holders,omitempty"`
	Links   []Link   `json:"links"`
	Wiphys  []Wiphy  `json:"wiphys,omitempty"`
}

// Holder is something that keeps a namespace alive.
type Holder struct {
	// Kind is "task" or "mount".
	Kind string `json:"kind"`
	PID  uint32 `json:"pid,omitempty"`
	Comm string `json:"comm,omitempty"`
	Path string `json:"path,omitempty"`
}

// Link is a netdev as rtnetlink and nl80211 describe it.
type Link struct {
	Ifindex int32  `json:"ifindex"`
	Name    string `json:"name"`
	// Kind is IFLA_INFO_KIND ("veth"), "" if it has none.
	Kind string `json:"kind,omitempty"`
	// DevType is an ARPHRD_* number.
	DevType uint16 `json:"dev_type"`
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

// Wiphy is a radio as nl80211 describes it.
type Wiphy struct {
	Index int32  `json:"index"`
	Name  string `json:"name"`
	// CanSwitch says that NL80211_CMD_SET_WIPHY_NETNS is among the commands the
	// wiphy supports.
	CanSwitch bool `json:"can_switch"`
}
