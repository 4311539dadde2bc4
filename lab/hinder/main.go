// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command hinder makes the kernel let calls of probed functions pass without
// running their programs, as other users of BPF do by accident: for tests of
// what nstrace then says.
//
//	hinder hold FILE      be in bpf(2), at work on a map, most of the time: no
//	                      kprobe's program runs meanwhile on that CPU
//	hinder kprobe FILE    be in a kprobe most of the time: no other kprobe is served
//	hinder fentry FILE    make programs that change a hash map slow, so that they
//	                      are still running when they would run again
//
// It creates FILE once it does, and goes on until it is killed.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) != 3 {
		fail(errors.New("use: hinder hold|kprobe|fentry FILE"))
	}
	// Kernels before 5.11 charge maps to it.
	if err := rlimit.RemoveMemlock(); err != nil {
		fail(err)
	}
	hinder := map[string]func(ready func()) error{"hold": hold, "kprobe": kprobe, "fentry": fentry}[os.Args[1]]
	if hinder == nil {
		fail(fmt.Errorf("no way to hinder called %s", os.Args[1]))
	}
	fail(hinder(func() {
		if err := os.WriteFile(os.Args[2], nil, 0o644); err != nil {
			fail(err)
		}
	}))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "hinder:", err)
	os.Exit(1)
}

// buckets is how many a table has that takes long to look through, without being
// interrupted by a look at the clock (__htab_map_lookup_and_delete_batch in
// kernel/bpf/hashtab.c goes on while it finds nothing).
const buckets = 1 << 22

// hold looks for something in a large and empty table, again and again.
func hold(ready func()) error {
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Type: ebpf.Hash, KeySize: 4, ValueSize: 4, MaxEntries: buckets, Flags: unix.BPF_F_NO_PREALLOC,
	})
	if err != nil {
		return err
	}
	defer m.Close()
	ready()
	for {
		var cursor ebpf.MapBatchCursor
		found := make([]uint32, 1)
		if _, err := m.BatchLookup(&cursor, found, found, nil); !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("look through an empty table: %w", err)
		}
	}
}

// slow is a program that does nothing for some milliseconds. Loops without a
// helper would be too fast, longer ones too much for the verifier.
func slow(rounds int32) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Imm(asm.R6, rounds),
		asm.FnKtimeGetNs.Call().WithSymbol("again"),
		asm.Sub.Imm(asm.R6, 1),
		asm.JNE.Imm(asm.R6, 0, "again"),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
	}
}

// kprobe calls a harmless function that has a slow kprobe.
func kprobe(ready func()) error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.Kprobe, License: "GPL", Instructions: slow(20000)})
	if err != nil {
		return err
	}
	defer p.Close()
	l, err := link.Kprobe("__do_sys_getppid", p, nil)
	if err != nil {
		return err
	}
	defer l.Close()
	ready()
	for {
		unix.Getppid()
	}
}

// fentry slows down what changes a hash map, bpf(2) included.
func fentry(ready func()) error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFEntry, AttachTo: "htab_map_update_elem", License: "GPL",
		Instructions: slow(20000),
	})
	if err != nil {
		return err
	}
	defer p.Close()
	l, err := link.AttachTracing(link.TracingOptions{Program: p})
	if err != nil {
		return err
	}
	defer l.Close()
	ready()
	return unix.Pause() // a signal kills it
}
