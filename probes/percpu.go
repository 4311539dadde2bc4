// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// A per-CPU pointer is the same on all CPUs; __per_cpu_offset[] says how far
// behind it each one's own memory is. A kernel without CONFIG_KALLSYMS_ALL, such
// as Debian's for arm64, doesn't tell where that array is. But a per-CPU map has
// both, the pointer and what became of it on each CPU; their differences are the
// array, and a copy of it in another map serves programs as well.

// offsetProbe are the slots of a map by which offsetProgram is asked and answers.
type offsetProbe struct {
	// CPU is the one asked for.
	CPU uint64
	// Address is where that CPU has the first element of the per-CPU map.
	Address uint64
	// Scratch is for offsetProgram itself.
	Scratch uint64
	// Pointer is the per-CPU pointer to that element.
	Pointer uint64
}

// copyOffsets returns a copy of __per_cpu_offset[] for that many CPUs, and its
// address in the kernel, which is good until the map is closed. It takes
// bpf_map_lookup_percpu_elem (Linux 5.19).
func copyOffsets(types *btf.Cache, cpus int) (offsets *ebpf.Map, address uint64, err error) {
	member, err := pointersOffset(types)
	if err != nil {
		return nil, 0, err
	}
	anchor, err := ebpf.NewMap(&ebpf.MapSpec{Name: "nst_anchor", Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return nil, 0, fmt.Errorf("create a map: %w", err)
	}
	defer anchor.Close()
	// One value as large as the whole array, so that there is nothing in between.
	offsets, err = ebpf.NewMap(&ebpf.MapSpec{Name: "nst_offsets", Type: ebpf.Array, KeySize: 4, ValueSize: uint32(8 * cpus), MaxEntries: 1})
	if err != nil {
		return nil, 0, fmt.Errorf("create a map: %w", err)
	}
	array := make([]uint64, cpus)
	for cpu := range array {
		answer, err := askOffset(anchor, uint64(cpu), asm.FnMapLookupPercpuElem, member)
		if err != nil {
			return nil, 0, errors.Join(err, offsets.Close())
		}
		array[cpu] = answer.Address - answer.Pointer
	}
	if err := offsets.Put(uint32(0), array); err != nil {
		return nil, 0, errors.Join(err, offsets.Close())
	}
	answer, err := askOffset(offsets, 0, asm.FnMapLookupElem, member)
	if err != nil {
		return nil, 0, errors.Join(err, offsets.Close())
	}
	return offsets, answer.Address, nil
}

// pointersOffset is where the per-CPU pointers are in struct bpf_array
// (include/linux/bpf.h), in bytes.
func pointersOffset(types *btf.Cache) (int32, error) {
	spec, err := types.Kernel()
	if err != nil {
		return 0, err
	}
	var array *btf.Struct
	if err := spec.TypeByName("bpf_array", &array); err != nil {
		return 0, fmt.Errorf("look for struct bpf_array: %w", err)
	}
	for _, m := range array.Members {
		below, composite := compositeMembers(m.Type)
		if m.Name == "pptrs" || m.Name == "" && composite && memberPath(below, []string{"pptrs"}) {
			return int32(m.Offset.Bytes()), nil // in the union all begin there
		}
	}
	return 0, errors.New("struct bpf_array has no pptrs")
}

// askOffset looks an array map's first element up in the kernel.
func askOffset(array *ebpf.Map, cpu uint64, lookup asm.BuiltinFunc, member int32) (answer offsetProbe, err error) {
	slots, err := ebpf.NewMap(&ebpf.MapSpec{Name: "nst_slots", Type: ebpf.Array, KeySize: 4, ValueSize: 32, MaxEntries: 1})
	if err != nil {
		return answer, fmt.Errorf("create a map: %w", err)
	}
	defer slots.Close()
	if err := slots.Put(uint32(0), offsetProbe{CPU: cpu}); err != nil {
		return answer, err
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "nst_offset", Type: ebpf.RawTracepoint, License: "GPL",
		Instructions: offsetProgram(array, slots, lookup, member),
	})
	if err != nil {
		return answer, fmt.Errorf("load a program: %w", err)
	}
	defer prog.Close()
	failed, err := prog.Run(&ebpf.RunOptions{})
	if err != nil {
		return answer, fmt.Errorf("run a program: %w", err)
	}
	if failed != 0 {
		return answer, fmt.Errorf("CPU %d has no element of a per-CPU map", cpu)
	}
	return answer, slots.Lookup(uint32(0), &answer)
}

// offsetProgram fills in the slots. Written to a map and read back, an address is
// a number to the verifier; that takes CAP_PERFMON, as reading kernel memory does.
func offsetProgram(array, slots *ebpf.Map, lookup asm.BuiltinFunc, member int32) asm.Instructions {
	return asm.Instructions{
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, slots.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "failed"),
		asm.Mov.Reg(asm.R6, asm.R0),

		asm.LoadMapPtr(asm.R1, array.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMem(asm.R3, asm.R6, 0, asm.DWord), // CPU
		lookup.Call(),
		asm.JEq.Imm(asm.R0, 0, "failed"),
		asm.StoreMem(asm.R6, 8, asm.R0, asm.DWord), // Address

		asm.LoadMapPtr(asm.R1, array.FD()),
		asm.StoreMem(asm.R6, 16, asm.R1, asm.DWord), // Scratch
		asm.LoadMem(asm.R3, asm.R6, 16, asm.DWord),
		asm.Add.Imm(asm.R3, member),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Add.Imm(asm.R1, 24), // Pointer
		asm.Mov.Imm(asm.R2, 8),
		asm.FnProbeReadKernel.Call(),
		asm.Return(),

		asm.Mov.Imm(asm.R0, 1).WithSymbol("failed"),
		asm.Return(),
	}
}
