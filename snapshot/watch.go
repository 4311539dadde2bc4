// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"fmt"
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

	done chan struct{}
	err  error // valid when done is closed
	once sync.Once
}

// namedMount is what a name stands for.
type namedMount struct {
	inum   uint32
	ids    []int
	cookie uint64
}

// Watch calls notify for every name in /run/netns (or /var/run/netns) that
// appears or goes away after it has returned, until Close. The names there are
// already are not reported: begin to watch before calling [Take], whose snapshot
// has them, and no name falls between.
//
// It doesn't poll: the kernel wakes whoever polls a mountinfo file at each
// change of the mount namespace (mounts_poll in fs/proc_namespace.c). Changes
// between two readings are seen together: a name that came and went in less than
// a reading takes isn't seen at all. Within a reading, names that went come
// before names that came, each sorted by path.
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
	go w.run()
	return w, nil
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
		changed, stopped, err := w.wait()
		now := boottime()
		if err == nil && changed {
			err = w.update(now)
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

// wait sleeps until the mounts change or Close is called.
func (w *Watcher) wait() (changed, stopped bool, err error) {
	fds := []unix.PollFd{
		{Fd: int32(w.mountinfo), Events: unix.POLLPRI},
		{Fd: int32(w.stop), Events: unix.POLLIN},
	}
	for {
		_, err = unix.Poll(fds, -1)
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
func (w *Watcher) update(now uint64) error {
	mounts, err := w.read()
	if err != nil {
		return err
	}
	names := namesOf(mounts)
	gone, came := compareNames(w.names, names)
	for _, where := range gone {
		old := w.names[where]
		w.notify(event.NameChange{Time: now, Name: nsMount{path: where}.name(), Path: where, Inum: old.inum, Cookie: old.cookie})
	}
	readCookies(names, came)
	for where, name := range names {
		if old, ok := w.names[where]; ok && !slices.Contains(came, where) {
			name.cookie = old.cookie
			names[where] = name
		}
	}
	for _, where := range came {
		name := names[where]
		w.notify(event.NameChange{
			Time: now, Name: nsMount{path: where}.name(), Path: where, Inum: name.inum, Cookie: name.cookie, Added: true,
		})
	}
	w.names = names
	return nil
}

// namesOf returns what the names among mounts stand for, by path.
func namesOf(mounts []nsMount) map[string]namedMount {
	names := map[string]namedMount{}
	for same := range byPath(mounts) {
		// The last is the newest but where ids were reused. They differ only
		// when one namespace is mounted over another.
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
	same := func(a, b namedMount) bool {
		return a.inum == b.inum && slices.ContainsFunc(a.ids, func(id int) bool { return slices.Contains(b.ids, id) })
	}
	for where, old := range before {
		if now, ok := after[where]; !ok || !same(old, now) {
			gone = append(gone, where)
		}
	}
	for where, now := range after {
		if old, ok := before[where]; !ok || !same(old, now) {
			came = append(came, where)
		}
	}
	slices.Sort(gone)
	slices.Sort(came)
	return gone, came
}

// readCookies adds the cookies of the names at paths. One that can't be read
// stays unknown.
func readCookies(names map[string]namedMount, paths []string) {
	for _, where := range paths {
		name := names[where]
		name.cookie = cookieAt(where, name.inum)
		names[where] = name
	}
}

// cookieAt returns the cookie of the namespace inum mounted at a path, 0 if
// unknown.
func cookieAt(where string, inum uint32) uint64 {
	fd, err := openNamespace(where, inum)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	cookie := fileCookie(fd)
	if cookie == 0 {
		<-onOwnThread(func() { cookie, err = enteredCookie(fd) })
	}
	if err != nil {
		return 0
	}
	return cookie
}
