// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/event"
)

// fakeProc makes a /proc of files and, where the text begins with "->", links.
func fakeProc(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(text, "->"); ok {
			err = os.Symlink(target, file)
		} else {
			err = os.WriteFile(file, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// machine is a /proc with an init, a process with a thread astray, and nstrace.
func machine() map[string]string {
	return map[string]string{
		"self":                  "->30",
		"30/mountinfo":          "1 1 0:4 net:[102] /run/netns/b rw - nsfs nsfs rw\n2 1 0:4 net:[102] /run/netns/a rw - nsfs nsfs rw\n3 1 0:4 net:[102] /run/netns/a rw - nsfs nsfs rw\n4 1 0:4 net:[103] /run/docker/netns/c rw - nsfs nsfs rw\n",
		"1/ns/pid":              "->pid:[4026531836]",
		"1/ns/net":              "->net:[200]",
		"1/comm":                "init\n",
		"1/task/1/ns/net":       "->net:[200]",
		"20/ns/net":             "->net:[102]",
		"20/comm":               "two\nlines\n",
		"20/task/20/ns/net":     "->net:[102]",
		"20/task/21/ns/net":     "->net:[102]",
		"20/task/22/ns/net":     "->net:[101]",
		"20/task/22/comm":       "astray\n",
		"25/task/25/comm":       "zombie\n",
		"30/ns/net":             "->net:[200]",
		"30/comm":               "nstrace\n",
		"30/task/30/ns/net":     "->net:[200]",
		"30/task/31/ns/net":     "->net:[104]",
		"not-a-process/ns/net":  "->net:[105]",
		"sys/kernel/random/any": "",
	}
}

func findIn(t *testing.T, root string, maxHolders int) ([]event.NetnsState, []string) {
	t.Helper()
	f := finder{root: root, maxHolders: maxHolders, problems: &problems{}}
	all, err := f.find()
	if err != nil {
		t.Fatal(err)
	}
	var states []event.NetnsState
	for _, ns := range all {
		for i, holder := range ns.state.Holders {
			ns.state.Holders[i].Path = strings.TrimPrefix(holder.Path, root)
		}
		states = append(states, ns.state)
	}
	return states, f.problems.list()
}

func TestFind(t *testing.T) {
	got, problems := findIn(t, fakeProc(t, machine()), 16)
	want := []event.NetnsState{
		{Inum: 200, Initial: true, Holders: []event.Holder{
			{Kind: "task", PID: 1, Comm: "init"},
			{Kind: "task", PID: 30, Comm: "nstrace"},
		}},
		{Inum: 101, Holders: []event.Holder{{Kind: "task", PID: 20, Comm: "astray", Path: "/20/task/22/ns/net"}}},
		{Inum: 102, Names: []string{"a", "b"}, Holders: []event.Holder{
			{Kind: "mount", Path: "/run/netns/a"},
			{Kind: "mount", Path: "/run/netns/b"},
			{Kind: "task", PID: 20, Comm: "two\nlines"},
		}},
		{Inum: 103, Holders: []event.Holder{{Kind: "mount", Path: "/run/docker/netns/c"}}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if len(problems) != 0 {
		t.Errorf("problems: %q", problems)
	}
}

func TestFindBoundsHolders(t *testing.T) {
	got, _ := findIn(t, fakeProc(t, machine()), 2)
	for _, ns := range got {
		if len(ns.Holders) > 2 {
			t.Errorf("net:[%d] has %d holders", ns.Inum, len(ns.Holders))
		}
	}
}

func TestInitialNetns(t *testing.T) {
	container := machine()
	container["1/ns/pid"] = "->pid:[4026532300]"
	forbidden := machine()
	delete(forbidden, "1/ns/net")
	for _, test := range []struct {
		name  string
		files map[string]string
		want  uint32
	}{
		{"machine", machine(), 200},
		{"container", container, 0},
		{"unreadable", forbidden, 0},
	} {
		root := fakeProc(t, test.files)
		got, err := initialNetns(root)
		if got != test.want || (err == nil) != (test.want != 0) || (err != nil && !errors.Is(err, ErrInitialUnknown)) {
			t.Errorf("%s: got %d, %v", test.name, got, err)
		}
		states, problems := findIn(t, root, 1)
		initial := slices.ContainsFunc(states, func(ns event.NetnsState) bool { return ns.Initial })
		if initial != (test.want != 0) || (len(problems) == 0) != initial {
			t.Errorf("%s: initial %v, problems %q", test.name, initial, problems)
		}
	}
}

// Since 6.18 the initial namespace has a number of its own, which a container
// that shares it sees too.
func TestInitialByNumber(t *testing.T) {
	files := machine()
	files["1/ns/pid"] = "->pid:[4026532300]"
	files["20/task/22/ns/net"] = "->net:[4026531833]"
	states, problems := findIn(t, fakeProc(t, files), 1)
	if len(problems) != 0 || !states[0].Initial || states[0].Inum != initNetInum {
		t.Errorf("got %+v, problems %q", states, problems)
	}
}

func TestFindWithoutProc(t *testing.T) {
	f := finder{root: t.TempDir(), problems: &problems{}}
	if _, err := f.find(); err == nil {
		t.Error("an empty /proc is no error")
	}
}

func TestProblems(t *testing.T) {
	var p problems
	p.add("read", "/proc/1/ns/net", "be root", unix.EACCES)
	p.add("enter", "net:[5]", "", unix.EPERM)
	p.add("read", "/proc/2/ns/net", "be root", unix.EACCES)
	p.add("read", "/proc/3/ns/net", "be root", unix.EACCES)
	want := []string{
		"read /proc/1/ns/net and 2 more: permission denied; be root",
		"enter net:[5]: operation not permitted",
	}
	if got := p.list(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
