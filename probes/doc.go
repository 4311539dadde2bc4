// SPDX-License-Identifier: Apache-2.0

// Package probes hooks the running kernel and turns what it says into events.
//
// Its terms, since the field uses them loosely:
//
//   - probe: what nstrace wants to know about, named after the kernel function
//     ("setup_net"). It is served by one function of this kernel, or none.
//   - program: a piece of eBPF code. A probe has one for the function's entry
//     and often one for its return, each in two forms.
//   - hook: how programs are attached to the function: "fentry" (with fexit for
//     the return) or "kprobe" (with kretprobe). A few probes are served by a
//     "tracepoint", or by a program of a "cgroup", instead.
//   - hit: one run of an entry program.
//   - lost: a record that found its ring full. Counted by the program itself.
//   - missed: a call the kernel let pass without running the program at all
//     (recursion, no free kretprobe instance). Counted by the kernel, or not.
package probes
