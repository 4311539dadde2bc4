// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/nstrace/nstrace/event"

	"golang.org/x/sys/unix"
)

// Bounds on what is read of other mount namespaces, which belong to anybody: a
// container may have 100,000 mounts (/proc/sys/fs/mount-max).
const (
	// maxWitnesses is how many tasks are remembered by which to reach one.
	maxWitnesses = 4
	// maxMountText is how much of mountinfo is read in all.
	maxMountText = 256 << 20
)

// mountSpaces are the mount namespaces tasks are in.
type mountSpaces struct {
	// witnesses are by the inum of the mount namespace.
	witnesses map[uint32][]witness
}

// witness is a task that sees a mount namespace.
type witness struct {
	dir  string // its directory in /proc
	pid  uint32
	comm string
}

func (s *mountSpaces) reset() { s.witnesses = map[uint32][]witness{} }

// addSpace notes which mount namespace a task is in.
func (s *mountSpaces) addSpace(r *row, dir string) {
	if known := s.witnesses[r.MntInum]; r.MntInum != 0 && len(known) < maxWitnesses {
		s.witnesses[r.MntInum] = append(known, witness{dir: dir, pid: r.Pid, comm: comm(r)})
	}
}

// addOtherMounts adds the namespaces mounted in the other mount namespaces.
func (f *finder) addOtherMounts() {
	own, err := readNsLink(f.root, "self", "mnt")
	if err != nil {
		own = 0 // then ours counts twice
	}
	inums := make([]uint32, 0, len(f.witnesses))
	for inum := range f.witnesses {
		if inum != own {
			inums = append(inums, inum)
		}
	}
	slices.Sort(inums)
	left := int64(maxMountText)
	for _, inum := range inums {
		text, by, err := readMounts(f.witnesses[inum], left)
		switch {
		case err == nil:
			left -= int64(len(text))
			f.addAfar(inum, by, text)
		case !vanished(err):
			f.problems.add("read the mounts of", fmt.Sprintf("mnt:[%d]", inum), "mounts of namespaces there are unknown", errnoOf(err))
		}
	}
}

// errTooManyMounts says that other mount namespaces have too much to read.
var errTooManyMounts = errors.New("there are too many mounts")

// readMounts reads the mounts a mount namespace has, as a task sees them that is
// still there. It fails with one of the errors that [vanished] knows if there is
// none.
func readMounts(witnesses []witness, limit int64) (text []byte, by witness, err error) {
	for _, by = range witnesses {
		text, err = readLimited(filepath.Join(by.dir, "mountinfo"), limit)
		if err == nil || !vanished(err) {
			return text, by, err
		}
	}
	return nil, by, err
}

func readLimited(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if errors.Is(err, unix.EINVAL) {
		// A task that ends has let go of its namespaces and is still listed
		// (mounts_open_common in fs/proc_namespace.c).
		return nil, unix.ESRCH
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = errTooManyMounts
	}
	return text, err
}

// addAfar adds the namespaces in the text of another mount namespace's
// mountinfo. A mount that was propagated there from ours is one there, too.
func (f *finder) addAfar(space uint32, by witness, text []byte) {
	for _, m := range parseMountinfo(text) {
		ns := f.get(m.inum)
		ns.ways.addAfar(filepath.Join(by.dir, "root", m.path))
		ns.state.Held.OtherMounts++
		same := func(h event.Holder) bool { return h.Path == m.path }
		if len(ns.afar) < f.maxHolders && !slices.ContainsFunc(ns.afar, same) {
			ns.afar = append(ns.afar, event.Holder{Kind: "mount", Path: m.path, PID: by.pid, Comm: by.comm, MountNS: space})
		}
	}
}
