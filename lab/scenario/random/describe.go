// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// description is what world.json has.
type description struct {
	// Namespaces are those that are alive, the initial one first.
	Namespaces []spaceDescription `json:"namespaces"`
}

type spaceDescription struct {
	*space
	// Paths lead to it, while this program lives.
	Paths []string `json:"paths"`
	// Holders are the kinds of what holds it.
	Holders []string `json:"holders"`
}

// describe writes down what is left: in world.json, and in paths for a shell, a line each.
func (w *world) describe() error {
	var d description
	var paths strings.Builder
	for _, s := range append([]*space{w.initial}, w.spaces...) {
		sd := spaceDescription{space: s}
		for _, h := range s.holders {
			sd.Holders = append(sd.Holders, h.kind)
			switch {
			case h.kind == byFile:
				sd.Paths = append(sd.Paths, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), h.file.Fd()))
			case h.path != "":
				sd.Paths = append(sd.Paths, h.path)
			}
		}
		d.Namespaces = append(d.Namespaces, sd)
		if len(sd.Paths) > 0 {
			fmt.Fprintln(&paths, s.Inum, sd.Paths[0])
		}
	}
	if err := os.WriteFile(filepath.Join(w.journal.dir, "paths"), []byte(paths.String()), 0o644); err != nil {
		return err
	}
	return w.journal.write("world.json", d)
}
