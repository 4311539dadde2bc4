// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/probes"
	"github.com/nstrace/nstrace/record"
)

// defaultFile is what record writes and report reads when no file is named.
const defaultFile = "nstrace.nst"

func newRecord() *cobra.Command {
	o := record.Options{Version: version(), CommandLine: os.Args}
	cmd := &cobra.Command{
		Use:   "record [flags] [-- COMMAND ARGS...]",
		Short: "Record what happens, until Ctrl-C or until COMMAND ends",
		Long: `Record attaches to the running kernel and writes what happens to a trace file. It
ends with Ctrl-C, SIGTERM, --duration, or COMMAND, and then exits with COMMAND's
status. It needs root. An existing trace file becomes FILE.old. With -o - the trace
goes to standard output, and COMMAND's output to standard error.

Once the probes are attached, record gives up all privileges but those it needs at
the end; COMMAND has all that it would have without nstrace.

A radio's functions are in the modules cfg80211 and mac80211. They must be loaded
before the recording begins to be seen: with --load-modules, record loads them.

  sudo nstrace record                                until Ctrl-C
  sudo nstrace record --duration 30s -o quick.nst
  sudo nstrace record -- iw phy phy0 set netns name blue
  sudo nstrace record --ready-file /run/ready &      scripts: wait for the file

With --delivery packets every packet has a record of its own, of which --snaplen,
--ns, --device and --ethertype say more; packets are counted in any case, and all
of them. --ns takes a name (blue), an inum (4026532281), init or a path: a name
means the namespace that has it when the packet comes. Of several of one kind any
will do, and a packet is recorded if it is right by each kind.

  sudo nstrace record --delivery packets --snaplen 128 --ns blue --ethertype ip`,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	var rings probes.Options
	f := cmd.Flags()
	f.StringVarP(&o.Output, "output", "o", defaultFile, "write the trace to `FILE`, - being standard output")
	f.DurationVar(&o.Duration, "duration", 0, "end after this long (10s, 5m); 0 is no limit")
	delivery := flagChoice(cmd, "delivery", "packets that Wi-Fi delivers: count (in the kernel), packets (also record each), off",
		string(probes.DeliveryCount), string(probes.DeliveryPackets), string(probes.DeliveryOff))
	packets := addPacketFlags(cmd)
	devices := flagChoice(cmd, "devices", "interfaces whose packets are counted: wifi, or all, where they enter the stack", "wifi", "all")
	attach := flagChoice(cmd, "attach", "hooks to use: auto (fentry, else kprobe), fentry, kprobe",
		string(probes.ModeAuto), string(probes.ModeFentry), string(probes.ModeKprobe))
	f.BoolVar(&o.LoadModules, "load-modules", false, "load cfg80211 and mac80211 first, to see radios from their birth")
	f.Uint32Var(&rings.LifecycleRing, "lifecycle-ring", 4<<20, "ring of lifecycle events, in `BYTES` (a power of two)")
	f.Uint32Var(&rings.TaskRing, "task-ring", 4<<20, "ring of processes that come and go, in `BYTES` (a power of two)")
	f.Uint32Var(&rings.PacketRing, "packet-ring", 16<<20, "ring of packets with --delivery packets, in `BYTES` (a power of two)")
	f.Uint32Var(&rings.KretprobeInstances, "kretprobe-instances", 0, "returns of a function that kprobes await at once, at most 4096; 0 chooses")
	f.StringVar(&o.ReadyFile, "ready-file", "", "create `FILE` once everything is attached")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.ArgsLenAtDash() != 0 && len(args) > 0 {
			return usageError{fmt.Errorf("put -- before the command: nstrace record -- %s", strings.Join(args, " "))}
		}
		if o.Duration < 0 {
			return usageError{fmt.Errorf("--duration %s: must not be negative", o.Duration)}
		}
		if o.Output == record.Stdout && isTerminal(os.Stdout) {
			return usageError{errors.New("-o -: a trace isn't for a terminal: send it to a file or a pipe")}
		}
		o.Command = args
		rings.Mode, rings.Delivery = probes.Mode(attach.value), probes.Delivery(delivery.value)
		if err := packets.set(&o, &rings); err != nil {
			return usageError{err}
		}
		rings.AllDevices = devices.value == "all"
		if rings.AllDevices && rings.Delivery == probes.DeliveryOff {
			return usageError{errors.New("--devices all is about counting packets: leave out --delivery off")}
		}
		o.Probes = rings
		return doRecord(o)
	}
	return cmd
}

func doRecord(o record.Options) error {
	o.Warn = complain
	if len(o.Command) == 0 && isTerminal(os.Stderr) {
		o.Live = func(p record.Progress) {
			fmt.Fprintf(os.Stderr, "\rrecording: %d events, %d packets delivered, %d lost, %s \x1b[K",
				p.Events, p.Packets, p.Lost, size(p.Bytes))
		}
	}
	ctx, cancel := interruptible()
	defer cancel()
	result, err := record.Run(ctx, o)
	if o.Live != nil && result.Reason != "" {
		fmt.Fprintln(os.Stderr)
	}
	if result.Reason != "" {
		summarise(os.Stderr, &o, &result)
	}
	if err != nil {
		return err
	}
	if result.ExitStatus != nil && *result.ExitStatus != 0 {
		return exitStatus(*result.ExitStatus)
	}
	return nil
}

// interruptible returns a context that the first SIGINT, SIGTERM or SIGHUP ends, with
// the signal for its cause. A second one kills, in case the end takes too long.
func interruptible() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	// A lost terminal is no reason to lose the end of a recording, and under nohup
	// none to end it.
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() {
		s, ok := <-signals
		if !ok {
			return
		}
		signal.Stop(signals)
		if s == os.Interrupt {
			cancel(errors.New(record.ReasonInterrupt))
		} else {
			cancel(errors.New(record.ReasonTerminated))
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		cancel(nil)
	}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
