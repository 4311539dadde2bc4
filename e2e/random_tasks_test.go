// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/nstrace/nstrace/analyze"
)

// task is a process, with a TID of 0, or a thread that isn't where its process is.
type task struct{ pid, tid uint32 }

// checkTasks compares who is in each namespace in the end with the links in /proc,
// and each task's way with what the driver had it do.
func (r *randomRun) checkTasks(t *testing.T) {
	t.Helper()
	there := tasksInProc(t, filepath.Join(r.dir, "look/tasks"))
	count := 0
	for _, n := range r.model.Namespaces {
		if n.Initial || !n.Alive() {
			continue
		}
		want := there[n.Inum]
		delete(there, n.Inum)
		count += len(want)
		for x := range want {
			if !slices.ContainsFunc(n.TaskStays, func(s *analyze.TaskStay) bool { return s.Left == "" && isTask(s, x) }) {
				t.Errorf("task %v is in %s in the end; in the report it isn't", x, n.Label())
			}
		}
		for _, s := range n.TaskStays {
			if s.Left == "" && !hasTask(want, s) {
				t.Errorf("%s is in %s in the report only: %+v", s.Who(), n.Label(), s)
			}
		}
	}
	for inum, tasks := range there {
		if inum != r.model.Namespaces[0].Inum {
			t.Errorf("tasks %v are in net:[%d], which isn't in the report", tasks, inum)
		}
	}
	ways := r.checkWays(t)
	if count == 0 || ways == 0 {
		t.Error("no task was outside of the initial namespace")
	}
	t.Logf("/proc has %d tasks outside of the initial namespace; %d came to one when they were told to", count, ways)
}

// isTask reports whether a stay is x's: threads that stayed behind, when the first
// one left, share one.
func isTask(s *analyze.TaskStay, x task) bool {
	return s.PID == x.pid && (s.TID == x.tid || s.TID == 0 && s.ThreadsSince != 0 && x.tid != 0)
}

func hasTask(tasks map[task]bool, s *analyze.TaskStay) bool {
	for x := range tasks {
		if isTask(s, x) && (s.ThreadsSince == 0 || x.tid != 0) {
			return true
		}
	}
	return false
}

var taskLink = regexp.MustCompile(`/proc/(\d+)/task/(\d+)/ns/net -> net:\[(\d+)\]`)

// tasksInProc reads ls -l of the namespaces of all tasks.
func tasksInProc(t *testing.T, file string) map[uint32]map[task]bool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	number := func(s string) uint32 {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		return uint32(n)
	}
	links := taskLink.FindAllStringSubmatch(string(text), -1)
	leaders := map[uint32]uint32{}
	for _, link := range links {
		if link[1] == link[2] {
			leaders[number(link[1])] = number(link[3])
		}
	}
	tasks := map[uint32]map[task]bool{}
	for _, link := range links {
		x, inum := task{number(link[1]), number(link[2])}, number(link[3])
		switch {
		case x.pid == x.tid:
			x.tid = 0
		case leaders[x.pid] == inum:
			continue
		}
		if tasks[inum] == nil {
			tasks[inum] = map[task]bool{}
		}
		tasks[inum][x] = true
	}
	return tasks
}

// checkWays wants every task that was told to go somewhere, or was born into a
// namespace, to have come there then, and returns how many there were.
func (r *randomRun) checkWays(t *testing.T) (ways int) {
	t.Helper()
	for _, o := range r.ops {
		if o.Errno != 0 {
			continue
		}
		var x task
		to, how := r.space(o.Args.ID), analyze.ArrivedUnshare
		switch {
		case o.Op == "enter":
			x = task{o.Args.Task, 0}
			if o.Args.To != nil {
				to, how = r.space(*o.Args.To), analyze.ArrivedSetns
			}
		case o.Args.TID != 0:
			x = task{o.Args.TID, 0}
		case o.Args.PID != 0 && o.Args.Inum != 0:
			x, how = task{o.Args.PID, 0}, analyze.ArrivedFork
		default:
			continue
		}
		if to == nil || to.Initial {
			continue
		}
		ways++
		if how == analyze.ArrivedSetns && !r.left(o, r.space(o.Args.ID), x) {
			t.Errorf("%v: in the report task %d didn't leave then", o, x.pid)
		}
		if !r.arrived(o, to, x, how) && to.TasksGone.Omitted == 0 {
			t.Errorf("%v: in the report task %d didn't come then", o, x.pid)
		}
	}
	return ways
}

// isMoving reports whether a stay is that of x, which may be a thread of the
// driver's.
func (r *randomRun) isMoving(s *analyze.TaskStay, x task) bool {
	return s.PID == x.pid && s.TID == 0 || s.PID == r.summary.PID && s.TID == x.pid
}

// isAmong reports whether a stay is that of the driver itself, in which x is one
// of the threads: while its first thread is there, or when that has gone.
func (r *randomRun) isAmong(s *analyze.TaskStay, o *randomOp, x task) bool {
	return s.PID == r.summary.PID && s.PID != x.pid && s.TID == 0 && s.From < o.To && (s.Left == "" || s.Until > o.From)
}

// hasThreads reports whether a stay is that of a process whose other threads were
// there before and after its first one left or came: that is one stay.
func hasThreads(s *analyze.TaskStay, o *randomOp, x task) bool {
	return s.PID == x.pid && s.TID == 0 && s.From < o.From && (s.Left == "" || s.Until > o.To)
}

// arrived reports whether x came to n during o.
func (r *randomRun) arrived(o *randomOp, n *analyze.Netns, x task, how analyze.Arrival) bool {
	return slices.ContainsFunc(n.TaskStays, func(s *analyze.TaskStay) bool {
		return r.isMoving(s, x) && s.Arrived == how && !s.Inferred && within(o, s.From) ||
			r.isAmong(s, o, x) || hasThreads(s, o, x)
	})
}

// left reports whether x left n during o.
func (r *randomRun) left(o *randomOp, n *analyze.Netns, x task) bool {
	if n == nil || n.Initial || n.TasksGone.Omitted != 0 {
		return true
	}
	return slices.ContainsFunc(n.TaskStays, func(s *analyze.TaskStay) bool {
		return r.isMoving(s, x) && !s.EndInferred && (s.Left == analyze.LeftSetns && within(o, s.Until) || within(o, s.ThreadsSince)) ||
			r.isAmong(s, o, x) || hasThreads(s, o, x)
	})
}

func within(o *randomOp, at uint64) bool { return o.From <= at && at <= o.To }

// checkSysctls wants every write to a file below /proc/sys/net in the report, and
// no other, with what the file had been given before.
func (r *randomRun) checkSysctls(t *testing.T) {
	t.Helper()
	var all []*analyze.SysctlWrite
	in := map[*analyze.SysctlWrite]*analyze.Netns{}
	omitted, told := uint64(0), uint64(0)
	for _, n := range r.model.Namespaces {
		omitted += n.Sysctls.Omitted
		for _, w := range n.Sysctls.Writes {
			all, in[w] = append(all, w), n
			told += w.Times
		}
	}
	writes := index(all, func(w *analyze.SysctlWrite) *analyze.Deed { return &w.Deed })
	given := map[string]string{}
	made := uint64(0)
	for _, o := range r.ops {
		if o.Op != "sysctl" || syscall.Errno(o.Errno) == syscall.ENOENT {
			continue
		}
		made++
		n, path, value := r.space(o.Args.ID), "net/"+o.Case, o.Args.Value
		found := writes.during(o, r.summary.PID)
		// This one answers that it took one byte (addrconf_fixup_forwarding in
		// net/ipv6/addrconf.c), so that the rest is written once more.
		if len(found) == 2 && o.Case == "ipv6/conf/all/forwarding" && found[1].Path == path && strings.TrimSpace(found[1].New) == "" {
			found = found[:1]
			made++
		}
		if len(found) == 0 && n != nil && n.Sysctls.Omitted != 0 {
			continue
		}
		// The same again changes nothing, and is told with the first.
		if len(found) == 0 && slices.ContainsFunc(all, func(w *analyze.SysctlWrite) bool {
			return in[w] == n && w.Times > 1 && w.Path == path && strings.TrimSpace(w.New) == value && w.At < o.From
		}) {
			continue
		}
		key := fmt.Sprint(o.Args.ID, path)
		if len(found) != 1 {
			t.Errorf("%v: %d writes in the report", o, len(found))
			continue
		}
		w := found[0]
		if in[w] != n || w.Path != path || strings.TrimSpace(w.New) != value {
			t.Errorf("%v: the report has %q written to %s in %s", o, w.New, w.Path, in[w].Label())
		}
		if before, ok := given[key]; ok && strings.TrimSpace(w.Old) != before {
			t.Errorf("%v: the report has %q in it before, it had %q", o, w.Old, before)
		}
		if o.Errno == 0 && value != "" {
			given[key] = value
		}
	}
	if least, most := uint64(len(all))+omitted, told+omitted; made < least || made > most || made == 0 {
		t.Errorf("%d to %d writes in the report, %d were made", least, most, made)
	}
	t.Logf("%d writes to files below /proc/sys/net", made)
}

// checkNsids compares the numbers by which namespaces know others with what ip
// says. Those that were given only while the closing snapshot was taken aren't in
// the report.
func (r *randomRun) checkNsids(t *testing.T) {
	t.Helper()
	count := 0
	for _, n := range r.model.Namespaces {
		file := filepath.Join(r.dir, "look", fmt.Sprint(n.Inum)+".nsids")
		if !n.Alive() || !exists(file) {
			continue
		}
		there := nsidsByIP(t, file)
		count += len(there)
		for _, x := range n.Nsids {
			if x.Until == 0 && !there[x.ID] {
				t.Errorf("number %d of %s for %s is in the report only", x.ID, n.Label(), x.Peer.Label())
			}
		}
		for _, x := range n.NSIDs {
			if !there[x.ID] {
				t.Errorf("number %d of %s is in the closing snapshot only", x.ID, n.Label())
			}
			delete(there, x.ID)
		}
		if len(there) != 0 {
			t.Errorf("numbers %v of %s aren't in the closing snapshot", there, n.Label())
		}
	}
	if count == 0 {
		t.Error("ip netns list-id knows no number in any namespace")
	}
	t.Logf("ip netns list-id knows %d numbers", count)
}

func nsidsByIP(t *testing.T, file string) map[int32]bool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	there := map[int32]bool{}
	for line := range strings.Lines(string(text)) {
		var id int32
		if _, err := fmt.Sscanf(line, "nsid %d", &id); err != nil {
			t.Fatalf("%s: %q: %v", file, line, err)
		}
		there[id] = true
	}
	return there
}
