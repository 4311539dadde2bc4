// SPDX-License-Identifier: Apache-2.0

package report

import (
	"slices"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/event"
)

type (
	// jsonInside is who was in a namespace, which others it knew, and what was set
	// in it. Of those that are over the first and the last are listed;
	// *_omitted counts the others. A list is null where nobody looked: the probes
	// weren't attached, or it would be all tasks of the initial namespace.
	jsonInside struct {
		Tasks          []jsonTask   `json:"tasks"`
		TasksOmitted   uint64       `json:"tasks_omitted"`
		NsidSpans      []jsonNsid   `json:"nsid_spans"`
		NsidsOmitted   uint64       `json:"nsid_spans_omitted"`
		Sysctls        []jsonSysctl `json:"sysctls"`
		SysctlsOmitted uint64       `json:"sysctls_omitted"`
	}
	// jsonTask is a process, or with TID a thread that was there without its
	// process. FromNS is null if it was there before the recording, UntilNS if it
	// was there at the end. From ThreadsSinceNS on only threads of it were there.
	jsonTask struct {
		PID            uint32         `json:"pid"`
		TID            *uint32        `json:"tid"`
		Comm           *string        `json:"comm"`
		Parent         *uint32        `json:"parent"`
		FromNS         *int64         `json:"from_ns"`
		UntilNS        *int64         `json:"until_ns"`
		Arrived        string         `json:"arrived"`
		Left           *string        `json:"left"`
		CameFrom       *string        `json:"came_from"`
		WentTo         *string        `json:"went_to"`
		Inferred       bool           `json:"inferred"`
		EndInferred    bool           `json:"end_inferred"`
		ThreadsSinceNS *int64         `json:"threads_since_ns"`
		Others         jsonOthers     `json:"other_namespaces"`
		Cgroup         *string        `json:"cgroup"`
		Container      *jsonContainer `json:"container"`
	}
	// jsonOthers are inums.
	jsonOthers struct {
		Mnt    *uint32 `json:"mnt"`
		PID    *uint32 `json:"pid"`
		UTS    *uint32 `json:"uts"`
		IPC    *uint32 `json:"ipc"`
		Cgroup *uint32 `json:"cgroup"`
		Time   *uint32 `json:"time"`
		User   *uint32 `json:"user"`
	}
	jsonContainer struct {
		Runtime string  `json:"runtime"`
		ID      *string `json:"id"`
		Pod     *string `json:"pod"`
	}
	// jsonNsid is a number by which a namespace knows another: Given is
	// "requested", "kernel", or null if it wasn't seen to be given.
	jsonNsid struct {
		Nsid        int32   `json:"nsid"`
		Namespace   *string `json:"namespace"`
		FromNS      *int64  `json:"from_ns"`
		UntilNS     *int64  `json:"until_ns"`
		EndInferred bool    `json:"end_inferred"`
		Given       *string `json:"given"`
		PID         *uint32 `json:"pid"`
		Comm        *string `json:"comm"`
	}
	jsonNsidRefusal struct {
		AtNS      int64   `json:"at_ns"`
		Namespace *string `json:"namespace"`
		Peer      *string `json:"peer"`
		Errno     uint32  `json:"errno"`
		Error     *string `json:"error"`
		PID       uint32  `json:"pid"`
		Comm      string  `json:"comm"`
	}
	// jsonSysctl is a write to a file below /proc/sys, as it was asked for. Path,
	// Old and New are cut to 63 bytes. Times is how often it was told in succession:
	// the kernel has some writes begin anew while they wait for a lock.
	jsonSysctl struct {
		AtNS  int64  `json:"at_ns"`
		Path  string `json:"path"`
		Old   string `json:"old"`
		New   string `json:"new"`
		PID   uint32 `json:"pid"`
		Comm  string `json:"comm"`
		Times uint64 `json:"times"`
	}
)

func (j converter) inside(n *analyze.Netns) jsonInside {
	r := jsonInside{
		TasksOmitted: n.TasksGone.Omitted, NsidsOmitted: n.NsidsOmitted, SysctlsOmitted: n.Sysctls.Omitted,
	}
	if !n.Initial && (len(n.TaskStays) != 0 || j.attached("exit_task_namespaces")) {
		r.Tasks = each(n.TaskStays, j.task)
	}
	if len(n.Nsids) != 0 || j.attached("rtnl_net_notifyid") {
		r.NsidSpans = each(n.Nsids, j.nsid)
	}
	if len(n.Sysctls.Writes) != 0 || j.attached("sysctl") {
		r.Sysctls = each(n.Sysctls.Writes, j.sysctl)
	}
	return r
}

// attached reports whether a probe is known to have been attached.
func (j converter) attached(name string) bool {
	return j.m.Ledger != nil && slices.ContainsFunc(j.m.Ledger.Probes, func(p event.ProbeLedger) bool {
		return p.Name == name && p.Status == event.StatusAttached
	})
}

func (j converter) task(s *analyze.TaskStay) (jsonTask, bool) {
	o := s.Others
	r := jsonTask{
		PID: s.PID, TID: orNull(s.TID), Comm: orNull(s.Comm), Parent: orNull(s.Parent),
		FromNS: j.atOrNull(s.From), UntilNS: j.atOrNull(s.Until), Arrived: string(s.Arrived), Left: orNull(string(s.Left)),
		CameFrom: id(s.CameFrom), WentTo: id(s.WentTo), Inferred: s.Inferred, EndInferred: s.EndInferred,
		ThreadsSinceNS: j.atOrNull(s.ThreadsSince), Cgroup: orNull(s.Cgroup),
		Others: jsonOthers{
			Mnt: orNull(o.Mnt), PID: orNull(o.PID), UTS: orNull(o.UTS), IPC: orNull(o.IPC),
			Cgroup: orNull(o.Cgroup), Time: orNull(o.Time), User: orNull(o.User),
		},
	}
	if c := s.Container; c != nil {
		r.Container = &jsonContainer{Runtime: c.Runtime, ID: orNull(c.ID), Pod: orNull(c.Pod)}
	}
	return r, j.o.during(s.From, s.Until)
}

func (j converter) nsid(x *analyze.Nsid) (jsonNsid, bool) {
	r := jsonNsid{Nsid: x.ID, Namespace: id(x.Peer), UntilNS: j.atOrNull(x.Until), EndInferred: x.EndInferred}
	from := uint64(0)
	if x.By != nil {
		from = x.By.At
		given := "kernel"
		if x.Requested {
			given = "requested"
		}
		r.FromNS, r.Given, r.PID, r.Comm = j.atOrNull(from), &given, orNull(x.By.PID), orNull(x.By.Comm)
	}
	return r, j.o.during(from, x.Until)
}

func (j converter) nsidRefusal(r *analyze.NsidRefusal) (jsonNsidRefusal, bool) {
	return jsonNsidRefusal{
		AtNS: j.at(r.At), Namespace: id(r.Netns), Peer: id(r.Peer), Errno: r.Errno, Error: orNull(analyze.ErrnoName(r.Errno)),
		PID: r.PID, Comm: r.Comm,
	}, j.o.any(r.Netns, r.Peer) && j.o.when(r.At)
}

func (j converter) sysctl(w *analyze.SysctlWrite) (jsonSysctl, bool) {
	return jsonSysctl{AtNS: j.at(w.At), Path: w.Path, Old: w.Old, New: w.New, PID: w.PID, Comm: w.Comm, Times: w.Times}, j.o.when(w.At)
}
