// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/event"
)

var sampleRecording = event.Recording{
	Tool: "1.2.3", Host: "ap1", Kernel: "6.12.1", Version: "#1 SMP", Arch: "x86_64",
	BootID: "5a1f0a4e-6d3b-4f0c-9c44-000000000001", CPUs: 2, Command: []string{"nstrace", "record", "\xff"},
	Delivery: "packets", InitNet: 4026531840, Began: 1000, Clock: event.Clock{Boot: 900, Wall: 1700000000000000000},
}

var sampleEnd = event.End{Time: 9_000_000, Reason: "interrupt"}

// sampleEvent is the i-th event of a machine that makes namespaces, moves a
// radio into each and takes them away.
func sampleEvent(i int) event.Event {
	n := uint64(i / 4)
	e := event.Event{
		Seq: uint64(i / 2), CPU: uint32(i % 2), Time: 2000 + uint64(i)*1700 + uint64(i%7)*13,
		PID: 4000 + uint32(n%300), TID: 4000 + uint32(n%300), Comm: "ip",
		Caller: event.NetRef{Ptr: 0xffffffff9a2b4c00, Cookie: 1, Inum: 4026531840},
		Net:    event.NetRef{Ptr: 0xffff8881_0a000000 + n%5*0x2000, Cookie: 4097 + n, Inum: 4026532281 + uint32(n%5)},
	}
	switch i % 4 {
	case 0:
		e.Kind, e.Phase = event.KindSetupNet, event.PhaseEnter
	case 1:
		e.Kind, e.Phase, e.Start = event.KindSetupNet, event.PhaseExit, e.Time-uint64(90+i*i%40)
	case 2:
		e.Kind, e.Phase, e.Start = event.KindWiphySwitch, event.PhaseExit, e.Time-uint64(700+i*i%300)
		e.Net, e.Net2 = e.Caller, e.Net
		e.Wiphy, e.WiphyName, e.WiphyIndex = 0xffff8881_03c10000, "phy0", 3
	case 3:
		e.Kind, e.Phase, e.Start = event.KindNetdevMove, event.PhaseExit, e.Time-uint64(400+i*i%200)
		e.Within, e.Flags = 1<<event.KindWiphySwitch, event.FlagRx
		e.Net, e.Net2 = e.Caller, e.Net
		e.Dev, e.Name, e.NewName, e.Ifindex, e.NewIfindex = 0xffff8881_04d20000, "wlan0", "wlan0", 7, 7
		e.RxPackets, e.RxBytes = uint64(i)*11, uint64(i)*11*700
	}
	return e
}

func samplePacket(i int) event.Packet {
	h := uint64(i) * 0x9e3779b97f4a7c15 >> 32
	p := event.Packet{
		Flow: event.Flow{
			Net:     event.NetRef{Ptr: 0xffff8881_0a000000 + h%3*0x2000, Cookie: 4097 + h%3, Inum: 4026532281 + uint32(h%3)},
			Dev:     0xffff8881_04d20000 + h%3*0x1000,
			Ifindex: 7 + int32(h%3), Path: event.PathDeliverSKB,
		},
		Seq: uint64(i / 2), CPU: uint32(i % 2), Time: 2000 + uint64(i)*1000 + h%997,
		Length: 60 + uint32(h>>8%8*h>>16%180), Protocol: 0x0800,
	}
	for j := range i % 4 * 5 { // every fourth has none
		p.Data = append(p.Data, byte(h>>(j%32)))
	}
	return p
}

// writeSample writes a file with every kind of block; n events, in flushes of
// step. It calls flushed after each flush.
func writeSample(t testing.TB, out io.Writer, n, step int, flushed func(*Writer)) {
	t.Helper()
	w, err := NewWriter(out, sampleRecording)
	check(t, err)
	check(t, w.Snapshot(&event.Snapshot{Begin: 1100, Finish: 1200, Namespaces: []event.NetnsState{
		{Inum: 4026531840, Initial: true, Links: []event.Link{{Ifindex: 1, Name: "lo", Wiphy: -1}}},
	}}))
	check(t, w.Symbol(&event.Symbol{Time: 1300, Addr: 0xffffffff81234567, Name: "loopback_net_init"}))
	for i := range n {
		e, p := sampleEvent(i), samplePacket(i)
		check(t, w.Event(&e))
		check(t, w.Packet(&p))
		if i%step == step-1 {
			check(t, w.Step(&event.Step{Time: e.Time, Began: e.Time - 700, Duration: 90, Kind: event.KindSetupNet, TID: e.TID, Net: e.Net, Ops: 64, Fn: 128}))
			check(t, w.Task(&event.Task{
				Seq: uint64(i / step), Time: e.Time, Op: event.TaskSwitch, PID: e.PID, TID: e.TID, Comm: e.Comm, Net: e.Net, From: e.Caller,
			}))
			check(t, w.Cgroup(&event.CgroupPath{Time: e.Time, ID: uint64(i), Path: "/a.scope"}))
			check(t, w.Count(&event.Count{Flow: p.Flow, Time: e.Time, First: e.Time - 900, Since: e.Time - 500, Last: e.Time - 3, Packets: 3, Bytes: 900}))
			check(t, w.Name(&event.NameChange{Time: e.Time, Name: "blue", Path: "/run/netns/blue", Inum: e.Net.Inum, Added: true}))
			check(t, w.Loss(&event.Loss{Ring: "lifecycle", CPU: 1, From: e.Time - 5, To: e.Time, Count: 2}))
			check(t, w.Flush())
			if flushed != nil {
				flushed(w)
			}
		}
	}
	check(t, w.Ledger(&event.Ledger{
		Time: 8_000_000, Rings: []event.RingLedger{{Name: "lifecycle", Size: 1 << 20, Received: uint64(n)}},
		Problems: []event.Problem{{What: "a capability is missing", Remedy: "run it as root"}},
	}))
	check(t, w.Close(sampleEnd))
}

func sampleFile(t testing.TB, n, step int) []byte {
	t.Helper()
	var b bytes.Buffer
	writeSample(t, &b, n, step, nil)
	return b.Bytes()
}

// content is all that a file gives.
type content struct {
	collector
	packets []event.Packet
	pdamage []event.Damage
}

func open(b []byte) (*Reader, error) { return NewReader(bytes.NewReader(b), int64(len(b))) }

// readAll replays a file and reads its packets.
func readAll(t testing.TB, r *Reader) *content {
	t.Helper()
	var c content
	check(t, r.Replay(&c, ReplayOptions{}))
	c.readPackets(t, r)
	return &c
}

// orderedPackets reads them in the order of time, with what was in them.
func (c *content) orderedPackets(t testing.TB, r *Reader) {
	t.Helper()
	err := r.OrderedPackets(func(p *event.Packet) error {
		q := *p
		q.Data = bytes.Clone(p.Data)
		c.packets = append(c.packets, q)
		return nil
	}, func(d *event.Damage) { c.pdamage = append(c.pdamage, *d) })
	check(t, err)
	if !slices.IsSortedFunc(c.packets, func(p, q event.Packet) int { return cmp.Compare(p.Time, q.Time) }) {
		t.Error("packets are not in the order of time")
	}
}

// readPackets reads them both ways, and says where these differ.
func (c *content) readPackets(t testing.TB, r *Reader) {
	t.Helper()
	c.orderedPackets(t, r)
	byPlace := func(p, q event.Packet) int {
		return cmp.Or(cmp.Compare(p.Time, q.Time), cmp.Compare(p.CPU, q.CPU), cmp.Compare(p.Seq, q.Seq))
	}
	ordered := slices.Clone(c.packets)
	var scanned []event.Packet
	damage := 0
	check(t, r.Packets(func(b *PacketBatch) error {
		for i := range b.Len() {
			var p event.Packet
			b.Packet(i, &p)
			scanned = append(scanned, p)
		}
		return nil
	}, func(*event.Damage) { damage++ }))
	for i := range ordered {
		ordered[i].Data = nil
	}
	slices.SortStableFunc(ordered, byPlace)
	slices.SortStableFunc(scanned, byPlace)
	if !reflect.DeepEqual(ordered, scanned) {
		t.Errorf("%d packets in order, %d otherwise, or others", len(ordered), len(scanned))
	}
	if damage > len(c.pdamage) {
		t.Errorf("%d damaged blocks of packets, %d in order", damage, len(c.pdamage))
	}
}

// counts counts records by kind.
func (c *content) count() [kindCount]int {
	var n [kindCount]int
	n[kindLifecycle], n[kindCounts], n[kindPackets] = len(c.events), len(c.counts), len(c.packets)
	n[kindNames], n[kindSymbols], n[kindSnapshot] = len(c.names), len(c.symbols), len(c.snapshots)
	n[kindSteps], n[kindTasks], n[kindCgroups] = len(c.steps), len(c.tasks), len(c.cgroups)
	for _, p := range c.packets {
		if p.Data != nil {
			n[kindData]++
		}
	}
	n[kindLedger], n[kindLoss] = len(c.ledgers), len(c.losses)
	return n
}

// within says what c has that whole hasn't, "" if nothing. Records must be in
// the same order.
func (c *content) within(whole *content) string {
	var b strings.Builder
	part(&b, "event", c.events, whole.events)
	part(&b, "step", c.steps, whole.steps)
	part(&b, "task", c.tasks, whole.tasks)
	part(&b, "cgroup", c.cgroups, whole.cgroups)
	part(&b, "count", c.counts, whole.counts)
	partFunc(&b, "packet", c.packets, whole.packets, func(p, q event.Packet) bool {
		if p.Data == nil { // lost
			q.Data = nil
		}
		return reflect.DeepEqual(p, q)
	})
	part(&b, "name", c.names, whole.names)
	part(&b, "symbol", c.symbols, whole.symbols)
	part(&b, "snapshot", c.snapshots, whole.snapshots)
	part(&b, "loss", c.losses, whole.losses)
	part(&b, "ledger", c.ledgers, whole.ledgers)
	if !reflect.DeepEqual(c.rec, whole.rec) {
		b.WriteString("another recording ")
	}
	if c.end != nil && !reflect.DeepEqual(c.end, whole.end) {
		b.WriteString("another end ")
	}
	if !slices.IsSorted(c.order) {
		b.WriteString("out of order")
	}
	return b.String()
}

// part checks that some is a subsequence of all.
func part[T any](b *strings.Builder, what string, some, all []T) {
	partFunc(b, what, some, all, func(x, y T) bool { return reflect.DeepEqual(x, y) })
}

func partFunc[T any](b *strings.Builder, what string, some, all []T, same func(x, y T) bool) {
	j := 0
	for i := range some {
		for j < len(all) && !same(some[i], all[j]) {
			j++
		}
		if j == len(all) {
			fmt.Fprintf(b, "%s %d is invented: %+v ", what, i, some[i])
			return
		}
		j++
	}
}
