// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/event"
)

func TestCompareNames(t *testing.T) {
	blue := namedMount{inum: 5, ids: []int{40}}
	for _, test := range []struct {
		name          string
		before, after map[string]namedMount
		gone, came    []string
	}{
		{name: "nothing"},
		{name: "same", before: map[string]namedMount{"/a": blue}, after: map[string]namedMount{"/a": blue}},
		{
			name:   "came and went",
			before: map[string]namedMount{"/b": blue, "/a": blue, "/c": blue},
			after:  map[string]namedMount{"/c": blue, "/e": blue, "/d": blue},
			gone:   []string{"/a", "/b"}, came: []string{"/d", "/e"},
		},
		{
			name:   "another namespace now",
			before: map[string]namedMount{"/a": blue}, after: map[string]namedMount{"/a": {inum: 6, ids: []int{40}}},
			gone: []string{"/a"}, came: []string{"/a"},
		},
		{
			name:   "made again with the same inum",
			before: map[string]namedMount{"/a": blue}, after: map[string]namedMount{"/a": {inum: 5, ids: []int{41, 42}}},
			gone: []string{"/a"}, came: []string{"/a"},
		},
		{
			name:   "its directory was mounted onto itself",
			before: map[string]namedMount{"/a": blue}, after: map[string]namedMount{"/a": {inum: 5, ids: []int{40, 41}}},
		},
	} {
		gone, came := compareNames(test.before, test.after)
		if !reflect.DeepEqual(gone, test.gone) || !reflect.DeepEqual(came, test.came) {
			t.Errorf("%s: gone %q, came %q", test.name, gone, came)
		}
	}
}

// watch starts a watcher whose changes with a prefix in the name come out of
// the channel.
func watch(t *testing.T, prefix string) (*Watcher, <-chan event.NameChange) {
	t.Helper()
	changes := make(chan event.NameChange, 10000)
	w, err := Watch(func(change event.NameChange) {
		if strings.HasPrefix(change.Name, prefix) {
			changes <- change
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w, changes
}

func next(t *testing.T, changes <-chan event.NameChange) event.NameChange {
	t.Helper()
	select {
	case change := <-changes:
		return change
	case <-time.After(10 * time.Second):
		t.Fatal("no change was reported")
		panic("unreachable")
	}
}

func TestWatch(t *testing.T) {
	name := uniqueName()
	addNetns(t, name) // there before: no change
	w, changes := watch(t, name)

	live := name + "-live"
	before := boottime()
	inum := addNetns(t, live)
	added := next(t, changes)
	after := boottime()
	_, states := take(t)
	want := event.NameChange{
		Time: added.Time, Name: live, Path: "/run/netns/" + live, Inum: inum, Cookie: states[inum].Cookie, Added: true,
	}
	if added != want || added.Time < before || added.Time > after {
		t.Errorf("got  %+v\nwant %+v, between %d and %d", added, want, before, after)
	}
	run(t, "ip", "netns", "del", live)
	gone := next(t, changes)
	want.Time, want.Added = gone.Time, false
	if gone != want || gone.Time < after {
		t.Errorf("got  %+v\nwant %+v", gone, want)
	}
	run(t, "ip", "netns", "del", name)
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	// What happened before Close is reported before Close returns.
	if gone := next(t, changes); gone.Name != name || gone.Added {
		t.Errorf("got %+v", gone)
	}
	if len(changes) != 0 {
		t.Errorf("another change: %+v", <-changes)
	}
	if err := w.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}

// A name may be anything but a slash.
func TestWatchHostileName(t *testing.T) {
	needRoot(t)
	prefix := uniqueName()
	name := prefix + " \n\t\\040#\"'%s\x1b[31m;"
	w, changes := watch(t, prefix)
	addNetns(t, prefix) // ip netns makes the directory
	next(t, changes)
	path := filepath.Join("/run/netns", name)
	if err := os.WriteFile(path, nil, 0o444); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH); _ = os.Remove(path) })
	if err := unix.Mount(filepath.Join("/run/netns", prefix), path, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if added := next(t, changes); added.Name != name || added.Path != path || !added.Added {
		t.Errorf("got %+v", added)
	}
	_, states := take(t)
	found := false
	for _, ns := range states {
		found = found || len(ns.Names) == 2 && ns.Names[1] == name
	}
	if !found {
		t.Errorf("no namespace of two names in the snapshot")
	}
	if err := unix.Unmount(path, 0); err != nil {
		t.Fatal(err)
	}
	if gone := next(t, changes); gone.Name != name || gone.Added {
		t.Errorf("got %+v", gone)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// Mounts anywhere are followed, by their path.
func TestWatchElsewhere(t *testing.T) {
	name := uniqueName()
	inum := addNetns(t, name)
	path := filepath.Join(t.TempDir(), "a b")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w, changes := watch(t, path)
	if err := unix.Mount(filepath.Join("/run/netns", name), path, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	if added := next(t, changes); added.Name != path || added.Path != path || added.Inum != inum || !added.Added {
		t.Errorf("got %+v", added)
	}
	_, states := take(t)
	if want := []string{path, name}; !slices.Equal(states[inum].Names, want) {
		t.Errorf("names %q, want %q", states[inum].Names, want)
	}
	if err := unix.Unmount(path, 0); err != nil {
		t.Fatal(err)
	}
	if gone := next(t, changes); gone.Name != path || gone.Inum != inum || gone.Added {
		t.Errorf("got %+v", gone)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// tenure is one life's time with a name.
type tenure struct {
	inum   uint32
	cookie uint64
	// It had the name from between before and from, until between until and
	// after.
	before, from, until, after uint64
}

// hold makes a namespace, mounts it at a path, and unmounts it after a while.
func hold(path string, a time.Duration) (held tenure, err error) {
	<-onOwnThread(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return
		}
		var fd int
		if fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return
		}
		held.inum, _ = readNsLink("/proc", "thread-self", "net")
		held.cookie, _ = enteredCookie(fd)
		_ = unix.Close(fd)
		held.before = boottime()
		err = unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
		held.from = boottime()
	})
	if err != nil {
		return held, err
	}
	// The thread is gone, so that only the name holds the namespace.
	time.Sleep(a)
	held.until = boottime()
	err = unix.Unmount(path, unix.MNT_DETACH)
	held.after = boottime()
	return held, err
}

// A name that namespaces have in turn, for a moment each, is never said to be
// that of one at a time when it isn't, and what is left at the end is true.
func TestWatchReplaced(t *testing.T) {
	needRoot(t)
	const cycles, paths = 200, 2
	dir := t.TempDir()
	w, changes := watch(t, dir)
	var truth [paths][]tenure
	done := make(chan error, paths)
	for i := range paths {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		go func() {
			for n := range cycles {
				// Longer and longer: short ones are hardly seen.
				held, err := hold(path, time.Duration(n)*50*time.Microsecond)
				if err != nil {
					done <- err
					return
				}
				truth[i] = append(truth[i], held)
			}
			done <- nil
		}()
	}
	for range paths {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	seen := 0
	has := map[string]event.NameChange{}
	last := uint64(0)
	for len(changes) > 0 {
		change := <-changes
		i := int(change.Path[len(change.Path)-1] - '0')
		if change.Time < last {
			t.Errorf("%+v is before the last, at %d", change, last)
		}
		last = change.Time
		old, held := has[change.Path]
		if !change.Added {
			if !held || old.Inum != change.Inum || old.Cookie != change.Cookie {
				t.Errorf("%+v ends %+v", change, old)
			}
			delete(has, change.Path)
			if held && !over(truth[i], old, change.Time) {
				t.Errorf("%+v wasn't over at %d", old, change.Time)
			}
			continue
		}
		if held {
			t.Errorf("%+v comes over %+v", change, old)
		}
		seen++
		has[change.Path] = change
		if !slices.ContainsFunc(truth[i], func(h tenure) bool {
			return h.inum == change.Inum && h.cookie == change.Cookie && h.before <= change.Time && change.Time <= h.after
		}) {
			t.Errorf("%+v isn't true", change)
		}
	}
	for _, change := range has {
		t.Errorf("%+v never went", change)
	}
	t.Logf("%d of %d were seen", seen, cycles*paths)
	if seen < cycles/4 {
		t.Error("those are too few to tell")
	}
}

// over reports whether the tenure in which a name came was over at time t.
func over(truth []tenure, came event.NameChange, t uint64) bool {
	for _, h := range truth {
		if h.inum == came.Inum && h.cookie == came.Cookie && h.before <= came.Time && came.Time <= h.after {
			return h.until <= t
		}
	}
	return false
}

// Every name that stays is reported once, however fast they come.
func TestWatchMany(t *testing.T) {
	needRoot(t)
	count := 300
	w, changes := watch(t, fmt.Sprintf("snap-%d-", os.Getpid()))
	many := addMany(t, count)
	for i := range count {
		change := next(t, changes)
		if !change.Added || !strings.HasPrefix(change.Name, many) {
			t.Fatalf("change %d is %+v", i, change)
		}
	}
	out, err := exec.Command("sh", "-c", fmt.Sprintf("for n in /run/netns/%s*; do ip netns del ${n##*/}; done", many)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if len(changes) != count {
		t.Errorf("%d of %d names went", len(changes), count)
	}
	for len(changes) > 0 {
		if change := <-changes; change.Added || change.Inum == 0 {
			t.Errorf("got %+v", change)
		}
	}
}

func BenchmarkWatchUpdate(b *testing.B) {
	addMany(b, 100)
	w, err := Watch(func(event.NameChange) {})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	for b.Loop() {
		mounts, err := w.read()
		if err != nil {
			b.Fatal(err)
		}
		compareNames(w.names, namesOf(mounts))
	}
}

// A mount that looks as before, its inum and its id too, is another if its file
// was made at another time.
func TestWatchRecognise(t *testing.T) {
	name := uniqueName()
	inum := addNetns(t, name)
	path := filepath.Join("/run/netns", name)
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		t.Fatal(err)
	}
	seen := namedMount{inum: inum, ids: []int{7, 8}}
	for _, test := range []struct {
		name   string
		stamp  int64
		ids    []int
		cookie uint64
		same   bool
	}{
		{"the same", stampOf(&stat), []int{7}, 5, true},
		{"its time is unknown", 0, []int{7}, 5, true},
		{"made at another time", stampOf(&stat) - 1, []int{7}, 5, false},
		{"another mount", stampOf(&stat), []int{9}, 5, false},
	} {
		w := Watcher{names: map[string]namedMount{path: {inum: inum, ids: test.ids, stamp: test.stamp, cookie: test.cookie}}}
		names := map[string]namedMount{path: seen}
		w.recognise(names)
		if gone, came := compareNames(w.names, names); (len(gone) == 0) != test.same || (len(came) == 0) != test.same {
			t.Errorf("%s: gone %q, came %q", test.name, gone, came)
		}
		if test.same && names[path].cookie != test.cookie {
			t.Errorf("%s: cookie %d was forgotten", test.name, names[path].cookie)
		}
	}
}
