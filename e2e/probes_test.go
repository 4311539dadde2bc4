// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/nstrace/nstrace/lab"
)

// TestProbes runs the tests of package probes that need a kernel to trace on
// each kernel of the lab. With -keep it leaves the kernels' descriptions, for
// which package probes makes plans in its other tests:
//
//	go test ./e2e -run TestProbes -keep ../testdata
func TestProbes(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines")
	}
	for _, suite := range lab.Suites() {
		t.Run(suite, func(t *testing.T) {
			dir := t.TempDir()
			build(t, filepath.Join(dir, "test"), "test", "-c", "../probes")
			status, out := boot(t, suite, dir, []string{"NSTRACE_LAB=1", "TMPDIR=/tmp"}, "sh", "-c",
				"modprobe mac80211 && ./test -test.v -test.run TestLab -description kernel.json")
			if status != 0 {
				t.Errorf("exit status %d", status)
			}
			t.Log(out)
			if *keep == "" {
				return
			}
			kernels := filepath.Join(*keep, "kernels")
			if err := os.MkdirAll(kernels, 0o755); err != nil {
				t.Fatal(err)
			}
			release := kernelOf(t, suite).Release
			copyFile(t, filepath.Join(dir, "kernel.json"), filepath.Join(kernels, release+".json"))
		})
	}
}
