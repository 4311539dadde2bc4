// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"fmt"
	"slices"

	"github.com/nstrace/nstrace/event"
)

// taskProbes are those without which nobody knows who is where.
var taskProbes = []string{"switch_task_namespaces", "exit_task_namespaces", "sched_process_fork"}

// probed reports whether these probes told of everything since an opening
// snapshot, but for losses.
func (a *Analyzer) probed(names []string) bool {
	if a.m.Ledger == nil || !a.m.Opening {
		return false
	}
	attached := 0
	for _, p := range a.m.Ledger.Probes {
		if slices.Contains(names, p.Name) && p.Status == event.StatusAttached && p.Since == 0 {
			attached++
		}
	}
	return attached == len(names)
}

// auditTasks compares who is in a namespace with who the closing snapshot saw
// there. It looked at a moment nobody knows between its beginning and its end,
// and tasks were told of until then: who was there at any time in between may
// have been seen, who was there all the time must have been.
func (a *Analyzer) auditTasks(n *Netns, st *event.NetnsState) {
	if n.Initial || n.unlisted || !a.probed(taskProbes) {
		return
	}
	here, must := a.presentDuring(n)
	for _, h := range st.Tasks {
		a.m.Audit.Compared++
		switch x := here.of(taskKey{h.PID, h.TID}); {
		case x != nil:
			delete(must, x.key())
		case here.complete:
			a.m.Audit.differ(fmt.Sprintf("%s in %s", Task(max(h.PID, h.TID), h.Comm), n.Label()), "there", "absent")
		}
	}
	if uint32(len(st.Tasks)) < st.Held.Tasks {
		return // the snapshot doesn't list all
	}
	for _, x := range inOrder(must) {
		a.m.Audit.Compared++
		a.m.Audit.differ(fmt.Sprintf("%s in %s", x.Who(), n.Label()), "absent", "there")
	}
}

// present is who was in a namespace at some time.
type present struct {
	stays map[taskKey]*TaskStay
	// complete is false if so many came and went that not all are remembered.
	complete bool
}

// of returns the stay that a task in a snapshot is: threads that stayed behind
// are listed one by one.
func (p *present) of(k taskKey) *TaskStay {
	if x := p.stays[k]; x != nil {
		return x
	}
	if x := p.stays[taskKey{k.pid, 0}]; x != nil && x.ThreadsSince != 0 {
		return x
	}
	return nil
}

// presentDuring returns who was in n at some time during the closing snapshot,
// and who all the time.
func (a *Analyzer) presentDuring(n *Netns) (here *present, must map[taskKey]*TaskStay) {
	begin, finish := a.closing.Begin, a.closing.Finish
	here = &present{make(map[taskKey]*TaskStay), true}
	must = make(map[taskKey]*TaskStay)
	for _, x := range n.TaskStays {
		if x.From > finish || x.Until != 0 && x.Until < begin {
			continue
		}
		here.stays[x.key()] = x
		if x.From < begin && (x.Until == 0 || x.Until > finish) {
			must[x.key()] = x
		}
	}
	if g := &n.TasksGone; g.Omitted != 0 && g.Stays[keptFirst].Until >= begin {
		here.complete = false
	}
	return here, must
}

// clipTasks takes out what happened after the end: tasks are told of until the
// closing snapshot is taken.
func (a *Analyzer) clipTasks() {
	for _, n := range a.m.Namespaces {
		n.TaskStays = slices.DeleteFunc(n.TaskStays, func(x *TaskStay) bool { return x.From > a.m.Ended })
		for _, x := range n.TaskStays {
			if x.Until > a.m.Ended {
				x.Until, x.Left, x.WentTo, x.EndInferred = 0, "", nil, false
			}
			if x.ThreadsSince > a.m.Ended {
				x.ThreadsSince = 0
			}
		}
	}
}
