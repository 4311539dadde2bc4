// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"cmp"
	"slices"

	"github.com/nstrace/nstrace/event"
)

// dropKey is what drops are added up by.
type dropKey struct {
	netns   *Netns
	device  *Device
	ifindex int32
	reason  string
	where   uint64
}

// dropped takes an increment of what the stack dropped.
func (a *Analyzer) dropped(c *event.Count, n *Netns, d *Device) {
	key := dropKey{n, d, c.Ifindex, c.Reason, c.Where}
	x := a.drops[key]
	if x == nil {
		x = &Drop{Netns: n, Device: d, Ifindex: c.Ifindex, Reason: c.Reason, where: c.Where}
		a.drops[key] = x
		a.m.Drops = append(a.m.Drops, x)
	}
	x.Packets += c.Packets
	x.Bytes += c.Bytes
	if c.First != 0 && (x.First == 0 || c.First < x.First) {
		x.First = c.First
	}
	x.Last = max(x.Last, c.Last)
}

// finishDrops names the functions that dropped packets, when all symbols are
// known, and gives each namespace its own.
func (a *Analyzer) finishDrops() {
	drops := make(map[dropKey]*Drop)
	for _, x := range a.m.Drops {
		x.Netns = x.Netns.canon()
		if sym, ok := a.symbol(x.where, x.Last); ok && x.where != 0 {
			x.Reason, x.Function = sym.Name, true // several places in one function are one reason
		}
		key := dropKey{x.Netns, x.Device, x.Ifindex, x.Reason, 0}
		if same := drops[key]; same != nil {
			same.Packets += x.Packets
			same.Bytes += x.Bytes
			same.First = min(same.First, x.First)
			same.Last = max(same.Last, x.Last)
			continue
		}
		drops[key] = x
		x.Netns.Drops = append(x.Netns.Drops, x)
	}
	a.m.Drops = nil
	for _, n := range a.m.Namespaces {
		slices.SortStableFunc(n.Drops, func(x, y *Drop) int {
			return cmp.Or(cmp.Compare(x.Ifindex, y.Ifindex), cmp.Compare(y.Packets, x.Packets), cmp.Compare(x.Reason, y.Reason))
		})
		a.m.Drops = append(a.m.Drops, n.Drops...)
	}
}
