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

// machine is a /proc with an init and nstrace, and a container.
func machine() map[string]string {
	return map[string]string{
		"self": "->30",
		"30/mountinfo": "1 1 0:4 net:[102] /run/netns/b rw - nsfs nsfs rw\n2 1 0:4 net:[102] /run/netns/a rw - nsfs nsfs rw\n" +
			"3 1 0:4 net:[102] /run/netns/a rw - nsfs nsfs rw\n4 1 0:4 net:[103] /run/docker/netns/c rw - nsfs nsfs rw\n",
		"40/mountinfo":          "9 1 0:4 net:[102] /run/netns/a rw - nsfs nsfs rw\n8 1 0:4 net:[106] /mine rw - nsfs nsfs rw\n",
		"40/cgroup":             "0::/machine.slice/c.scope\n",
		"1/ns/pid":              "->pid:[4026531836]",
		"1/ns/net":              "->net:[200]",
		"30/ns/net":             "->net:[200]",
		"30/ns/mnt":             "->mnt:[300]",
		"sys/kernel/random/any": "",
	}
}

// fakeSurvey is what the kernel would list: the second time nets is asked,
// later is the answer.
type fakeSurvey struct {
	running, open []row
	list, later   []row
	asked         int
}

func (s *fakeSurvey) tasks(each func(*row)) error { return eachOf(s.running, each) }
func (s *fakeSurvey) files(each func(*row)) error { return eachOf(s.open, each) }

func eachOf(rows []row, each func(*row)) error {
	for i := range rows {
		each(&rows[i])
	}
	return nil
}

func (s *fakeSurvey) nets() ([]row, error) {
	if s.asked++; s.asked > 1 && s.later != nil {
		return s.later, nil
	}
	return s.list, nil
}

// fakeRow makes a row about the namespace inum, whose address is 1000 more.
func fakeRow(kind surveySurveyKind, inum, pid, tid uint32, name string, mnt uint32, fd int32) row {
	r := row{Kind: uint32(kind), Pid: pid + 5000, Tid: tid + 5000, HerePid: pid, HereTid: tid, MntInum: mnt, Fd: fd}
	r.Net.Inum, r.Net.Ptr = inum, uint64(inum)+1000
	for i := range name {
		r.Comm[i] = int8(name[i])
	}
	return r
}

func listed(inum uint32) row {
	r := fakeRow(surveySurveyKindSURVEY_NET, inum, 0, 0, "", 0, -1)
	r.References, r.UserInum = 7, 400
	return r
}

// survey is what the kernel lists of machine: a process with a thread astray,
// another that has files open, one in a container, and threads of nstrace's own.
func machineSurvey() *fakeSurvey {
	const task = surveySurveyKindSURVEY_TASK
	self := uint32(os.Getpid())
	return &fakeSurvey{
		running: []row{
			fakeRow(task, 200, 1, 1, "init", 300, -1),
			fakeRow(task, 102, 20, 20, "two\nlines", 300, -1),
			fakeRow(task, 101, 20, 22, "astray", 300, -1),
			fakeRow(task, 200, 20, 23, "stayed", 300, -1),
			fakeRow(task, 107, 40, 40, "contained", 301, -1),
			fakeRow(task, 200, self, self, "nstrace", 300, -1),
			fakeRow(task, 104, self, self+1, "visitor", 300, -1),
		},
		open: []row{
			fakeRow(surveySurveyKindSURVEY_FILE, 108, 1, 1, "init", 300, 0),
			fakeRow(surveySurveyKindSURVEY_SOCKET, 109, 20, 22, "astray", 300, 4),
			fakeRow(surveySurveyKindSURVEY_FILE, 105, self, self, "nstrace", 300, 5),
		},
		list: []row{listed(102), listed(109), listed(200)},
	}
}

func findIn(t *testing.T, root string, maxHolders int, survey surveyor) ([]event.NetnsState, []string) {
	t.Helper()
	f := finder{root: root, maxHolders: maxHolders, problems: &problems{}, survey: survey}
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
	got, problems := findIn(t, fakeProc(t, machine()), 16, machineSurvey())
	self := uint32(os.Getpid())
	want := []event.NetnsState{
		{
			Inum: 200, Ptr: 1200, Initial: true, References: 7, OwnerUserNS: 400,
			Holders: []event.Holder{
				{Kind: "task", PID: 5001, Comm: "init"},
				{Kind: "task", PID: 5020, Comm: "stayed", TID: 5023, Path: "/20/task/23/ns/net"},
				{Kind: "task", PID: self + 5000, Comm: "nstrace"},
			},
			Held:  event.HoldCounts{Tasks: 3},
			Tasks: []event.Resident{{PID: 5020, TID: 5023, Comm: "stayed"}},
		},
		{
			Inum: 101, Ptr: 1101,
			Holders: []event.Holder{{Kind: "task", PID: 5020, Comm: "astray", TID: 5022, Path: "/20/task/22/ns/net"}},
			Held:    event.HoldCounts{Tasks: 1},
			Tasks:   []event.Resident{{PID: 5020, TID: 5022, Comm: "astray"}},
		},
		{
			Inum: 102, Ptr: 1102, Names: []string{"a", "b"}, References: 7, OwnerUserNS: 400,
			Holders: []event.Holder{
				{Kind: "mount", Path: "/run/netns/a"},
				{Kind: "mount", Path: "/run/netns/b"},
				{Kind: "task", PID: 5020, Comm: "two\nlines"},
				{Kind: "mount", Path: "/run/netns/a", PID: 5040, Comm: "contained", MountNS: 301},
			},
			Held:  event.HoldCounts{Tasks: 1, Mounts: 2, OtherMounts: 1},
			Tasks: []event.Resident{{PID: 5020, Comm: "two\nlines"}},
		},
		{
			Inum: 103, Names: []string{"/run/docker/netns/c"},
			Holders: []event.Holder{{Kind: "mount", Path: "/run/docker/netns/c"}},
			Held:    event.HoldCounts{Mounts: 1},
		},
		{
			Inum:    106,
			Holders: []event.Holder{{Kind: "mount", Path: "/mine", PID: 5040, Comm: "contained", MountNS: 301}},
			Held:    event.HoldCounts{OtherMounts: 1},
		},
		{
			Inum: 107, Ptr: 1107,
			Holders: []event.Holder{{Kind: "task", PID: 5040, Comm: "contained", Cgroup: "/machine.slice/c.scope"}},
			Held:    event.HoldCounts{Tasks: 1},
			Tasks:   []event.Resident{{PID: 5040, Comm: "contained", Cgroup: "/machine.slice/c.scope"}},
		},
		{
			Inum: 108, Ptr: 1108,
			Holders: []event.Holder{{Kind: "file", PID: 5001, Comm: "init", Path: "/1/fd/0"}},
			Held:    event.HoldCounts{Files: 1},
		},
		{
			Inum: 109, Ptr: 1109, References: 7, OwnerUserNS: 400,
			Holders: []event.Holder{{Kind: "socket", PID: 5020, Comm: "astray", Path: "/20/task/22/fd/4"}},
			Held:    event.HoldCounts{Files: 1},
		},
	}
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("missing %+v", want[i])
		case i >= len(want):
			t.Errorf("too much: %+v", got[i])
		case !reflect.DeepEqual(got[i], want[i]):
			t.Errorf("got  %+v\nwant %+v", got[i], want[i])
		}
	}
	if len(problems) != 0 {
		t.Errorf("problems: %q", problems)
	}
}

func TestFindBoundsHolders(t *testing.T) {
	got, _ := findIn(t, fakeProc(t, machine()), 2, machineSurvey())
	for _, ns := range got {
		if len(ns.Holders) > 2 {
			t.Errorf("net:[%d] has %d holders", ns.Inum, len(ns.Holders))
		}
		if len(ns.Tasks) != int(ns.Held.Tasks) && !ns.Initial {
			t.Errorf("net:[%d] has tasks %+v listed", ns.Inum, ns.Tasks)
		}
		if ns.Inum == 102 && ns.Held != (event.HoldCounts{Tasks: 1, Mounts: 2, OtherMounts: 1}) {
			t.Errorf("net:[102] is held by %+v", ns.Held)
		}
	}
}

// A namespace the kernel lists and nothing leads to stays if it is still there
// when the list is read again; then holders were looked for twice.
func TestFindUnreached(t *testing.T) {
	for _, test := range []struct {
		name  string
		later []row
		want  bool
	}{
		{"it is still there", []row{listed(102), listed(150)}, true},
		{"it is gone", []row{listed(102)}, false},
		{"another has its inum", []row{func() row { r := listed(150); r.Net.Ptr++; return r }()}, false},
	} {
		survey := machineSurvey()
		survey.list = append(survey.list, listed(150))
		survey.later = test.later
		states, _ := findIn(t, fakeProc(t, machine()), 16, survey)
		i := slices.IndexFunc(states, func(ns event.NetnsState) bool { return ns.Inum == 150 })
		if (i >= 0) != test.want {
			t.Errorf("%s: found %v", test.name, i >= 0)
		}
		if i >= 0 && (states[i].Ptr != 1150 || states[i].Holders != nil) {
			t.Errorf("%s: %+v", test.name, states[i])
		}
	}
}

// Where the programs can't be loaded there is what needs none.
func TestFindWithoutSurvey(t *testing.T) {
	states, _ := findIn(t, fakeProc(t, machine()), 16, nil)
	var inums []uint32
	for _, ns := range states {
		inums = append(inums, ns.Inum)
	}
	if want := []uint32{200, 102, 103}; !slices.Equal(inums, want) {
		t.Errorf("found %d, want %d", inums, want)
	}
}

// What another life had isn't told of the one that was visited.
func TestIsLife(t *testing.T) {
	before := event.NetnsState{
		Inum: 5, Ptr: 1, Cookie: 9, References: 2, Names: []string{"a"},
		Holders: []event.Holder{{Kind: "mount", Path: "/run/netns/a"}}, Held: event.HoldCounts{Mounts: 1},
	}
	for _, test := range []struct {
		name          string
		found, cookie uint64
		keeps         bool
	}{
		{"the same", 9, 9, true},
		{"unknown when it was found", 0, 9, true},
		{"another", 9, 10, false},
	} {
		ns := found{state: before}
		ns.state.Cookie = test.found
		ns.isLife(test.cookie)
		want := event.NetnsState{Inum: 5, Cookie: test.cookie}
		if test.keeps {
			want = before
			want.Cookie = test.cookie
		}
		if !reflect.DeepEqual(ns.state, want) {
			t.Errorf("%s: %+v", test.name, ns.state)
		}
	}
}

func TestConfirm(t *testing.T) {
	r := listed(5)
	other := listed(5)
	other.Net.Ptr++
	for _, test := range []struct {
		name               string
		now                *row
		visited            bool
		want, keepsHolders bool
	}{
		{"visited and there", &r, true, true, true},
		{"visited and gone since", nil, true, true, true},
		{"visited, and its inum has another owner", &other, true, true, false},
		{"no way led there, but it is there", &r, false, true, true},
		{"gone", nil, false, false, true},
		{"gone, and its inum has another owner", &other, false, false, false},
	} {
		ns := found{state: event.NetnsState{Inum: 5, Ptr: 1005, Held: event.HoldCounts{Tasks: 1}}}
		rows := map[uint32]*row{}
		if test.now != nil {
			rows[5] = test.now
		}
		if got := ns.confirm(rows, test.visited); got != test.want || (ns.state.Held.Tasks != 0) != test.keepsHolders {
			t.Errorf("%s: %v, %+v", test.name, got, ns.state)
		}
	}
}

func TestParseCgroup(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "",
		"0::/\n":                       "/",
		"0::/a.slice/docker-1.scope\n": "/a.slice/docker-1.scope",
		"12:cpu,cpuacct:/docker/1\n1:name=systemd:/docker/1\n0::/\n": "/docker/1",
		"0::/v2\n1:name=systemd:/v1\n":                               "/v2",
		"0::/with:colon\n":                                           "/with:colon",
		"nonsense\n0:":                                               "",
	} {
		if got := parseCgroup([]byte(text)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
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
		states, problems := findIn(t, root, 1, machineSurvey())
		initial := slices.ContainsFunc(states, func(ns event.NetnsState) bool { return ns.Initial })
		if initial != (test.want != 0) || (len(problems) == 0) != initial {
			t.Errorf("%s: initial %v, problems %q", test.name, initial, problems)
		}
	}
}

// Where it may not look at PID 1, the kernel's own tasks tell.
func TestInitialByTask(t *testing.T) {
	files := machine()
	delete(files, "1/ns/net")
	survey := machineSurvey()
	kthreadd := fakeRow(surveySurveyKindSURVEY_TASK, 102, 2, 2, "kthreadd", 300, -1)
	kthreadd.Pid, kthreadd.Tid = 2, 2
	survey.running = append(survey.running, kthreadd)
	states, problems := findIn(t, fakeProc(t, files), 1, survey)
	if len(problems) != 0 || !states[0].Initial || states[0].Inum != 102 {
		t.Errorf("got %+v, problems %q", states, problems)
	}
}

// Since 6.18 the initial namespace has a number of its own, which a container
// that shares it sees too.
func TestInitialByNumber(t *testing.T) {
	files := machine()
	files["1/ns/pid"] = "->pid:[4026532300]"
	survey := machineSurvey()
	survey.running = append(survey.running, fakeRow(surveySurveyKindSURVEY_TASK, initNetInum, 50, 50, "x", 300, -1))
	states, problems := findIn(t, fakeProc(t, files), 1, survey)
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
