// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/report"
)

// Of many ordinary namespaces the text lists the latest and counts the rest;
// asked to, it lists all.
func TestTextFolds(t *testing.T) {
	m := many(200)
	for _, c := range []struct {
		o             report.Options
		listed, count int
	}{
		{report.Options{}, 50, 1},
		{report.Options{All: true}, 200, 0},
	} {
		var b bytes.Buffer
		if err := report.Text(&b, m, c.o); err != nil {
			t.Fatal(err)
		}
		rows, timeline := 0, 0
		for line := range strings.Lines(b.String()) {
			if strings.HasPrefix(line, "  ns") {
				rows++
			}
			if strings.Contains(line, " created namespace ") {
				timeline++
			}
		}
		if rows != c.listed+1 || timeline != c.listed { // and the initial one
			t.Errorf("all %v: %d rows and %d births in the timeline, want %d", c.o.All, rows, timeline, c.listed)
		}
		if n := strings.Count(b.String(), "not listed: 150 made by"); n != c.count {
			t.Errorf("all %v: %d lines say what isn't listed:\n%s", c.o.All, n, &b)
		}
	}
}
