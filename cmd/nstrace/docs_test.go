// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/probes"
	"github.com/nstrace/nstrace/record"
)

// TestDocsPrivileges holds the tables of docs/privileges.md against what was seen
// in virtual machines and against the program.
func TestDocsPrivileges(t *testing.T) {
	file := filepath.Join(top, "docs/privileges.md")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for name, table := range map[string]string{"needs": needsTable(t), "keeps": keepsTable()} {
		begin := "<!-- " + name + " -->\n"
		before, rest, ok := strings.Cut(text, begin)
		_, after, more := strings.Cut(rest, "<!-- end -->")
		if !ok || !more {
			t.Fatalf("%s has no table %s", file, name)
		}
		text = before + begin + table + "<!-- end -->" + after
	}
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if text != string(data) {
		t.Errorf("%s isn't what was seen any more; -update rewrites it", file)
	}
}

// needsTable has a row for each capability, with what became of a recording without
// it on each kernel.
func needsTable(t *testing.T) string {
	var kernels []observations
	for _, suite := range []string{"bullseye", "bookworm", "trixie", "sid"} {
		kernels = append(kernels, readObservations(t, filepath.Join(top, "testdata", observationsOf(suite))))
	}
	var b strings.Builder
	head, line := "| without |", "|---|"
	for _, k := range kernels {
		head += " " + k.Kernel + " |"
		line += "---|"
	}
	fmt.Fprintf(&b, "%s a recording lacks |\n%s---|\n", head, line)
	loses := map[string]string{}
	for _, c := range probes.Capabilities() {
		loses[c.Name] = c.Loses
	}
	for i, c := range capabilityCases() {
		name := c.Case
		switch name {
		case "all":
			name = "none (as root)"
		case "no others":
			name = "any other capability"
		}
		row := "| " + name + " |"
		for _, k := range kernels {
			if i >= len(k.Cases) || k.Cases[i].Case != c.Case {
				t.Fatalf("of %s on %s nothing was seen: see TestLabKernelCapabilities", c.Case, k.Kernel)
			}
			row += " " + cell(&k.Cases[i]) + " |"
		}
		fmt.Fprintf(&b, "%s %s |\n", row, loses[c.Case])
	}
	return b.String()
}

func cell(o *observed) string {
	switch {
	case o.Outcome == "refused":
		return "**none**"
	case len(o.Failed) > 0:
		return o.Outcome + "; can't probe " + strings.Join(o.Failed, ", ")
	}
	return o.Outcome
}

func keepsTable() string {
	var b strings.Builder
	fmt.Fprintln(&b, "| keeps | when | what for |\n|---|---|---|")
	for _, k := range record.KeptCapabilities() {
		when := "always"
		switch {
		case k.Spare:
			when = "without CAP_SYS_ADMIN, which contains it"
		case k.ForCommand:
			when = "with a COMMAND"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", k.Capability, when, k.Why)
	}
	return b.String()
}
