// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// VM describes a machine. It holds no state: it can run any number of commands, each in a machine of its
// own, at the same time too.
type VM struct {
	Kernel Kernel
	// CPUs is the number of processors. 0 means 1: QEMU's emulation of several makes every fork and exec wait
	// until all of them have been told to forget an address, which costs dearly when the host is busy.
	CPUs int
	// CountInstructions has the machine's clock count what its processor executes: a nanosecond for each
	// instruction, and nothing else. So what takes how long doesn't depend on the host, but it isn't what a
	// real processor would take. One CPU only.
	CountInstructions bool
	// MemoryMiB is the machine's memory. It also bounds what the command can write outside /share. 0 means 2048.
	MemoryMiB int
	// Append is added to the kernel's command line.
	Append string
	// Env is added to the command's environment, as NAME=VALUE. Nothing else is taken from this process's.
	Env []string
	// Dir is the command's working directory. Empty means /share if there is one, else /.
	Dir string
	// Share is a folder of the host's, writable in the machine as /share. Empty means none.
	Share string
	// Timeout bounds the time from QEMU's start to the command's end. 0 means ten minutes: a machine that
	// hangs says nothing, so there has to be some bound.
	Timeout time.Duration
	// Stdout and Stderr take the command's output as it comes. nil discards it.
	Stdout, Stderr io.Writer
	// Console takes what kernel and firmware say. nil keeps it for errors only.
	Console io.Writer
}

// What can go wrong with a machine, as opposed to its command; for errors.Is on the error of Run.
var (
	// ErrPanic: the guest's kernel panicked.
	ErrPanic = errors.New("the guest's kernel panicked")
	// ErrTimeout: the command didn't end in time, or the machine hung.
	ErrTimeout = errors.New("timed out")
	// ErrNotStarted: the machine ended, or gave up, before it had started the command.
	ErrNotStarted = errors.New("the guest didn't start the command")
	// ErrStopped: the machine ended while the command ran. Perhaps the command switched it off.
	ErrStopped = errors.New("the machine stopped before the command ended")
)

// MachineError is a failure of a machine.
type MachineError struct {
	Err error
	// Console is the end of what the guest's kernel and QEMU said.
	Console string
}

func (e *MachineError) Error() string {
	if e.Console == "" {
		return e.Err.Error() + "; its console is empty"
	}
	return e.Err.Error() + "; the end of its console:\n" + e.Console
}

func (e *MachineError) Unwrap() error { return e.Err }

// Run boots a machine, runs a command in it as root, and returns the command's exit status (128 + N if
// signal N killed it). The error is about the machine only: a command that fails is a status other than 0.
// argv[0] is looked for on the usual path. What the command leaves running is killed.
//
// When ctx ends so does QEMU, before Run returns; it ends as well when this process is killed.
func (vm VM) Run(ctx context.Context, argv ...string) (status int, err error) {
	if len(argv) == 0 {
		return 0, errors.New("no command to run in the machine")
	}
	if err := vm.complete(); err != nil {
		return 0, err
	}
	archive, err := initramfs(ctx, vm.Kernel)
	if err != nil {
		return 0, err
	}
	image, err := quickImage(ctx, vm.Kernel)
	if err != nil {
		return 0, err
	}
	accelerators, err := vm.accelerators()
	if err != nil {
		return 0, err
	}
	limited, cancel := context.WithTimeoutCause(ctx, vm.Timeout, ErrTimeout)
	defer cancel()
	for _, accelerator := range accelerators {
		b := newBoot(&vm, argv)
		status, err = b.run(limited, accelerator, image, archive)
		if accelerator == kvm && !b.greeted && limited.Err() == nil {
			if err := distrustKVM(); err != nil {
				return 0, err
			}
			continue
		}
		break
	}
	return status, err
}

func (vm *VM) complete() error {
	kernel, err := vm.Kernel.complete()
	if err != nil {
		return err
	}
	vm.Kernel = kernel
	if vm.CPUs == 0 {
		vm.CPUs = 1
	}
	if vm.MemoryMiB == 0 {
		vm.MemoryMiB = 2048
	}
	if vm.Timeout == 0 {
		vm.Timeout = 10 * time.Minute
	}
	if vm.Share != "" {
		if vm.Share, err = filepath.Abs(vm.Share); err != nil {
			return err
		}
		info, err := os.Stat(vm.Share)
		if err != nil {
			return fmt.Errorf("sharing a folder with the machine: %w", err)
		}
		if !info.IsDir() {
			return fmt.Errorf("sharing %s with the machine: it isn't a folder", vm.Share)
		}
	}
	if vm.Dir == "" {
		vm.Dir = "/"
		if vm.Share != "" {
			vm.Dir = "/share"
		}
	}
	return nil
}
