// SPDX-License-Identifier: Apache-2.0

package record

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestStandInPID: the command has the PID that its stand-in had.
func TestStandInPID(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	c := prepared(t, "sh", "-c", `echo $$ >"$0"`, file)
	done := make(chan struct{})
	if err := c.start(func() { close(done) }); err != nil {
		t.Fatal(err)
	}
	<-done
	pid, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintln(c.cmd.Process.Pid); string(pid) != want {
		t.Errorf("the command's PID is %s, the stand-in's was %s", pid, want)
	}
}

// TestStandInDescriptors: the command has those that the caller has for it, from 3
// on too, and none of nstrace's.
func TestStandInDescriptors(t *testing.T) {
	dir := t.TempDir()
	theirs, err := unix.Open(dir, unix.O_RDONLY, 0) // without close on exec
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(theirs)
	out := filepath.Join(dir, "out")
	// The shell's own are 0 to 2 and that of the list itself.
	ended(t, "sh", "-c", `ls -l /proc/$$/fd >"$0"`, out)
	list, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var others []string
	for line := range strings.Lines(string(list)) {
		if _, file, ok := strings.Cut(line, " -> "); ok && strings.Contains(line, "socket:") {
			others = append(others, file)
		}
	}
	if len(others) > 0 {
		t.Errorf("the command has sockets: %q", others)
	}
	if !strings.Contains(string(list), fmt.Sprintf(" %d -> %s\n", theirs, dir)) {
		t.Errorf("the command hasn't %d, the caller's:\n%s", theirs, list)
	}
}

// TestStandInAbandoned: nothing runs and nobody is left.
func TestStandInAbandoned(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ran")
	for _, stopped := range []bool{false, true} {
		c := prepared(t, "touch", file)
		pid := c.cmd.Process.Pid
		if stopped {
			if err := c.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		}
		c.abandon()
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("stopped %v: %d is still there: %v", stopped, pid, err)
		}
		if exists(file) {
			t.Errorf("stopped %v: the command ran", stopped)
		}
	}
}

// TestStandInOrphaned: without the recorder there is no command.
func TestStandInOrphaned(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ran")
	c := prepared(t, "touch", file)
	c.stage.close() // as when the recorder is killed
	c.stage = nil
	if err := c.cmd.Wait(); err == nil || c.cmd.ProcessState.ExitCode() != exitNotRun {
		t.Errorf("it ended with %v", err)
	}
	if exists(file) {
		t.Error("the command ran")
	}
}

// TestStandInKilled: who kills the stand-in has killed the command.
func TestStandInKilled(t *testing.T) {
	c := prepared(t, "true")
	if err := c.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	var info unix.Siginfo // wait for its end, and leave it to be waited for
	if err := unix.Waitid(unix.P_PID, c.cmd.Process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	if err := c.start(func() { close(done) }); err != nil {
		t.Fatal(err)
	}
	<-done
	if got := c.status(); got == nil || *got != 128+int(syscall.SIGINT) {
		t.Errorf("got status %v", got)
	}
}

// TestStandInArguments: what isn't meant for a stand-in isn't one.
func TestStandInArguments(t *testing.T) {
	for _, args := range [][]string{
		nil,
		{"nstrace"},
		{"nstrace", "record"},
		{"nstrace", standInArg},
		{"nstrace", standInArg, "x", "", "/bin/true", "true"},
		{"nstrace", "report", "3", "", "/bin/true", "true"},
	} {
		StandIn(args) // returns
	}
}
