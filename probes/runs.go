// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// The kernel doesn't run a kprobe's program while another one, or bpf(2) at work
// on a map, is running on the same CPU (trace_call_bpf in kernel/trace/bpf_trace.c).
// Before 6.7 it doesn't count that, but a trace event counts its hits before. So
// there a program counts its runs, before anything else.

// newRuns makes the counter of one program's runs.
func newRuns() (*ebpf.Map, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "nst_runs", Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("create a counter of runs: %w", err)
	}
	return m, nil
}

// countRuns has a program begin with adding to a counter.
func countRuns(program asm.Instructions, runs *ebpf.Map) asm.Instructions {
	const entry = "counted"
	count := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, runs.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, entry),
		asm.Mov.Imm(asm.R1, 1),
		asm.AddAtomic.Mem(asm.R0, asm.R1, asm.DWord, 0),
		asm.Mov.Reg(asm.R1, asm.R6).WithSymbol(entry),
	}
	// The program's name, type and source are where it begins.
	first := program[0]
	count[0] = btf.WithFuncMetadata(count[0].WithSymbol(first.Symbol()), btf.FuncMetadata(&first)).WithSource(first.Source())
	program[0] = btf.WithFuncMetadata(first.WithSymbol(""), nil)
	return append(count, program...)
}
