// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// TestMoveArm64 records the scenario on another architecture. Its machine has no
// programs but those it is given, so lab/scenario/driver plays, which asks the
// kernel for what ip and iw ask there; the story is the same.
func TestMoveArm64(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a virtual machine")
	}
	t.Parallel()
	const arch = "arm64"
	if runtime.GOARCH != arch {
		if _, err := exec.LookPath("qemu-system-aarch64"); err != nil {
			t.Skip("there is no qemu-system-aarch64 here")
		}
	}
	dir := t.TempDir()
	buildFor(t, arch, filepath.Join(dir, "nstrace"), "build", "../cmd/nstrace")
	buildFor(t, arch, filepath.Join(dir, "driver"), "build", "../lab/scenario/driver")
	kernel := kernelOf(t, suite, arch)
	status, out := bootKernel(t, kernel, dir, nil,
		"/share/nstrace", "record", "--load-modules", "-o", "/share/move.nst", "--", "/share/driver", "/share/kernel")
	if status != 0 {
		t.Fatalf("exit status %d\n%s", status, out)
	}
	// The report is made where the recording wasn't.
	nstrace := filepath.Join(t.TempDir(), "nstrace")
	build(t, nstrace, "build", "../cmd/nstrace")
	file := filepath.Join(dir, "move.nst")
	r := readReport(t, nstrace, file)
	// Debian's 6.1 for arm64 has no fentry (ftrace's direct calls came with 6.4),
	// and its compiler left nothing of net_free. Nor has it symbols of data:
	// nstrace finds the CPUs' own counters without __per_cpu_offset.
	lacks := r.absent()
	if plan, ok := readPlan(t, kernel.Release, "auto"); ok {
		checkProbes(t, r, "docs/hooks.md", plan)
		lacks = absent(plan)
	}
	checkRecording(t, nstrace, file, r, lacks, wantStory("driver", "driver"), filepath.Join(dir, "kernel/both"))
	if t.Failed() {
		text, _ := exec.Command(nstrace, "report", file).CombinedOutput()
		t.Logf("%s\n%s", out, text)
	}
}
