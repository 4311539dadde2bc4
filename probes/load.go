// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Bounds of a ring's size in bytes; the kernel wants a power of two and whole
// pages.
const (
	minRing = 1 << 12
	maxRing = 1 << 30
)

// loader makes programs of the committed objects fit for this kernel.
type loader struct {
	kernel *kernel
	spec   *ebpf.CollectionSpec
	maps   map[string]*ebpf.Map
	// These are variables of the programs: what to record, by what number
	// generic netlink knows nl80211, and whether it is seen how far its requests
	// come; the first loader's.
	state, family, stages *ebpf.Variable
	// Likewise: whether the stack counts what nobody has seen before, and how many
	// flows were made.
	stack, flowsMade *ebpf.Variable
	// offsets is a copy of __per_cpu_offset[] where the kernel's own isn't known,
	// else nil; the first loader's.
	offsets *ebpf.Map
	// noInitial says why the programs can't tell the initial namespace from
	// others, nil if they can.
	noInitial error
	// events makes kprobes by way of tracefs, nil if noEvents says why it can't;
	// the first loader's.
	events   *traceEvents
	noEvents error
	owner    bool
	// instances is how many returns of each function can be awaited at once; 0
	// leaves it to the table.
	instances int
}

// newLoader prepares to load programs for k. They share their maps with those of
// another loader, if there is one, but for what they are told of the kernel.
func newLoader(k *kernel, o Options, other *loader) (*loader, error) {
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("read nstrace's own programs: %w", err)
	}
	spec.Maps["lifecycle"].MaxEntries = o.LifecycleRing
	spec.Maps["tasks"].MaxEntries = o.TaskRing
	spec.Maps["packets"].MaxEntries = o.PacketRing
	spec.Maps[perCPUMap].MaxEntries *= uint32(k.possibleCPUs)
	if o.Delivery == DeliveryOff {
		for _, name := range slices.Concat(flowMaps, []string{perCPUMap}) {
			spec.Maps[name].MaxEntries = 1
		}
	}
	l := &loader{kernel: k, spec: spec, instances: int(o.KretprobeInstances)}
	l.findOffsets(other)
	if err := l.setVariables(o); err != nil {
		return nil, fmt.Errorf("prepare nstrace's programs: %w", err)
	}
	if !k.Features.Fetch {
		for _, p := range spec.Programs {
			bluntFetch(p.Instructions)
		}
	}
	shared := map[string]*ebpf.Map{}
	if other != nil {
		shared = maps.Clone(other.maps)
		delete(shared, ".rodata")
		l.events, l.noEvents = other.events, other.noEvents
	}
	coll, err := ebpf.NewCollectionWithOptions(&ebpf.CollectionSpec{
		Maps: spec.Maps, Variables: spec.Variables, Types: spec.Types, ByteOrder: spec.ByteOrder,
	}, ebpf.CollectionOptions{MapReplacements: shared})
	if err != nil {
		return nil, fmt.Errorf("create the maps: %w", err)
	}
	l.maps = coll.Maps
	if other != nil {
		l.noInitial = other.noInitial
		return l, nil
	}
	if err := o.Packets.fill(l.maps); err != nil {
		return nil, err
	}
	l.noInitial = l.findInitial()
	for name, v := range map[string]**ebpf.Variable{
		"state": &l.state, "nl80211_family": &l.family, "stages_known": &l.stages,
		"stack_counts": &l.stack, "flows_made": &l.flowsMade,
	} {
		if *v = coll.Variables[name]; *v == nil {
			return nil, fmt.Errorf("prepare nstrace's programs: no variable %s", name)
		}
	}
	l.owner = true
	if l.events, l.noEvents = openTraceEvents(); l.noEvents == nil {
		// What can't be removed now is there for the next one to try.
		_ = l.events.clear()
	}
	return l, nil
}

// findInitial has a program find the initial namespace for the others.
func (l *loader) findInitial() error {
	p, err := l.program(&choice{probe: &probe{}}, "find_init_net", "", nil)
	if err != nil {
		return fmt.Errorf("find the initial namespace: %w", err)
	}
	defer p.Close()
	if failed, err := p.Run(&ebpf.RunOptions{}); err != nil {
		return fmt.Errorf("find the initial namespace: %w", err)
	} else if failed != 0 {
		return errors.New("find the initial namespace: this process has too many ancestors")
	}
	return nil
}

// findOffsets sees to it that programs can read per-CPU variables where the
// symbols don't say how. Failing that, the kernel's receive counters are unknown.
func (l *loader) findOffsets(other *loader) {
	switch k := l.kernel; {
	case k.perCPUOffset != 0:
	case other != nil:
		k.perCPUOffset = other.kernel.perCPUOffset
	default:
		if offsets, address, err := copyOffsets(k.types, k.possibleCPUs); err == nil {
			l.offsets, k.perCPUOffset = offsets, address
		}
	}
}

func (l *loader) setVariables(o Options) error {
	set := func(name string, value any) error {
		v := l.spec.Variables[name]
		if v == nil {
			return fmt.Errorf("no variable %s", name)
		}
		return v.Set(value)
	}
	err := errors.Join(
		l.setLayout(set),
		set("per_cpu_offset", l.kernel.perCPUOffset),
		set("possible_cpus", uint32(l.kernel.possibleCPUs)),
		set("have_fetch", l.kernel.Features.Fetch),
		set("record_packets", o.Delivery == DeliveryPackets),
		set("packet_wake", packetWake(o.PacketRing)),
		o.Packets.setVariables(set),
		set("all_devices", o.AllDevices),
		set("have_drop_reason", l.kernel.hasDropReason()),
		set("have_drop_socket", l.kernel.hasDropSocket()),
	)
	return errors.Join(err, l.setArgs(set, o))
}

// packetWake is at which records of a ring of so many bytes the programs look
// whether to wake the reader: at so many that it isn't much fuller by the next.
func packetWake(ring uint32) uint32 {
	const every, much = 64, 256
	if ring/uint32(unsafe.Sizeof(bpfNstPacket{})) < every*much {
		return 0
	}
	return every - 1
}

// setLayout tells the programs where structures of the modules have what they
// read, as far as BTF does: see bpf/layout.h for the rest.
func (l *loader) setLayout(set func(string, any) error) error {
	var errs []error
	for _, s := range []struct {
		known   string
		offsets map[string]string
	}{
		{"rdev_known", map[string]string{
			"rdev_wiphy_offset":     "cfg80211_registered_device.wiphy",
			"rdev_wiphy_idx_offset": "cfg80211_registered_device.wiphy_idx",
		}},
		{"sdata_known", map[string]string{
			"sdata_dev_offset":  "ieee80211_sub_if_data.dev",
			"sdata_wdev_offset": "ieee80211_sub_if_data.wdev",
		}},
		{"rx_known", map[string]string{
			"rx_skb_offset":   "ieee80211_rx_data.skb",
			"rx_sdata_offset": "ieee80211_rx_data.sdata",
		}},
	} {
		known := true
		for _, member := range s.offsets {
			_, ok := l.kernel.offset(member)
			known = known && ok
		}
		errs = append(errs, set(s.known, known))
		for variable, member := range s.offsets {
			if offset, ok := l.kernel.offset(member); ok {
				errs = append(errs, set(variable, offset))
			}
		}
	}
	return errors.Join(errs...)
}

// setArgs tells the programs how many arguments a function takes on this kernel.
// Without BTF for it there is no fexit either, and kretprobe doesn't need it.
func (l *loader) setArgs(set func(string, any) error, o Options) error {
	for _, c := range plan(&l.kernel.description, o.Mode, o.Delivery) {
		if c.argsVariable == "" || c.function.Args == nil {
			continue
		}
		if err := set(c.argsVariable, uint32(len(c.function.Args))); err != nil {
			return err
		}
	}
	return nil
}

// bluntFetch turns atomic adds that return the old value, which kernels before
// 5.12 reject even in dead code, into plain ones. The programs don't run them
// there: see have_fetch in bpf/common.h.
func bluntFetch(insns asm.Instructions) {
	fetch := asm.FetchAdd.OpCode(asm.DWord)
	for i := range insns {
		if insns[i].OpCode == fetch {
			insns[i].OpCode = asm.AddAtomic.OpCode(asm.DWord)
			insns[i].Constant = 0 // what was part of the operation is reserved there
		}
	}
}

// load loads the programs of one probe for one hook. Programs of other probes
// stay out of it, so that one the verifier rejects costs only itself.
func (l *loader) load(a *attached, hook string) (err error) {
	if a.foreign && l.noInitial != nil {
		return l.noInitial
	}
	forms := map[string][2]string{
		hookFentry: {"_fentry", "_fexit"}, hookKprobe: {"_kprobe", "_kretprobe"},
		hookTracepoint: {"_tracepoint"}, hookCgroup: {"_cgroup"},
	}[hook]
	if hook == hookKprobe && l.countsRuns() {
		if a.runs, err = newRuns(); err != nil {
			return err
		}
	}
	if a.entry, err = l.program(&a.choice, a.programs+forms[0], hook, a.runs); err != nil || !a.returns {
		return err
	}
	a.exit, err = l.program(&a.choice, a.programs+forms[1], hook, nil)
	return err
}

// countsRuns reports whether calls at which the kernel doesn't run a kprobe's
// program have to be counted here, and can be.
func (l *loader) countsRuns() bool { return !l.kernel.Features.KprobeMisses && l.events != nil }

// program loads one program. It counts its runs if there is something to count
// them in.
func (l *loader) program(c *choice, name, hook string, runs *ebpf.Map) (*ebpf.Program, error) {
	spec := l.spec.Programs[name]
	if spec == nil {
		return nil, fmt.Errorf("no program %s", name)
	}
	spec = spec.Copy()
	if hook == hookFentry || hook == hookTracepoint {
		spec.AttachTo = c.function.Name
	}
	if runs != nil {
		spec.Instructions = countRuns(spec.Instructions, runs)
	}
	coll, err := ebpf.NewCollectionWithOptions(&ebpf.CollectionSpec{
		Maps: l.spec.Maps, Types: l.spec.Types, ByteOrder: l.spec.ByteOrder,
		Programs: map[string]*ebpf.ProgramSpec{name: spec},
	}, ebpf.CollectionOptions{MapReplacements: l.maps, Cache: l.kernel.types})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, refusal(err))
	}
	defer coll.Close()
	return coll.DetachProgram(name), nil
}

// refusal is the verifier's own error, without what was wrapped around it.
func refusal(err error) error {
	var verifier *ebpf.VerifierError
	if errors.As(err, &verifier) {
		return verifier
	}
	return err
}

// record says what is to be recorded from now on (union state in
// bpf/counters.h).
func (l *loader) record(what bpfNstRecording) error { return l.state.Set(uint64(what) << 32) }

func (l *loader) close() {
	for _, m := range l.maps {
		m.Close()
	}
	l.offsets.Close()
	if l.owner {
		l.events.close()
	}
}
