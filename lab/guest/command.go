// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/lab/internal/control"
)

// command is the one the machine is there for.
type command struct {
	pid            int
	stdout, stderr *relay
}

// relay copies one of the command's outputs to its port. The command gets a pipe and not the port, because
// a port can be opened only once, and scripts open /dev/stderr.
type relay struct {
	read, write *os.File
	copied      sync.WaitGroup
	bytes       int64
}

func newRelay(port io.Writer) (*relay, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe for the command: %w", err)
	}
	r := &relay{read: read, write: write}
	r.copied.Go(func() { r.bytes, _ = io.Copy(port, r.read) })
	return r, nil
}

func start(config control.Config, ports *ports) (*command, error) {
	stdout, err := newRelay(ports.stdout)
	if err != nil {
		return nil, err
	}
	stderr, err := newRelay(ports.stderr)
	if err != nil {
		return nil, err
	}
	for _, assignment := range config.Env {
		name, value, _ := strings.Cut(assignment, "=")
		if err := os.Setenv(name, value); err != nil {
			return nil, fmt.Errorf("setting %q: %w", assignment, err)
		}
	}
	cmd := exec.Command(config.Argv[0], config.Argv[1:]...)
	cmd.Dir = config.Dir
	cmd.Stdout, cmd.Stderr = stdout.write, stderr.write
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the command: %w", err)
	}
	stdout.write.Close()
	stderr.write.Close()
	return &command{pid: cmd.Process.Pid, stdout: stdout, stderr: stderr}, nil
}

// wait returns the command's exit status, as a shell gives it. Meanwhile it buries every orphan too: a
// daemon that ended must not look alive to kill -0.
func (c *command) wait() (int, error) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, fmt.Errorf("waiting for the command: %w", err)
		case pid != c.pid:
			continue
		case status.Signaled():
			return 128 + int(status.Signal()), nil
		default:
			return status.ExitStatus(), nil
		}
	}
}

// drain ends what the command left behind, which may hold its outputs open, and passes on the rest of
// them. It returns how many bytes there were in all.
func (c *command) drain() (stdout, stderr int64) {
	_ = unix.Kill(-1, unix.SIGKILL)
	c.stdout.copied.Wait()
	c.stderr.copied.Wait()
	return c.stdout.bytes, c.stderr.bytes
}
