// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

// TestProbes runs the tests of package probes that need a kernel to trace on
// each kernel of the lab. With -keep it leaves the kernels' descriptions, for
// which package probes makes plans in its other tests. To renew them:
//
//	go test ./e2e -run TestProbes -keep "$PWD/testdata"
//	go test ./probes -update
func TestProbes(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines")
	}
	t.Parallel()
	const (
		// Locking the kernel down is the last that can be done with it.
		everything = `./test "$@" -test.run TestLab && ./test -test.v -test.run TestLockedDown`
		// What depends on the kernel most.
		most = `./test "$@" -test.run "TestLab(Description|Programs|Failure|Offsets|Returns)"`
	)
	type tests struct {
		suite, arch string
		run         []string
	}
	// The machine has none of the tools that make radios live, and no shell.
	all := []tests{{"bookworm", "arm64", []string{
		"./test", "-test.run", "TestLab(Description|Programs|Failure|Offsets|Untraceable|CheckStates)",
	}}}
	for _, suite := range suitesOf("bullseye", unstable) {
		script := most
		if slices.Contains(suitesOf("bullseye"), suite) {
			script = everything
		}
		all = append(all, tests{suite, "amd64", []string{"sh", "-c", script, "sh"}})
	}
	for _, c := range all {
		t.Run(c.suite+" "+c.arch, func(t *testing.T) {
			t.Parallel()
			if c.arch == "arm64" && runtime.GOARCH != c.arch {
				if _, err := exec.LookPath("qemu-system-aarch64"); err != nil {
					t.Skip("there is no qemu-system-aarch64 here")
				}
			}
			dir := t.TempDir()
			buildFor(t, c.arch, filepath.Join(dir, "test"), "test", "-c", "../probes")
			kernel := kernelOf(t, c.suite, c.arch)
			status, out := bootKernel(t, kernel, dir, []string{"NSTRACE_LAB=1", "TMPDIR=/tmp"},
				append(c.run[:len(c.run):len(c.run)], "-test.v", "-description", "kernel.json")...)
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
			copyFile(t, filepath.Join(dir, "kernel.json"), filepath.Join(kernels, kernel.Release+".json"))
		})
	}
}
