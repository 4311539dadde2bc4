// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/nstrace/nstrace/event"
)

// counters reads deliveries out of the kernel's per-CPU counters.
type counters struct {
	flows, bases *ebpf.Map
	known        map[bpfNstFlow]*flowState
	perCPU       []bpfNstCount
	count        event.Count
	// gone are devices that were unregistered, and when: once closed they
	// deliver no more, so their flows can be taken out after the next reading.
	gone map[uint64]uint64
	// before is when they were read before.
	before uint64
}

// flowState is what was read of a flow so far.
type flowState struct {
	packets, bytes, last uint64
}

func newCounters(maps map[string]*ebpf.Map) *counters {
	return &counters{
		flows: maps["flows"], bases: maps["flow_bases"],
		known: map[bpfNstFlow]*flowState{}, gone: map[uint64]uint64{},
	}
}

// unregistered notes that a device is gone.
func (c *counters) unregistered(dev, time uint64) { c.gone[dev] = time }

// read reports what each flow has delivered since the last time.
func (c *counters) read(now uint64, report func(*event.Count)) error {
	if c.flows == nil {
		return nil
	}
	var (
		flow bpfNstFlow
		dead []bpfNstFlow
	)
	flows := c.flows.Iterate()
	for flows.Next(&flow, &c.perCPU) {
		sum := sumCounts(c.perCPU)
		if err := c.readFlow(flow, sum, now, report); err != nil {
			return err
		}
		// Its address may be another device's already, which delivers.
		if since, ok := c.gone[flow.Dev]; ok && sum.Last <= since {
			dead = append(dead, flow)
		}
	}
	if err := flows.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("read the delivery counters: %w", err)
	}
	for _, flow := range dead {
		c.flows.Delete(&flow)
		c.bases.Delete(&flow)
		delete(c.known, flow)
	}
	clear(c.gone)
	c.before = now
	return nil
}

// sumCounts puts together what the CPUs counted of one flow.
func sumCounts(perCPU []bpfNstCount) (sum bpfNstCount) {
	for _, n := range perCPU {
		sum.Packets += n.Packets
		sum.Bytes += n.Bytes
		if n.First != 0 && (sum.First == 0 || n.First < sum.First) {
			sum.First = n.First
		}
		sum.Last = max(sum.Last, n.Last)
	}
	return sum
}

func (c *counters) readFlow(flow bpfNstFlow, sum bpfNstCount, now uint64, report func(*event.Count)) error {
	state := c.known[flow]
	if state != nil && sum.Packets == state.packets && sum.Bytes == state.bytes {
		return nil
	}
	c.count = event.Count{Flow: flowOf(&flow), Time: now, First: sum.First, Last: sum.Last}
	if state == nil {
		state = &flowState{}
		c.known[flow] = state
		if err := c.readBase(&flow); err != nil {
			return err
		}
	} else {
		c.count.Since = max(c.before, state.last) // reading takes its time
	}
	c.count.Packets, c.count.Bytes = sum.Packets-state.packets, sum.Bytes-state.bytes
	state.packets, state.bytes, state.last = sum.Packets, sum.Bytes, sum.Last
	report(&c.count)
	return nil
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
