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

// surveyor lists what holds namespaces. It is a [survey] but in tests.
type surveyor interface {
	tasks(each func(*row)) error
	files(each func(*row)) error
	nets() ([]row, error)
}

// finder looks for namespaces. Its root is /proc but in tests.
type finder struct {
	root       string
	maxHolders int
	problems   *problems
	// survey is nil where the kernel refuses it: then only mounts are found.
	survey     surveyor
	namespaces map[uint32]*found
	// kthreadd is the inum of the namespace of the task by which the kernel
	// starts its own, which is the initial one (kthreadd in kernel/kthread.c);
	// 0 if it wasn't seen.
	kthreadd uint32
	mountSpaces
}

// kthreaddPID is the second task a machine starts (rest_init in init/main.c).
const kthreaddPID = 2

// find returns every namespace it can see, the initial one first, then by inum.
//
// The kernel's list comes first, so that whoever is in it had a holder when
// holders were looked for later. Only one that was let go and taken up again
// meanwhile can slip through, hence the second look.
func (f *finder) find() ([]*found, error) {
	if err := f.look(); err != nil {
		return nil, err
	}
	if f.dropGone() {
		if err := f.look(); err != nil {
			return nil, err
		}
		f.dropGone()
	}
	f.markInitial()
	all := make([]*found, 0, len(f.namespaces))
	for _, ns := range f.namespaces {
		f.conclude(ns)
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

// look looks for namespaces, forgetting those of an earlier look.
func (f *finder) look() error {
	f.namespaces = map[uint32]*found{}
	f.reset()
	if f.survey != nil {
		if err := f.addListed(); err != nil {
			return err
		}
	}
	f.addMounts()
	if err := f.addSelf(); err != nil {
		return err
	}
	if f.survey != nil {
		if err := errors.Join(f.survey.tasks(f.addTask), f.survey.files(f.addFile)); err != nil {
			return err
		}
	}
	f.addOtherMounts()
	return nil
}

// addListed adds the namespaces of the kernel's own list.
func (f *finder) addListed() error {
	rows, err := f.survey.nets()
	if errors.Is(err, errListMoved) {
		f.problems.add("read", "the kernel's list of namespaces", "one whose holder can't be seen isn't found", err)
		return nil
	}
	for _, r := range rows {
		ns := f.get(r.Net.Inum)
		ns.listed = true
		ns.state.Ptr, ns.state.Cookie = r.Net.Ptr, r.Net.Cookie
		ns.state.References = uint32(max(r.References, 0))
		ns.state.OwnerUserNS = r.UserInum
	}
	return err
}

// dropGone drops the namespaces that can't be reached and aren't there any more.
// It reports whether others remain that can't be.
func (f *finder) dropGone() bool {
	var unreached []*found
	for _, ns := range f.namespaces {
		if !ns.ways.any() {
			unreached = append(unreached, ns)
		}
	}
	if len(unreached) == 0 {
		return false
	}
	rows, err := f.survey.nets()
	if err != nil {
		return true // they will be tried
	}
	remain := false
	for _, ns := range unreached {
		there := slices.ContainsFunc(rows, func(r row) bool { return r.Net.Ptr == ns.state.Ptr && r.Net.Inum == ns.state.Inum })
		if !there {
			delete(f.namespaces, ns.state.Inum)
		}
		remain = remain || there
	}
	return remain
}

// get returns the entry of a namespace.
func (f *finder) get(inum uint32) *found {
	ns := f.namespaces[inum]
	if ns == nil {
		ns = &found{state: event.NetnsState{Inum: inum}}
		f.namespaces[inum] = ns
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
			ns := f.get(m.inum)
			ns.ways.addPath(m.path)
			ns.state.Names = append(ns.state.Names, m.name())
			ns.state.Held.Mounts++
			if len(ns.state.Holders) < f.maxHolders {
				ns.state.Holders = append(ns.state.Holders, event.Holder{Kind: "mount", Path: m.path})
			}
		}
	}
}

// addSelf adds our own namespace, which needs no privilege.
func (f *finder) addSelf() error {
	inum, err := readNsLink(f.root, "self", "net")
	if err != nil {
		return fmt.Errorf("%w; is /proc mounted?", err)
	}
	f.get(inum).ways.addPath(filepath.Join(f.root, "self/ns/net"))
	return nil
}

// maxResidents is how many tasks of a namespace are listed.
const maxResidents = 1 << 14

// addTask adds the namespaces of a task.
func (f *finder) addTask(r *row) {
	stray := r.HereTid != r.HerePid
	if stray && int(r.HerePid) == os.Getpid() {
		return // our own threads visit other namespaces only to look at them
	}
	dir := filepath.Join(f.root, strconv.Itoa(int(r.HerePid)))
	if stray {
		dir = filepath.Join(dir, "task", strconv.Itoa(int(r.HereTid)))
	}
	f.addSpace(r, dir)
	if r.WithLeader != 0 {
		return
	}
	ns := f.getRow(r)
	if r.Pid == kthreaddPID {
		f.kthreadd = r.Net.Inum
	}
	ns.ways.addPath(filepath.Join(dir, "ns/net"))
	ns.state.Held.Tasks++
	if len(ns.residents) < maxResidents {
		in := resident{event.Resident{PID: r.Pid, Comm: comm(r)}, dir}
		if stray {
			in.TID = r.Tid
		}
		ns.residents = append(ns.residents, in)
	}
	if len(ns.tasks) < f.maxHolders {
		holder := event.Holder{Kind: "task", PID: r.Pid, Comm: comm(r), Cgroup: filepath.Join(dir, "cgroup")}
		if stray {
			holder.TID, holder.Path = r.Tid, filepath.Join(dir, "ns/net")
		}
		ns.tasks = append(ns.tasks, holder)
	}
}

// getRow returns the entry of the namespace a row is about.
func (f *finder) getRow(r *row) *found {
	ns := f.get(r.Net.Inum)
	if ns.state.Ptr == 0 {
		ns.state.Ptr, ns.state.Cookie = r.Net.Ptr, r.Net.Cookie
	}
	return ns
}

// fileKinds is what Holder.Kind calls the kinds of rows.
var fileKinds = map[uint32]string{
	uint32(surveySurveyKindSURVEY_FILE):   "file",
	uint32(surveySurveyKindSURVEY_SOCKET): "socket",
	uint32(surveySurveyKindSURVEY_TUN):    "tun",
	uint32(surveySurveyKindSURVEY_PROC):   "proc",
}

// addFile adds the namespace that an open file holds.
func (f *finder) addFile(r *row) {
	kind := fileKinds[r.Kind]
	if kind == "" || int(r.HerePid) == os.Getpid() {
		return
	}
	ns := f.getRow(r)
	// A thread may have files of its own (CLONE_FILES).
	path := filepath.Join(f.root, strconv.Itoa(int(r.HerePid)), "task", strconv.Itoa(int(r.HereTid)), "fd", strconv.Itoa(int(r.Fd)))
	if r.HerePid == r.HereTid {
		path = filepath.Join(f.root, strconv.Itoa(int(r.HerePid)), "fd", strconv.Itoa(int(r.Fd)))
	}
	switch kind {
	case "file":
		ns.ways.addPath(path)
	case "socket", "tun":
		ns.ways.addSocket(int(r.HereTid), int(r.Fd))
	}
	ns.state.Held.Files++
	if len(ns.files) < f.maxHolders {
		ns.files = append(ns.files, event.Holder{Kind: kind, PID: r.Pid, Comm: comm(r), Path: path})
	}
}

// conclude puts the holders in order. A task's container is looked up only now
// that it is known to be listed.
func (f *finder) conclude(ns *found) {
	s := &ns.state
	s.Names = slices.Compact(slices.Sorted(slices.Values(s.Names)))
	// Wherever nstrace runs its own mounts name the namespace, and what is in it
	// says more than what else has it mounted.
	for _, more := range [][]event.Holder{ns.tasks, ns.files, ns.afar} {
		s.Holders = append(s.Holders, more[:min(len(more), f.maxHolders-len(s.Holders))]...)
	}
	for _, in := range ns.residents {
		if !s.Initial {
			in.Cgroup = readCgroup(filepath.Join(in.dir, "cgroup"))
		} else if in.TID == 0 {
			continue
		}
		s.Tasks = append(s.Tasks, in.Resident)
	}
	for i := range s.Holders {
		if file := s.Holders[i].Cgroup; file != "" {
			s.Holders[i].Cgroup = ""
			if !s.Initial {
				s.Holders[i].Cgroup = readCgroup(file)
			}
		}
	}
}

// markInitial finds out which namespace is the initial one.
func (f *finder) markInitial() {
	if ns := f.namespaces[initNetInum]; ns != nil {
		ns.state.Initial = true
		return
	}
	inum, err := f.kthreadd, error(nil)
	if inum == 0 {
		inum, err = initialNetns(f.root)
	}
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
