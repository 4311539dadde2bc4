// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"testing"

	"github.com/nstrace/nstrace/event"
)

// TestReturnsAccount: what is left of calls that nobody can look at is unknown,
// unless the kernel's own count says that none of their returns was missed.
func TestReturnsAccount(t *testing.T) {
	number := func(n uint64) *uint64 { return &n }
	for _, c := range []struct {
		name           string
		proven, buried uint64
		left           left
		kernel         *uint64
		missed         *uint64
		open           uint64
	}{
		{"nothing", 0, 0, left{}, nil, number(0), 0},
		{"still running", 0, 0, left{running: 2}, nil, number(0), 2},
		{"proven in every way", 1, 2, left{over: 3}, nil, number(6), 0},
		{"unknown", 1, 0, left{running: 1, unknown: 1}, nil, nil, 1},
		{"unknown, but none was missed", 0, 0, left{unknown: 1}, number(0), number(0), 1},
		{"unknown, but all that were missed are proven", 1, 1, left{unknown: 1}, number(2), number(2), 1},
		{"unknown, and more were missed than are proven", 1, 0, left{unknown: 1}, number(2), nil, 0},
		// The kernel counts those of calls whose entry was missed as well.
		{"the kernel's count is no better than the proof", 1, 0, left{}, number(2), number(1), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			const id = bpfNstKindNST_SETUP_NET
			stats := bpfNstProbeStats{Hits: 9}
			stats.Returns[bpfNstReturnNST_RETURN_SEEN] = 5
			stats.Returns[bpfNstReturnNST_RETURN_MISSED] = c.proven
			stats.Returns[bpfNstReturnNST_RETURN_UNEXPECTED] = 7
			stats.Returns[bpfNstReturnNST_RETURN_STRAY] = 8
			r := &returns{buried: map[bpfNstKind]uint64{id: c.buried, id + 1: 100}}
			var p event.ProbeLedger
			r.account(&p, id, &stats, c.left, c.kernel)
			if *p.Returns != 5 || p.CallsDropped != 7 || p.Strays != 8 || p.Open != c.open {
				t.Errorf("%d returns, %d dropped, %d strays, %d open", *p.Returns, p.CallsDropped, p.Strays, p.Open)
			}
			switch {
			case (p.ReturnsMissed == nil) != (c.missed == nil):
				t.Errorf("missed %v, want %v", p.ReturnsMissed, c.missed)
			case c.missed != nil && *p.ReturnsMissed != *c.missed:
				t.Errorf("missed %d, want %d", *p.ReturnsMissed, *c.missed)
			}
		})
	}
}

// TestMisses: the figures are those of the recording, whatever was missed
// before; what is unknown stays so.
func TestMisses(t *testing.T) {
	of := func(entry, exit int) (m misses) {
		for _, x := range []struct {
			n  int
			to **uint64
		}{{entry, &m.entry}, {exit, &m.exit}} {
			if x.n >= 0 {
				n := uint64(x.n)
				*x.to = &n
			}
		}
		return m
	}
	earlier, after := of(1, 2), of(10, 20)
	for _, c := range []struct {
		name          string
		a             attached
		want, unknown int
	}{
		{"before and after", attached{missedBefore: of(3, 4), missedAfter: &after}, 23, 0},
		{"with those of an earlier hook", attached{missedBefore: of(3, 4), missedAfter: &after, missedEarlier: &earlier}, 26, 0},
		{"half unknown", attached{missedBefore: of(-1, 4), missedAfter: &after}, 0, 1},
		{"unknown of an earlier hook", attached{missedBefore: of(3, 4), missedAfter: &after, missedEarlier: new(misses)}, 0, 1},
		{"never attached", attached{missedBefore: of(0, 0)}, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			sum := c.a.misses(&tally{features: &features{}}).sum()
			if (sum == nil) != (c.unknown == 1) || sum != nil && *sum != uint64(c.want) {
				t.Errorf("%v, want %d (unknown: %d)", sum, c.want, c.unknown)
			}
		})
	}
}
