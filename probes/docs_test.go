// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// hooksTable is written by this test, from the same plans as the golden ones:
// e2e compares those with what is really attached.
const hooksTable = "../docs/hooks.md"

const hooksIntro = `# Which hook each probe gets

nstrace plans for the kernel in front of it: by its symbols, its types and the number of arguments its functions take,
never by its version. This is what comes of that on Debian's kernels. ` + "`nstrace check`" + ` tells it for yours.

Generated from [testdata/kernels](../testdata/kernels), which describes these kernels, by ` + "`go test ./probes -update`" + `.
The tests in virtual machines compare the same plans with what was attached there.
`

// TestHooksTable holds the table in the documentation to what is planned.
func TestHooksTable(t *testing.T) {
	var kernels []*description
	for _, file := range descriptions(t) {
		kernels = append(kernels, readDescription(t, file))
	}
	got := printHooks(kernels)
	if *update {
		if err := os.WriteFile(hooksTable, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(hooksTable)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s isn't what is planned; -update rewrites it", hooksTable)
	}
}

// hooksPage is the page as far as it is written.
type hooksPage struct {
	bytes.Buffer
	// reasons are the footnotes.
	reasons []string
}

func printHooks(kernels []*description) []byte {
	p := new(hooksPage)
	p.WriteString(hooksIntro)
	p.WriteString("\n## By default (--attach auto)\n\n")
	p.table(kernels, ModeAuto, func(string) bool { return true })
	for _, mode := range []Mode{ModeFentry, ModeKprobe} {
		fmt.Fprintf(p, "\n## With --attach %s\n\n", mode)
		p.forced(kernels, mode)
	}
	p.WriteString("\n")
	for i, reason := range p.reasons {
		fmt.Fprintf(p, "[^%d]: %s\n", i+1, reason)
	}
	return p.Bytes()
}

// forced says what a mode changes.
func (p *hooksPage) forced(kernels []*description, mode Mode) {
	var able []*description
	for _, k := range kernels {
		if all := plan(k, mode, DeliveryCount); slices.ContainsFunc(all, func(c choice) bool { return c.hook == "" && len(c.hooks) > 0 }) {
			able = append(able, k)
		} else {
			fmt.Fprintf(p, "Nothing can be recorded so on %s (%s).\n", k.Release, all[0].reason)
		}
	}
	differ := differing(able, mode)
	fmt.Fprintf(p, "Every probe that isn't absent above, nor on a tracepoint, is hooked with %s, on the same function", mode)
	if len(differ) == 0 {
		p.WriteString(".\n")
		return
	}
	p.WriteString(", but for these:\n\n")
	p.table(able, mode, func(name string) bool { return slices.Contains(differ, name) })
}

// differing returns the probes which on some kernel aren't had, or are on
// another function, in a mode.
func differing(kernels []*description, mode Mode) (names []string) {
	for i := range table {
		if slices.ContainsFunc(kernels, func(k *description) bool {
			auto, forced := plan(k, ModeAuto, DeliveryCount)[i], plan(k, mode, DeliveryCount)[i]
			return auto.function.Name != forced.function.Name
		}) {
			names = append(names, table[i].name)
		}
	}
	return names
}

// table prints a line for each of the probes that are wanted.
func (p *hooksPage) table(kernels []*description, mode Mode, wanted func(name string) bool) {
	p.WriteString("| probe |")
	for _, k := range kernels {
		fmt.Fprintf(p, " %s |", k.Release)
	}
	p.WriteString(" without it, a report lacks |\n|---|" + strings.Repeat("---|", len(kernels)) + "---|\n")
	for i := range table {
		if !wanted(table[i].name) {
			continue
		}
		fmt.Fprintf(p, "| %s |", table[i].name)
		for _, k := range kernels {
			fmt.Fprintf(p, " %s |", p.cell(&plan(k, mode, DeliveryCount)[i]))
		}
		fmt.Fprintf(p, " %s |\n", table[i].loses)
	}
}

// cell is a probe's place in the table for a kernel.
func (p *hooksPage) cell(c *choice) string {
	text := "**absent**"
	if len(c.hooks) > 0 {
		text = fmt.Sprintf("%s `%s`", c.hooks[0], c.function.Name)
	}
	if c.reason == "" {
		return text
	}
	n := slices.Index(p.reasons, c.reason)
	if n < 0 {
		n = len(p.reasons)
		p.reasons = append(p.reasons, c.reason)
	}
	return fmt.Sprintf("%s[^%d]", text, n+1)
}
