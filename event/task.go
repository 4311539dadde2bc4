// SPDX-License-Identifier: Apache-2.0

package event

import "fmt"

// TaskOp says what a task did. The numbers are part of the trace file and of the
// eBPF programs' record: never renumber.
type TaskOp uint8

// The operations.
const (
	TaskNone TaskOp = iota
	// TaskFork: it was made by Parent, in Net already (sched_process_fork).
	TaskFork
	// TaskSwitch: it went from From to Net by setns or unshare
	// (switch_task_namespaces); where these are the same, only its other
	// namespaces changed.
	TaskSwitch
	// TaskExec: it is another program now; Comm is the new name
	// (sched_process_exec).
	TaskExec
	// TaskExit: it lets go of Net, its last namespace, to end
	// (exit_task_namespaces).
	TaskExit
	// TaskBehind: it is in Net, which its leader leaves at that moment.
	TaskBehind
	TaskOpCount
)

var taskOpNames = [TaskOpCount]string{"none", "fork", "switch", "exec", "exit", "behind"}

// String returns the operation's name.
func (o TaskOp) String() string {
	if o < TaskOpCount {
		return taskOpNames[o]
	}
	return fmt.Sprintf("task op(%d)", uint8(o))
}

// Namespaces are the inums of the other namespaces of a task (struct nsproxy,
// and of its credentials for the user namespace), 0 if unknown.
type Namespaces struct {
	Mnt, PID, UTS, IPC, Cgroup, Time, User uint32
}

// Task is a task that came into a network namespace or left one.
//
// Told of are processes in namespaces other than the initial one, and of threads
// only those that have parted from their process: whose namespace isn't its
// leader's (the thread whose TID is the process's PID), or whose leader has ended
// before them. A change from one namespace to another is told of always. When a
// leader leaves a namespace or ends, those that stay there are told of first.
type Task struct {
	// Seq counts the task records of one CPU from 0, taken before ring space was
	// reserved, so a gap is a loss.
	Seq  uint64
	Time uint64
	CPU  uint32
	Op   TaskOp
	// PID, TID and Comm are the task's, as in [Event]; Parent is the process
	// that made it, or that it is a child of.
	PID, TID, Parent uint32
	Comm             string
	// Threads is how many other threads of its process were running.
	Threads uint32
	// Behind is how many of its threads a leader leaves in the namespace that it
	// goes from, or ends in, each of which was told of just before (TaskBehind).
	// Known from traces of versions that tell, and of processes with less than 64
	// threads.
	Behind      uint32
	BehindKnown bool
	// Net is the namespace it is in now, or lets go of to end; From the one it
	// was in before, or of a fork the one its parent is in.
	Net, From NetRef
	// Others are its other namespaces. In a switch, User is unknown if it is
	// about to change with them.
	Others Namespaces
	// Cgroup is the id of its cgroup (version 2), 0 if unknown. Cgroups have
	// their paths.
	Cgroup uint64
}

// CgroupPath names a cgroup.
type CgroupPath struct {
	Time uint64 `json:"time_ns"`
	ID   uint64 `json:"id"`
	// Path is below the cgroup mount, with a leading slash. Hostile.
	Path string `json:"path"`
}
