// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/event"
)

// The test binary runs itself to look at a kernel whose state has changed: a
// process remembers what it has seen of one.
const childEnv = "NSTRACE_PROBES_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		json.NewEncoder(os.Stdout).Encode(lookAnew(os.Getenv(childEnv) == "attach"))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// look is what a process sees of the kernel.
type look struct {
	Outlook *Outlook
	// Ledger is that of a recording, Refusal why there is none.
	Ledger  []event.ProbeLedger
	Refusal string
}

func lookAnew(attach bool) (l look) {
	l.Outlook, _ = Check(ModeAuto, DeliveryCount)
	if !attach {
		return l
	}
	s, err := Attach(Options{Mode: ModeAuto, Delivery: DeliveryCount})
	if err != nil {
		l.Refusal = err.Error()
		return l
	}
	defer s.Close()
	ledger, err := s.Ledger()
	if err != nil {
		l.Refusal = err.Error()
	}
	l.Ledger = ledger.Probes
	return l
}

// inChild has another process look, which stays in dir.
func inChild(t *testing.T, what, dir string) look {
	t.Helper()
	self, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), childEnv+"="+what, "HOME="+dir, "TMPDIR="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var l look
	if err := json.Unmarshal(out, &l); err != nil || l.Outlook == nil {
		t.Fatalf("%v: %s", err, out)
	}
	return l
}

// checks has a process look, and sees to it that everything is left as it was.
func checks(t *testing.T) *Outlook {
	t.Helper()
	dir := t.TempDir()
	waitFor(t, "programs of other tests to be gone", func() bool {
		_, err := ebpf.ProgramGetNextID(0)
		return errors.Is(err, fs.ErrNotExist)
	})
	before := evidence(t, dir)
	l := inChild(t, "check", dir)
	after := evidence(t, dir)
	for what := range maps.Keys(before) {
		if before[what] != after[what] {
			t.Errorf("check changed %s:\n%s\nbecame\n%s", what, before[what], after[what])
		}
	}
	return l.Outlook
}

// attaches has a process attach, and returns its account or why there is none.
func attaches(t *testing.T) (ledger []event.ProbeLedger, refusal string) {
	t.Helper()
	l := inChild(t, "attach", t.TempDir())
	if works := l.Refusal == ""; works != l.Outlook.Works() {
		t.Errorf("check says works: %v, problems: %+v; a recording: %q", l.Outlook.Works(), l.Outlook.Problems, l.Refusal)
	}
	return l.Ledger, l.Refusal
}

// evidence is what tracing leaves in a kernel, and what a program leaves beside.
func evidence(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, file := range []string{
		"/proc/mounts", "/sys/kernel/debug/kprobes/list", "/sys/kernel/tracing/kprobe_events", "/sys/kernel/tracing/uprobe_events",
		"/sys/kernel/tracing/enabled_functions", "/sys/kernel/tracing/tracing_on", "/proc/sys/kernel/kptr_restrict", "/proc/modules",
	} {
		data, err := os.ReadFile(file)
		if err != nil {
			data = []byte(err.Error()) // tracefs may not be there
		}
		found[file] = string(data)
	}
	for _, dir := range []string{dir, "/run", "/sys/fs/bpf"} {
		entries, err := os.ReadDir(dir)
		found["folder "+dir] = fmt.Sprint(entries, err)
	}
	found["programs"] = ids(ebpf.ProgramGetNextID)
	found["maps"] = ids(ebpf.MapGetNextID)
	links := new(link.Iterator)
	for links.Next() {
		found["links"] += fmt.Sprint(links.ID, " ")
	}
	types := new(btf.HandleIterator)
	for types.Next() {
		found["types"] += fmt.Sprint(types.ID, " ")
	}
	if len(found["/proc/modules"]) == 0 || len(found["/proc/mounts"]) == 0 {
		t.Fatalf("this evidence is none: %v", found)
	}
	return found
}

// ids lists what the kernel has, by its numbers.
func ids[ID ~uint32](next func(ID) (ID, error)) string {
	var list []ID
	for id, err := next(0); err == nil; id, err = next(id) {
		list = append(list, id)
	}
	return fmt.Sprint(list)
}

// problem finds one by a part of what it says.
func (o *Outlook) problem(what string) *Problem {
	for i := range o.Problems {
		if strings.Contains(o.Problems[i].What, what) {
			return &o.Problems[i]
		}
	}
	return nil
}

// wantProblem wants it said, with what to do.
func wantProblem(t *testing.T, o *Outlook, what, remedy string, fatal bool) {
	t.Helper()
	p := o.problem(what)
	if p == nil || p.Fatal != fatal || !strings.Contains(p.Remedy, remedy) {
		t.Errorf("want a problem %q (fatal: %v), to do: %q; got %+v", what, fatal, remedy, o.Problems)
	}
}

// TestLabCheckStates: check says what is wrong with a kernel that lacks
// something, and what to do, and changes nothing.
func TestLabCheckStates(t *testing.T) {
	k := inLab(t)
	modules := []string{"cfg80211", "mac80211"}

	t.Run("all is there", func(t *testing.T) {
		o := checks(t)
		for i, m := range o.Modules {
			if m.Name != modules[i] || m.State != ModuleLoaded || m.Types == nil || *m.Types != k.describes(m.Name) {
				t.Errorf("%+v", m)
			}
		}
		if !o.Works() || len(o.Probes) != len(table) {
			t.Errorf("%+v", o)
		}
		if k.describes("cfg80211") && k.describes("mac80211") && len(o.Problems) != 0 {
			t.Errorf("problems: %+v", o.Problems)
		}
	})

	t.Run("no types of modules", func(t *testing.T) {
		hideTypes(t, "vmlinux")
		o := checks(t)
		for _, m := range modules {
			wantProblem(t, o, "no type information for the module "+m, "CONFIG_DEBUG_INFO_BTF_MODULES", false)
		}
		for _, p := range o.Probes {
			if p.Module != "" && (p.Hook != hookKprobe || !strings.HasPrefix(p.Reason, "no fentry: ")) {
				t.Errorf("%+v", p)
			}
		}
	})

	t.Run("no types at all", func(t *testing.T) {
		hideTypes(t)
		o := checks(t)
		wantProblem(t, o, "no type information", "CONFIG_DEBUG_INFO_BTF=y", true)
		if _, refusal := attaches(t); o.Types || o.Probes != nil || refusal != ErrNoBTF.Error() {
			t.Errorf("outlook %+v, recording: %s", o, refusal)
		}
	})

	t.Run("no tracefs", func(t *testing.T) {
		hideTracefs(t)
		o := checks(t)
		wantProblem(t, o, "which functions can be traced is unknown", "mount -t tracefs", false)
		for _, p := range o.Probes {
			// Tracepoints and the cgroup's program are on no function of that list.
			if p.Status == ProbeAvailable && (p.Hook == hookFentry || p.Hook == hookKprobe) {
				t.Errorf("%+v", p)
			}
		}
	})

	t.Run("no modules", func(t *testing.T) {
		for _, m := range slices.Backward(modules) {
			waitFor(t, m+" to be unloaded", func() bool { return unix.DeleteModule(m, unix.O_NONBLOCK) == nil })
		}
		o := checks(t)
		for _, m := range modules {
			wantProblem(t, o, "the module "+m+" isn't loaded", "modprobe "+m, false)
		}
		for i, p := range o.Probes {
			if table[i].module != "" && (p.Status != ProbeAbsent || !strings.Contains(p.Reason, "isn't loaded")) {
				t.Errorf("%+v", p)
			}
		}
	})
}

// hideTypes covers the kernel's type information, but for some files.
func hideTypes(t *testing.T, except ...string) {
	t.Helper()
	const dir = "/sys/kernel/btf"
	kept := map[string][]byte{}
	for _, name := range except {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		kept[name] = data
	}
	if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Fatal(err)
		}
	})
	for name, data := range kept {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o444); err != nil {
			t.Fatal(err)
		}
	}
}

// hideTracefs covers where tracefs is mounted, debugfs's own mount included.
func hideTracefs(t *testing.T) {
	t.Helper()
	for _, dir := range []string{"/sys/kernel/tracing", "/sys/kernel/debug"} {
		if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(dir, 0); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestLockedDown is the last that a kernel is used for: there is no way back.
// Whether securityfs is mounted to say so or not, nothing is tried that can't be.
func TestLockedDown(t *testing.T) {
	inLab(t)
	lockDown(t, "integrity")
	o := checks(t)
	ledger, _ := attaches(t)
	compareOutlook(t, o.Probes, ledger)
	if o.Lockdown != "integrity" || o.problem("locked down") != nil {
		t.Errorf("%q, problems: %+v", o.Lockdown, o.Problems)
	}
	lockDown(t, lockedDown)
	checkLocked(t)
	if err := unix.Unmount(securityfs, 0); err != nil {
		t.Fatal(err)
	}
	checkLocked(t)
}

const securityfs = "/sys/kernel/security"

func lockDown(t *testing.T, level string) {
	t.Helper()
	file := filepath.Join(securityfs, "lockdown")
	if _, err := os.Stat(file); err != nil {
		if err := unix.Mount("securityfs", securityfs, "securityfs", 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, []byte(level), 0); err != nil {
		t.Fatal(err)
	}
}

// checkLocked: both check and a recording say that nothing can be had, and why.
func checkLocked(t *testing.T) {
	t.Helper()
	o := checks(t)
	_, refusal := attaches(t)
	if o.Lockdown != lockedDown || !strings.Contains(refusal, whyLockedDown) {
		t.Errorf("check says %q, a recording: %q", o.Lockdown, refusal)
	}
	wantProblem(t, o, whyLockedDown, "lockdown=confidentiality", true)
	for _, p := range o.Probes {
		if p.Status != ProbeAbsent || p.Reason != whyLockedDown {
			t.Errorf("%+v", p)
		}
	}
}
