// SPDX-License-Identifier: Apache-2.0

// Command lab runs a command in a throw-away virtual machine: see package lab. Its exit status is the
// command's; 125 means that the machine failed, 2 that it was asked wrongly.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/nstrace/nstrace/lab"
)

type options struct {
	suite, image, modules, arch, share, dir, append string
	cpus, memory                                    int
	timeout                                         time.Duration
	fetch, refresh, console, icount                 bool
	command                                         []string
}

// machineFailed is what env, timeout and docker use for "it wasn't the command".
const machineFailed = 125

func main() {
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status, err := o.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		status = machineFailed
	}
	os.Exit(status)
}

func parse(args []string) (*options, error) {
	var o options
	flags := flag.NewFlagSet("lab", flag.ContinueOnError)
	flags.StringVar(&o.suite, "kernel", "bookworm", "Debian's kernel: "+strings.Join(lab.Suites(), ", "))
	flags.StringVar(&o.image, "image", "", "a kernel image of your own, instead of Debian's")
	flags.StringVar(&o.modules, "modules", "", "the modules folder of that kernel, as /lib/modules/RELEASE")
	flags.StringVar(&o.arch, "arch", runtime.GOARCH, "architecture: "+strings.Join(lab.Arches(), ", "))
	flags.StringVar(&o.share, "share", "", "folder to find at /share in the machine")
	flags.StringVar(&o.dir, "dir", "", "working directory of the command (default /share, else the one here)")
	flags.StringVar(&o.append, "append", "", "words to add to the kernel's command line")
	flags.IntVar(&o.cpus, "cpus", 1, "number of CPUs")
	flags.IntVar(&o.memory, "mem", 2048, "memory in MiB")
	flags.BoolVar(&o.icount, "icount", false, "have the machine's clock count instructions, a nanosecond each")
	flags.DurationVar(&o.timeout, "timeout", 10*time.Minute, "give up after this time")
	flags.BoolVar(&o.fetch, "fetch", false, "only fetch the kernel")
	flags.BoolVar(&o.refresh, "refresh", false, "fetch the newest kernel, even if one is there")
	flags.BoolVar(&o.console, "console", false, "show what the kernel says, on standard error")
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "usage: lab [flags] -- COMMAND [ARGS...]\n\nRuns COMMAND as root in a throw-away virtual machine.\n\n")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	o.command = flags.Args()
	if len(o.command) == 0 && !o.fetch {
		return nil, errors.New("no command; lab -h shows how")
	}
	if (o.image == "") != (o.modules == "") {
		return nil, errors.New("-image and -modules go together")
	}
	return &o, nil
}

func (o *options) run(ctx context.Context) (int, error) {
	kernel, err := o.kernel(ctx)
	if err != nil {
		return 0, err
	}
	if o.fetch {
		fmt.Println(kernel.Release)
		return 0, nil
	}
	machine := lab.VM{
		Kernel: kernel, CPUs: o.cpus, CountInstructions: o.icount, MemoryMiB: o.memory, Append: o.append,
		Dir: o.dir, Share: o.share, Timeout: o.timeout, Stdout: os.Stdout, Stderr: os.Stderr,
	}
	if o.console {
		machine.Console = io.Writer(os.Stderr)
	}
	if o.dir == "" && o.share == "" && kernel.Arch == runtime.GOARCH {
		if machine.Dir, err = os.Getwd(); err != nil {
			return 0, err
		}
	}
	return machine.Run(ctx, o.command...)
}

func (o *options) kernel(ctx context.Context) (lab.Kernel, error) {
	switch {
	case o.image != "":
		return lab.Kernel{Image: o.image, Modules: o.modules, Arch: o.arch}, nil
	case o.refresh:
		return lab.Refresh(ctx, o.suite, o.arch, os.Stderr)
	default:
		return lab.Fetch(ctx, o.suite, o.arch, os.Stderr)
	}
}
