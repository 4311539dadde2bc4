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
	const arch = "arm64"
	if runtime.GOARCH != arch {
		if _, err := exec.LookPath("qemu-system-aarch64"); err != nil {
			t.Skip("there is no qemu-system-aarch64 here")
		}
	}
	dir := t.TempDir()
	buildFor(t, arch, filepath.Join(dir, "nstrace"), "build", "../cmd/nstrace")
	buildFor(t, arch, filepath.Join(dir, "driver"), "build", "../lab/scenario/driver")
	status, out := bootKernel(t, kernelOf(t, suite, arch), dir, nil,
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
	// and its compiler left nothing of net_free.
	checkProbes(t, r, "auto", "free_net")
	for _, p := range r.Recording.Probes {
		if p.Name != "free_net" && p.Hook != "kprobe" {
			t.Errorf("probe %s is attached by %s: has this kernel learned fentry?", p.Name, p.Hook)
		}
	}
	checkStory(t, r, "driver", "driver")
	checkDelivery(t, r, filepath.Join(dir, "kernel/both"))
	// The kernel has no symbols of data either: nstrace finds the CPUs' own
	// counters without __per_cpu_offset.
	checkCounters(t, r, filepath.Join(dir, "kernel/both"))
	if out, err := exec.Command(nstrace, "verify", file).CombinedOutput(); err != nil {
		t.Errorf("verify: %v\n%s", err, out)
	}
	if t.Failed() {
		text, _ := exec.Command(nstrace, "report", file).CombinedOutput()
		t.Logf("%s\n%s", out, text)
	}
}
