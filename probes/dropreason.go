// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// hasDropReason reports whether the tracepoint kfree_skb says why a packet is
// dropped, as it does from 5.17 on.
func (k *kernel) hasDropReason() bool { return k.kfreeSkbArgs() > 2 }

// hasDropSocket reports whether it says for which socket the packet was, as it
// does from 6.11 on.
func (k *kernel) hasDropSocket() bool { return k.kfreeSkbArgs() > 3 }

// kfreeSkbArgs is how many arguments the tracepoint kfree_skb has: skb, location,
// reason, rx_sk. Later kernels have more of them, but none moved.
func (k *kernel) kfreeSkbArgs() int {
	for _, t := range k.Tracepoints {
		if t.Name == "kfree_skb" {
			return len(t.Args)
		}
	}
	return 0
}

// dropReasons has what reasons are called, by their number.
type dropReasons struct {
	names map[uint64]string
	// subsystems are those that have reasons of their own (from 6.4 on), by the
	// number that is in the upper half of the reason's.
	subsystems map[uint64]string
}

// subsystemShift is SKB_DROP_REASON_SUBSYS_SHIFT (include/net/dropreason.h).
const subsystemShift = 16

// name is what a reason is called. Of those that a module brings only the
// subsystem has a name; the two of mac80211 are of packets that it dropped itself,
// which don't count as the stack's.
func (r *dropReasons) name(given uint64) string {
	if name, ok := r.names[given]; ok {
		return name
	}
	if name, ok := r.subsystems[given>>subsystemShift]; ok && given>>subsystemShift != 0 {
		return fmt.Sprintf("%s %d", name, given&(1<<subsystemShift-1))
	}
	return fmt.Sprintf("%#x", given)
}

// dropReasons returns the reasons, nil if the kernel gives none.
func (k *kernel) dropReasons() *dropReasons {
	if !k.hasDropReason() {
		return nil
	}
	types, err := k.types.Kernel()
	if err != nil {
		return &dropReasons{}
	}
	r := &dropReasons{
		names:      enumNames(types, "skb_drop_reason", "SKB_DROP_REASON_"),
		subsystems: enumNames(types, "skb_drop_reason_subsys", "SKB_DROP_REASON_SUBSYS_"),
	}
	// Those of queueing disciplines are the kernel's own, too (7.2 has some).
	for value, name := range enumNames(types, "qdisc_drop_reason", "") {
		r.names[value] = name
	}
	return r
}

// enumNames has the names of an enum's values without a prefix that they share;
// nothing if the kernel has no such enum.
func enumNames(types *btf.Spec, enum, prefix string) map[uint64]string {
	names := map[uint64]string{}
	var e *btf.Enum
	if err := types.TypeByName(enum, &e); err != nil {
		return names
	}
	for _, v := range e.Values {
		names[v.Value] = strings.TrimPrefix(v.Name, prefix)
	}
	return names
}
