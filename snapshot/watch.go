// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/event"
)

// Watcher follows the names of network namespaces.
type Watcher struct {
	// mountinfo is /proc/self/mountinfo, stop an eventfd.
	mountinfo, stop int
	notify          func(event.NameChange)
	names           map[string]namedMount
	text            []byte
	// first are the names there were when it began.
	first []event.NameChange

	done chan struct{}
	err  error // valid when done is closed
	once sync.Once
}

// namedMount is what a name stands for.
type namedMount struct {
	inum uint32
	ids  []int
	// stamp is when the namespace's file was made (its change time), which is
	// when it was first looked at, and stays while it is mounted; 0 if unknown.
	// The kernel gives mount ids and inums to the next one as soon as they are
	// free: a name that was removed and made again between two readings may have
	// both as before, but hardly the stamp too.
	stamp  int64
	cookie uint64
}

// Watch calls notify for every name that appears or goes away after it has
// returned, until Close: mounts of namespaces anywhere in nstrace's own mount
// namespace, as `ip netns add` makes them in /run/netns, and container runtimes
// elsewhere. Names that are there already are not reported: begin to watch before
// taking a snapshot, which has them, and no name falls between. Mounts in other
// mount namespaces are not followed: to wait for their changes is to keep them,
// and all that is mounted there, alive (mounts_open_common in
// fs/proc_namespace.c). Snapshots have them as holders.
//
// It doesn't poll: the kernel wakes whoever polls a mountinfo file at each
// change of the mount namespace (mounts_poll in fs/proc_namespace.c). Changes
// between two readings are seen together: a name that came and went in less than
// a reading takes isn't seen at all. Within a reading, names that went come
// before names that came, each sorted by path. At the time at which a name is
// said to have come it stood for that namespace.
//
// notify is called from one goroutine, and holds up the next reading until it
// returns.
func Watch(notify func(event.NameChange)) (*Watcher, error) {
	// Not an os.File: Go's own poller would take the wake-ups, which the kernel
	// gives once per open file.
	mountinfo, err := unix.Open("/proc/self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /proc/self/mountinfo to follow the names of namespaces: %w; is /proc mounted?", err)
	}
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(mountinfo)
		return nil, fmt.Errorf("make an eventfd: %w", err)
	}
	w := &Watcher{mountinfo: mountinfo, stop: stop, notify: notify, done: make(chan struct{})}
	mounts, err := w.read()
	if err != nil {
		w.closeFiles()
		return nil, err
	}
	w.names = namesOf(mounts)
	for where, name := range w.names {
		var stat unix.Stat_t
		if err := unix.Stat(where, &stat); err == nil && stat.Ino == uint64(name.inum) {
			name.stamp = stampOf(&stat)
			w.names[where] = name
		}
	}
	w.first = firstNames(w.names, boottime())
	go w.run()
	return w, nil
}

// Names returns the names there were when Watch returned, as if they had come then,
// sorted by path.
func (w *Watcher) Names() []event.NameChange { return w.first }

func firstNames(names map[string]namedMount, now uint64) []event.NameChange {
	var all []event.NameChange
	for _, where := range slices.Sorted(maps.Keys(names)) {
		name := names[where]
		all = append(all, event.NameChange{
			Time: now, Name: nsMount{path: where}.name(), Path: where, Inum: name.inum, Cookie: name.cookie, Added: true,
		})
	}
	return all
}

// Close ends the watch after reporting the changes there were until now, waits
// for notify to return, and returns what went wrong since Watch, if anything. It
// must not be called from notify.
func (w *Watcher) Close() error {
	w.once.Do(func() {
		// The kernel can refuse only an eventfd that is closed or full.
		_, _ = unix.Write(w.stop, []byte{1, 0, 0, 0, 0, 0, 0, 1})
		<-w.done
		w.closeFiles()
	})
	return w.err
}

// Done is closed when the watch has ended, by Close or by an error.
func (w *Watcher) Done() <-chan struct{} { return w.done }

func (w *Watcher) closeFiles() {
	_ = unix.Close(w.mountinfo)
	_ = unix.Close(w.stop)
}

func (w *Watcher) run() {
	defer close(w.done)
	for {
		changed, stopped, err := w.wait(-1)
		if err == nil && changed {
			err = w.update()
		}
		if err == nil && stopped {
			err = w.settle()
		}
		if err != nil {
			w.err = fmt.Errorf("follow the names of namespaces: %w; later changes of names are unknown", err)
			return
		}
		if stopped {
			return
		}
	}
}

// settleAttempts bounds how often the mounts are read at the end, should they
// never stop changing.
const settleAttempts = 16

// settle sees to what came up in the last update.
func (w *Watcher) settle() error {
	for range settleAttempts {
		changed, _, err := w.wait(0)
		if err != nil || !changed {
			return err
		}
		if err := w.update(); err != nil {
			return err
		}
	}
	return nil
}

// wait sleeps until the mounts change or Close is called, for timeout
// milliseconds at most.
func (w *Watcher) wait(timeout int) (changed, stopped bool, err error) {
	fds := []unix.PollFd{
		{Fd: int32(w.mountinfo), Events: unix.POLLPRI},
		{Fd: int32(w.stop), Events: unix.POLLIN},
	}
	for {
		_, err = unix.Poll(fds, timeout)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return false, false, fmt.Errorf("wait for changes of /proc/self/mountinfo: %w", err)
	}
	return fds[0].Revents != 0, fds[1].Revents != 0, nil
}

// read returns the mounts of network namespaces there are now.
func (w *Watcher) read() ([]nsMount, error) {
	text := w.text[:0]
	for {
		if cap(text)-len(text) < 4096 {
			text = slices.Grow(text, max(len(text), 64<<10))
		}
		n, err := unix.Pread(w.mountinfo, text[len(text):cap(text)], int64(len(text)))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read /proc/self/mountinfo: %w", err)
		}
		if n == 0 {
			w.text = text
			return parseMountinfo(text), nil
		}
		text = text[:len(text)+n]
	}
}

// update reads the names, reports how they differ and remembers them.
func (w *Watcher) update() error {
	mounts, err := w.read()
	if err != nil {
		return err
	}
	names := namesOf(mounts)
	w.recognise(names)
	gone, came := compareNames(w.names, names)
	goneBy := boottime()
	cameBy, err := w.verify(names, came)
	if err != nil {
		return err
	}
	// Somebody may have changed the file's mode or times: then it has another
	// stamp, and is the same.
	same := func(where string) bool {
		old, now := w.names[where], names[where]
		return old.cookie != 0 && old.cookie == now.cookie && old.inum == now.inum && slices.Contains(gone, where)
	}
	for _, where := range gone {
		if !same(where) {
			w.tell(goneBy, where, w.names[where], false)
		}
	}
	for _, where := range came {
		// One that isn't there has changed again, so there is another update.
		if name, ok := names[where]; ok && !same(where) {
			w.tell(cameBy, where, name, true)
		}
	}
	w.names = names
	return nil
}

func (w *Watcher) tell(at uint64, where string, name namedMount, added bool) {
	w.notify(event.NameChange{
		Time: at, Name: nsMount{path: where}.name(), Path: where, Inum: name.inum, Cookie: name.cookie, Added: added,
	})
}

// recognise gives the names that look as they did before what is known of them,
// unless they stand for another namespace.
func (w *Watcher) recognise(names map[string]namedMount) {
	for where, name := range names {
		old, ok := w.names[where]
		if !ok || !sameMount(old, name) {
			continue
		}
		name.stamp, name.cookie = old.stamp, old.cookie
		var stat unix.Stat_t
		if err := unix.Stat(where, &stat); err == nil && old.stamp != 0 && stampOf(&stat) != old.stamp {
			name.ids = nil // it only looks so
		}
		names[where] = name
	}
}

// verify completes what is known of the names at paths, and drops those that
// don't stand for that namespace any more. It returns a time at which the others
// did: their namespaces are kept from ending, and so from giving their inums
// away, until then.
func (w *Watcher) verify(names map[string]namedMount, paths []string) (at uint64, err error) {
	if len(paths) == 0 {
		return 0, nil
	}
	for _, where := range paths {
		name := names[where]
		fd, err := openNamespace(where, name.inum)
		if err != nil {
			continue // gone, or out of reach: what is known is in mountinfo
		}
		defer unix.Close(fd)
		name.stamp, name.cookie = identify(fd)
		names[where] = name
	}
	// They stood for it before this, and those that do after it did at it.
	at = boottime()
	mounts, err := w.read()
	if err != nil {
		return 0, err
	}
	now := namesOf(mounts)
	for _, where := range paths {
		if now[where].inum != names[where].inum {
			delete(names, where)
			continue
		}
		name := names[where]
		name.ids = now[where].ids
		names[where] = name
	}
	return at, nil
}

// identify returns by what an open namespace can be told from others that had
// its inum.
func identify(fd int) (stamp int64, cookie uint64) {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err == nil {
		stamp = stampOf(&stat)
	}
	return stamp, openCookie(fd)
}

func stampOf(stat *unix.Stat_t) int64 { return stat.Ctim.Nano() }

// namesOf returns what the names among mounts stand for, by path.
func namesOf(mounts []nsMount) map[string]namedMount {
	names := map[string]namedMount{}
	for same := range byPath(mounts) {
		// The last is the one to be seen there. They differ only when one
		// namespace is mounted over another.
		named := namedMount{inum: same[len(same)-1].inum}
		for _, m := range same {
			named.ids = append(named.ids, m.id)
		}
		names[same[0].path] = named
	}
	return names
}

// compareNames returns the paths that went and those that came, sorted. One that
// stands for something else now did both, and so did one none of whose mounts
// is left: it was removed and made again.
func compareNames(before, after map[string]namedMount) (gone, came []string) {
	for where, old := range before {
		if now, ok := after[where]; !ok || !sameMount(old, now) {
			gone = append(gone, where)
		}
	}
	for where, now := range after {
		if old, ok := before[where]; !ok || !sameMount(old, now) {
			came = append(came, where)
		}
	}
	slices.Sort(gone)
	slices.Sort(came)
	return gone, came
}

// sameMount reports whether two readings of a path may be of the same mount.
func sameMount(a, b namedMount) bool {
	return a.inum == b.inum && slices.ContainsFunc(a.ids, func(id int) bool { return slices.Contains(b.ids, id) })
}

// openCookie returns the cookie of an open namespace, 0 if unknown.
func openCookie(fd int) uint64 {
	cookie := fileCookie(fd)
	if cookie == 0 {
		<-onOwnThread(func() { cookie, _ = enteredCookie(fd) })
	}
	return cookie
}
