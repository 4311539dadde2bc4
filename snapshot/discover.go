// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/event"
)

// Inums the kernel gives to the first namespaces of a machine (enum init_ns_ino
// in include/uapi/linux/nsfs.h; PROC_PID_INIT_INO before). That of the network
// namespace is fixed since 6.18; earlier kernels number it like any other, from
// 0xF0000000 up, so nothing else can have this one.
const (
	initPidInum = 0xEFFFFFFC
	initNetInum = 0xEFFFFFF9
)

// ErrInitialUnknown says that the initial network namespace can't be told from
// where this process is.
var ErrInitialUnknown = errors.New("the initial network namespace can't be told")

// maxPaths bounds the ways remembered to reach one namespace.
const maxPaths = 64

// found is a namespace that was found and the ways to reach it.
type found struct {
	state event.NetnsState
	paths []string
}

// finder looks for namespaces. Its root is /proc but in tests.
type finder struct {
	root       string
	maxHolders int
	problems   *problems
	namespaces map[uint32]*found
}

// find returns every namespace it can see, the initial one first, then by inum.
func (f *finder) find() ([]*found, error) {
	f.namespaces = map[uint32]*found{}
	// Mounts first: they are the steadiest way to reach a namespace.
	f.addMounts()
	if err := f.addTasks(); err != nil {
		return nil, err
	}
	f.markInitial()
	all := make([]*found, 0, len(f.namespaces))
	for _, ns := range f.namespaces {
		ns.state.Names = slices.Compact(slices.Sorted(slices.Values(ns.state.Names)))
		all = append(all, ns)
	}
	sort.Slice(all, func(i, j int) bool {
		if a, b := all[i].state.Initial, all[j].state.Initial; a != b {
			return a
		}
		return all[i].state.Inum < all[j].state.Inum
	})
	return all, nil
}

// get returns the entry of a namespace, with one more path to it.
func (f *finder) get(inum uint32, path string) *found {
	ns := f.namespaces[inum]
	if ns == nil {
		ns = &found{state: event.NetnsState{Inum: inum}}
		f.namespaces[inum] = ns
	}
	if len(ns.paths) < maxPaths {
		ns.paths = append(ns.paths, path)
	}
	return ns
}

// addMounts adds the namespaces mounted somewhere in our mount namespace.
func (f *finder) addMounts() {
	text, err := os.ReadFile(filepath.Join(f.root, "self/mountinfo"))
	if err != nil {
		f.problems.add("read", "/proc/self/mountinfo", "names of namespaces are unknown; is /proc mounted?", errnoOf(err))
		return
	}
	for mounts := range byPath(parseMountinfo(text)) {
		seen := map[uint32]bool{}
		for _, m := range mounts {
			if seen[m.inum] {
				continue
			}
			seen[m.inum] = true
			ns := f.get(m.inum, m.path)
			if name := m.name(); name != "" {
				ns.state.Names = append(ns.state.Names, name)
			}
			f.hold(ns, event.Holder{Kind: "mount", Path: m.path})
		}
	}
}

// hold adds a holder unless there are enough. It reports whether it did.
func (f *finder) hold(ns *found, holder event.Holder) bool {
	if len(ns.state.Holders) >= f.maxHolders {
		return false
	}
	ns.state.Holders = append(ns.state.Holders, holder)
	return true
}

// addTasks adds the namespaces of all tasks in order of their PIDs, and of
// those of their threads that are in another.
func (f *finder) addTasks() error {
	pids, err := numbers(f.root)
	if err != nil {
		return fmt.Errorf("list the processes in /proc: %w; is /proc mounted?", err)
	}
	if len(pids) == 0 {
		return errors.New("list the processes in /proc: there are none; is /proc mounted?")
	}
	self, _ := os.Readlink(filepath.Join(f.root, "self"))
	for _, pid := range pids {
		dir := filepath.Join(f.root, strconv.Itoa(pid))
		leader := f.addTask(dir, pid, 0)
		if strconv.Itoa(pid) == self {
			// Our own threads visit other namespaces only to look at them.
			continue
		}
		tids, err := numbers(filepath.Join(dir, "task"))
		if err != nil {
			continue // ended, or as forbidden as its leader
		}
		for _, tid := range tids {
			if tid != pid {
				f.addTask(filepath.Join(dir, "task", strconv.Itoa(tid)), pid, leader)
			}
		}
	}
	return nil
}

// addTask adds the namespace of the task whose directory is dir, unless it is
// in the namespace except, and returns its inum, 0 if unknown.
func (f *finder) addTask(dir string, pid int, except uint32) uint32 {
	link := filepath.Join(dir, "ns/net")
	target, err := os.Readlink(link)
	if err != nil {
		if !vanished(err) {
			f.problems.add("read", link, "run as root, or with CAP_SYS_PTRACE", errnoOf(err))
		}
		return 0
	}
	inum, ok := parseNetLink(target)
	if !ok || inum == except {
		return inum
	}
	ns := f.get(inum, link)
	holder := event.Holder{Kind: "task", PID: uint32(pid)}
	if filepath.Base(dir) != strconv.Itoa(pid) {
		holder.Path = link // a thread that left its process's namespace
	}
	if len(ns.state.Holders) < f.maxHolders {
		comm, _ := os.ReadFile(filepath.Join(dir, "comm"))
		holder.Comm = strings.TrimSuffix(string(comm), "\n")
		f.hold(ns, holder)
	}
	return inum
}

// markInitial finds out which namespace is the initial one.
func (f *finder) markInitial() {
	if ns := f.namespaces[initNetInum]; ns != nil {
		ns.state.Initial = true
		return
	}
	inum, err := initialNetns(f.root)
	if err != nil {
		f.problems.add("look at", "PID 1", "run in the machine's own pid namespace as root to know", err)
		return
	}
	if ns := f.namespaces[inum]; ns != nil {
		ns.state.Initial = true
	}
}

// InitialNetns returns the inum of the machine's initial network namespace: the
// one with the number that is its since 6.18 if that is our own, else PID 1's.
// Its error wraps [ErrInitialUnknown] where that can't be told: without the
// right to look at PID 1, or in a container, where PID 1 is another.
func InitialNetns() (uint32, error) { return initialNetns("/proc") }

func initialNetns(root string) (uint32, error) {
	if inum, err := readNsLink(root, "self", "net"); err == nil && inum == initNetInum {
		return inum, nil
	}
	pidns, err := readNsLink(root, "1", "pid")
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrInitialUnknown, err)
	}
	if pidns != initPidInum {
		return 0, fmt.Errorf("%w: /proc shows the processes of pid:[%d] only, as in a container", ErrInitialUnknown, pidns)
	}
	inum, err := readNsLink(root, "1", "net")
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrInitialUnknown, err)
	}
	return inum, nil
}

// readNsLink returns the inum of a process's namespace of a kind.
func readNsLink(root, process, kind string) (uint32, error) {
	target, err := os.Readlink(filepath.Join(root, process, "ns", kind))
	if err != nil {
		return 0, fmt.Errorf("read /proc/%s/ns/%s: %w", process, kind, errnoOf(err))
	}
	inum, ok := parseNsLink(target, kind)
	if !ok {
		return 0, fmt.Errorf("read /proc/%s/ns/%s: it is %q", process, kind, target)
	}
	return inum, nil
}

// numbers returns the entries of a directory that are numbers, sorted.
func numbers(dir string) ([]int, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.ENOENT) {
		return nil, err
	}
	var out []int
	for _, name := range names {
		if n, err := strconv.Atoi(name); err == nil && n > 0 {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}
