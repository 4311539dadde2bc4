// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"maps"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

func TestEventNames(t *testing.T) {
	const list = `p:kprobes/mine do_sys_open
r4096:nstrace/setup_net_return_0badcafe setup_net
p:nstrace/net_drop_ns_part_0_entry_1 net_drop_ns.part.0
r:nstrace_12ab/register_netdevice register_netdevice
p:nstracer/other nstrace/x:nstrace/y
p:ebpf_1/nstrace do_exit arg1=%di
`
	want := []string{"nstrace/setup_net_return_0badcafe", "nstrace/net_drop_ns_part_0_entry_1", "nstrace_12ab/register_netdevice"}
	if got := eventNames(list); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestParseProfile(t *testing.T) {
	// From 6.1, 30 parallel unshare -n with one instance.
	got, err := parseProfile(`  setup_net_return_83ee8f75                                 11              20
  unregister_pernet_operations_return_fc3d52a9               0               0
`)
	want := map[string]eventCount{"setup_net_return_83ee8f75": {11, 20}, "unregister_pernet_operations_return_fc3d52a9": {}}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for _, bad := range []string{"a 1", "a 1 x", "a -1 2", "a 1 2 3"} {
		if got, err := parseProfile(bad + "\n"); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
}

// TestTallySkipped: what a kernel before 6.7 doesn't count is known where a trace
// event counts its hits and the program its runs, and unknown elsewhere.
func TestTallySkipped(t *testing.T) {
	e := &traceEvent{name: "e"}
	tally := &tally{
		features: &features{Recursion: true, FentryMisses: true},
		events:   map[string]eventCount{"e": {hits: 10, missed: 2}, "r": {hits: 7, missed: 3}},
		skipped:  map[string]uint64{"e": 1},
	}
	a := &attached{entry: &ebpf.Program{}, exit: &ebpf.Program{}, entryLink: e, exitLink: &traceEvent{name: "r"}}
	a.ledger.Hook = hookKprobe
	m := tally.misses(a)
	if m.entry == nil || *m.entry != 3 || m.exit != nil {
		t.Errorf("%v, want 3 at the entry and no knowledge of the return", m)
	}
	delete(tally.skipped, "e")
	if m := tally.misses(a); m.entry != nil {
		t.Errorf("%d at the entry although the runs were never counted", *m.entry)
	}
}

// TestCountRuns: a program that counts its runs does what it did, and its counter
// has each.
func TestCountRuns(t *testing.T) {
	runs, err := newRuns()
	if err != nil {
		t.Skip(err) // not as root
	}
	defer runs.Close()
	program := asm.Instructions{
		// What it is given is there, and its stack too.
		asm.LoadMem(asm.R0, asm.R1, 0, asm.DWord).WithSymbol("program"),
		asm.StoreMem(asm.RFP, -4, asm.R0, asm.Word),
		asm.LoadMem(asm.R0, asm.RFP, -4, asm.Word),
		asm.JEq.Imm(asm.R0, 0, "end"),
		asm.Add.Imm(asm.R0, 1),
		asm.Return().WithSymbol("end"),
	}
	plain := len(program)
	counted := countRuns(slices.Clone(program), runs)
	if got, want := counted[0].Symbol(), "program"; got != want || program[0].Symbol() != want || len(program) != plain {
		t.Errorf("it begins at %q, and what it was made of at %q", got, program[0].Symbol())
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.RawTracepoint, License: "GPL", Instructions: counted})
	if err != nil {
		t.Skip(err)
	}
	defer p.Close()
	for n := range uint64(3) {
		got, err := p.Run(&ebpf.RunOptions{Context: []uint64{41}})
		if err != nil || got != 42 {
			t.Fatalf("%d, %v; want 42", got, err)
		}
		if sum, err := sumPerCPU(runs, 0); err != nil || sum != n+1 {
			t.Errorf("%d runs, %v; want %d", sum, err, n+1)
		}
	}
}
