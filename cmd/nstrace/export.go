// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/export"
	"github.com/nstrace/nstrace/trace"
)

// stdoutName is the output that is no file.
const stdoutName = "-"

func newExport() *cobra.Command {
	var selectors []string
	var output string
	cmd := &cobra.Command{
		Use:   "export [FILE]",
		Short: "Write a recording's packets for Wireshark",
		Long: `Export writes the packets of a trace file (nstrace.nst if none is named) as a capture
for Wireshark, tshark and tcpdump -r. They must have been recorded with their bytes:

  sudo nstrace record --delivery packets --snaplen 128 -o busy.nst
  nstrace export --to pcapng -o busy.pcapng busy.nst
  nstrace export --to pcapng busy.nst | tshark -r - -T fields -e frame.interface_name -e ip.src

Where interfaces have several link types, as monitors and others do, Wireshark and
tshark read the capture and tcpdump doesn't; --ns may choose one.

Each interface is one of the capture for each time it was in a namespace, and is named
after both as they were called then: wlan1@blue. The first packet after a move has a
comment that tells of it, and so has one before which records were lost. Times are to
the nanosecond. --ns restricts it to a namespace, as with report.`,
		Args:              usageArgs(cobra.MaximumNArgs(1)),
		ValidArgsFunction: cobra.FixedCompletions([]string{"nst"}, cobra.ShellCompDirectiveFilterFileExt),
	}
	cmd.Flags().StringArrayVar(&selectors, "ns", nil, "export packets into this namespace only (may be repeated)")
	cmd.Flags().StringVarP(&output, "output", "o", stdoutName, "write the capture to `FILE`, - being standard output")
	flagChoice(cmd, "to", "form of the capture: pcapng", "pcapng")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if output == stdoutName && isTerminal(os.Stdout) {
			return usageError{errors.New("a capture isn't for a terminal: send it to a program, or name a file with -o")}
		}
		return doExport(fileArgument(args), output, selectors)
	}
	return cmd
}

func doExport(path, output string, selectors []string) error {
	r, err := openTrace(path, trace.Open)
	if err != nil {
		return err
	}
	defer r.Close()
	// All is kept: a packet may be of any life.
	m, err := modelOf(r, path, 0, nil, false)
	if err != nil {
		return err
	}
	wanted, err := selected(m, selectors)
	if err != nil {
		return err
	}
	out := &lateFile{path: output}
	buffered := bufio.NewWriterSize(out, 1<<18)
	summary, err := export.PCAPNG(buffered, r, m, export.Options{Netns: wanted})
	switch {
	case errors.Is(err, export.ErrNoPackets), errors.Is(err, export.ErrNoBytes):
		return fmt.Errorf("%s: %w: record with --delivery packets --snaplen 128, or as many bytes of each as you need", path, err)
	case err == nil:
		err = buffered.Flush()
	}
	if summary != nil {
		explain(summary)
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("export %s: %w", path, err)
	}
	return nil
}

// selected returns the namespaces that are asked for.
func selected(m *analyze.Model, selectors []string) ([]*analyze.Netns, error) {
	o, err := reportOptions(m, selectors, "", "")
	return o.Netns, err
}

// explain says what a capture lacks.
func explain(s *export.Summary) {
	var reasons []string
	for why := range s.Omitted {
		reasons = append(reasons, why)
	}
	slices.Sort(reasons)
	for _, why := range reasons {
		complain(fmt.Errorf("%d packets are left out: %s", s.Omitted[why], why))
	}
	if s.Bare > 0 {
		complain(fmt.Errorf("of %d packets there are no bytes", s.Bare))
	}
	for _, d := range s.Damage {
		complain(fmt.Errorf("damaged at byte %d: %s", d.Offset, d.Reason))
	}
}

// lateFile is created when something is written: what can't be exported leaves no
// empty file behind, nor takes one away.
type lateFile struct {
	path string
	w    io.WriteCloser
}

func (f *lateFile) Write(b []byte) (int, error) {
	if f.w == nil {
		f.w = os.Stdout
		if f.path != stdoutName {
			file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
			if err != nil {
				return 0, err
			}
			f.w = file
		}
	}
	return f.w.Write(b)
}

func (f *lateFile) Close() error {
	if f.w == nil {
		return nil
	}
	return f.w.Close()
}
