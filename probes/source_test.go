// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Unattached is a Set without probes, for the programs of a benchmark to fill
// its rings. ids has the maps that they need, by name.
func Unattached(o Options) (s *Set, ids map[string]ebpf.MapID, err error) {
	if err := o.normalise(); err != nil {
		return nil, nil, err
	}
	k, err := readKernel()
	if err != nil {
		return nil, nil, err
	}
	l, err := newLoader(k, o, nil)
	if err != nil {
		return nil, nil, err
	}
	counters, err := newCounters(l.maps, l.flowsMade, k.possibleCPUs, o.Delivery)
	if err != nil {
		return nil, nil, err
	}
	s = &Set{kernel: k, options: o, loader: l, counters: counters, returns: newReturns(l.maps["calls"], l.maps["steps_of"]), modules: newModules("")}
	if err := s.openRings(); err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	ids = make(map[string]ebpf.MapID)
	for _, name := range []string{"packets", "sequence"} {
		info, err := l.maps[name].Info()
		if err != nil {
			return nil, nil, errors.Join(err, s.Close())
		}
		ids[name], _ = info.ID()
	}
	return s, ids, nil
}

// Source sends packet records, as many as are wanted for one system call, so
// that making the call isn't what limits the rate.
type Source struct {
	// PerCall is how many records Call sends.
	PerCall int
	nr      uintptr
	lost    *ebpf.Map
	closers []interface{ Close() error }
}

// sourceFlows is how many flows the packets are of; a power of two.
const sourceFlows = 8

// sourcePackets are those of which the source sends any, with any length where
// it is 0.
func sourcePackets() []bpfNstPacket {
	packets := make([]bpfNstPacket, sourceFlows)
	for i := range packets {
		p := &packets[i]
		netns := uint64(i % 3)
		p.Flow.Net, p.Flow.Cookie, p.Flow.Inum = 0xffff888003a40000+netns<<13, 4097+netns, 4026532000+uint32(netns)
		p.Flow.Dev, p.Flow.Ifindex = 0xffff888005500000+uint64(i)<<12, int32(3+i)
		p.Flow.Path = 1
		p.Flow.Protocol = 0x0800
		if p.Len = 1514; i%4 == 3 {
			p.Len = 0
		}
	}
	return packets
}

// NewSource makes a source that fills the rings of a Set, of which ids are.
func NewSource(ids map[string]ebpf.MapID, perCall int) (s *Source, err error) {
	s = &Source{PerCall: perCall, nr: uintptr(1<<28 | os.Getpid())}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	packets, err := s.open(ids["packets"])
	if err != nil {
		return s, err
	}
	sequence, err := s.open(ids["sequence"])
	if err != nil {
		return s, err
	}
	templates, err := s.create(&ebpf.MapSpec{
		Type: ebpf.Array, KeySize: 4, ValueSize: uint32(sourceFlows * unsafe.Sizeof(bpfNstPacket{})), MaxEntries: 1,
	})
	if err != nil {
		return s, err
	}
	if err := templates.Put(uint32(0), sourcePackets()); err != nil {
		return s, err
	}
	if s.lost, err = s.create(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1}); err != nil {
		return s, err
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.RawTracepoint, License: "GPL",
		Instructions: sourceProgram(packets, sequence, templates, s.lost, int32(s.nr), int32(perCall)),
	})
	if err != nil {
		return s, fmt.Errorf("load the source: %w", err)
	}
	s.closers = append(s.closers, program)
	hook, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: "sys_enter", Program: program})
	if err != nil {
		return s, fmt.Errorf("attach the source: %w", err)
	}
	s.closers = append(s.closers, hook)
	return s, nil
}

func (s *Source) open(id ebpf.MapID) (*ebpf.Map, error) {
	m, err := ebpf.NewMapFromID(id)
	if err == nil {
		s.closers = append(s.closers, m)
	}
	return m, err
}

func (s *Source) create(spec *ebpf.MapSpec) (*ebpf.Map, error) {
	m, err := ebpf.NewMap(spec)
	if err == nil {
		s.closers = append(s.closers, m)
	}
	return m, err
}

// sourceProgram does for each of n records what packet_send in bpf/ does: a
// number, space, the record, the time. Like that it wakes the reader when the
// ring is full to a quarter, which it looks at once for all of them.
func sourceProgram(packets, sequence, templates, lost *ebpf.Map, nr, n int32) asm.Instructions {
	const (
		size    = int32(unsafe.Sizeof(bpfNstPacket{}))
		atSeq   = int16(unsafe.Offsetof(bpfNstPacket{}.Seq))
		atTime  = int16(unsafe.Offsetof(bpfNstPacket{}.Time))
		atCPU   = int16(unsafe.Offsetof(bpfNstPacket{}.Cpu))
		atLen   = int16(unsafe.Offsetof(bpfNstPacket{}.Len))
		onStack = -4 // the CPU below the key of the sequence
	)
	insns := asm.Instructions{
		asm.LoadMem(asm.R1, asm.R1, 8, asm.DWord), // the call's number
		asm.JNE.Imm(asm.R1, nr, "out"),
		asm.StoreImm(asm.RFP, onStack, int64(bpfNstRingNST_PACKETS), asm.Word),
		asm.LoadMapPtr(asm.R1, sequence.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, onStack),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.Mov.Reg(asm.R7, asm.R0),
		asm.FnGetSmpProcessorId.Call(),
		asm.StoreMem(asm.RFP, onStack-4, asm.R0, asm.Word),
		asm.Mov.Imm(asm.R9, n),

		asm.LoadMem(asm.R8, asm.R7, 0, asm.DWord).WithSymbol("record"),
		asm.Mov.Reg(asm.R1, asm.R8),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(asm.R7, 0, asm.R1, asm.DWord),
		asm.LoadMapPtr(asm.R1, packets.FD()),
		asm.Mov.Imm(asm.R2, size),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnRingbufReserve.Call(),
		asm.JNE.Imm(asm.R0, 0, "space"),
		asm.LoadMapValue(asm.R1, lost.FD(), 0),
		asm.Mov.Imm(asm.R2, 1),
		asm.StoreXAdd(asm.R1, asm.R2, asm.DWord),
		asm.Ja.Label("next"),

		asm.Mov.Reg(asm.R6, asm.R0).WithSymbol("space"),
		asm.FnGetPrandomU32.Call(),
		asm.Mov.Reg(asm.R1, asm.R0),
		asm.And.Imm(asm.R1, sourceFlows-1),
		asm.Mul.Imm(asm.R1, size),
		asm.LoadMapValue(asm.R2, templates.FD(), 0),
		asm.Add.Reg(asm.R2, asm.R1),
	}
	for at := int16(0); int32(at) < size; at += 8 {
		insns = append(insns,
			asm.LoadMem(asm.R1, asm.R2, at, asm.DWord),
			asm.StoreMem(asm.R6, at, asm.R1, asm.DWord))
	}
	return append(insns,
		asm.StoreMem(asm.R6, atSeq, asm.R8, asm.DWord),
		asm.LoadMem(asm.R1, asm.RFP, onStack-4, asm.Word),
		asm.StoreMem(asm.R6, atCPU, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, asm.R6, atLen, asm.Word),
		asm.JNE.Imm(asm.R1, 0, "time"),
		asm.RSh.Imm32(asm.R0, 3),
		asm.Mod.Imm32(asm.R0, 1400),
		asm.Add.Imm32(asm.R0, 60),
		asm.StoreMem(asm.R6, atLen, asm.R0, asm.Word),
		asm.FnKtimeGetBootNs.Call().WithSymbol("time"),
		asm.StoreMem(asm.R6, atTime, asm.R0, asm.DWord),

		asm.Mov.Imm(asm.R2, rbNoWakeup),
		asm.JNE.Imm(asm.R9, 1, "submit"),
		asm.LoadMapPtr(asm.R1, packets.FD()),
		asm.Mov.Imm(asm.R2, 0), // BPF_RB_AVAIL_DATA
		asm.FnRingbufQuery.Call(),
		asm.Mov.Imm(asm.R2, rbNoWakeup),
		asm.JLT.Imm(asm.R0, int32(packets.MaxEntries()/4), "submit"),
		asm.Mov.Imm(asm.R2, rbForceWakeup),
		asm.Mov.Reg(asm.R1, asm.R6).WithSymbol("submit"),
		asm.FnRingbufSubmit.Call(),
		asm.Sub.Imm(asm.R9, 1).WithSymbol("next"),
		asm.JNE.Imm(asm.R9, 0, "record"),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
		asm.Return(),
	)
}

// Call sends PerCall records from the thread's CPU.
func (s *Source) Call() { unix.RawSyscall(s.nr, 0, 0, 0) }

// Lost is how many records found no space so far.
func (s *Source) Lost() (n uint64, err error) {
	err = s.lost.Lookup(uint32(0), &n)
	return n, err
}

// Close ends the source.
func (s *Source) Close() error {
	var errs []error
	for _, c := range s.closers {
		errs = append(errs, c.Close())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// PacketRing is the map behind the packet ring of s.
func PacketRing(s *Set) *ebpf.Map { return s.loader.maps["packets"] }

// Unread is how many bytes there are in a ring.
func Unread(m *ebpf.Map) (uint64, error) {
	r, err := newRing("packets", m)
	if err != nil {
		return 0, err
	}
	defer r.close()
	return atomic.LoadUint64(r.producer) - atomic.LoadUint64(r.consumer), nil
}
