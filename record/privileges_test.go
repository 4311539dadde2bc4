// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	admin  = 1 << unix.CAP_SYS_ADMIN
	ptrace = 1 << unix.CAP_SYS_PTRACE
	search = 1 << unix.CAP_DAC_READ_SEARCH
	net    = 1 << unix.CAP_NET_ADMIN
	bpf    = 1 << unix.CAP_BPF
	perf   = 1 << unix.CAP_PERFMON
	kill   = 1 << unix.CAP_KILL
	all    = 1<<(unix.CAP_LAST_CAP+1) - 1
)

func TestKept(t *testing.T) {
	command := Options{Command: []string{"true"}}
	for _, c := range []struct {
		name    string
		had     capSet
		options Options
		want    capSet
	}{
		{"root", all, Options{}, admin | ptrace | search | net},
		{"root with a command", all, command, admin | ptrace | search | net | kill},
		{"root without CAP_SYS_ADMIN", all &^ admin, Options{}, bpf | perf | ptrace | search | net},
		{"the least", bpf | perf, command, bpf | perf},
		{"nothing", 0, command, 0},
	} {
		if got := kept(c.had, &c.options); got != c.want {
			t.Errorf("%s: keeps %x, want %x", c.name, got, c.want)
		}
	}
}

// giveUpEnv makes a process of this test give privileges up and tell what it has.
const giveUpEnv = "NSTRACE_RECORD_GIVE_UP"

// TestGiveUp looks at every thread of a process that gives privileges up.
func TestGiveUp(t *testing.T) {
	if os.Getenv(giveUpEnv) != "" {
		giveUpHere(t)
		return
	}
	had, err := effective()
	if err != nil {
		t.Fatal(err)
	}
	if !had.has(unix.CAP_SETPCAP) {
		t.Skip("needs root")
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestGiveUp$", "-test.v")
	cmd.Env = append(os.Environ(), giveUpEnv+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for step, want := range map[string]string{
		"first": fmt.Sprintf("CapInh 0, CapPrm %x, CapEff %[1]x, CapBnd %x, CapAmb 0, NoNewPrivs 1", had&(kill|ptrace), had&kill),
		"then":  fmt.Sprintf("CapInh 0, CapPrm %x, CapEff %[1]x, CapBnd %[1]x, CapAmb 0, NoNewPrivs 1", had&kill),
	} {
		threads := 0
		for line := range bytes.Lines(out) {
			if text, ok := strings.CutPrefix(string(bytes.TrimSpace(line)), step+": "); ok {
				threads++
				if text != want {
					t.Errorf("%s: a thread has\n%s, want\n%s", step, text, want)
				}
			}
		}
		if threads < 4 {
			t.Errorf("%s: only %d threads: %s", step, threads, out)
		}
	}
}

func giveUpHere(t *testing.T) {
	// Threads of all kinds: locked ones, and such as wait in the kernel.
	for range 3 {
		ready := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(ready)
			select {}
		}()
		<-ready
	}
	var pipe [2]int
	if err := unix.Pipe(pipe[:]); err != nil {
		t.Fatal(err)
	}
	go unix.Read(pipe[0], make([]byte, 1))
	if err := giveUp(kill, ptrace); err != nil {
		t.Fatal(err)
	}
	printThreads(t, "first")
	if err := giveUp(kill, 0); err != nil {
		t.Fatal(err)
	}
	printThreads(t, "then")
}

func printThreads(t *testing.T, step string) {
	files, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		status, err := os.ReadFile(file)
		if err != nil {
			continue // a thread that has ended
		}
		var fields []string
		for line := range bytes.Lines(status) {
			name, value, _ := strings.Cut(string(bytes.TrimSpace(line)), ":\t")
			if strings.HasPrefix(name, "Cap") || name == "NoNewPrivs" {
				fields = append(fields, fmt.Sprintf("%s %s", name, orZero(strings.TrimLeft(value, "0"))))
			}
		}
		fmt.Printf("%s: %s\n", step, strings.Join(fields, ", "))
	}
}

func orZero(s string) string {
	if s == "" {
		return "0"
	}
	return s
}
