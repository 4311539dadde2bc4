// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// ErrNoBTF says that the kernel doesn't describe its types, without which the
// programs can't be fitted to it.
var ErrNoBTF = errors.New("this kernel has no type information (/sys/kernel/btf/vmlinux is missing): " +
	"use one built with CONFIG_DEBUG_INFO_BTF=y, as the distributions' are")

// kernel is what planning needs to know about the running kernel.
type kernel struct {
	// functions are the probes' functions that exist, by name.
	functions map[string]symbol
	// perCPUOffset is the address of __per_cpu_offset[], 0 if hidden.
	perCPUOffset uint64
	possibleCPUs int
	// types has the BTF of the kernel and its modules.
	types *btf.Cache
	// hasFetch says that the kernel knows atomics that return the old value
	// (5.12 and later).
	hasFetch bool
	// fentryMisses and kprobeMisses say that it counts calls whose programs
	// didn't run (5.12 for fentry, 6.7 for kprobes).
	fentryMisses, kprobeMisses bool
}

// readKernel looks at the running kernel and changes nothing.
func readKernel() (*kernel, error) {
	k := &kernel{functions: map[string]symbol{}, types: btf.NewCache()}
	spec, err := k.types.Kernel()
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, ebpf.ErrNotSupported) {
			return nil, ErrNoBTF
		}
		return nil, fmt.Errorf("read the kernel's type information: %w", err)
	}
	k.hasFetch = hasMember(spec, "bpf_prog_info", "recursion_misses")
	k.fentryMisses = k.hasFetch
	k.kprobeMisses = hasMember(spec, "bpf_link_info", "perf_event", "kprobe", "missed")
	if k.possibleCPUs, err = ebpf.PossibleCPU(); err != nil {
		return nil, fmt.Errorf("count the CPUs: %w", err)
	}
	return k, k.readSymbols()
}

func (k *kernel) readSymbols() error {
	wanted := map[string]bool{"__per_cpu_offset": true}
	for _, p := range table {
		for _, f := range p.functions {
			wanted[f] = true
		}
	}
	found, err := findSymbols(func(_ uint64, name []byte) bool { return wanted[string(name)] })
	if err != nil {
		return err
	}
	for _, s := range found {
		if s.name == "__per_cpu_offset" {
			k.perCPUOffset = s.addr
			continue
		}
		k.functions[s.name] = s
	}
	return nil
}

// hasMember reports whether a struct of the kernel has a member, at the end of
// a path through anonymous structs and unions.
func hasMember(spec *btf.Spec, name string, path ...string) bool {
	var s *btf.Struct
	if err := spec.TypeByName(name, &s); err != nil {
		return false
	}
	return memberPath(s.Members, path)
}

func memberPath(members []btf.Member, path []string) bool {
	for _, m := range members {
		below, isComposite := compositeMembers(m.Type)
		switch {
		case m.Name == path[0] && len(path) == 1:
			return true
		case m.Name == path[0] && isComposite && memberPath(below, path[1:]):
			return true
		case m.Name == "" && isComposite && memberPath(below, path):
			return true
		}
	}
	return false
}

func compositeMembers(t btf.Type) ([]btf.Member, bool) {
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		return t.Members, true
	case *btf.Union:
		return t.Members, true
	}
	return nil, false
}

// memberOffset returns where a struct of a module has a member, in bytes.
func (k *kernel) memberOffset(module, name, member string) (uint32, error) {
	spec, err := k.types.Module(module)
	if err != nil {
		return 0, fmt.Errorf("read the type information of %s: %w", module, err)
	}
	var s *btf.Struct
	if err := spec.TypeByName(name, &s); err != nil {
		return 0, fmt.Errorf("look up %s: %w", name, err)
	}
	for _, m := range s.Members {
		if m.Name == member && m.BitfieldSize == 0 {
			return m.Offset.Bytes(), nil
		}
	}
	return 0, fmt.Errorf("%s has no member %s", name, member)
}

// args returns how many arguments a function takes by the kernel's BTF.
func (k *kernel) args(function, module string) (int, error) {
	spec, err := k.types.Kernel()
	if module != "" {
		spec, err = k.types.Module(module)
	}
	if err != nil {
		return 0, err
	}
	var fn *btf.Func
	if err := spec.TypeByName(function, &fn); err != nil {
		return 0, fmt.Errorf("look up the arguments of %s: %w", function, err)
	}
	proto, ok := fn.Type.(*btf.FuncProto)
	if !ok {
		return 0, fmt.Errorf("look up the arguments of %s: its type is a %T", function, fn.Type)
	}
	return len(proto.Params), nil
}
