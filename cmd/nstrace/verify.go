// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/trace"
)

func newVerify() *cobra.Command {
	return &cobra.Command{
		Use:   "verify FILE",
		Short: "Check that a trace is whole and its story agrees with the kernel's",
		Long: `Verify reads all of a trace file and checks every block, compares what was written
with what can be read, and compares the state that the events add up to with the
state the kernel reported at the end of the recording. It exits with 1 if anything
is missing or differs.`,
		Args:              usageArgs(cobra.ExactArgs(1)),
		ValidArgsFunction: cobra.FixedCompletions([]string{"nst"}, cobra.ShellCompDirectiveFilterFileExt),
		RunE: func(_ *cobra.Command, args []string) error {
			return verify(args[0])
		},
	}
}

func verify(path string) error {
	r, err := trace.Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	summary, err := r.Verify()
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	model, err := modelOf(r, path, analyze.DefaultKeep, nil, false)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	missing := printSummary(out, summary)
	printAudit(out, &model.Audit)
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	if missing || model.Lost != 0 || len(model.Audit.Differences) > 0 || model.Audit.Compared == 0 {
		return exitStatus(exitError)
	}
	return nil
}

// printSummary reports whether anything is missing.
func printSummary(out io.Writer, s *trace.Summary) (missing bool) {
	verdict := "whole"
	switch {
	case !s.Complete:
		verdict = "unfinished: the recording did not end, or the file was cut"
	case !s.Whole():
		verdict = "damaged"
	}
	fmt.Fprintf(out, "file: %s (%d bytes, %d blocks)\n", verdict, s.Bytes, s.Blocks)
	for _, d := range s.Damage {
		fmt.Fprintf(out, "  at byte %d, %d bytes: %s\n", d.Offset, d.Length, analyze.Escape(d.Reason))
	}
	if s.UnknownBlocks > 0 {
		fmt.Fprintf(out, "  %d blocks of kinds that a newer nstrace writes were passed over\n", s.UnknownBlocks)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "records\twritten\tread\tskipped\tlost\tunwritten\tbytes\t")
	for _, k := range s.Kinds {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t\n", k.Kind, k.Written, k.Read, k.Skipped, k.Lost, k.Unwritten, k.Stored)
	}
	w.Flush()
	missing = !s.Whole()
	for _, q := range s.Sequences {
		if q.Missing > 0 {
			missing = true
			fmt.Fprintf(out, "CPU %d: %d of %d %s records are missing\n", q.CPU, q.Missing, q.Next, q.Ring)
		}
	}
	return missing
}

func printAudit(out io.Writer, a *analyze.Audit) {
	switch {
	case a.Compared == 0:
		fmt.Fprintln(out, "audit: nothing was compared")
	case len(a.Differences) == 0:
		fmt.Fprintf(out, "audit: %d things compared with the kernel's state at the end, no difference\n", a.Compared)
	default:
		fmt.Fprintf(out, "audit: %d things compared with the kernel's state at the end, %d differences\n", a.Compared, len(a.Differences))
	}
	if a.Note != "" {
		fmt.Fprintf(out, "  %s\n", analyze.Escape(a.Note))
	}
	for _, d := range a.Differences {
		fmt.Fprintf(out, "  %s: the kernel had %s, the events add up to %s\n",
			analyze.Escape(d.What), analyze.Escape(d.Expected), analyze.Escape(d.Reconstructed))
	}
}
