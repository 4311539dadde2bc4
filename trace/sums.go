// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"cmp"
	"slices"

	"github.com/nstrace/nstrace/event"
)

// HasPackets reports whether the file has packet records.
func (r *Reader) HasPackets() bool {
	return slices.ContainsFunc(r.blocks, func(b block) bool { return b.kind == kindPackets })
}

// SumPackets reads every packet and adds up those of each flow, in the order of
// their first. damaged is as with Packets.
func (r *Reader) SumPackets(damaged func(*event.Damage)) ([]event.PacketSum, error) {
	flows := make(map[event.Flow]*event.PacketSum)
	err := ReducePackets(r, 0, (*blockSums).add, func(s *blockSums) error {
		for i := range s.sums {
			mergeSum(flows, &s.sums[i])
		}
		s.sums = s.sums[:0]
		return nil
	}, damaged)
	sums := make([]event.PacketSum, 0, len(flows))
	for _, s := range flows {
		sums = append(sums, *s)
	}
	slices.SortFunc(sums, func(a, b event.PacketSum) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Dev, b.Dev), cmp.Compare(a.Path, b.Path))
	})
	return sums, err
}

// blockSums are the sums of one block, by the block's own numbers of flows.
type blockSums struct{ sums []event.PacketSum }

func (s *blockSums) add(b *PacketBatch) {
	if len(s.sums) == 0 {
		for _, f := range b.Flows {
			s.sums = append(s.sums, event.PacketSum{Flow: f})
		}
	}
	times, lengths := b.Time[:len(b.Flow)], b.Length[:len(b.Flow)]
	for i, f := range b.Flow {
		x := &s.sums[f]
		if x.Packets == 0 {
			x.First = times[i]
		}
		x.Packets++
		x.Bytes += uint64(lengths[i])
		x.Last = times[i] // a block's packets are in order
	}
}

func mergeSum(flows map[event.Flow]*event.PacketSum, s *event.PacketSum) {
	if s.Packets == 0 { // a flow of the block's that has none
		return
	}
	sum := flows[s.Flow]
	if sum == nil {
		sum = &event.PacketSum{Flow: s.Flow, First: s.First}
		flows[s.Flow] = sum
	}
	sum.Packets += s.Packets
	sum.Bytes += s.Bytes
	sum.First, sum.Last = min(sum.First, s.First), max(sum.Last, s.Last)
}
