// SPDX-License-Identifier: Apache-2.0

// Package snapshot says what already exists: the network namespaces of the
// machine with their names, links, counters and radios, as the kernel tells
// user space through procfs, nsfs, rtnetlink and nl80211. [Take] looks once,
// [Watch] follows the names as they come and go.
//
// # What it does to the machine
//
// It changes nothing, loads no module and never moves the process's own
// threads, but looking is not free of traces: a namespace is kept alive while
// it is looked at, and by a closed netlink socket until the kernel's next RCU
// grace period (netlink_release). A namespace whose last holder leaves in those
// milliseconds dies a little later than it would have.
//
// # What it can't see
//
// A namespace is found through the tasks in it and the mounts of it in
// nstrace's own mount namespace. One that lives only by an open file, a socket
// or a mount in another mount namespace is not found. Inside a container, /proc
// shows the container.
package snapshot
