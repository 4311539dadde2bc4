// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/event"
)

// Options say what to attach.
type Options struct {
	Mode     Mode
	Delivery Delivery
	// AllDevices has packets of any netdev counted where they enter the stack, and
	// not only those of wireless ones.
	AllDevices bool
	// LifecycleRing, TaskRing and PacketRing are in bytes, powers of two from
	// 4 KiB to 1 GiB; 0 chooses.
	LifecycleRing, TaskRing, PacketRing uint32
	// Packets says of which packets there are records, and what of each.
	Packets PacketFilter
	// KretprobeInstances is how many returns of each function can be awaited at
	// once, at most 4096; 0 chooses. Further ones are missed.
	KretprobeInstances uint32
}

// ringSteps is what the sequence of records of steps is called.
const ringSteps = "steps"

const (
	defaultLifecycleRing = 4 << 20
	defaultTaskRing      = 4 << 20
	defaultPacketRing    = 16 << 20
)

// Sink takes what the kernel says. The pointed-to values are valid during the
// call only.
type Sink interface {
	HandleEvent(*event.Event)
	HandleStep(*event.Step)
	HandleTask(*event.Task)
	HandlePacket(*event.Packet)
	HandleCount(*event.Count)
	HandleLoss(*event.Loss)
	HandleSymbol(*event.Symbol)
	HandleCgroup(*event.CgroupPath)
}

// Set is a set of attached probes. Its methods are for one goroutine, but for
// Wake.
type Set struct {
	kernel   *kernel
	options  Options
	loader   *loader
	probes   []*attached
	counters *counters
	returns  *returns
	decoder  decoder
	symbols  symbols
	cgroups  cgroups
	modules  *modules
	problems []Problem
	waiter   *waiter

	lifecycle, tasks, packets stream
	// Records of steps are in the lifecycle ring, but numbered by themselves.
	steps stream
}

// stream is a ring and what came of it.
type stream struct {
	*ring
	// key is that of its numbers in the map of sequences.
	key      bpfNstRing
	seq      sequence
	received uint64
}

// streams are all that have a ring of their own.
func (s *Set) streams() []*stream { return []*stream{&s.lifecycle, &s.tasks, &s.packets} }

// numbered are all there are, each with sequence numbers of its own.
func (s *Set) numbered() []*stream {
	return []*stream{&s.lifecycle, &s.steps, &s.tasks, &s.packets}
}

// Attach fits the programs to the running kernel and attaches them, silent
// until Begin. A probe that can't be had is no error; the ledger says so. No probe at all is one.
func Attach(o Options) (*Set, error) {
	if err := o.normalise(); err != nil {
		return nil, err
	}
	if err := checkPrivileges(); err != nil {
		return nil, err
	}
	// Kernels before 5.11 charge maps to RLIMIT_MEMLOCK.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise the limit of locked memory: %w", err)
	}
	// From before the look at the kernel on, so that no module comes in between.
	modules := newModules("/sys/module", probedModules()...)
	k, err := readKernel()
	if err != nil {
		return nil, err
	}
	s, err := attach(k, o)
	if err != nil {
		return nil, err
	}
	s.modules = modules
	lacks, err := Lacks()
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.problems = lackProblems(k.missed(lacks))
	return s, nil
}

// attach is Attach to a kernel of which k is believed, within the limits of o.
func attach(k *kernel, o Options) (*Set, error) {
	l, err := newLoader(k, o, nil)
	if err != nil {
		return nil, err
	}
	s := &Set{
		kernel: k, options: o, loader: l, returns: newReturns(l.maps["calls"], l.maps["steps_of"]), modules: newModules(""),
	}
	s.counters, err = newCounters(l.maps, l.flowsMade, k.possibleCPUs, o.Delivery)
	if err == nil {
		s.counters.reasons = k.dropReasons()
		err = s.open()
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (o *Options) normalise() error {
	if o.LifecycleRing == 0 {
		o.LifecycleRing = defaultLifecycleRing
	}
	if o.Delivery != DeliveryPackets {
		o.PacketRing = minRing
	}
	if o.PacketRing == 0 {
		o.PacketRing = defaultPacketRing
	}
	if o.TaskRing == 0 {
		o.TaskRing = defaultTaskRing
	}
	if err := o.Packets.check(o); err != nil {
		return err
	}
	for _, size := range []uint32{o.LifecycleRing, o.TaskRing, o.PacketRing} {
		if size < minRing || size > maxRing || size&(size-1) != 0 {
			return fmt.Errorf("a ring of %d bytes is not possible: use a power of two from %d to %d", size, minRing, maxRing)
		}
	}
	if o.KretprobeInstances > maxInstances {
		return fmt.Errorf("%d kretprobe instances are not possible: use at most %d", o.KretprobeInstances, maxInstances)
	}
	return nil
}

func (s *Set) open() error {
	if err := s.openRings(); err != nil {
		return err
	}
	return s.attachAll()
}

func (s *Set) openRings() (err error) {
	if err = s.symbols.open(); err != nil {
		return err
	}
	s.lifecycle.key, s.tasks.key, s.packets.key = bpfNstRingNST_LIFECYCLE, bpfNstRingNST_TASKS, bpfNstRingNST_PACKETS
	var rings []*ring
	for i, name := range []string{"lifecycle", "tasks", "packets"} {
		st := s.streams()[i]
		if st.ring, err = newRing(name, s.loader.maps[name]); err != nil {
			return err
		}
		st.seq.ring = name
		rings = append(rings, st.ring)
	}
	s.steps = stream{ring: s.lifecycle.ring, key: bpfNstRingNST_STEPS, seq: sequence{ring: ringSteps}}
	s.waiter, err = newWaiter(rings...)
	return err
}

func (s *Set) attachAll() (err error) {
	works := false
	var failure string
	if s.probes, err = s.hook(s.kernel, s.loader, func(*probe) bool { return true }); err != nil {
		return err
	}
	for _, a := range s.probes {
		works = works || a.hook == "" && a.ledger.Status == event.StatusAttached
		if failure == "" {
			failure = a.ledger.Reason
		}
	}
	if !works {
		return fmt.Errorf("no function could be probed; this kernel may lack kprobes and BPF trampolines, or lock them down. The first: %s: %s",
			s.probes[0].ledger.Name, failure)
	}
	s.followRequests()
	entrance := s.probe("netif_receive_skb")
	s.counters.entrance = entrance != nil && entrance.ledger.Status == event.StatusAttached
	return nil
}

// Types has the types of the running kernel.
func (s *Set) Types() *btf.Cache { return s.kernel.types }

// Wake makes a Wait in another goroutine return.
func (s *Set) Wake() { s.waiter.wake() }

// Wait returns when a ring fills up, and after d in any case: records wake
// nobody, so the rings are to be read in that rhythm.
func (s *Set) Wait(d time.Duration) error { return s.waiter.wait(int(d.Milliseconds())) }

// Read hands over what the rings hold.
func (s *Set) Read(sink Sink) error {
	return s.read(sink, false)
}

func (s *Set) read(sink Sink, final bool) error {
	s.drain(sink)
	for _, st := range s.numbered() {
		st.seq.settle(final, sink.HandleLoss)
	}
	now, err := bootTime()
	if err == nil {
		s.symbols.resolve(now, sink.HandleSymbol)
		s.cgroups.resolve(now, sink.HandleCgroup)
		s.modules.look(now)
		if !final {
			err = s.follow()
		}
	}
	return err
}

// drain empties the rings. A record that can't be decoded isn't received: its
// sequence number stays missing, so it is among the lost.
func (s *Set) drain(sink Sink) {
	step := func(x *event.Step) {
		s.symbols.mentionStep(x)
		sink.HandleStep(x)
	}
	s.lifecycle.drain(func(record []byte) {
		if isSteps(record) {
			if cpu, seq, time, ok := s.decoder.stepsRecord(record, step); ok {
				s.steps.received++
				s.steps.seq.saw(cpu, seq, time)
			}
			return
		}
		e, ok := s.decoder.lifecycle(record)
		if !ok {
			return
		}
		s.lifecycle.received++
		s.lifecycle.seq.saw(e.CPU, e.Seq, e.Time)
		if e.Kind == event.KindNetdevUnregister {
			s.counters.unregistered(e.Dev, e.Time)
		}
		s.symbols.mention(e)
		sink.HandleEvent(e)
	})
	s.tasks.drain(func(record []byte) {
		t, ok := s.decoder.task(record)
		if !ok {
			return
		}
		s.tasks.received++
		s.tasks.seq.saw(t.CPU, t.Seq, t.Time)
		s.cgroups.mention(t.Cgroup)
		sink.HandleTask(t)
	})
	s.packets.drain(func(record []byte) {
		p, ok := s.decoder.packetRecord(record)
		if !ok {
			return
		}
		s.packets.received++
		s.packets.seq.saw(p.CPU, p.Seq, p.Time)
		sink.HandlePacket(p)
	})
}

// ReadCounts hands over what was delivered since the last time.
func (s *Set) ReadCounts(sink Sink) error {
	now, err := bootTime()
	if err != nil {
		return err
	}
	return s.counters.read(now, func(c *event.Count) {
		s.symbols.askPlace(c.Where)
		sink.HandleCount(c)
	})
}

// Begin lets all probes begin at once. Until then they are attached but silent.
func (s *Set) Begin() error {
	t := s.loader.tally(s.probes)
	for _, a := range s.probes {
		a.missedBefore = t.misses(a)
	}
	err := s.loader.record(bpfNstRecordingNST_RECORDING)
	if err == nil && s.options.Delivery != DeliveryOff {
		// Packets that mac80211 had before must not be the stack's own discovery. They
		// get there before bottom halves are on again, which this waits for, too.
		if err = waitForPrograms(); err == nil {
			err = s.loader.stack.Set(uint32(1))
		}
	}
	if err != nil {
		return fmt.Errorf("begin to record: %w", err)
	}
	return nil
}

// Stop silences all probes at once, but for those that tell of what goes on while
// a snapshot is taken, and hands over what was delivered and told until then.
func (s *Set) Stop(sink Sink) error {
	err := s.silence(bpfNstRecordingNST_CLOSING, func(a *attached) bool { return !a.late })
	s.drain(sink)
	return errors.Join(err, s.ReadCounts(sink))
}

// End silences the rest and hands over everything that is left, the losses
// included, whatever goes wrong. The ledger is final afterwards. Detaching, which
// takes the kernel much longer, is left to Close.
func (s *Set) End(sink Sink) error {
	err := s.silence(bpfNstRecordingNST_SILENT, func(a *attached) bool { return a.missedAfter == nil })
	return errors.Join(err, s.read(sink, true), s.tails(sink))
}

// silence returns when only what is to be recorded still is. over tells whose
// part in it is over.
func (s *Set) silence(what bpfNstRecording, over func(*attached) bool) error {
	err := s.loader.record(what)
	t := s.loader.tally(s.probes)
	for _, a := range s.probes {
		if over(a) {
			now := t.misses(a)
			a.missedAfter = &now
		}
	}
	if err = errors.Join(err, waitForPrograms()); err != nil {
		// The slow way waits for them as well.
		return errors.Join(fmt.Errorf("end the recording at once: %w", err), s.detach())
	}
	return nil
}

// tails compares the sequence numbers with what the kernel gave out.
func (s *Set) tails(sink Sink) error {
	now, err := bootTime()
	if err != nil {
		return err
	}
	for _, st := range s.numbered() {
		var sent []uint64
		if err := s.loader.maps["sequence"].Lookup(uint32(st.key), &sent); err != nil {
			return fmt.Errorf("read the %s ring's sequence numbers: %w", st.seq.ring, err)
		}
		for cpu, n := range sent {
			st.seq.tail(cpu, n, now, sink.HandleLoss)
		}
	}
	return nil
}

// detach takes all programs off at once, since the kernel waits for each.
func (s *Set) detach() error {
	var wg sync.WaitGroup
	errs := make([]error, len(s.probes))
	for i, a := range s.probes {
		wg.Go(func() { errs[i] = a.detach() })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("detach the probes: %w", err)
	}
	return nil
}

// Close detaches and frees everything. What Stop hasn't handed over is gone.
func (s *Set) Close() error {
	err := s.detach()
	for _, st := range s.streams() {
		if st.ring != nil {
			st.close()
		}
	}
	if s.waiter != nil {
		s.waiter.close()
	}
	s.symbols.close()
	s.loader.close()
	return err
}

func bootTime() (uint64, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0, fmt.Errorf("read the boot time: %w", err)
	}
	return uint64(ts.Nano()), nil
}

// sumPerCPU adds up one entry of a per-CPU array of counters.
func sumPerCPU(m *ebpf.Map, key uint32) (uint64, error) {
	var values []uint64
	if err := m.Lookup(key, &values); err != nil {
		return 0, err
	}
	var sum uint64
	for _, v := range values {
		sum += v
	}
	return sum, nil
}
