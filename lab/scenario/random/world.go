// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// How much there may be at a time.
const (
	maxSpaces = 24
	maxAgents = 10
	maxLinks  = 14 // in one namespace
	maxRadios = 14
)

// world is what this program believes to be there, only to choose what to do next: the kernel's answer is what
// counts. Interfaces it doesn't remember; it looks.
type world struct {
	options *options
	journal *journal
	rand    *rand.Rand
	// home is the initial namespace, which this thread leaves for others and comes back to; another stays there.
	home    *os.File
	initial *space
	spaces  []*space
	born    int
	holds   int // how many mounts and the like there have been
	radios  []*radio
	// closers are the sockets with whose end radios go.
	nl80211, hwsim family
	// ended are threads that may not have ended yet.
	ended []*thread
	// tasks are the numbers of tasks that lived in a namespace of their own, or still do.
	tasks []int
}

func newWorld(o *options) (*world, error) {
	w := &world{options: o}
	var err error
	if w.journal, err = newJournal(o.out, o.seed); err != nil {
		return nil, err
	}
	if w.home, err = os.Open("/proc/self/ns/net"); err != nil {
		return nil, err
	}
	w.initial = &space{holders: []*holder{{kind: byFile, path: fmt.Sprintf("/proc/self/fd/%d", w.home.Fd()), file: w.home, task: startThread().id, permanent: true}}}
	if err := w.initial.identify(w.home); err != nil {
		return nil, err
	}
	return w, w.setUp()
}

// pidMax makes the numbers of tasks come back: the kernel hands them out in turn, and after the first turn it
// begins with 300 (RESERVED_PIDS in kernel/pid.c).
const pidMax = 512

// setUp makes the machine small enough.
func (w *world) setUp() error {
	if err := os.MkdirAll(namesDir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/kernel/pid_max", []byte(fmt.Sprintln(pidMax)), 0); err != nil {
		return err
	}
	return errors.Join(modprobe(hwsimModule, "radios=2"), w.findFamilies(), w.meetRadios())
}

// findFamilies looks the generic netlink families up.
func (w *world) findFamilies() error {
	conn, err := dialGeneric()
	if err != nil {
		return err
	}
	defer conn.Close()
	if w.nl80211, err = findFamily(conn, unix.NL80211_GENL_NAME); err != nil {
		return err
	}
	w.hwsim, err = findFamily(conn, hwsimName)
	return err
}

// run does everything.
func (w *world) run() (err error) {
	defer func() { err = errors.Join(err, w.journal.close()) }()
	left := w.options.operations - 1
	if w.options.halfway != "" {
		first := left / 2
		left -= first
		if err := w.operate(first - 1); err != nil {
			return err
		}
		if err := w.halfTime(); err != nil {
			return err
		}
	}
	if err := w.operate(left); err != nil {
		return err
	}
	// One more, that counts like any other: nothing is to happen any more.
	return errors.Join(w.calmDown(), w.describe())
}

// calmDown is an operation after which nothing happens any more by itself.
func (w *world) calmDown() error {
	last, err := w.lastSettling()
	if err != nil {
		return err
	}
	last.Op = "settle"
	return w.journal.add(last)
}

// halfTime has somebody join.
func (w *world) halfTime() error {
	if err := w.calmDown(); err != nil {
		return err
	}
	appears, err := watchFor(w.options.joined)
	if err != nil {
		return err
	}
	if err := os.WriteFile(w.options.halfway, []byte("halfway\n"), 0o644); err != nil {
		return err
	}
	return appears()
}

// watchFor returns a function that waits until there is a file.
func watchFor(path string) (appears func() error, err error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	watch := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, filepath.Dir(path), unix.IN_CREATE|unix.IN_MOVED_TO); err != nil {
		return nil, errors.Join(err, watch.Close())
	}
	return func() error {
		defer watch.Close()
		events := make([]byte, 16*(unix.SizeofInotifyEvent+unix.NAME_MAX+1))
		for {
			if _, err := os.Stat(path); err == nil {
				return nil
			}
			if _, err := watch.Read(events); err != nil {
				return err
			}
		}
	}, nil
}

// operate makes so many operations.
func (w *world) operate(n int) error {
	weights := 0
	for _, o := range operations {
		weights += o.weight
	}
	for range n {
		// Each has a generator of its own, so that one more or less choice in one doesn't change all that follow.
		w.rand = rand.New(rand.NewPCG(w.options.seed, uint64(w.journal.Operations)))
		for done := false; !done; {
			o := choose(w.rand.IntN(weights))
			a, err := o.do(w)
			if err != nil {
				return fmt.Errorf("operation %d, %s: %w", w.journal.Operations, o.name, err)
			}
			if a == nil {
				continue // there was nothing to do it to
			}
			a.Op = o.name
			if err := w.journal.add(a); err != nil {
				return err
			}
			done = true
		}
	}
	return nil
}

// choose returns the operation at a place on the line of all weights.
func choose(place int) operation {
	for _, o := range operations {
		if place < o.weight {
			return o
		}
		place -= o.weight
	}
	panic("beyond the weights")
}

// try makes an attempt: f is the operation itself. The error is trouble.
func (w *world) try(variation string, with args, f func() error) (*attempt, error) {
	a := &attempt{Case: variation, Args: with, From: now()}
	err := f()
	a.To = now()
	if err == nil {
		return a, nil
	}
	if a.Errno = errnoOf(err); a.Errno == 0 {
		return nil, err
	}
	a.Error = err.Error()
	return a, nil
}

// visit calls f with this thread in a namespace.
func (w *world) visit(s *space, f func() error) error {
	if s == w.initial {
		return f()
	}
	file, err := s.open()
	if err != nil {
		return err
	}
	defer file.Close()
	return w.trip(func() error {
		if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("visiting namespace %d: %w", s.ID, notAnErrno(err))
		}
		return f()
	})
}

// trip calls f, which may take this thread elsewhere, and comes home.
func (w *world) trip(f func() error) error {
	err := f()
	if back := unix.Setns(int(w.home.Fd()), unix.CLONE_NEWNET); back != nil {
		return fmt.Errorf("coming home: %w", notAnErrno(back))
	}
	return err
}

// visitLinks calls f in a namespace with a socket for rtnetlink and the interfaces that are there.
func (w *world) visitLinks(s *space, f func(*netlink.Conn, []*link) error) error {
	return w.visit(s, func() error {
		conn, err := dialRoute()
		if err != nil {
			return err
		}
		defer conn.Close()
		links, err := listLinks(conn)
		if err != nil {
			return err
		}
		s.links = len(links)
		return f(conn, links)
	})
}

// visitRadios calls f in a namespace with a socket for generic netlink.
func (w *world) visitRadios(s *space, f func(*netlink.Conn) error) error {
	return w.visit(s, func() error {
		conn, err := dialGeneric()
		if err != nil {
			return err
		}
		defer conn.Close()
		return f(conn)
	})
}

// chance is true in n of 100 cases.
func (w *world) chance(n int) bool { return w.rand.IntN(100) < n }

// pick returns one of several.
func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// anywhere returns some namespace, the initial one too.
func (w *world) anywhere() *space {
	if len(w.spaces) == 0 || w.chance(25) {
		return w.initial
	}
	return pick(w.rand, w.spaces)
}

// amongLinks returns a namespace that has more interfaces than others, mostly.
func (w *world) amongLinks() *space {
	s := w.anywhere()
	for range 3 {
		if other := w.anywhere(); other.links > s.links && w.chance(70) {
			s = other
		}
	}
	return s
}

// elsewhere returns a namespace other than s, nil if there is none.
func (w *world) elsewhere(s *space) *space {
	for range 10 {
		if other := w.anywhere(); other != s {
			return other
		}
	}
	return nil
}

// add makes a namespace known that has just been made and is held by h.
func (w *world) add(h *holder) (*space, error) {
	w.born++
	s := &space{ID: w.born, holders: []*holder{h}}
	file, err := h.open()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	w.spaces = append(w.spaces, s)
	return s, s.identify(file)
}

// drop forgets a holder, and a namespace that has no other. It reports whether that was the last.
func (w *world) drop(s *space, h *holder) bool {
	s.holders = slices.DeleteFunc(s.holders, func(x *holder) bool { return x == h })
	if len(s.holders) > 0 || s == w.initial {
		return false
	}
	w.spaces = slices.DeleteFunc(w.spaces, func(x *space) bool { return x == s })
	w.orphan(s)
	return true
}

// holding returns the holders of a kind, each with its namespace.
func (w *world) holding(is func(*holder) bool) (found []held) {
	for _, s := range append([]*space{w.initial}, w.spaces...) {
		for _, h := range s.holders {
			if !h.permanent && is(h) {
				found = append(found, held{s, h})
			}
		}
	}
	return found
}

type held struct {
	space  *space
	holder *holder
}
