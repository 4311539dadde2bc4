// SPDX-License-Identifier: Apache-2.0

// Package bench makes the tables of `make bench` (docs/benchmarks.md): medians
// of several rounds of one run, and their ratios.
package bench

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// Output is the variable that names the file to which tables are appended.
const Output = "NSTRACE_BENCH"

// Median is the middle of what the rounds measured, NaN of none.
func Median(rounds []float64) float64 {
	s := slices.Sorted(slices.Values(rounds))
	switch n := len(s); {
	case n == 0:
		return math.NaN()
	case n%2 == 0:
		return (s[n/2-1] + s[n/2]) / 2
	default:
		return s[n/2]
	}
}

// Table is one table in Markdown.
type Table struct {
	Title   string
	Columns []string
	rows    [][]string
}

// Row adds a row of as many cells as there are columns: strings as they are,
// everything else as fmt.Sprint has it.
func (t *Table) Row(cells ...any) {
	if len(cells) != len(t.Columns) {
		panic(fmt.Sprintf("%d cells for %d columns", len(cells), len(t.Columns)))
	}
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.rows = append(t.rows, row)
}

// WriteTo writes the table.
func (t *Table) WriteTo(w io.Writer) (int64, error) {
	widths := make([]int, len(t.Columns))
	rule := make([]string, len(t.Columns))
	for _, row := range append([][]string{t.Columns}, t.rows...) {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
			rule[i] = strings.Repeat("-", widths[i])
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\n", t.Title)
	for _, row := range append([][]string{t.Columns, rule}, t.rows...) {
		for i, c := range row {
			fmt.Fprintf(&b, "| %s%s ", c, strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c)))
		}
		b.WriteString("|\n")
	}
	b.WriteByte('\n')
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

// Publish logs the table and appends it to the file that Output names, if any.
func (t *Table) Publish(b testing.TB) {
	b.Helper()
	var text strings.Builder
	t.WriteTo(&text)
	b.Log("\n" + text.String())
	path := os.Getenv(Output)
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		b.Fatal(err)
	}
	_, err = t.WriteTo(f)
	if err2 := f.Close(); err == nil {
		err = err2
	}
	if err != nil {
		b.Fatal(err)
	}
}

// Million prints a rate as millions per second.
func Million(perSecond float64) string { return fmt.Sprintf("%.2f M/s", perSecond/1e6) }

// Times prints a ratio.
func Times(x float64) string { return fmt.Sprintf("%.2f", x) }
