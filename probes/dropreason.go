// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"strings"

	"github.com/cilium/ebpf/btf"
)

// hasDropReason reports whether the tracepoint kfree_skb says why a packet is
// dropped, as it does from 5.17 on.
func (k *kernel) hasDropReason() bool {
	for _, t := range k.Tracepoints {
		if t.Name == "kfree_skb" {
			return len(t.Args) > 2
		}
	}
	return false
}

// dropReasons has the names of the reasons, nil if the kernel gives none. Those
// that mac80211 adds to them (from 6.4 on) are of packets that it dropped itself,
// which don't count as the stack's.
func (k *kernel) dropReasons() map[uint64]string {
	if !k.hasDropReason() {
		return nil
	}
	names := map[uint64]string{}
	types, err := k.types.Kernel()
	if err != nil {
		return names
	}
	var enum *btf.Enum
	if err := types.TypeByName("skb_drop_reason", &enum); err != nil {
		return names
	}
	for _, v := range enum.Values {
		names[v.Value] = strings.TrimPrefix(v.Name, "SKB_DROP_REASON_")
	}
	return names
}
