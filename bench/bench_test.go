// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"math"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		rounds []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{5, 1, 3}, 3},
		{[]float64{4, 1, 2, 100}, 3},
	} {
		if got := Median(c.rounds); got != c.want {
			t.Errorf("the median of %v is %v, want %v", c.rounds, got, c.want)
		}
	}
	if got := Median(nil); !math.IsNaN(got) {
		t.Errorf("the median of nothing is %v", got)
	}
}

func TestTable(t *testing.T) {
	table := Table{Title: "Rates", Columns: []string{"what", "rate"}}
	table.Row("reader", Million(2_500_000))
	table.Row("–", 1)
	var b strings.Builder
	table.WriteTo(&b)
	const want = `### Rates

| what   | rate     |
| ------ | -------- |
| reader | 2.50 M/s |
| –      | 1        |

`
	if b.String() != want {
		t.Errorf("got\n%s, want\n%s", b.String(), want)
	}
}
