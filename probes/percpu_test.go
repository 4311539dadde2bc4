// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	ebpffeatures "github.com/cilium/ebpf/features"
)

// TestLabOffsets holds the copy of __per_cpu_offset[] against the kernel's own,
// where the symbols say where that is.
func TestLabOffsets(t *testing.T) {
	k := inLab(t)
	offsets, address, err := copyOffsets(k.types, k.possibleCPUs)
	if errors.Is(ebpffeatures.HaveProgramHelper(ebpf.RawTracepoint, asm.FnMapLookupPercpuElem), ebpf.ErrNotSupported) {
		if err == nil {
			t.Error("a copy without the helper it takes")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer offsets.Close()
	want := make([]uint64, k.possibleCPUs)
	if err := offsets.Lookup(uint32(0), &want); err != nil {
		t.Fatal(err)
	}
	if got := peek(t, address, k.possibleCPUs); !slices.Equal(got, want) {
		t.Errorf("at the copy's address is %#x, want %#x", got, want)
	}
	if k.perCPUOffset == 0 {
		t.Log("this kernel hides __per_cpu_offset")
		return
	}
	if got := peek(t, k.perCPUOffset, k.possibleCPUs); !slices.Equal(got, want) {
		t.Errorf("__per_cpu_offset is %#x, its copy %#x", got, want)
	}
}

// peek reads n numbers of the kernel's memory.
func peek(t *testing.T, address uint64, n int) []uint64 {
	t.Helper()
	value, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: uint32(8 * n), MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer value.Close()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.RawTracepoint, License: "GPL",
		Instructions: asm.Instructions{
			asm.LoadMapValue(asm.R1, value.FD(), 0),
			asm.Mov.Imm(asm.R2, int32(8*n)),
			asm.LoadImm(asm.R3, int64(address), asm.DWord),
			asm.FnProbeReadKernel.Call(),
			asm.Return(),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer prog.Close()
	failed, err := prog.Run(&ebpf.RunOptions{})
	if err != nil || failed != 0 {
		t.Fatalf("reading %#x: %d, %v", address, int32(failed), err)
	}
	numbers := make([]uint64, n)
	if err := value.Lookup(uint32(0), &numbers); err != nil {
		t.Fatal(err)
	}
	return numbers
}
