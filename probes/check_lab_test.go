// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/nstrace/nstrace/event"
)

// compareOutlook wants nothing unknown and nothing else than announced, but for
// some probes.
func compareOutlook(t *testing.T, announced []ProbeOutlook, got []event.ProbeLedger, except ...string) {
	t.Helper()
	if len(announced) != len(got) || len(got) == 0 {
		t.Fatalf("%d probes announced, %d in the ledger", len(announced), len(got))
	}
	for i, p := range got {
		a := announced[i]
		if slices.Contains(except, a.Name) {
			continue
		}
		want := event.ProbeLedger{
			Name: a.Name, Hook: a.Hook, Function: a.Function, Module: a.Module, Status: event.StatusAttached, Reason: a.Reason, Loses: a.Loses,
		}
		switch a.Status {
		case ProbeAbsent:
			want.Status = event.StatusAbsent
		case ProbeUnknown:
			t.Errorf("%s: unknown (%s)", a.Name, a.Reason)
		}
		if was := foretold(p); was != want {
			t.Errorf("announced\n%+v, got\n%+v", want, was)
		}
	}
}

// foretold is that part of an account which Check has, too.
func foretold(p event.ProbeLedger) event.ProbeLedger {
	return event.ProbeLedger{
		Name: p.Name, Hook: p.Hook, Function: p.Function, Module: p.Module, Status: p.Status, Reason: p.Reason, Loses: p.Loses,
	}
}

// untraceable is a function that ftrace can't get at on any of the lab's
// kernels: its own clock.
var untraceable = candidate{name: "trace_clock_local", args: "..."}

// hide puts a function that can't be traced before those that serve a probe of
// the table, or in their place, for one test.
func hide(t *testing.T, name string, inPlace bool) {
	t.Helper()
	i := slices.IndexFunc(table, func(p probe) bool { return p.name == name })
	before := table[i].functions
	t.Cleanup(func() { table[i].functions = before })
	table[i].functions = []candidate{untraceable}
	if !inPlace {
		table[i].functions = append(table[i].functions, before...)
	}
}

// TestLabUntraceable: of a function that can't be traced a recording, which
// finds that out by trying, says and does the same as Check, which asks.
func TestLabUntraceable(t *testing.T) {
	k := inLab(t)
	hide(t, "cleanup_net", true)
	hide(t, "dev_change_net_namespace", false)
	outlook, err := Check(ModeAuto, DeliveryOff)
	if err != nil {
		t.Fatal(err)
	}
	before := evidence(t, t.TempDir())
	s, err := Attach(Options{Mode: ModeAuto, Delivery: DeliveryOff})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	// What TestLabCheckStates goes by does change when anything is attached.
	after := evidence(t, t.TempDir())
	kprobes, ftrace := "/sys/kernel/debug/kprobes/list", "/sys/kernel/tracing/enabled_functions"
	if before["programs"] == after["programs"] || before["maps"] == after["maps"] ||
		before[kprobes] == after[kprobes] && before[ftrace] == after[ftrace] {
		t.Errorf("attached, and nothing shows it:\n%s\n%s", after[kprobes], after[ftrace])
	}
	ledger, err := s.Ledger()
	if err != nil {
		t.Fatal(err)
	}
	a := outlook.Probes[0]
	t.Logf("announced %+v, got %+v", a, foretold(ledger.Probes[0]))
	const why = "trace_clock_local can't be traced (it isn't in available_filter_functions)"
	if !k.Features.KprobesNeedFtrace {
		// Only trying tells, and Check says so.
		if a.Name != "cleanup_net" || a.Status != ProbeUnknown || a.Hook != hookKprobe || !strings.Contains(a.Reason, why) {
			t.Errorf("announced %+v", a)
		}
		compareOutlook(t, outlook.Probes[1:], ledger.Probes[1:], "dev_change_net_namespace")
		return
	}
	if a.Name != "cleanup_net" || a.Status != ProbeAbsent || !strings.HasSuffix(a.Reason, why) {
		t.Errorf("announced %+v", a)
	}
	compareOutlook(t, outlook.Probes, ledger.Probes)
	if k.Features.Fentry {
		checkRefusedMove(t, s)
	}
}

// checkRefusedMove: a probe that is attached in another way than planned at
// first knows the arguments of the function it is on now, since by them fexit
// finds what is returned.
func checkRefusedMove(t *testing.T, s *Set) {
	t.Helper()
	if err := s.Begin(); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{
		"ip netns add elsewhere", "! ip link set lo netns elsewhere", "ip netns del elsewhere",
	} {
		if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	said := &story{counts: map[event.Flow]uint64{}}
	if err := errors.Join(s.Stop(said), s.End(said)); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(said.events, func(e event.Event) bool {
		return e.Kind == event.KindNetdevMove && e.Phase == event.PhaseExit
	})
	if i < 0 {
		t.Fatalf("no move in %+v", said.events)
	}
	if e := said.events[i]; e.Name != "lo" || e.Ret != uint32(syscall.EINVAL) {
		t.Errorf("moving lo should be refused with EINVAL: %+v", e)
	}
}
