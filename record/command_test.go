// SPDX-License-Identifier: Apache-2.0

package record

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestMain makes stand-ins of the test's own processes, as nstrace does.
func TestMain(m *testing.M) {
	StandIn(os.Args)
	os.Exit(m.Run())
}

// prepared is a command with its stand-in.
func prepared(t *testing.T, argv ...string) *command {
	t.Helper()
	c, err := newCommand(argv)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.prepare(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.abandon)
	return c
}

// ended runs a command to its end.
func ended(t *testing.T, argv ...string) *command {
	t.Helper()
	c := prepared(t, argv...)
	called := make(chan struct{})
	if err := c.start(func() { close(called) }); err != nil {
		t.Fatal(err)
	}
	<-called
	return c
}

func TestCommandStatus(t *testing.T) {
	for _, c := range []struct {
		script string
		want   int
	}{
		{"exit 0", 0},
		{"exit 7", 7},
		{"exit 255", 255},
		{"kill -TERM $$", 128 + 15},
		{"kill -KILL $$", 128 + 9},
	} {
		cmd := ended(t, "sh", "-c", c.script)
		if cmd.running() {
			t.Errorf("%s: ended, and still running", c.script)
		}
		got := cmd.status()
		if got == nil || *got != c.want {
			t.Errorf("%s: got %v, want %d", c.script, got, c.want)
		}
	}
}

func TestCommandStatusUnknown(t *testing.T) {
	var none *command
	if none.running() || none.status() != nil {
		t.Error("no command has a status")
	}
	c := prepared(t, "true")
	if c.running() || c.status() != nil {
		t.Error("a command that wasn't started has a status")
	}
	c.signal(syscall.SIGTERM, 0) // is nothing
}

// TestCommandNotFound: what can't be run is known before anything is recorded.
func TestCommandNotFound(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		want   error
		status int
	}{
		{"nstrace-no-such-program", exec.ErrNotFound, 127},
		{filepath.Join(dir, "nothing"), fs.ErrNotExist, 127},
		{plain, fs.ErrPermission, 126},
		{"", exec.ErrNotFound, 127},
	} {
		_, err := newCommand([]string{c.name})
		var failed *CommandError
		if !errors.Is(err, c.want) || !errors.As(err, &failed) || failed.ExitStatus() != c.status {
			t.Errorf("%q: got %v, want %v and status %d", c.name, err, c.want, c.status)
		}
	}
	if _, err := newCommand([]string{dir}); err == nil {
		t.Error("a folder is a command")
	}
}

// TestCommandCannotStart: an executable that isn't one is found, but doesn't run.
func TestCommandCannotStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(path, []byte{0, 1, 2, 3}, 0o755); err != nil {
		t.Fatal(err)
	}
	c := prepared(t, path)
	err := c.start(func() { t.Error("what never ran has ended") })
	var failed *CommandError
	if !errors.Is(err, syscall.ENOEXEC) || !errors.As(err, &failed) || failed.ExitStatus() != 126 {
		t.Errorf("got %v, want %v", err, syscall.ENOEXEC)
	}
	if c.running() || c.status() != nil {
		t.Errorf("running %v, status %v", c.running(), c.status())
	}
}

// fifo makes a named pipe; opening one end waits for the other.
func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestCommandSignal: a command may catch the signal; one that ignores it is
// killed.
func TestCommandSignal(t *testing.T) {
	for _, c := range []struct {
		name, trap string
		grace      time.Duration
		want       int
	}{
		{"ends", "", time.Hour, 128 + 15},
		{"catches it", "trap 'exit 3' TERM", time.Hour, 3},
		{"ignores it", "trap '' TERM", time.Millisecond, 128 + 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			ready := fifo(t)
			cmd := prepared(t, "sh", "-c", c.trap+"\n: >\"$0\"; while :; do sleep 0.01; done", ready)
			done := make(chan struct{})
			if err := cmd.start(func() { close(done) }); err != nil {
				t.Fatal(err)
			}
			if _, err := os.ReadFile(ready); err != nil { // waits for it
				t.Fatal(err)
			}
			if !cmd.running() || cmd.status() != nil {
				t.Errorf("running %v, status %v", cmd.running(), cmd.status())
			}
			cmd.signal(syscall.SIGTERM, c.grace)
			<-done
			if got := cmd.status(); got == nil || *got != c.want {
				t.Errorf("got %v, want %d", got, c.want)
			}
			cmd.signal(syscall.SIGTERM, 0) // too late, and no harm
		})
	}
}
