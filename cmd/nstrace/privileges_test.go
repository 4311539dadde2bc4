// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// capabilityBits are those that scripts name.
var capabilityBits = map[string]uint{
	"dac_read_search": unix.CAP_DAC_READ_SEARCH, "kill": unix.CAP_KILL,
	"sys_admin": unix.CAP_SYS_ADMIN, "sys_ptrace": unix.CAP_SYS_PTRACE,
	"net_admin": unix.CAP_NET_ADMIN,
	"bpf":       unix.CAP_BPF, "perfmon": unix.CAP_PERFMON,
}

// holds FILE CAPABILITY... compares what threads have, lines of /proc/PID/status,
// with what they should: these capabilities, no way to others, and none to hand on.
func holds(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: holds FILE CAPABILITY...")
	}
	var caps uint64
	for _, name := range args[1:] {
		bit, ok := capabilityBits[name]
		if !ok {
			ts.Fatalf("no capability %s", name)
		}
		caps |= 1 << bit
	}
	has, none := fmt.Sprintf("%016x", caps), fmt.Sprintf("%016x", 0)
	want := map[string]string{"CapInh": none, "CapPrm": has, "CapEff": has, "CapBnd": has, "CapAmb": none, "NoNewPrivs": "1"}
	seen := map[string]int{}
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
		seen[name]++
		if value != want[name] {
			ts.Fatalf("%s is %s, want %s", name, value, want[name])
		}
	}
	for name := range want {
		if seen[name] < 3 {
			ts.Fatalf("%d threads have a %s, a Go program has more", seen[name], name)
		}
	}
}
