// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"testing"
)

// TestInMachine runs the tests of the other packages that need a kernel to
// trace, or radios, in a machine: those that look for NSTRACE_LAB. One machine
// each, since some load and unload modules under the others' feet. What the tests
// of TestLabKernel are of differs from kernel to kernel.
func TestInMachine(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines")
	}
	t.Parallel()
	// The scripts take long one after the other: those that take longest have a
	// machine of their own.
	const long = "TestLabScripts/(status|capabilities|stdout)"
	type tests struct{ name, suite, pkg, run, skip string }
	all := []tests{
		{"long scripts", suite, "cmd/nstrace", long, ""},
		{"scripts", suite, "cmd/nstrace", "TestLabScripts", long},
		{"snapshot", suite, "snapshot", ".", ""},
	}
	// What is asked of each kernel's capabilities takes five minutes.
	for _, suite := range suitesOf() {
		all = append(all, tests{suite, suite, "cmd/nstrace", "TestLabKernel", ""})
	}
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			build(t, filepath.Join(dir, "test"), "test", "-c", "../"+c.pkg)
			if data := filepath.Join("..", c.pkg, "testdata"); exists(data) {
				if err := os.CopyFS(filepath.Join(dir, "testdata"), os.DirFS(data)); err != nil {
					t.Fatal(err)
				}
			}
			copyKnown(t, filepath.Join(dir, "testdata", "known"))
			env := []string{"NSTRACE_LAB=1", "NSTRACE_SUITE=" + c.suite, "TMPDIR=/tmp"}
			if *keep != "" {
				env = append(env, "NSTRACE_KEEP=/share/keep")
				if err := os.Mkdir(filepath.Join(dir, "keep"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			status, out := boot(t, c.suite, dir, env, "sh", "-c", `modprobe mac80211 && ./test -test.v -test.parallel 1 -test.run "$1" -test.skip "$2"`, "sh", c.run, c.skip)
			if *keep != "" {
				kept, err := filepath.Glob(filepath.Join(dir, "keep/*"))
				if err != nil {
					t.Fatal(err)
				}
				for _, file := range kept {
					copyFile(t, file, filepath.Join(*keep, filepath.Base(file)))
				}
			}
			if status != 0 {
				t.Errorf("exit status %d", status)
			}
			t.Log(out)
		})
	}
}

// copyKnown brings what was seen of capabilities, for tests to compare with.
func copyKnown(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob("../testdata/capabilities-*.json")
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		copyFile(t, file, filepath.Join(dir, filepath.Base(file)))
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
