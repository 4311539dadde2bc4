// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/lab"
)

// What a user gets wrong is said at once, with what to do, and not by a machine that doesn't boot.
func TestRunRefuses(t *testing.T) {
	t.Setenv("NSTRACE_LAB_CACHE", t.TempDir())
	dir := t.TempDir()
	image := filepath.Join(dir, "vmlinuz")
	release := filepath.Join(dir, "6.1.0")
	if err := os.WriteFile(image, []byte("no kernel"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(release, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(release, "modules.dep"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	whole := lab.Kernel{Image: image, Modules: release}
	tests := map[string]struct {
		machine lab.VM
		argv    []string
		want    string
	}{
		"no command":      {lab.VM{Kernel: whole}, nil, "no command"},
		"no image":        {lab.VM{Kernel: lab.Kernel{Modules: release}}, []string{"true"}, "both its image and its modules"},
		"missing image":   {lab.VM{Kernel: lab.Kernel{Image: image + "x", Modules: release}}, []string{"true"}, "reading the kernel image"},
		"modules' parent": {lab.VM{Kernel: lab.Kernel{Image: image, Modules: dir}}, []string{"true"}, "name the folder called like the release"},
		"architecture":    {lab.VM{Kernel: lab.Kernel{Image: image, Modules: release, Arch: "vax"}}, []string{"true"}, "amd64 arm64"},
		"no 9p":           {lab.VM{Kernel: whole}, []string{"true"}, "no such module"},
		"missing share":   {lab.VM{Kernel: whole, Share: dir + "x"}, []string{"true"}, "sharing a folder"},
		"share is a file": {lab.VM{Kernel: whole, Share: image}, []string{"true"}, "isn't a folder"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := test.machine.Run(t.Context(), test.argv...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestFetchRefuses(t *testing.T) {
	t.Setenv("NSTRACE_LAB_CACHE", t.TempDir())
	if _, err := lab.Fetch(t.Context(), "potato", "amd64", nil); err == nil || !strings.Contains(err.Error(), "bookworm") {
		t.Errorf("error %v, want one that names the suites there are", err)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := lab.Fetch(t.Context(), "bookworm", "amd64", nil); err == nil || !strings.Contains(err.Error(), "name its image and modules folder") {
		t.Errorf("error %v, want one that says what to do without apt", err)
	}
}
