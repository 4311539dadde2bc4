// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

// TestSnapshot runs the tests of package snapshot whose outcome depends on the
// kernel on each kernel of the lab; TestInMachine runs all of them on one.
func TestSnapshot(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines")
	}
	t.Parallel()
	const run = "TestTake(Holders|MountElsewhere|Pair|NSIDs)|TestLab(NoErrors|Wiphys|Lsns)|TestWatch$"
	for _, c := range []struct{ suite, arch, run string }{
		{"bullseye", "amd64", run},
		{"trixie", "amd64", run},
		{"sid", "amd64", run},
		// That machine has no programs but the test's own.
		{"bookworm", "arm64", "TestTake(Own|Holders|Thread)"},
	} {
		if c.arch == "amd64" && !slices.Contains(suitesOf("bullseye"), c.suite) {
			continue
		}
		t.Run(c.suite+" "+c.arch, func(t *testing.T) {
			t.Parallel()
			if c.arch == "arm64" && runtime.GOARCH != c.arch {
				if _, err := exec.LookPath("qemu-system-aarch64"); err != nil {
					t.Skip("there is no qemu-system-aarch64 here")
				}
			}
			dir := t.TempDir()
			buildFor(t, c.arch, filepath.Join(dir, "test"), "test", "-c", "../snapshot")
			status, out := bootKernel(t, kernelOf(t, c.suite, c.arch), dir, []string{"NSTRACE_LAB=1", "TMPDIR=/tmp"},
				"./test", "-test.v", "-test.run", c.run)
			if status != 0 {
				t.Errorf("exit status %d", status)
			}
			t.Log(out)
		})
	}
}
