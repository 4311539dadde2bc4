// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"fmt"
	"reflect"
	"testing"

	"github.com/nstrace/nstrace/event"
)

// A machine with 10,000 namespaces fits into a snapshot.
func TestLargeSnapshot(t *testing.T) {
	s := event.Snapshot{Begin: 10, Finish: 20}
	for i := range uint32(10000) {
		n := event.NetnsState{Inum: 4026532000 + i, Cookie: uint64(i), Names: []string{fmt.Sprintf("ns-%d", i)}}
		for j := range int32(10) {
			n.Links = append(n.Links, event.Link{Ifindex: j, Name: fmt.Sprintf("veth%d", j), Kind: "veth", Wiphy: -1, Stats: true, RxPackets: uint64(i)})
			n.Holders = append(n.Holders, event.Holder{Kind: "task", PID: i*10 + uint32(j), Comm: "pause"})
		}
		s.Namespaces = append(s.Namespaces, n)
	}
	var out bytes.Buffer
	w, err := NewWriter(&out, sampleRecording)
	check(t, err)
	check(t, w.Snapshot(&s))
	check(t, w.Close(sampleEnd))
	r, err := open(out.Bytes())
	check(t, err)
	got := readAll(t, r)
	if len(got.damage) != 0 || len(got.snapshots) != 1 || !reflect.DeepEqual(got.snapshots[0], s) {
		t.Errorf("%d snapshots, damage %+v", len(got.snapshots), got.damage)
	}
}

// A recording so long that its index takes several blocks.
func TestLongIndex(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, sampleRecording)
	check(t, err)
	const n = 2*indexPerBlock + 100
	for i := range n {
		e := sampleEvent(i)
		check(t, w.Event(&e))
		check(t, w.Flush())
	}
	check(t, w.Close(sampleEnd))
	if s := verify(t, out.Bytes()); !s.Whole() || kindOf(s, kindLifecycle).Read != n {
		t.Errorf("%+v", s)
	}
}
