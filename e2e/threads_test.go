// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/lab"
)

// TestThreads records a process that goes through namespaces, while threads of it
// are born, go after it and end at the same moments, on two CPUs. What the events
// add up to must be what the kernel has in the end: in which namespaces threads
// stayed behind when the first one left, and in which nobody did.
func TestThreads(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines")
	}
	t.Parallel()
	for _, c := range []struct{ suite, attach string }{
		{"bullseye", "auto"},
		{"bookworm", "auto"},
		{"bookworm", "kprobe"},
		{"trixie", "auto"},
		// It preempts programs at fentry, and lets what comes meanwhile pass: see runRandom.
		{unstable, "kprobe"},
	} {
		if !*everyKernel && (c.suite != suite || c.attach != "auto") {
			continue
		}
		t.Run(c.suite+" "+c.attach, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			nstrace, file := filepath.Join(dir, "nstrace"), filepath.Join(dir, "threads.nst")
			build(t, nstrace, "build", "../cmd/nstrace")
			build(t, filepath.Join(dir, "threads"), "build", "../lab/scenario/threads")
			const script = `mkfifo /tmp/said
				./nstrace record --attach "$1" -o threads.nst -- sh -c './threads >/tmp/said & read still </tmp/said'`
			vm := lab.VM{Kernel: kernelOf(t, c.suite, runtime.GOARCH), CPUs: 2, Share: dir}
			var out string
			recordTasks(t, nstrace, file, func() {
				var status int
				if status, out = bootVM(t, vm, "sh", "-ec", script, "sh", c.attach); status != 0 {
					t.Fatalf("exit status %d\n%s", status, out)
				}
			})
			if out, err := exec.Command(nstrace, "verify", file).CombinedOutput(); err != nil {
				t.Errorf("verify: %v\n%s", err, out)
			}
			m := readModel(t, file)
			// Of the process: where it is, where one thread went after it and stayed,
			// and where it keeps those that it makes others of.
			occupied := 0
			for _, n := range m.Namespaces {
				if !n.Initial && slices.ContainsFunc(n.TaskStays, func(s *analyze.TaskStay) bool {
					return s.Comm == "threads" && s.Left == ""
				}) {
					occupied++
				}
			}
			if len(m.Namespaces) != 62 || occupied != 3 || m.TaskEvents < 200 {
				t.Errorf("%d namespaces, the process in %d of them in the end; %d records of tasks", len(m.Namespaces), occupied, m.TaskEvents)
			}
			if t.Failed() {
				t.Log(out)
			}
			t.Logf("%d records of tasks, %d things compared", m.TaskEvents, m.Audit.Compared)
		})
	}
}
