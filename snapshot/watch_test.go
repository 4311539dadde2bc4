// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
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
