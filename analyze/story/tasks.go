// SPDX-License-Identifier: Apache-2.0

package story

import "github.com/nstrace/nstrace/event"

// Thread is what an event says of a task; TID is PID's if it is 0.
type Thread struct {
	PID, TID uint32
	Comm     string
	// Others is how many other threads its process has.
	Others uint32
	Cgroup uint64
}

func (s *Story) task(op event.TaskOp, x Thread, net, from event.NetRef) {
	t := event.Task{
		Seq: s.tasks, Time: s.Tick(), Op: op, PID: x.PID, TID: x.TID, Comm: x.Comm, Parent: s.PID,
		Threads: x.Others, Net: net, From: from, Cgroup: x.Cgroup,
		Others: event.Namespaces{Mnt: 4026531841, User: 4026531837},
	}
	if t.TID == 0 {
		t.TID = t.PID
	}
	s.tasks++
	s.HandleTask(&t)
}

// Fork is the birth of a task, in the namespace of the parent or with a new one.
func (s *Story) Fork(x Thread, net, parents event.NetRef) { s.task(event.TaskFork, x, net, parents) }

// Go is setns or unshare.
func (s *Story) Go(x Thread, from, to event.NetRef) { s.task(event.TaskSwitch, x, to, from) }

// Exec is another program in the same place.
func (s *Story) Exec(x Thread, net event.NetRef) { s.task(event.TaskExec, x, net, event.NetRef{}) }

// Exit is the end of a task.
func (s *Story) Exit(x Thread, net event.NetRef) { s.task(event.TaskExit, x, net, event.NetRef{}) }

// Unshare is the birth of n with a process going into it.
func (s *Story) Unshare(x Thread, from, n event.NetRef) {
	pid, comm := s.PID, s.Comm
	s.By(x.PID, x.Comm).Setup(n)
	s.By(pid, comm).Go(x, from, n)
}

// Told are the probes without which nothing is known of tasks and of numbers.
func Told() []event.ProbeLedger {
	zero := uint64(0)
	var out []event.ProbeLedger
	for _, name := range []string{
		"switch_task_namespaces", "exit_task_namespaces", "sched_process_fork", "sched_process_exec",
		"rtnl_net_notifyid", "peernet2id_alloc", "rtnl_net_newid", "get_net_ns_by_fd",
	} {
		out = append(out, event.ProbeLedger{Name: name, Function: name, Hook: "fentry", Status: event.StatusAttached, Missed: &zero})
	}
	return out
}

// Held adds tasks to a namespace in a snapshot.
func Held(st event.NetnsState, tasks ...Thread) event.NetnsState {
	for _, x := range tasks {
		h := event.Holder{Kind: "task", PID: x.PID, Comm: x.Comm}
		if x.TID != x.PID {
			h.TID = x.TID
		}
		st.Holders = append(st.Holders, h)
		st.Tasks = append(st.Tasks, event.Resident{PID: h.PID, TID: h.TID, Comm: h.Comm})
	}
	st.Held.Tasks = uint32(len(tasks))
	return st
}

// Nsid is a number by which namespace in knows peer from now on, or is refused.
func (s *Story) Nsid(how uint64, in, peer event.NetRef, id int32, errno uint32) {
	e := event.Event{Kind: event.KindNsid, Net: in, Net2: peer, Nsid: id, Arg: how, Ret: errno}
	if how == event.NsidRequested {
		e.Phase, e.Start = event.PhaseExit, s.T
	}
	s.Send(e)
}

// Sysctl is a write to a file below /proc/sys/net.
func (s *Story) Sysctl(n event.NetRef, path, old, written string) {
	s.Send(event.Event{Kind: event.KindSysctl, Net: n, Path: path, Name: old, NewName: written})
}
