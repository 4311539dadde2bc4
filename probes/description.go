// SPDX-License-Identifier: Apache-2.0

package probes

import "slices"

// description is all that planning knows of a kernel: plain values, so that a
// plan can be made anywhere for any kernel. testdata/kernels has some of real
// ones.
type description struct {
	// Release and Arch are for people: planning doesn't look at them.
	Release string `json:"release"`
	Arch    string `json:"arch"`
	// Lockdown is "none", "integrity" or "confidentiality", "" if the kernel
	// doesn't say (Documentation/admin-guide/LSM).
	Lockdown string `json:"lockdown"`
	// Privileges says what this process lacks to trace; "" if nothing.
	Privileges string `json:"privileges,omitempty"`
	// Denials say what is refused to a process that lacks only some of them.
	Denials  denials  `json:"denials,omitzero"`
	Features features `json:"features"`
	// Types lists of vmlinux and the probes' modules which have BTF.
	Types []string `json:"types"`
	// Functions are the symbols that could serve a probe, one entry for each
	// time kallsyms has them.
	Functions []function `json:"functions"`
	// Tracepoints are those that could serve a probe.
	Tracepoints []tracepoint `json:"tracepoints"`
	// CgroupRoot is where the root of the cgroup2 hierarchy is mounted, "" if it
	// can't be seen.
	CgroupRoot string `json:"cgroup_root"`
	// Offsets are those of members in structures of modules, in bytes, by
	// "struct.member"; missing where there is no BTF.
	Offsets map[string]uint32 `json:"offsets"`
}

// features are the kernel's abilities that programs or hooks depend on.
type features struct {
	// Fentry: BPF trampolines can be put where ftrace has its calls.
	Fentry bool `json:"fentry"`
	Kprobe bool `json:"kprobe"`
	// KprobesNeedFtrace: the kernel refuses kprobes on functions that ftrace
	// can't get at (within_notrace_func in kernel/trace/trace_kprobe.c). Where
	// it doesn't, or has that inlined, only trying tells.
	KprobesNeedFtrace bool `json:"kprobes_need_ftrace"`
	// Fetch: atomics that return the old value (5.12 and later).
	Fetch bool `json:"fetch"`
	// Recursion: a fentry program doesn't run within itself (5.12 and later).
	// Before, nothing kept it from running.
	Recursion bool `json:"recursion"`
	// FentryMisses and KprobeMisses: the kernel counts calls whose programs
	// didn't run (5.12 for fentry, 6.7 for kprobes).
	FentryMisses bool `json:"fentry_misses"`
	KprobeMisses bool `json:"kprobe_misses"`
	// OwnCount: struct net counts its references itself (before 5.11).
	OwnCount bool `json:"own_count"`
}

// function is a function of a kernel. A compiler may have split it or changed its
// arguments; then its name has a suffix such as .part.0 or .isra.0.
type function struct {
	Name   string `json:"name"`
	Module string `json:"module,omitempty"`
	// Traceable says whether ftrace, and so fentry and kprobes, can get at it;
	// null if that could not be read.
	Traceable *bool `json:"traceable"`
	// Args are the types of its arguments without const and the like, null if
	// BTF doesn't have it; with a suffix, those of the function it was made of.
	Args []string `json:"args"`
}

// untraceable says that ftrace can't get at f, "" if it can or nobody knows.
func (f *function) untraceable() string {
	if f.Traceable == nil || *f.Traceable {
		return ""
	}
	return f.Name + " can't be traced (it isn't in available_filter_functions)"
}

// tracepoint is a tracepoint that BTF describes.
type tracepoint struct {
	Name string `json:"name"`
	// Args are the types of what is handed to its programs.
	Args []string `json:"args"`
}

// describes reports whether there is BTF for a module, "" being the kernel.
func (d *description) describes(module string) bool {
	if module == "" {
		module = "vmlinux"
	}
	return slices.Contains(d.Types, module)
}

// count returns how many functions have a name, in all modules.
func (d *description) count(name string) int {
	n := 0
	for i := range d.Functions {
		if d.Functions[i].Name == name {
			n++
		}
	}
	return n
}

// offset returns where a module's structure has a member.
func (d *description) offset(member string) (uint32, bool) {
	o, ok := d.Offsets[member]
	return o, ok
}
