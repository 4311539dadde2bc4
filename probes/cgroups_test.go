// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/event"
)

func TestParseCgroupMounts(t *testing.T) {
	for _, c := range []struct {
		name, mountinfo string
		want            []string
	}{
		{"unified", "31 22 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n", []string{"/sys/fs/cgroup"}},
		{
			"hybrid",
			"31 22 0:27 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n32 31 0:28 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw\n" +
				"33 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n",
			[]string{"/sys/fs/cgroup/unified"},
		},
		{"part of it", "31 22 0:27 /system.slice /mnt rw - cgroup2 cgroup2 rw\n", nil},
		{"two", "31 22 0:27 / /a rw - cgroup2 none rw\n32 22 0:27 / /b\\040c rw - cgroup2 none rw\n", []string{"/a", "/b c"}},
		{"nonsense", "\n - \na b - cgroup2\n1 2 3 / \n", nil},
	} {
		if got := parseCgroupMounts([]byte(c.mountinfo)); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestBelow(t *testing.T) {
	for _, c := range []struct {
		root, path, want string
		bad              bool
	}{
		{root: "/sys/fs/cgroup", path: "/sys/fs/cgroup", want: "/"},
		{root: "/sys/fs/cgroup", path: "/sys/fs/cgroup/a/b", want: "/a/b"},
		{root: "/", path: "/a", want: "/a"},
		{root: "/sys/fs/cgroup", path: "/sys/fs/cgroups/a", bad: true},
		{root: "/sys/fs/cgroup", path: "/elsewhere", bad: true},
	} {
		got, err := below(c.root, c.path)
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("%s below %s: got %q, %v", c.path, c.root, got, err)
		}
	}
}

// TestCgroupWalk: whoever may not open by handle looks everywhere, once for all
// that are asked for; what isn't there any more stays unknown.
func TestCgroupWalk(t *testing.T) {
	root := t.TempDir()
	deep := filepath.Join(root, "a.slice", "b.scope")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(deep, &st); err != nil {
		t.Fatal(err)
	}
	var c cgroups
	c.mention(st.Ino)
	c.mention(0)
	c.mention(1 << 60)
	c.mention(st.Ino)
	var got []event.CgroupPath
	c.walk(root, 7, func(p *event.CgroupPath) { got = append(got, *p) })
	if want := []event.CgroupPath{{Time: 7, ID: st.Ino, Path: "/a.slice/b.scope"}}; !slices.Equal(got, want) || len(c.pending) != 0 {
		t.Errorf("got %+v, pending %v, want %+v", got, c.pending, want)
	}
	c.mention(st.Ino)
	if len(c.pending) != 0 {
		t.Error("what was told is asked for again")
	}
}

func TestCgroupsAreBounded(t *testing.T) {
	var c cgroups
	for id := range uint64(3 * cgroupsBound) {
		c.mention(id)
		c.pending = c.pending[:0]
		if len(c.asked) > cgroupsBound+1 {
			t.Fatalf("remembers %d", len(c.asked))
		}
	}
}
