// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/event"
	"github.com/nstrace/nstrace/trace"
)

// TestReportReadsPackets reports on a recording of which a packet is missing.
func TestReportReadsPackets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "packets.nst")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := trace.NewWriter(f, event.Recording{Host: "test", Delivery: "packets", Began: 1000})
	if err != nil {
		t.Fatal(err)
	}
	flow := event.Flow{Net: event.NetRef{Cookie: 1, Inum: 4026531840}, Dev: 0x100, Ifindex: 3, Path: event.PathDeliverSKB}
	err = errors.Join(
		w.Packet(&event.Packet{Flow: flow, Time: 2000, Length: 60}),
		w.Packet(&event.Packet{Flow: flow, Time: 3000, Length: 60}),
		w.Count(&event.Count{Flow: flow, Time: 4000, Packets: 3, Bytes: 180}),
		w.Close(event.End{Time: 5000}), f.Close(),
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, packets := range []bool{true, false} {
		m, err := readModel(path, analyze.DefaultKeep, nil, packets)
		if err != nil {
			t.Fatal(err)
		}
		found := slices.ContainsFunc(m.Findings, func(f analyze.Finding) bool { return f.Rule == "packets-differ" })
		if found != packets {
			t.Errorf("packets read: %v, the missing one found: %v", packets, found)
		}
	}
}
