// SPDX-License-Identifier: Apache-2.0

// Package snapshot says what already exists: the network namespaces of the
// machine with their names, holders, links, counters, radios and the numbers they
// have for each other, as the kernel tells user space through procfs, nsfs,
// rtnetlink, nl80211 and sysfs. [Taker.Take] looks once, [Watch] follows the
// names as they come and go.
//
// # Who holds a namespace
//
// Which namespaces there are the kernel's own list says, and who holds them the
// tasks and their open files; both are read by eBPF programs (bpf/survey.bpf.c)
// that take no reference and touch no task. Mounts are read from mountinfo, once
// for each mount namespace that some task is in. What can't be seen is in
// Snapshot.Unseen: a namespace that only such things keep is found all the same,
// with the kernel's count of references, but without holders.
//
// # What it does to the machine
//
// It loads no module and never moves the process's own threads, but looking is
// not free of traces: a namespace is kept alive while it is looked at, and by a
// closed netlink socket until the kernel's next RCU grace period
// (netlink_release). A namespace whose last holder leaves in those milliseconds
// dies a little later than it would have. Where a socket or an open /dev/net/tun
// is the only thing that leads to a namespace, it is duplicated for a moment
// (pidfd_getfd). And listing a link whose peer is in another namespace makes the
// kernel give that one a number, as ip link does, if it hasn't given one when the
// link was made, which it does for those that rtnetlink made.
//
// Inside a container, /proc shows the container.
package snapshot
