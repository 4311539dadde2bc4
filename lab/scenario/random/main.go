// SPDX-License-Identifier: Apache-2.0

// Command random does thousands of random things, legal and illegal, to the network namespaces, interfaces and
// radios of a lab machine, so that what a recording makes of them can be held against what the kernel answered
// and against what is there in the end. Built without cgo it needs a modprobe and nothing else of user space.
//
//	random [-n N] [-seed SEED] [-halfway FILE -joined FILE] OUT
//
// What is done follows from the seed, as far as the kernel's answers do. When half of it is done it writes a line to
// the file of -halfway, which may be a pipe, and goes on once that of -joined is there: so somebody can join in the
// middle of things. In OUT it leaves
//
//	log.jsonl     each operation: what, to what, the kernel's answer, and when
//	summary.json  how often each operation succeeded and failed
//	world.json    what is left: the namespaces and how to reach them
//
// It ends with a varied world alive: the process that holds it stays.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"
)

// The program runs itself in these other roles.
const (
	playRole  = "play"
	agentRole = "agent"
)

// The main goroutine keeps the main thread to itself, and goes to other namespaces on it. Doing that on a thread
// of its own would cost a change of threads each time something is waited for.
func init() { runtime.LockOSThread() }

func main() {
	if len(os.Args) > 1 && os.Args[1] == agentRole {
		beAgent()
		return
	}
	play := len(os.Args) > 1 && os.Args[1] == playRole
	args := os.Args[1:]
	if play {
		args = args[1:]
	}
	o, err := parse(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, "random:", err)
		os.Exit(2)
	}
	if play {
		err = o.play()
	} else {
		err = o.launch()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "random:", err)
		os.Exit(1)
	}
}

type options struct {
	operations int
	seed       uint64
	halfway    string
	joined     string
	out        string
}

func parse(args []string) (*options, error) {
	var o options
	flags := flag.NewFlagSet("random", flag.ContinueOnError)
	flags.IntVar(&o.operations, "n", 5000, "how many operations")
	flags.Uint64Var(&o.seed, "seed", 0, "what the choices follow from; 0 takes the time")
	flags.StringVar(&o.halfway, "halfway", "", "write a line to `FILE` when half of them are done")
	flags.StringVar(&o.joined, "joined", "", "then go on once `FILE` is there")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() != 1 {
		return nil, errors.New("usage: random [-n N] [-seed SEED] [-halfway FILE -joined FILE] OUT")
	}
	o.out = flags.Arg(0)
	if o.seed == 0 {
		o.seed = uint64(time.Now().UnixNano())
	}
	return &o, nil
}

// launch starts the process that does it all, and returns when everything is done and quiet while that process
// stays to hold what it holds.
func (o *options) launch() error {
	fmt.Printf("random: %d operations, seed %d\n", o.operations, o.seed)
	cmd := exec.Command("/proc/self/exe", playRole, "-n", strconv.Itoa(o.operations), "-seed", strconv.FormatUint(o.seed, 10),
		"-halfway", o.halfway, "-joined", o.joined, o.out)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	said, say, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.ExtraFiles = []*os.File{say}
	if err := cmd.Start(); err != nil {
		return err
	}
	say.Close()
	line, err := bufio.NewReader(said).ReadString('\n')
	if line == doneLine {
		return nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return errors.Join(errors.New("the operations came to an early end"), cmd.Wait())
}

// doneLine is what launch waits for.
const doneLine = "done\n"

// play does it all, says so and stays.
func (o *options) play() error {
	debug.SetGCPercent(800) // memory is cheaper than emulated processors
	w, err := newWorld(o)
	if err != nil {
		return err
	}
	if err := w.run(); err != nil {
		return err
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	done := os.NewFile(3, "done")
	if _, err := done.WriteString(doneLine); err != nil {
		return err
	}
	done.Close()
	<-end
	runtime.KeepAlive(w) // or its files would be closed by now
	return nil
}
