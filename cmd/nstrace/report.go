// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/report"
	"github.com/nstrace/nstrace/trace"
)

func newReport() *cobra.Command {
	var selectors []string
	var since, until string
	var all, skip bool
	cmd := &cobra.Command{
		Use:   "report [FILE]",
		Short: "Tell what a recording saw",
		Long: `Report reads a trace file (nstrace.nst if none is named) and tells what happened:
first what the recording may have missed, then what went wrong and what to do about
it, then the namespaces, radios, moves and deliveries. It needs no privileges, and
any machine will do.

--ns restricts it to a namespace's life. A namespace is meant by
  blue, init                     its name
  4026532281, net:[4026532281]   its inum
  cookie:4097                    its cookie
  ns3                            its id in the report
  pid:1234                       a process that made it or was in it
  /run/netns/blue                a path
  wlan0, phy0                    a device: every namespace it was in
  0123456789ab                   a container, by its name or ID as its tools show it
  name:blue, id:ns3, dev:wlan0   the same, of a word that could be several

Packets that were recorded one by one (record --delivery packets) are compared with
the kernel's counts of them; --skip-packets leaves that out, and is done sooner.

--since and --until take the time since the recording began (1.5s) or of day
(2026-01-31T12:00:00Z).

Of namespaces that came and went with nothing remarkable about them, the text
lists the latest 50 and counts the others by who made them; of very many, the
report knows no more than that. --all keeps and lists all.

  nstrace report
  nstrace report --ns sta old.nst
  nstrace report --format json | jq '.moves[] | select(.errno != 0)'`,
		Args:              usageArgs(cobra.MaximumNArgs(1)),
		ValidArgsFunction: cobra.FixedCompletions([]string{"nst"}, cobra.ShellCompDirectiveFilterFileExt),
	}
	cmd.Flags().StringArrayVar(&selectors, "ns", nil, "tell of this namespace only (may be repeated)")
	cmd.Flags().StringVar(&since, "since", "", "list events from this `TIME` on")
	cmd.Flags().StringVar(&until, "until", "", "list events up to this `TIME`")
	cmd.Flags().BoolVar(&skip, "skip-packets", false, "don't read packet records, which are compared with the counts")
	cmd.Flags().BoolVar(&all, "all", false, "list every namespace that came and went, however many and ordinary")
	format := flagChoice(cmd, "format", "text or json", string(report.FormatText), string(report.FormatJSON))
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		keep := analyze.DefaultKeep
		wanted, complete := report.Wanted(selectors)
		if all || !complete {
			keep = 0
		}
		model, err := readModel(fileArgument(args), keep, wanted, !skip)
		if err != nil {
			return err
		}
		o, err := reportOptions(model, selectors, since, until)
		if err != nil {
			return err
		}
		o.All = all
		out := bufio.NewWriter(os.Stdout)
		if err := report.Write(out, model, report.Format(format.value), o); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
		if err := out.Flush(); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
		return nil
	}
	return cmd
}

func fileArgument(args []string) string {
	if len(args) == 0 {
		return defaultFile
	}
	return args[0]
}

// openTrace opens a file with one of trace's ways to do it.
func openTrace(path string, open func(string) (*trace.Reader, error)) (*trace.Reader, error) {
	r, err := open(path)
	if path == defaultFile && errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: name a trace file, or make one with 'sudo nstrace record'", err)
	}
	return r, err
}

// readModel analyzes a file: see modelOf.
func readModel(path string, keep int, wanted func(*analyze.Netns) bool, packets bool) (*analyze.Model, error) {
	open := trace.Open
	if !packets {
		open = trace.OpenIndexed
	}
	r, err := openTrace(path, open)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return modelOf(r, path, keep, wanted, packets)
}

// modelOf analyzes the file path, of which r is; keep and wanted are for
// [analyze.Analyzer.Keep]. With packets it reads these too, if there are any, which
// takes longer than all else.
func modelOf(r *trace.Reader, path string, keep int, wanted func(*analyze.Netns) bool, packets bool) (*analyze.Model, error) {
	a := analyze.New()
	a.Keep(keep, wanted)
	if err := r.Replay(a, trace.ReplayOptions{}); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if packets && r.HasPackets() {
		sums, err := r.SumPackets(a.HandleDamage)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		a.HandlePacketSums(sums)
	}
	return a.Model(), nil
}

func reportOptions(m *analyze.Model, selectors []string, since, until string) (report.Options, error) {
	var o report.Options
	for _, s := range selectors {
		found, err := report.Select(m, s)
		if err != nil {
			return o, err
		}
		for _, n := range found {
			if !slices.Contains(o.Netns, n) {
				o.Netns = append(o.Netns, n)
			}
		}
	}
	for _, t := range []struct {
		flag, text string
		to         *uint64
	}{{"--since", since, &o.Since}, {"--until", until, &o.Until}} {
		if t.text == "" {
			continue
		}
		at, err := report.ParseTime(m, t.text)
		if err != nil {
			return o, usageError{fmt.Errorf("%s: %w", t.flag, err)}
		}
		*t.to = at
	}
	if o.Since != 0 && o.Until != 0 && o.Since > o.Until {
		return o, usageError{fmt.Errorf("--since %s is after --until %s", since, until)}
	}
	if o.Since > m.Ended {
		return o, usageError{fmt.Errorf("--since %s is after the end of the recording (%s)", since, m.Since(m.Ended))}
	}
	return o, nil
}
