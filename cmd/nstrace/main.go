// SPDX-License-Identifier: Apache-2.0

// Command nstrace records what happens to network namespaces and the Wi-Fi
// radios in them, and reports it.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/record"
	"github.com/nstrace/nstrace/report"
)

// Exit statuses. record gives its command's status instead of 0, and what shells
// do where the command can't be run.
const (
	exitError = 1
	exitUsage = 2
)

func main() {
	record.StandIn(os.Args)
	os.Exit(run(os.Args[1:]))
}

// exitStatus ends the process with a status that isn't an error of nstrace's.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// usageError is a command line that can't be understood.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func run(args []string) int {
	root := newRoot()
	root.SetArgs(args)
	cmd, err := root.ExecuteC()
	var status exitStatus
	var usage usageError
	var command *record.CommandError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &usage):
		complain(err)
		fmt.Fprintf(os.Stderr, "See '%s --help'.\n", cmd.CommandPath())
		return exitUsage
	case errors.As(err, &command):
		complain(err)
		return command.ExitStatus()
	default:
		complain(err)
		return exitError
	}
}

// complain prints an error or a warning. It may quote what a user chose, so it
// is escaped, unless it has done that itself and is a list of several lines.
func complain(err error) {
	text := analyze.EscapeText(err.Error())
	var list *report.SelectError
	if errors.As(err, &list) {
		text = list.Error()
	}
	fmt.Fprintf(os.Stderr, "nstrace: %s\n", text)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "nstrace",
		Short: "A flight recorder for network namespaces and the Wi-Fi radios in them",
		Long: `nstrace records, in the running kernel, how network namespaces, Wi-Fi radios and
network interfaces are born, moved and removed, and what Wi-Fi delivers into each
namespace. From the recording it reports, on any machine and without privileges,
where everything was, who put it there, why a move failed, and what the recording
may have missed.

  sudo nstrace check             what can be recorded here, and what can't
  sudo nstrace record            record until Ctrl-C, into nstrace.nst
  nstrace report                 tell what happened
  nstrace report --ns blue       tell one namespace's life
  nstrace export -o x.pcapng     write the packets for Wireshark`,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(newRecord(), newReport(), newExport(), newVerify(), newCheck())
	return root
}

// usageArgs makes what a check of arguments finds a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}

// choice is a flag with a few possible values.
type choice struct {
	value   string
	allowed []string
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return "string" }

func (c *choice) Set(s string) error {
	for _, a := range c.allowed {
		if s == a {
			c.value = s
			return nil
		}
	}
	return fmt.Errorf("must be one of %s", strings.Join(c.allowed, ", "))
}

// flagChoice adds a flag that takes one of a few values, the first by default,
// and is completed by the shell.
func flagChoice(cmd *cobra.Command, name, usage string, allowed ...string) *choice {
	c := &choice{allowed[0], allowed}
	cmd.Flags().Var(c, name, usage)
	if err := cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(allowed, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag was added on the line above
	}
	return c
}
