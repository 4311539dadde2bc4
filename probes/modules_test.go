// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"os"
	"path/filepath"
	"testing"
)

func TestModules(t *testing.T) {
	dir := t.TempDir()
	load := func(name string) {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	load("stays")
	load("goes")
	load("reloads")
	m := newModules(dir, "stays", "goes", "comes", "reloads", "never")
	m.look(1)
	if err := os.Remove(filepath.Join(dir, "goes")); err != nil {
		t.Fatal(err)
	}
	load("comes")
	// What is made while the old one still is has another inode for certain.
	load("reloads.new")
	if err := os.Remove(filepath.Join(dir, "reloads")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "reloads.new"), filepath.Join(dir, "reloads")); err != nil {
		t.Fatal(err)
	}
	m.look(2)
	load("goes")
	m.look(3)
	for name, want := range map[string][2]uint64{
		"stays": {0, 0}, "goes": {2, 3}, "comes": {0, 2}, "reloads": {2, 2}, "never": {0, 0},
	} {
		if s := m.states[name]; s.gone != want[0] || s.came != want[1] {
			t.Errorf("%s: gone at %d, came at %d, want %v", name, s.gone, s.came, want)
		}
	}
}
