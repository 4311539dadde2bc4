// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// command is the recorded program. A nil command is none.
type command struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// newCommand looks the program up, before anything else is done: a typing error
// shouldn't cost a recording.
func newCommand(argv []string) (*command, error) {
	// exec.Command does this only for names without a slash.
	if _, err := exec.LookPath(argv[0]); err != nil {
		return nil, fmt.Errorf("run the command: %w", err)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return &command{cmd: cmd, done: make(chan struct{})}, nil
}

// start runs the program; ended is called from another goroutine.
func (c *command) start(ended func()) error {
	if err := c.cmd.Start(); err != nil {
		return fmt.Errorf("run the command: %w", err)
	}
	go func() {
		// A failure to wait is a status nobody knows: ProcessState stays nil.
		c.cmd.Wait()
		close(c.done)
		ended()
	}()
	return nil
}

// running reports whether the program was started and hasn't ended. For the
// goroutine that starts it, and for others once it is started.
func (c *command) running() bool {
	if c == nil || c.cmd.Process == nil {
		return false
	}
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// signal sends sig, and SIGKILL when that hasn't helped after a while.
func (c *command) signal(sig syscall.Signal, grace time.Duration) {
	if !c.running() {
		return
	}
	c.cmd.Process.Signal(sig)
	time.AfterFunc(grace, func() {
		if c.running() {
			c.cmd.Process.Kill()
		}
	})
}

// status returns the exit status as a shell would, nil if there is none.
func (c *command) status() *int {
	if c == nil || c.cmd.Process == nil || c.running() || c.cmd.ProcessState == nil {
		return nil
	}
	status := c.cmd.ProcessState.ExitCode()
	if ws, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		status = 128 + int(ws.Signal())
	}
	return &status
}

// loadModules loads kernel modules with the machine's own modprobe, which knows
// its configuration.
func loadModules(names ...string) error {
	out, err := exec.Command("modprobe", append([]string{"-a", "--"}, names...)...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("load %s: %w: install kmod, or load them yourself", strings.Join(names, " and "), err)
	}
	if err != nil {
		return fmt.Errorf("load %s: modprobe: %s (%w)", strings.Join(names, " and "), bytes.TrimSpace(out), err)
	}
	return nil
}
