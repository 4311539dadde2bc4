// SPDX-License-Identifier: Apache-2.0

package snapshot

import "github.com/nstrace/nstrace/event"

// found is a namespace that was found, what is known of it, and the ways to
// reach it.
type found struct {
	state event.NetnsState
	ways  ways
	// listed says that it is in the kernel's own list.
	listed bool
	// tasks, files and afar wait to be listed as holders after our mounts.
	tasks, files, afar []event.Holder
	// residents are its tasks by their folders in /proc.
	residents []resident
}

// resident is a task that is in a namespace, and where /proc has it.
type resident struct {
	event.Resident
	dir string
}

// open opens the namespace by any of its ways.
func (ns *found) open() (int, error) { return ns.ways.open(ns.state.Inum, ns.state.Cookie) }

// isLife says which life it was that the ways led to: one that has taken over
// the inum since it was found, perhaps. Then what was known of the other says
// nothing of it.
func (ns *found) isLife(cookie uint64) {
	if ns.state.Cookie != 0 && ns.state.Cookie != cookie {
		ns.forget()
	}
	ns.state.Cookie = cookie
}

// forget drops what was found without entering the namespace.
func (ns *found) forget() {
	s := &ns.state
	s.Ptr, s.References, s.Names, s.Holders, s.Tasks, s.Held = 0, 0, nil, nil, nil, event.HoldCounts{}
}

// confirm compares what was found with a later list of the kernel. It returns
// false if the namespace wasn't visited and is gone.
func (ns *found) confirm(rows map[uint32]*row, visited bool) bool {
	now, there := rows[ns.state.Inum]
	if there && ns.state.Ptr != 0 && now.Net.Ptr != ns.state.Ptr {
		// The inum has another owner. If it was that one that was visited, what
		// was found of the earlier one isn't true of it.
		ns.forget()
	}
	return visited || there && now.Net.Ptr == ns.state.Ptr
}
