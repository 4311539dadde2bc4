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
	// when one was there that wasn't the time before, the last time; 0 if never.
	gone, came uint64
	// fresh says that it has come and isn't hooked yet.
	fresh bool
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
		if inode != 0 {
			s.came = now
		}
		s.fresh = inode != 0
		s.inode = inode
	}
}

// fresh reports whether a module has come that isn't hooked yet.
func (m *modules) fresh() bool {
	for _, s := range m.states {
		if s.fresh {
			return true
		}
	}
	return false
}

// isFresh reports whether it is this one.
func (m *modules) isFresh(name string) bool {
	s := m.states[name]
	return s != nil && s.fresh
}

// hooked notes that all that came are hooked as far as they can be.
func (m *modules) hooked() {
	for _, s := range m.states {
		s.fresh = false
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
