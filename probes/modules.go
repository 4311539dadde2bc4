// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// modules notices when modules whose functions are probed come or go: a kprobe
// on a function that is gone stays silent for ever, and says nothing.
type modules struct {
	dir    string
	states map[string]*moduleState
}

// moduleState is one module's. Times are those of the look that noticed.
type moduleState struct {
	// inode is that of its folder in sysfs, which a reload makes anew; 0 while
	// it isn't loaded.
	inode uint64
	// gone is when the module that was there in the beginning was missing, came
	// when one was there that wasn't in the beginning; 0 if never.
	gone, came uint64
}

// probedModules are those that the table's functions are in.
func probedModules() []string {
	var names []string
	for i := range table {
		if m := table[i].module; m != "" && !slices.Contains(names, m) {
			names = append(names, m)
		}
	}
	return names
}

// newModules begins to watch the modules of the probes.
func newModules(dir string, names ...string) *modules {
	m := &modules{dir, map[string]*moduleState{}}
	for _, name := range names {
		m.states[name] = &moduleState{inode: m.inode(name)}
	}
	return m
}

// look compares with the last time.
func (m *modules) look(now uint64) {
	for name, s := range m.states {
		inode := m.inode(name)
		if inode == s.inode {
			continue
		}
		if s.inode != 0 && s.gone == 0 {
			s.gone = now
		}
		if inode != 0 && s.came == 0 {
			s.came = now
		}
		s.inode = inode
	}
}

func (m *modules) inode(name string) uint64 {
	var st unix.Stat_t
	// Any error means that it can't be seen there, as for most of them.
	if unix.Stat(filepath.Join(m.dir, name), &st) != nil {
		return 0
	}
	return st.Ino
}
