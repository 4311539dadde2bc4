// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nstrace/nstrace/lab"
)

// Few machines, each of them seconds of work: what one can show isn't spread over several. Those that do little
// run side by side.

// fetched returns a kernel, or skips a test where there can't be one, with -short.
func fetched(t *testing.T, suite, arch string) lab.Kernel {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a machine")
	}
	kernel, err := lab.Fetch(t.Context(), suite, arch, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	return kernel
}

func TestRun(t *testing.T) {
	share := t.TempDir()
	if err := os.WriteFile(filepath.Join(share, "in"), []byte("from outside\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	machine := lab.VM{
		Kernel: fetched(t, "bookworm", runtime.GOARCH), CPUs: 2, Share: share, Timeout: 2 * time.Minute,
		Env: []string{"GREETING=hello there"}, Stdout: &stdout, Stderr: &stderr,
	}
	// What is promised of a machine, looked at from inside it. The daemon must not keep it from ending, and
	// the flood is more than fits into any buffer on its way.
	const script = `
		nproc
		pwd; hostname; echo "$GREETING" '$1 "quoted"' "$1"
		uname -r
		cat in; cp in out
		ls -d /lib/modules/$(uname -r)/kernel
		stat -f -c %T /proc /sys/kernel/tracing /sys/kernel/debug /sys/fs/bpf /sys/fs/cgroup /run /
		ls -d /run/netns /run/lock
		ip -br link show lo | grep -o UP,
		touch /etc/only-here
		sleep 1000 &
		head -c 3000000 /dev/zero | tr '\0' x >&2
		echo to stderr >/dev/stderr
		kill -TERM $$`
	status, err := machine.Run(t.Context(), "sh", "-c", script, "sh", "an argument")
	if err != nil {
		t.Fatal(err)
	}
	if status != 128+15 {
		t.Errorf("status %d, want 143 for SIGTERM", status)
	}
	release := machine.Kernel.Release
	want := strings.Join([]string{
		"2", "/share", "lab", `hello there $1 "quoted" an argument`, release, "from outside", "/lib/modules/" + release + "/kernel",
		"proc", "tracefs", "debugfs", "bpf_fs", "cgroup2fs", "tmpfs", "overlayfs", "/run/lock", "/run/netns", "UP,", "",
	}, "\n")
	if got := stdout.String(); got != want {
		t.Errorf("standard output:\n%s\nwant:\n%s", got, want)
	}
	if got, want := stderr.String(), strings.Repeat("x", 3000000)+"to stderr\n"; got != want {
		t.Errorf("standard error: %d bytes, want %d; it ends in %q", len(got), len(want), got[max(0, len(got)-80):])
	}
	if got, err := os.ReadFile(filepath.Join(share, "out")); err != nil || string(got) != "from outside\n" {
		t.Errorf("file written to /share: %q, %v", got, err)
	}
	if _, err := os.Stat("/etc/only-here"); err == nil {
		t.Error("what the guest wrote to its root reached the host's")
	}
}

func TestRunFails(t *testing.T) {
	tests := map[string]struct {
		command string
		timeout time.Duration
		want    error
		console string
	}{
		"panic":      {"echo c >/proc/sysrq-trigger; sleep 60", time.Minute, lab.ErrPanic, "sysrq_handle_crash"},
		"power off":  {"echo o >/proc/sysrq-trigger; sleep 60", time.Minute, lab.ErrStopped, ""},
		"no command": {"", time.Minute, lab.ErrNotStarted, ""},
		"hang":       {"sleep 1000", 10 * time.Second, lab.ErrTimeout, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			machine := lab.VM{Kernel: fetched(t, "bookworm", runtime.GOARCH), Timeout: test.timeout, MemoryMiB: 512}
			argv := []string{"sh", "-c", test.command}
			if test.command == "" {
				argv = []string{"no-such-command"}
			}
			_, err := machine.Run(t.Context(), argv...)
			if !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			if !strings.Contains(err.Error(), test.console) {
				t.Errorf("the error should carry the console's %q: %v", test.console, err)
			}
		})
	}
}

// What is executed twice takes the same time twice, whatever else the host does.
func TestCountInstructions(t *testing.T) {
	t.Parallel()
	// Nothing here makes a process, which would read files of the host and wait for it.
	const script = `
		now() { while read -r what at n _; do [ "$what $at" != "now at" ] || break; done </proc/timer_list; }
		busy() { i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done; }
		busy
		for run in 1 2; do now; start=$n; busy; now; echo $((n - start)); done`
	var out bytes.Buffer
	machine := lab.VM{
		Kernel: fetched(t, "bookworm", runtime.GOARCH), CountInstructions: true, MemoryMiB: 512, Timeout: 2 * time.Minute,
		Stdout: &out, Stderr: &out,
	}
	if status, err := machine.Run(t.Context(), "sh", "-c", script); err != nil || status != 0 {
		t.Fatalf("status %d, %v: %s", status, err, out.Bytes())
	}
	var first, second float64
	if _, err := fmt.Sscan(out.String(), &first, &second); err != nil {
		t.Fatalf("%v: %s", err, out.Bytes())
	}
	if ratio := second / first; first < 1e6 || ratio < 0.98 || ratio > 1.02 {
		t.Errorf("the same took %.0f and then %.0f instructions", first, second)
	}
	t.Logf("%.0f, %.0f instructions", first, second)
}

// Nothing of a machine may stay when its user loses interest.
func TestRunCancelled(t *testing.T) {
	machine := lab.VM{Kernel: fetched(t, "bookworm", runtime.GOARCH), Timeout: time.Minute, MemoryMiB: 512}
	ctx, cancel := context.WithCancel(t.Context())
	machine.Stdout = writerFunc(func([]byte) { cancel() })
	_, err := machine.Run(ctx, "sh", "-c", "echo running; sleep 1000")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	children, err := os.ReadFile("/proc/thread-self/children")
	if err != nil {
		t.Skip("this kernel doesn't list children: ", err)
	}
	if len(children) > 0 {
		t.Errorf("still there: processes %s", children)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

func TestForeignArchitecture(t *testing.T) {
	arch := "arm64"
	if arch == runtime.GOARCH {
		arch = "amd64"
	}
	kernel := fetched(t, "bookworm", arch)
	share := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(share, "static"), "./testdata/static")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var stdout, stderr bytes.Buffer
	machine := lab.VM{Kernel: kernel, Share: share, Timeout: 2 * time.Minute, Stdout: &stdout, Stderr: &stderr}
	status, err := machine.Run(t.Context(), "/share/static")
	if err != nil {
		t.Fatal(err)
	}
	if status != 3 || stdout.String() != arch+" 2 radios\n" || stderr.Len() > 0 {
		t.Errorf("status %d, standard output %q, standard error %q", status, stdout.String(), stderr.String())
	}
}
