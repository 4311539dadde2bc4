// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/lab/internal/control"
)

// boot is one life of a machine.
type boot struct {
	vm             *VM
	config         control.Config
	console        *tail
	stdout, stderr *counter
	copying        sync.WaitGroup

	greeted, started, exited bool
	status                   int
}

func newBoot(vm *VM, argv []string) *boot {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb", "LC_ALL=C.UTF-8",
	}
	return &boot{
		vm: vm,
		config: control.Config{
			Argv: argv, Env: append(env, vm.Env...), Dir: vm.Dir,
			HostRoot: !vm.Kernel.foreign(), Share: vm.Share != "", Release: vm.Kernel.Release,
		},
		console: &tail{next: vm.Console},
		stdout:  newCounter(vm.Stdout),
		stderr:  newCounter(vm.Stderr),
	}
}

// run starts QEMU and stays with it to its end.
func (b *boot) run(ctx context.Context, accelerator, image, initramfs string) (int, error) {
	cmd, err := b.vm.command(accelerator, image, initramfs)
	if err != nil {
		return 0, err
	}
	port, err := b.connect(cmd)
	if err != nil {
		return 0, err
	}
	defer port.Close()
	ended, err := startBound(cmd)
	if err != nil {
		return 0, fmt.Errorf("starting QEMU: %w", err)
	}
	err = b.follow(ctx, port, ended)
	_ = cmd.Process.Kill()
	<-ended
	port.Close()
	b.copying.Wait()
	if err == nil {
		return b.status, errors.Join(b.stdout.failure(), b.stderr.failure())
	}
	if ctx.Err() != nil {
		err = b.outOfTime(ctx)
	}
	return 0, &MachineError{Err: err, Console: b.console.lines(40)}
}

// connect gives cmd the files that the guest's ports and console end in, and reads them.
func (b *boot) connect(cmd *exec.Cmd) (port *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("making a socket for QEMU: %w", err)
	}
	if err := unix.SetNonblock(pair[0], true); err != nil {
		return nil, err
	}
	port = os.NewFile(uintptr(pair[0]), "control")
	cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(pair[1]), "control")}
	for _, w := range []io.Writer{b.stdout, b.stderr, b.console} {
		file, err := b.pipeTo(w)
		if err != nil {
			return nil, err
		}
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	}
	if cmd.Stdout, err = b.pipeTo(b.console); err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	return port, nil
}

// pipeTo returns a file that leads to w.
func (b *boot) pipeTo(w io.Writer) (*os.File, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe for QEMU: %w", err)
	}
	b.copying.Go(func() {
		defer read.Close()
		_, _ = io.Copy(w, read)
	})
	return write, nil
}

// startBound starts cmd so that it dies with this process, however this process dies, and closes our copies of
// the files it was given. The channel gets its end.
func startBound(cmd *exec.Cmd) (<-chan error, error) {
	// The kernel sends the signal when the thread that started the child ends, so that thread must stay.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		for _, file := range append(cmd.ExtraFiles, cmd.Stdout.(*os.File)) {
			file.Close()
		}
		started <- err
		if err == nil {
			ended <- cmd.Wait()
			close(ended)
		}
	}()
	return ended, <-started
}

// follow hears the guest's reports until everything is known and here, or there is nothing more to come.
func (b *boot) follow(ctx context.Context, port *os.File, ended <-chan error) error {
	reports := make(chan control.Report)
	quit := make(chan struct{})
	defer close(quit)
	go listen(port, reports, quit)
	for {
		select {
		case report, ok := <-reports:
			if !ok {
				reports = nil // QEMU is about to end, and to say why
				continue
			}
			done, err := b.hear(report, port)
			if done || err != nil {
				return errors.Join(err, b.await(ctx, report, ended))
			}
		case err := <-ended:
			return b.diagnose(err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func listen(port io.Reader, reports chan<- control.Report, quit <-chan struct{}) {
	defer close(reports)
	for d := json.NewDecoder(port); ; {
		var report control.Report
		if d.Decode(&report) != nil {
			return
		}
		select {
		case reports <- report:
		case <-quit:
			return
		}
	}
}

// hear takes in one report and says whether it was the last.
func (b *boot) hear(report control.Report, port io.Writer) (done bool, err error) {
	switch report.Kind {
	case control.Hello:
		b.greeted = true
		if err := json.NewEncoder(port).Encode(b.config); err != nil {
			return false, fmt.Errorf("telling the guest what to do: %w", err)
		}
	case control.Failed:
		return true, fmt.Errorf("%w: %s", ErrNotStarted, report.Text)
	case control.Started:
		b.started = true
	case control.Exited:
		b.exited, b.status = true, report.Status
	case control.Done:
		return true, nil
	}
	return false, nil
}

// await waits for the output that is still on its way.
func (b *boot) await(ctx context.Context, last control.Report, ended <-chan error) error {
	if last.Kind != control.Done {
		return nil
	}
	for _, reached := range []<-chan struct{}{b.stdout.expect(last.Stdout), b.stderr.expect(last.Stderr)} {
		select {
		case <-reached:
		case err := <-ended:
			return b.diagnose(err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// diagnose says what it means that QEMU ended by itself.
func (b *boot) diagnose(end error) error {
	b.copying.Wait() // the reason may be the last thing on the console
	switch {
	case b.console.contains("Kernel panic - not syncing"):
		return ErrPanic
	case b.exited:
		return fmt.Errorf("the command ended with status %d, but then QEMU did, with output yet to come: %w", b.status, ErrStopped)
	case b.started:
		return ErrStopped
	case end != nil:
		return fmt.Errorf("%w: QEMU: %w", ErrNotStarted, end)
	default:
		return ErrNotStarted
	}
}

// outOfTime says how far the machine got by the time ctx ended.
func (b *boot) outOfTime(ctx context.Context) error {
	cause := context.Cause(ctx)
	if !errors.Is(cause, ErrTimeout) {
		return fmt.Errorf("machine interrupted: %w", cause)
	}
	switch {
	case b.exited:
		return fmt.Errorf("%w after %s: the command ended with status %d, but a process it started can't be killed and holds its output", ErrTimeout, b.vm.Timeout, b.status)
	case b.started:
		return fmt.Errorf("%w after %s: the command was running, or the machine hung", ErrTimeout, b.vm.Timeout)
	default:
		return fmt.Errorf("%w after %s: %w", ErrTimeout, b.vm.Timeout, ErrNotStarted)
	}
}
