// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/event"
)

func TestSumCounts(t *testing.T) {
	for _, c := range []struct {
		name   string
		perCPU []bpfNstCount
		want   bpfNstCount
	}{
		{"none", nil, bpfNstCount{}},
		{"zero", []bpfNstCount{{}, {}}, bpfNstCount{}},
		{"one CPU", []bpfNstCount{{}, {Packets: 2, Bytes: 200, First: 10, Last: 20}}, bpfNstCount{Packets: 2, Bytes: 200, First: 10, Last: 20}},
		{"two", []bpfNstCount{
			{Packets: 2, Bytes: 200, First: 15, Last: 40},
			{Packets: 3, Bytes: 300, First: 10, Last: 30},
		}, bpfNstCount{Packets: 5, Bytes: 500, First: 10, Last: 40}},
		{"idle between", []bpfNstCount{
			{Packets: 1, Bytes: 60, First: 15, Last: 15},
			{},
			{Packets: 1, Bytes: 70, First: 16, Last: 16},
		}, bpfNstCount{Packets: 2, Bytes: 130, First: 15, Last: 16}},
		{"counted, not yet timed", []bpfNstCount{{Packets: 1, Bytes: 60}, {Packets: 1, Bytes: 60, First: 9, Last: 9}}, bpfNstCount{Packets: 2, Bytes: 120, First: 9, Last: 9}},
	} {
		if got := sumCounts(c.perCPU); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

// variable is one of the programs'.
type variable uint32

func (v *variable) Get(to any) error {
	*to.(*uint32) = uint32(*v)
	return nil
}

// flows has the kernel's own maps, filled by the test in place of the programs.
type flows struct {
	*counters
	made variable
}

func newFlows(t *testing.T) *flows {
	t.Helper()
	needRoot(t)
	spec, err := loadBpf()
	if err != nil {
		t.Fatal(err)
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		t.Fatal(err)
	}
	maps := map[string]*ebpf.Map{}
	for _, name := range slices.Concat(flowMaps, []string{perCPUMap}) {
		if name == perCPUMap {
			spec.Maps[name].MaxEntries *= uint32(cpus)
		}
		maps[name] = newMap(t, spec.Maps[name])
	}
	f := &flows{}
	if f.counters, err = newCounters(maps, &f.made, cpus, DeliveryCount); err != nil {
		t.Fatal(err)
	}
	return f
}

// put gives a flow its counts; CPUs beyond the machine's count on the last one.
func (f *flows) put(t *testing.T, flow bpfNstFlow, perCPU ...bpfNstCount) {
	t.Helper()
	clear(f.perCPU)
	for i, n := range perCPU {
		v := &f.perCPU[min(i, len(f.perCPU)-1)]
		*v = sumCounts([]bpfNstCount{*v, n})
	}
	var index uint32
	if err := f.flows.Lookup(&flow, &index); err != nil {
		if err := f.free.LookupAndDelete(nil, &index); err != nil {
			t.Fatal(err)
		}
		if err := f.flows.Put(&flow, index); err != nil {
			t.Fatal(err)
		}
		f.made++
	}
	if err := f.each(index, f.counts.WriteAt); err != nil {
		t.Fatal(err)
	}
}

func (f *flows) putBase(t *testing.T, flow bpfNstFlow, base bpfNstBase) {
	t.Helper()
	if err := f.bases.Put(&flow, &base); err != nil {
		t.Fatal(err)
	}
}

// wants reads the counters and compares them, in the order of the devices.
func (f *flows) wants(t *testing.T, now uint64, want ...event.Count) {
	t.Helper()
	var got []event.Count
	if err := f.read(now, func(c *event.Count) { got = append(got, *c) }); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, func(a, b event.Count) int { return int(a.Dev) - int(b.Dev) })
	if !slices.Equal(got, want) {
		t.Fatalf("at %d\n got %+v\nwant %+v", now, got, want)
	}
}

// has reports whether the kernel still has the flow, and its base.
func (f *flows) has(t *testing.T, flow bpfNstFlow) (counted, based bool) {
	t.Helper()
	var index uint32
	var base bpfNstBase
	return f.flows.Lookup(&flow, &index) == nil, f.bases.Lookup(&flow, &base) == nil
}

func flowTo(dev uint64) bpfNstFlow {
	return bpfNstFlow{Net: 0x10, Cookie: 7, Inum: 4026531840, Dev: dev, Ifindex: 3, Path: uint16(event.PathDeliverSKB), Protocol: unix.ETH_P_IP}
}

func TestCountIncrements(t *testing.T) {
	f := newFlows(t)
	f.wants(t, 1)
	one, two := flowTo(1), flowTo(2)
	f.putBase(t, one, bpfNstBase{Packets: 100, Bytes: 9000, Valid: 1})
	f.put(t, one, bpfNstCount{Packets: 2, Bytes: 200, First: 11, Last: 15}, bpfNstCount{Packets: 1, Bytes: 60, First: 10, Last: 10})
	f.wants(t, 20, event.Count{
		Protocol: unix.ETH_P_IP, Flow: flowOf(&one), Time: 20, First: 10, Last: 15, Packets: 3, Bytes: 260,
		Base: true, BasePackets: 100, BaseBytes: 9000,
	})
	f.wants(t, 30) // nothing new
	// Only what is new, and the base only once; another flow begins, without.
	f.put(t, one, bpfNstCount{Packets: 2, Bytes: 200, First: 11, Last: 15}, bpfNstCount{Packets: 5, Bytes: 460, First: 10, Last: 35})
	f.put(t, two, bpfNstCount{Packets: 1, Bytes: 1, First: 33, Last: 33})
	f.wants(
		t, 40,
		event.Count{Protocol: unix.ETH_P_IP, Flow: flowOf(&one), Since: 30, Time: 40, First: 10, Last: 35, Packets: 4, Bytes: 400},
		event.Count{Protocol: unix.ETH_P_IP, Flow: flowOf(&two), Time: 40, First: 33, Last: 33, Packets: 1, Bytes: 1},
	)
	f.wants(t, 50)
}

// TestCountWhileReading: what came while the counters were being read was read then,
// so what is read next came after it.
func TestCountWhileReading(t *testing.T) {
	f := newFlows(t)
	flow := flowTo(1)
	f.put(t, flow, bpfNstCount{Packets: 1, Bytes: 60, First: 9, Last: 14})
	f.wants(t, 10, event.Count{Protocol: unix.ETH_P_IP, Flow: flowOf(&flow), Time: 10, First: 9, Last: 14, Packets: 1, Bytes: 60})
	f.put(t, flow, bpfNstCount{Packets: 2, Bytes: 120, First: 9, Last: 18})
	f.wants(t, 20, event.Count{Protocol: unix.ETH_P_IP, Flow: flowOf(&flow), Time: 20, First: 9, Last: 18, Since: 14, Packets: 1, Bytes: 60})
}

// TestCountSameTick: the time of the last packet can be that of an earlier one, even
// of one from before the reading before; but that is when it came after.
func TestCountSameTick(t *testing.T) {
	f := newFlows(t)
	flow := flowTo(1)
	f.put(t, flow, bpfNstCount{Packets: 1, Bytes: 60, First: 9, Last: 9})
	f.wants(t, 10, event.Count{Protocol: unix.ETH_P_IP, Flow: flowOf(&flow), Time: 10, First: 9, Last: 9, Packets: 1, Bytes: 60})
	f.put(t, flow, bpfNstCount{Packets: 2, Bytes: 120, First: 9, Last: 9})
	f.wants(t, 20, event.Count{Protocol: unix.ETH_P_IP, Flow: flowOf(&flow), Time: 20, First: 9, Last: 10, Since: 10, Packets: 1, Bytes: 60})
}

// TestCounterReused: a counter is nobody's until the reading after the one that
// took its flow out, as a program may still go by what it found; then it is empty.
func TestCounterReused(t *testing.T) {
	f := newFlows(t)
	flow := flowTo(1)
	f.put(t, flow, bpfNstCount{Packets: 1, Bytes: 60, First: 9, Last: 9})
	var index uint32
	if err := f.flows.Lookup(&flow, &index); err != nil {
		t.Fatal(err)
	}
	f.unregistered(flow.Dev, 10)
	f.wants(t, 20, event.Count{Protocol: unix.ETH_P_IP, Flow: flowOf(&flow), Time: 20, First: 9, Last: 9, Packets: 1, Bytes: 60})
	var next uint32
	if err := f.free.Lookup(nil, &next); err != nil || next == index {
		t.Fatalf("the next counter is %d, %v; it should not be %d", next, err, index)
	}
	f.wants(t, 30)
	if err := f.free.Lookup(nil, &next); err != nil || next != index {
		t.Fatalf("the next counter is %d, %v; it should be %d", next, err, index)
	}
	if err := f.each(index, f.counts.ReadAt); err != nil {
		t.Fatal(err)
	}
	if sum := sumCounts(f.perCPU); sum != (bpfNstCount{}) {
		t.Errorf("it has %+v", sum)
	}
}

func TestCountBaseUnknown(t *testing.T) {
	f := newFlows(t)
	flow := flowTo(1)
	f.putBase(t, flow, bpfNstBase{}) // the programs couldn't read it
	f.put(t, flow, bpfNstCount{Packets: 1, Bytes: 60, First: 9, Last: 9})
	f.wants(t, 10, event.Count{Protocol: unix.ETH_P_IP, Flow: flowOf(&flow), Time: 10, First: 9, Last: 9, Packets: 1, Bytes: 60})
}

// TestCountPathsApart: the flows of one device into two namespaces, and by two
// paths, are three.
func TestCountPathsApart(t *testing.T) {
	f := newFlows(t)
	moved, other := flowTo(1), flowTo(1)
	moved.Net, moved.Inum, moved.Cookie = 0x20, 4026532281, 8
	other.Path = uint16(event.PathRx8023)
	all := []bpfNstFlow{flowTo(1), moved, other}
	for i, flow := range all {
		f.put(t, flow, bpfNstCount{Packets: uint64(i + 1), Bytes: 10, First: 1, Last: 1})
	}
	got := map[event.Flow]uint64{}
	if err := f.read(10, func(c *event.Count) { got[c.Flow] += c.Packets }); err != nil {
		t.Fatal(err)
	}
	for i, flow := range all {
		if got[flowOf(&flow)] != uint64(i+1) {
			t.Errorf("%+v: %d packets", flow, got[flowOf(&flow)])
		}
	}
	if len(got) != len(all) {
		t.Errorf("got %+v", got)
	}
}

// TestCountUnregistered: the last packets of a device that is gone are read
// before its flow is taken out, and who comes to its address starts anew.
func TestCountUnregistered(t *testing.T) {
	f := newFlows(t)
	gone, stays := flowTo(1), flowTo(2)
	f.putBase(t, gone, bpfNstBase{Packets: 5, Bytes: 50, Valid: 1})
	f.put(t, gone, bpfNstCount{Packets: 1, Bytes: 60, First: 9, Last: 9})
	f.put(t, stays, bpfNstCount{Packets: 1, Bytes: 60, First: 9, Last: 9})
	f.wants(
		t, 10,
		event.Count{Protocol: unix.ETH_P_IP, Flow: flowOf(&gone), Time: 10, First: 9, Last: 9, Packets: 1, Bytes: 60, Base: true, BasePackets: 5, BaseBytes: 50},
		event.Count{Protocol: unix.ETH_P_IP, Flow: flowOf(&stays), Time: 10, First: 9, Last: 9, Packets: 1, Bytes: 60},
	)
	f.put(t, gone, bpfNstCount{Packets: 3, Bytes: 180, First: 9, Last: 12})
	f.unregistered(gone.Dev, 13)
	f.wants(t, 20, event.Count{Protocol: unix.ETH_P_IP, Flow: flowOf(&gone), Since: 10, Time: 20, First: 9, Last: 12, Packets: 2, Bytes: 120})
	if counted, based := f.has(t, gone); counted || based {
		t.Errorf("still there: flow %v, base %v", counted, based)
	}
	if counted, _ := f.has(t, stays); !counted {
		t.Error("another device's flow was taken out")
	}
	// The same address, the same everything.
	f.putBase(t, gone, bpfNstBase{Packets: 0, Bytes: 0, Valid: 1})
	f.put(t, gone, bpfNstCount{Packets: 2, Bytes: 120, First: 25, Last: 26})
	f.wants(t, 30, event.Count{Protocol: unix.ETH_P_IP, Flow: flowOf(&gone), Time: 30, First: 25, Last: 26, Packets: 2, Bytes: 120, Base: true})
	f.wants(t, 40)
	if counted, based := f.has(t, gone); !counted || !based {
		t.Errorf("the new device's flow was taken out: flow %v, base %v", !counted, !based)
	}
}

// TestCountReusedAddress: a device that took the address of one that is gone
// before the counters were read delivers already; its flow stays.
func TestCountReusedAddress(t *testing.T) {
	f := newFlows(t)
	old, young := flowTo(1), flowTo(1)
	young.Ifindex = 4
	f.put(t, old, bpfNstCount{Packets: 1, Bytes: 60, First: 9, Last: 12})
	f.unregistered(old.Dev, 13)
	f.put(t, young, bpfNstCount{Packets: 2, Bytes: 120, First: 14, Last: 15})
	got := map[int32]uint64{}
	if err := f.read(20, func(c *event.Count) { got[c.Ifindex] += c.Packets }); err != nil {
		t.Fatal(err)
	}
	if got[old.Ifindex] != 1 || got[young.Ifindex] != 2 {
		t.Errorf("got %v", got)
	}
	if counted, _ := f.has(t, old); counted {
		t.Error("the flow of the device that is gone stays")
	}
	if counted, _ := f.has(t, young); !counted {
		t.Error("the flow of the new device was taken out while it delivers")
	}
	f.put(t, young, bpfNstCount{Packets: 5, Bytes: 300, First: 14, Last: 22})
	f.wants(t, 30, event.Count{Protocol: unix.ETH_P_IP, Flow: flowOf(&young), Since: 20, Time: 30, First: 14, Last: 22, Packets: 3, Bytes: 180})
}

// TestCountMany fills the map: every packet is told once, and nothing of devices
// that are gone is remembered.
func TestCountMany(t *testing.T) {
	f := newFlows(t)
	n := uint64(f.flows.MaxEntries())
	for dev := range n {
		f.put(t, flowTo(dev+1), bpfNstCount{Packets: dev, Bytes: 1, First: 1, Last: 1})
	}
	seen := map[uint64]int{}
	var sum uint64
	read := func() {
		if err := f.read(10, func(c *event.Count) { seen[c.Dev]++; sum += c.Packets }); err != nil {
			t.Fatal(err)
		}
	}
	read()
	read()
	if len(seen) != int(n) || sum != n*(n-1)/2 {
		t.Errorf("%d flows and %d packets, want %d and %d", len(seen), sum, n, n*(n-1)/2)
	}
	for dev, times := range seen {
		if times != 1 {
			t.Errorf("device %d was told %d times", dev, times)
		}
	}
	for dev := range n {
		f.unregistered(dev+1, 11)
	}
	read()
	if len(f.known) != 0 || len(f.gone) != 0 {
		t.Errorf("remembers %d flows and %d devices that are gone", len(f.known), len(f.gone))
	}
	f.wants(t, 20)
}

func TestCountOff(t *testing.T) {
	c, err := newCounters(nil, nil, 1, DeliveryOff)
	if err != nil {
		t.Fatal(err)
	}
	c.unregistered(1, 1)
	if err := c.read(1, func(*event.Count) { t.Error("a count out of nothing") }); err != nil {
		t.Error(err)
	}
}
