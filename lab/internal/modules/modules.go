// SPDX-License-Identifier: Apache-2.0

// Package modules reads the index that depmod makes of a kernel's modules, for the host, which puts some into
// an initramfs, and for the guest, which loads others where no modprobe is at hand.
package modules

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// ErrUnknown means that a kernel has no module of that name, neither as a file nor built in.
var ErrUnknown = errors.New("no such module")

// Index knows the modules of one kernel release.
type Index struct {
	dir     string
	files   map[string]string   // module name → path below dir
	needs   map[string][]string // module name → paths it depends on, as modules.dep has them
	builtin map[string]bool
}

// Open reads modules.dep and modules.builtin in dir (as in /lib/modules/RELEASE).
func Open(dir string) (*Index, error) {
	x := &Index{dir: dir, files: map[string]string{}, needs: map[string][]string{}, builtin: map[string]bool{}}
	if err := eachLine(filepath.Join(dir, "modules.dep"), x.addDependencies); err != nil {
		return nil, err
	}
	err := eachLine(filepath.Join(dir, "modules.builtin"), func(line string) { x.builtin[nameOf(line)] = true })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return x, nil
}

func (x *Index) addDependencies(line string) {
	file, needs, ok := strings.Cut(line, ":")
	if !ok {
		return
	}
	name := nameOf(file)
	x.files[name] = file
	x.needs[name] = strings.Fields(needs)
}

// Files returns the files to load for the named modules, in order, each once, as full paths. What is
// built into the kernel needs no file.
func (x *Index) Files(names ...string) ([]string, error) {
	var files []string
	seen := map[string]bool{}
	add := func(file string) {
		if !seen[file] {
			seen[file] = true
			files = append(files, filepath.Join(x.dir, file))
		}
	}
	for _, name := range names {
		name = nameOf(name)
		file, ok := x.files[name]
		if !ok {
			if x.builtin[name] {
				continue
			}
			return nil, fmt.Errorf("module %s in %s: %w", name, x.dir, ErrUnknown)
		}
		// depmod lists everything a module needs, directly or not, those to be loaded first at the end.
		for i := len(x.needs[name]) - 1; i >= 0; i-- {
			add(x.needs[name][i])
		}
		add(file)
	}
	return files, nil
}

// nameOf turns "kernel/net/9p/9pnet-virtio.ko.xz" into "9pnet_virtio", the form the kernel itself uses.
func nameOf(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

func eachLine(file string, do func(string)) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	// A module with many dependencies makes a line longer than the scanner's default of 64 KiB allows for.
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		do(lines.Text())
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	return nil
}
