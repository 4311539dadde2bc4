// SPDX-License-Identifier: Apache-2.0

package probes

import "testing"

func TestDropReasonName(t *testing.T) {
	r := &dropReasons{
		names:      map[uint64]string{3: "NO_SOCKET", 0x30001: "QDISC_DROP_GENERIC"},
		subsystems: map[uint64]string{0: "CORE", 2: "OPENVSWITCH", 3: "QDISC"},
	}
	for given, want := range map[uint64]string{
		3: "NO_SOCKET", 0x30001: "QDISC_DROP_GENERIC", 0x20005: "OPENVSWITCH 5", 0x30009: "QDISC 9",
		200: "0xc8", 0x70001: "0x70001",
	} {
		if got := r.name(given); got != want {
			t.Errorf("reason %#x is called %q, want %q", given, got, want)
		}
	}
	if got := (&dropReasons{}).name(3); got != "0x3" {
		t.Errorf("without names it is called %q", got)
	}
}
