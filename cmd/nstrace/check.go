// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/probes"
	"github.com/nstrace/nstrace/record"
	"github.com/nstrace/nstrace/report"
)

func newCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Tell what this kernel can and cannot give a recording",
		Long: `Check looks at the running kernel and tells what record would get of it: which
probes, by which hook, what a report lacks without the others, and what to do about
it. It attaches and changes nothing. Without root it tells what root would get, as
far as that can be seen. It exits with 1 if record wouldn't work here and now.

  sudo nstrace check
  nstrace check --format json | jq '.probes[] | select(.status == "absent")'`,
		Args:              usageArgs(cobra.NoArgs),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	delivery := flagChoice(cmd, "delivery", "as record would be told: count, packets, off",
		string(probes.DeliveryCount), string(probes.DeliveryPackets), string(probes.DeliveryOff))
	mode := flagChoice(cmd, "attach", "as record would be told: auto, fentry, kprobe",
		string(probes.ModeAuto), string(probes.ModeFentry), string(probes.ModeKprobe))
	format := flagChoice(cmd, "format", "text or json", string(report.FormatText), string(report.FormatJSON))
	cmd.RunE = func(*cobra.Command, []string) error {
		outlook, err := probes.Check(probes.Mode(mode.value), probes.Delivery(delivery.value))
		if err != nil {
			return err
		}
		write := writeCheck
		if format.value == string(report.FormatJSON) {
			write = writeCheckJSON
		}
		out := bufio.NewWriter(os.Stdout)
		err = write(out, outlook)
		if err == nil {
			err = out.Flush()
		}
		if err != nil {
			return fmt.Errorf("write the result: %w", err)
		}
		if !outlook.Works() {
			return exitStatus(exitError)
		}
		return nil
	}
	return cmd
}

// writeCheck is for people: first whether it works, and what to do.
func writeCheck(out io.Writer, o *probes.Outlook) error {
	fmt.Fprintf(out, "Linux %s %s\n\n", analyze.Escape(o.Release), o.Arch)
	absent := 0
	for _, p := range o.Probes {
		if p.Status == probes.ProbeAbsent {
			absent++
		}
	}
	verdict := "Recording works here."
	switch {
	case !o.Works():
		verdict = "Recording does NOT work here and now:"
	case len(o.Problems) > 0:
		verdict = "Recording works here, but not all of it:"
	case absent > 0:
		verdict = fmt.Sprintf("Recording works here, but for %d of %d probes.", absent, len(o.Probes))
	}
	fmt.Fprintln(out, verdict)
	for _, p := range o.Problems {
		weight := "warning"
		if p.Fatal {
			weight = "error"
		}
		fmt.Fprintf(out, "  %-8s  %s\n            to do: %s\n", weight, analyze.EscapeText(p.What), analyze.EscapeText(p.Remedy))
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "type information\t%s\n", presence(o.Types))
	fmt.Fprintf(w, "privileges\t%s\n", privileges(o))
	fmt.Fprintf(w, "kept to the end\t%s\n", keeps(o))
	fmt.Fprintf(w, "lockdown\t%s\n", orUnknown(o.Lockdown))
	for _, m := range o.Modules {
		fmt.Fprintf(w, "module %s\t%s%s\n", m.Name, orUnknown(m.State), moduleTypes(&m))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return writeCheckProbes(out, o)
}

func writeCheckProbes(out io.Writer, o *probes.Outlook) error {
	if o.Probes == nil {
		_, err := fmt.Fprintln(out, "\nPROBES\n  unknown")
		return err
	}
	fmt.Fprintln(out, "\nPROBES")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  probe\thook\tfunction\tmodule")
	for _, p := range o.Probes {
		hook := map[string]string{
			probes.ProbeAvailable: p.Hook, probes.ProbeAbsent: "absent", probes.ProbeUnknown: p.Hook + "?",
		}[p.Status]
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", p.Name, hook, orDash(p.Function), orDash(p.Module))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	writeCheckReasons(out, o)
	return nil
}

// writeCheckReasons says each reason once, with the probes it is one for.
func writeCheckReasons(out io.Writer, o *probes.Outlook) {
	var reasons []string
	for _, p := range o.Probes {
		if p.Reason != "" && !slices.Contains(reasons, p.Reason) {
			reasons = append(reasons, p.Reason)
		}
	}
	if len(reasons) > 0 {
		fmt.Fprintln(out, "\nWHY NOT, AND WHAT A REPORT LACKS WITHOUT")
	}
	for _, reason := range reasons {
		fmt.Fprintf(out, "  %s\n", analyze.EscapeText(reason))
		for _, p := range o.Probes {
			switch {
			case p.Reason != reason:
			case p.Status == probes.ProbeAbsent:
				fmt.Fprintf(out, "      no %s: %s\n", p.Name, p.Loses)
			default:
				fmt.Fprintf(out, "      %s by %s\n", p.Name, p.Hook)
			}
		}
	}
}

func privileges(o *probes.Outlook) string {
	if len(o.Lacks) == 0 {
		return "all that are of use"
	}
	var names []string
	for _, l := range o.Lacks {
		names = append(names, l.Capability)
	}
	text := strings.Join(names, ", ") + " missing"
	if o.UserNamespace {
		text += " (in a user namespace)"
	}
	return text
}

// keeps names what record doesn't give up once it has attached, here.
func keeps(o *probes.Outlook) string {
	admin := !slices.ContainsFunc(o.Lacks, func(l probes.Lack) bool { return l.Capability == "CAP_SYS_ADMIN" })
	var names []string
	for _, k := range record.KeptCapabilities() {
		switch {
		case k.Spare && admin, k.Capability == "CAP_SYS_ADMIN" && !admin:
		case k.ForCommand:
			names = append(names, k.Capability+" (with a COMMAND)")
		default:
			names = append(names, k.Capability)
		}
	}
	return strings.Join(names, ", ")
}

func moduleTypes(m *probes.ModuleOutlook) string {
	switch {
	case m.Types == nil:
		return ""
	case *m.Types:
		return ", with type information"
	}
	return ", without type information"
}

func presence(is bool) string {
	if is {
		return "there"
	}
	return "missing or unreadable"
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return analyze.Escape(s)
}
