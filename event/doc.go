// SPDX-License-Identifier: Apache-2.0

// Package event is nstrace's vocabulary: what the kernel said, as plain Go
// values. It imports nothing of nstrace's, does no I/O and reads no clock.
//
// # Terms
//
// The words are the kernel's own. Most confusion about network namespaces and
// Wi-Fi comes from mixing them up, so here is which is which:
//
//   - netns: a network namespace, the kernel's struct net.
//   - inum: the number in net:[4026531840]. A label, not an identity: the
//     kernel hands out the lowest free one, so a dead namespace's inum is
//     usually the next one's.
//   - cookie: struct net.net_cookie, unique for one boot. 5.10 gives one out
//     only on demand, so there it is usually 0, which means "unknown" here.
//   - nsid: the number under which one netns knows another (RTM_NEWNSID).
//     Relative to the namespace that asks; never an identity.
//   - initial netns: init_net, where a machine boots and where radios return
//     when their namespace dies.
//   - wiphy, phy: a radio (struct wiphy); "phy0" is its name. Its index never
//     repeats in one boot.
//   - wdev: struct wireless_dev, one interface of a wiphy, with or without a
//     netdev (a P2P device has none).
//   - vif: the same seen from mac80211. A VAP is a vif of type __ap.
//   - netdev: struct net_device, anything `ip link` lists.
//   - ifindex: a netdev's number, unique within its netns only; it may change
//     when the netdev moves.
//   - pernet operations: what a subsystem registers to be told of each netns
//     that is set up or torn down.
//
// # Time
//
// Every Time is in nanoseconds of the kernel's CLOCK_BOOTTIME
// (bpf_ktime_get_boot_ns), which goes on through suspend. Recording.Clocks
// relates it to wall time.
//
// # Identity
//
// Pointers, inums, ifindexes and PIDs are all reused. An event says what the
// kernel's memory held at that moment; telling lives apart is the analyzer's
// work, and the fields needed for it (pointer, cookie, time of birth) are here.
package event
