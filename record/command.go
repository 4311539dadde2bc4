// SPDX-License-Identifier: Apache-2.0

package record

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// command is the recorded program. A nil command is none.
type command struct {
	// cmd is the process: first a stand-in, then the program.
	cmd   *exec.Cmd
	stage *stage // nil but while it is a stand-in
	// started says that it has become the program.
	started bool
	done    chan struct{} // closed when the program has ended
}

// CommandError says that the command to record can't be run.
type CommandError struct{ err error }

func (e *CommandError) Error() string { return "run the command: " + e.err.Error() }
func (e *CommandError) Unwrap() error { return e.err }

// ExitStatus is what shells, env and timeout exit with then.
func (e *CommandError) ExitStatus() int {
	if errors.Is(e.err, exec.ErrNotFound) || errors.Is(e.err, fs.ErrNotExist) {
		return 127
	}
	return 126
}

// newCommand looks the program up, before anything else is done: a typing error
// shouldn't cost a recording.
func newCommand(argv []string) (*command, error) {
	// exec.Command does this only for names without a slash.
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return nil, &CommandError{err}
	}
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: append([]string{os.Args[0], standInArg, "", ignored, path}, argv...),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	}
	return &command{cmd: cmd, done: make(chan struct{})}, nil
}

// prepare starts the stand-in.
func (c *command) prepare() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("prepare to run the command: %w", err)
	}
	c.stage = &stage{pair[0]}
	// By its number, which is nobody else's: those of exec.Cmd.ExtraFiles begin with
	// 3, and that could be a descriptor the caller has for the program.
	c.cmd.Args[2] = strconv.Itoa(pair[1])
	_, err = unix.FcntlInt(uintptr(pair[1]), unix.F_SETFD, 0)
	if err == nil {
		err = c.cmd.Start()
	}
	if err = errors.Join(err, unix.Close(pair[1])); err != nil {
		return fmt.Errorf("prepare to run the command: %w", err)
	}
	return nil
}

// start runs the program; ended is called from another goroutine.
func (c *command) start(ended func()) error {
	err := c.stage.enter()
	c.stage.close()
	c.stage = nil
	if err != nil {
		c.cmd.Wait() // a stand-in's end
		return &CommandError{fmt.Errorf("%s: %w", c.cmd.Args[4], err)}
	}
	c.started = true
	go func() {
		// A failure to wait is a status nobody knows: ProcessState stays nil.
		c.cmd.Wait()
		close(c.done)
		ended()
	}()
	return nil
}

// abandon ends the stand-in if it still is one.
func (c *command) abandon() {
	if c == nil || c.stage == nil {
		return
	}
	c.stage.close()
	c.stage = nil
	if c.cmd.Process != nil {
		c.cmd.Process.Kill() // it may be stopped
		c.cmd.Wait()
	}
}

// running reports whether the program was started and hasn't ended. For the
// goroutine that starts it, and for others once it is started.
func (c *command) running() bool {
	if c == nil || !c.started {
		return false
	}
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// signal sends sig, and SIGKILL when that hasn't helped after a while. It is an
// error if the kernel doesn't let it: if the command is another user's by now.
func (c *command) signal(sig syscall.Signal, grace time.Duration) error {
	if !c.running() {
		return nil
	}
	if err := c.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	time.AfterFunc(grace, func() {
		if c.running() {
			c.cmd.Process.Kill()
		}
	})
	return nil
}

// status returns the exit status as a shell would, nil if there is none.
func (c *command) status() *int {
	if c == nil || !c.started || c.running() || c.cmd.ProcessState == nil {
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
