// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/nstrace/nstrace/event"
)

// flowMaps are the maps whose size is that of the table of flows, and perCPUMap the
// one that is as large once more for each CPU.
var flowMaps = []string{"flows", "free_flows", "flow_bases", "flow_devices"}

const perCPUMap = "flow_counts"

// counters reads deliveries out of the kernel's per-CPU counters.
type counters struct {
	flows, free, bases, devices *ebpf.Map
	// counts is the memory of flow_counts: flows for each CPU.
	counts *ebpf.Memory
	// made is how many flows were ever made (bpf/flow.h), and removed how many were
	// taken out.
	made    interface{ Get(any) error }
	removed uint32
	// dead are the counters of flows that were taken out by the last reading.
	dead    []uint32
	known   map[bpfNstFlow]*flowState
	order   []*flowState
	perCPU  []bpfNstCount
	count   event.Count
	reasons *dropReasons
	// entrance says that the stack's entrance is probed.
	entrance bool
	// gone are devices that were unregistered, and when: once closed they
	// deliver no more, so their flows can be taken out after the next reading.
	gone map[uint64]uint64
	// before is when they were read before.
	before uint64
	// passed is what marked counted of flows that were taken out.
	passed uint64
}

// flowState is a flow with what was read of it so far.
type flowState struct {
	flow  bpfNstFlow
	index uint32
	based bool
	read  bpfNstCount
}

// newCounters makes all counters free.
func newCounters(maps map[string]*ebpf.Map, made interface{ Get(any) error }, cpus int, delivery Delivery) (*counters, error) {
	c := &counters{made: made, known: map[bpfNstFlow]*flowState{}, gone: map[uint64]uint64{}}
	if delivery == DeliveryOff {
		return c, nil
	}
	for i, m := range []**ebpf.Map{&c.flows, &c.free, &c.bases, &c.devices} {
		*m = maps[flowMaps[i]]
	}
	var err error
	if c.counts, err = maps[perCPUMap].Memory(); err != nil {
		return nil, fmt.Errorf("map the delivery counters: %w", err)
	}
	c.perCPU = make([]bpfNstCount, cpus)
	for i := c.free.MaxEntries(); i > 0; i-- {
		if err := c.release(i - 1); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// release makes a counter free.
func (c *counters) release(index uint32) error {
	if err := c.free.Put(nil, index); err != nil {
		return fmt.Errorf("make a delivery counter free: %w", err)
	}
	return nil
}

// each copies the counters that a flow has on each CPU, to perCPU or from there.
func (c *counters) each(index uint32, access func([]byte, int64) (int, error)) error {
	const size = int(unsafe.Sizeof(bpfNstCount{}))
	for cpu := range c.perCPU {
		at := (cpu*int(c.free.MaxEntries()) + int(index)) * size
		if _, err := access(unsafe.Slice((*byte)(unsafe.Pointer(&c.perCPU[cpu])), size), int64(at)); err != nil {
			return err
		}
	}
	return nil
}

// unregistered notes that a device is gone.
func (c *counters) unregistered(dev, time uint64) { c.gone[dev] = time }

// read reports what each flow has delivered since the last time.
func (c *counters) read(now uint64, report func(*event.Count)) error {
	if c.flows == nil {
		return nil
	}
	if err := errors.Join(c.look(), c.reuse()); err != nil {
		return err
	}
	dead := false
	for _, f := range c.order {
		if err := c.each(f.index, c.counts.ReadAt); err != nil {
			return fmt.Errorf("read the delivery counters: %w", err)
		}
		sum := sumCounts(c.perCPU)
		if err := c.readFlow(f, &sum, now, report); err != nil {
			return err
		}
		// Its address may be another device's already, which delivers.
		if since, ok := c.gone[f.flow.Dev]; ok && sum.Last <= since {
			dead = true
		}
	}
	c.before = now
	if dead {
		c.remove()
	}
	clear(c.gone)
	return nil
}

// marked returns how many packets came to the stack's entrance that mac80211 had
// before. They aren't among the hits that are counted there: see bpf/stack.bpf.c.
func (c *counters) marked() (uint64, error) {
	if c.flows == nil {
		return 0, nil
	}
	if err := c.look(); err != nil {
		return 0, err
	}
	n := c.passed
	for _, f := range c.order {
		if !event.Path(f.flow.Path).ByMac80211() {
			continue
		}
		if err := c.each(f.index, c.counts.ReadAt); err != nil {
			return 0, fmt.Errorf("read the delivery counters: %w", err)
		}
		sum := sumCounts(c.perCPU)
		n += sum.Entered - sum.Merged
	}
	return n, nil
}

// look finds the flows that are new.
func (c *counters) look() error {
	var made uint32
	if err := c.made.Get(&made); err != nil {
		return fmt.Errorf("read how many flows there are: %w", err)
	}
	if made-c.removed == uint32(len(c.known)) {
		return nil
	}
	var flow bpfNstFlow
	var index uint32
	flows := c.flows.Iterate()
	for flows.Next(&flow, &index) {
		if c.known[flow] == nil {
			f := &flowState{flow: flow, index: index}
			c.known[flow] = f
			c.order = append(c.order, f)
		}
	}
	if err := flows.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("read the flows: %w", err)
	}
	return nil
}

// remove takes out the flows of devices that are gone.
func (c *counters) remove() {
	stay := c.order[:0]
	for _, f := range c.order {
		if since, ok := c.gone[f.flow.Dev]; ok && f.read.Last <= since {
			c.dead = append(c.dead, f.index)
			if event.Path(f.flow.Path).ByMac80211() {
				c.passed += f.read.Entered - f.read.Merged
			}
			c.flows.Delete(&f.flow)
			c.bases.Delete(&f.flow)
			c.devices.Delete(&f.flow.Dev)
			delete(c.known, f.flow)
			c.removed++
			continue
		}
		stay = append(stay, f)
	}
	clear(c.order[len(stay):])
	c.order = stay
}

// reuse makes the counters free of flows that were taken out by the reading
// before. What the programs found of a flow they go by until the kernel's clock
// ticks, which it has since.
func (c *counters) reuse() error {
	clear(c.perCPU)
	for _, index := range c.dead {
		if err := c.each(index, c.counts.WriteAt); err != nil {
			return fmt.Errorf("make a delivery counter free: %w", err)
		}
		if err := c.release(index); err != nil {
			return err
		}
	}
	c.dead = c.dead[:0]
	return nil
}

// sumCounts puts together what the CPUs counted of one flow.
func sumCounts(perCPU []bpfNstCount) (sum bpfNstCount) {
	for i := range perCPU {
		n := &perCPU[i]
		sum.Packets += n.Packets
		sum.Bytes += n.Bytes
		sum.Entered += n.Entered
		sum.EnteredBytes += n.EnteredBytes
		sum.Merged += n.Merged
		sum.Control += n.Control
		sum.ControlBytes += n.ControlBytes
		if n.First != 0 && (sum.First == 0 || n.First < sum.First) {
			sum.First = n.First
		}
		sum.Last = max(sum.Last, n.Last)
	}
	return sum
}

func (c *counters) readFlow(f *flowState, sum *bpfNstCount, now uint64, report func(*event.Count)) error {
	if *sum == f.read {
		return nil
	}
	c.count = event.Count{
		Flow: flowOf(&f.flow), Time: now, First: sum.First, Last: sum.Last,
		Packets: sum.Packets - f.read.Packets, Bytes: sum.Bytes - f.read.Bytes,
		Entered: sum.Entered - f.read.Entered, EnteredBytes: sum.EnteredBytes - f.read.EnteredBytes,
		Control: sum.Control - f.read.Control, ControlBytes: sum.ControlBytes - f.read.ControlBytes,
		Merged: sum.Merged - f.read.Merged, Protocol: f.flow.Protocol, EnteredKnown: c.entrance,
	}
	before := f.read.Last
	f.read = *sum
	if c.count.Path == event.PathDropped {
		c.count.Reason, c.count.Where = c.reason(f.flow.Reason)
	}
	if !f.based {
		f.based = true
		if err := c.readBase(&f.flow); err != nil {
			return err
		}
	} else {
		c.count.Since = max(c.before, before) // reading takes its time
		c.count.Last = max(c.count.Last, c.count.Since)
	}
	report(&c.count)
	return nil
}

// reason tells what a packet was dropped for, or where.
func (c *counters) reason(given uint64) (name string, where uint64) {
	if c.reasons == nil {
		return "", given
	}
	return c.reasons.name(given), 0
}

func (c *counters) readBase(flow *bpfNstFlow) error {
	var base bpfNstBase
	if err := c.bases.Lookup(flow, &base); err != nil {
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil
		}
		return fmt.Errorf("read a device's first counter: %w", err)
	}
	c.count.Base = base.Valid != 0
	c.count.BasePackets, c.count.BaseBytes = base.Packets, base.Bytes
	return nil
}
