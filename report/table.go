// SPDX-License-Identifier: Apache-2.0

package report

import (
	"strings"

	"github.com/nstrace/nstrace/analyze"
)

// table lines up columns. Cells are escaped already: widths are measured on what
// will be printed.
type table struct {
	rows  [][]string
	right map[int]bool // columns of numbers
	gone  map[int]bool // columns that are left out
}

func newTable(head ...string) *table {
	t := &table{right: make(map[int]bool), gone: make(map[int]bool)}
	if len(head) != 0 {
		t.row(head...)
	}
	return t
}

// numbers aligns columns to the right.
func (t *table) numbers(columns ...int) *table {
	for _, c := range columns {
		t.right[c] = true
	}
	return t
}

// without leaves out a column.
func (t *table) without(column int) *table {
	t.gone[column] = true
	return t
}

// unlessEmpty leaves out a column that has nothing but its head.
func (t *table) unlessEmpty(column int) *table {
	for _, r := range t.rows[1:] {
		if r[column] != "" {
			return t
		}
	}
	return t.without(column)
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// write appends the table to b, each line after indent.
func (t *table) write(b *strings.Builder, indent string) {
	var widths []int
	for _, r := range t.rows {
		for i, c := range r {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], width(c))
		}
	}
	for _, r := range t.rows {
		line := indent
		for i, c := range r {
			if t.gone[i] {
				continue
			}
			pad := strings.Repeat(" ", widths[i]-width(c))
			if t.right[i] {
				line += pad + c + "  "
			} else {
				line += c + pad + "  "
			}
		}
		b.WriteString(strings.TrimRight(line, " "))
		b.WriteByte('\n')
	}
}

// width is how many columns of a terminal an escaped string takes.
func width(s string) int {
	n := 0
	for _, r := range s {
		n++
		if wide(r) {
			n++
		}
	}
	return n
}

// wide reports whether a terminal gives r two columns (East Asian wide and
// fullwidth, UAX #11, by block).
func wide(r rune) bool {
	switch {
	case r < 0x1100:
		return false
	case r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf, r >= 0xa960 && r <= 0xa97f, r >= 0xac00 && r <= 0xd7a3,
		r >= 0xf900 && r <= 0xfaff, r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60, r >= 0xffe0 && r <= 0xffe6,
		r >= 0x17000 && r <= 0x18cff, r >= 0x1b000 && r <= 0x1b2ff, r >= 0x1f300 && r <= 0x1f9ff, r >= 0x20000 && r <= 0x3fffd:
		return true
	}
	return false
}

// wrapWidth is where prose is broken.
const wrapWidth = 100

// wrap appends escaped prose to b, broken at spaces; the first line begins with
// first and the others with indent.
func wrap(b *strings.Builder, first, indent, text string) {
	line, used := first, width(first)
	empty := true
	for word := range strings.SplitSeq(text, " ") {
		if w := width(word); !empty && used+1+w > wrapWidth {
			b.WriteString(strings.TrimRight(line, " "))
			b.WriteByte('\n')
			line, used, empty = indent, width(indent), true
		}
		if !empty {
			line += " "
			used++
		}
		line += word
		used += width(word)
		empty = false
	}
	b.WriteString(strings.TrimRight(line, " "))
	b.WriteByte('\n')
}

// escape is the one way of anything a user could choose into the text.
func escape(s string) string { return analyze.Escape(s) }

// escapeAll escapes each and joins them.
func escapeAll(in []string, sep string) string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = escape(s)
	}
	return strings.Join(out, sep)
}
