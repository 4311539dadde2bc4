// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"strings"
	"unsafe"

	"github.com/nstrace/nstrace/event"
)

// decoder turns records into events without allocating: it has one of each and
// an interner for the strings.
type decoder struct {
	event  event.Event
	entry  event.Task
	step   event.Step
	packet event.Packet
	names  interner
	// undecoded counts records that are none of ours.
	undecoded uint64
}

// maxCPUs is more than any kernel can have (NR_CPUS is at most 8192). A number
// beyond it is nonsense that would cost the reader memory.
const maxCPUs = 1 << 14

// lifecycle decodes a record of the lifecycle ring. The event is valid until
// the next call.
func (d *decoder) lifecycle(record []byte) (*event.Event, bool) {
	if len(record) < int(unsafe.Sizeof(bpfNstEvent{})) {
		d.undecoded++
		return nil, false
	}
	// Aligned: the ring aligns records to 8 bytes.
	r := (*bpfNstEvent)(unsafe.Pointer(unsafe.SliceData(record)))
	kind := event.Kind(r.Kind)
	if kind == event.KindNone || kind >= event.KindCount || r.Phase > uint8(event.PhaseExit) || r.Cpu >= maxCPUs {
		d.undecoded++
		return nil, false
	}
	d.event = event.Event{
		Seq: r.Seq, Time: r.Time, Start: r.Start, CPU: r.Cpu,
		Kind: kind, Phase: event.Phase(r.Phase), Flags: event.Flags(r.Flags),
		PID: r.Pid, TID: r.Tid, Within: r.Within, Ret: r.Ret,
		Comm:   d.names.string(r.Comm[:]),
		Caller: event.NetRef{Ptr: r.Caller.Ptr, Cookie: r.Caller.Cookie, Inum: r.Caller.Inum},
		Net:    event.NetRef{Ptr: r.Net.Ptr, Cookie: r.Net.Cookie, Inum: r.Net.Inum},
		Net2:   event.NetRef{Ptr: r.Net2.Ptr, Cookie: r.Net2.Cookie, Inum: r.Net2.Inum},
		Dev:    r.Dev, Wiphy: r.Wiphy, WiphyIndex: r.WiphyIndex,
		Ifindex: r.Ifindex, NewIfindex: r.NewIfindex, Iftype: r.Iftype, DevType: r.DevType,
		Name: d.names.string(r.Name[:]), NewName: d.names.string(r.NewName[:]),
		WiphyName: d.names.string(r.WiphyName[:]), LinkKind: d.names.string(r.LinkKind[:]),
		RxPackets: r.RxPackets, RxBytes: r.RxBytes,
		Ops: r.Ops, Fn: r.Fn, Count: r.Count,
		UserNS: r.UserNs, CallerUserNS: r.CallerUserNs, Arg: r.Arg, Stage: event.Stage(r.Stage), TargetPID: r.TargetPid,
		Nsid: r.Nsid, Wdev: r.Wdev, WdevID: r.WdevId,
	}
	// Two strings have no place of their own in the record.
	switch e := &d.event; kind {
	case event.KindWiphyRegister:
		e.Driver, e.NewName = e.NewName, ""
	case event.KindSysctl:
		e.Path, e.WiphyName = e.WiphyName, ""
		// Values end as lines do.
		e.Name, e.NewName = strings.TrimSuffix(e.Name, "\n"), strings.TrimSuffix(e.NewName, "\n")
	}
	return &d.event, true
}

// behindUnknown is NST_BEHIND_UNKNOWN.
const behindUnknown = ^uint32(0)

// task decodes a record of the task ring. The task is valid until the next call.
func (d *decoder) task(record []byte) (*event.Task, bool) {
	if len(record) < int(unsafe.Sizeof(bpfNstTask{})) {
		d.undecoded++
		return nil, false
	}
	r := (*bpfNstTask)(unsafe.Pointer(unsafe.SliceData(record)))
	if r.Op == uint32(event.TaskNone) || r.Op >= uint32(event.TaskOpCount) || r.Cpu >= maxCPUs {
		d.undecoded++
		return nil, false
	}
	d.entry = event.Task{
		Seq: r.Seq, Time: r.Time, CPU: r.Cpu, Op: event.TaskOp(r.Op),
		PID: r.Pid, TID: r.Tid, Parent: r.Parent, Threads: r.Threads,
		Comm: d.names.string(r.Comm[:]),
		Net:  event.NetRef{Ptr: r.Net.Ptr, Cookie: r.Net.Cookie, Inum: r.Net.Inum},
		From: event.NetRef{Ptr: r.From.Ptr, Cookie: r.From.Cookie, Inum: r.From.Inum},
		Others: event.Namespaces{
			Mnt: r.MntNs, PID: r.PidNs, UTS: r.UtsNs, IPC: r.IpcNs, Cgroup: r.CgroupNs, Time: r.TimeNs, User: r.UserNs,
		},
		Cgroup: r.Cgroup,
	}
	if r.Behind != behindUnknown {
		d.entry.Behind, d.entry.BehindKnown = r.Behind, true
	}
	return &d.entry, true
}

// isSteps reports whether a record of the lifecycle ring is of steps.
func isSteps(record []byte) bool {
	if len(record) < int(unsafe.Sizeof(bpfNstSteps{})) {
		return false
	}
	switch (*bpfNstSteps)(unsafe.Pointer(unsafe.SliceData(record))).Kind {
	case uint16(bpfNstKindNST_OPS_INIT), uint16(bpfNstKindNST_OPS_EXIT):
		return true
	}
	return false
}

// stepsRecord decodes a record for which isSteps is true: handle gets its steps
// one by one, each valid during the call only.
func (d *decoder) stepsRecord(record []byte, handle func(*event.Step)) (cpu uint32, seq, time uint64, ok bool) {
	r := (*bpfNstSteps)(unsafe.Pointer(unsafe.SliceData(record)))
	rest := record[unsafe.Sizeof(*r):]
	if r.Cpu >= maxCPUs || uint64(r.Count)*uint64(unsafe.Sizeof(bpfNstStep{})) > uint64(len(rest)) {
		d.undecoded++
		return 0, 0, 0, false
	}
	s := &d.step
	*s = event.Step{
		Time: r.Time, Kind: event.KindSetupNet, TID: r.Tid,
		Net: event.NetRef{Ptr: r.Net.Ptr, Cookie: r.Net.Cookie, Inum: r.Net.Inum},
	}
	if r.Kind == uint16(bpfNstKindNST_OPS_EXIT) {
		s.Kind = event.KindCleanupNet
	}
	steps := unsafe.Slice((*bpfNstStep)(unsafe.Pointer(unsafe.SliceData(rest))), r.Count)
	for i := range steps {
		x := &steps[i]
		s.Ops, s.Fn, s.Began, s.Duration, s.Ret = x.Ops, x.Fn, x.Began, x.Duration, x.Ret
		if i == len(steps)-1 {
			s.Skipped = r.Skipped
		}
		handle(s)
	}
	if len(steps) == 0 {
		s.Skipped = r.Skipped
		handle(s)
	}
	return r.Cpu, r.Seq, r.Time, true
}

// packetRecord decodes a record of the packet ring. The packet is valid until the
// next call, its bytes as long as the record.
func (d *decoder) packetRecord(record []byte) (*event.Packet, bool) {
	if len(record) < int(unsafe.Sizeof(bpfNstPacket{})) {
		d.undecoded++
		return nil, false
	}
	r := (*bpfNstPacket)(unsafe.Pointer(unsafe.SliceData(record)))
	if r.Cpu >= maxCPUs || r.Flow.Path >= uint16(event.PathCount) {
		d.undecoded++
		return nil, false
	}
	var data []byte
	if n := int(r.Captured); n > 0 {
		data = record[unsafe.Sizeof(*r):]
		if n > len(data) {
			d.undecoded++
			return nil, false
		}
		data = data[:n:n]
	}
	flow := (*bpfNstFlow)(unsafe.Pointer(&r.Flow))
	d.packet = event.Packet{
		Flow: flowOf(flow), Seq: r.Seq, Time: r.Time, CPU: r.Cpu,
		Length: r.Len, Protocol: r.Flow.Protocol, Data: data,
	}
	return &d.packet, true
}

func flowOf(f *bpfNstFlow) event.Flow {
	return event.Flow{
		Net: event.NetRef{Ptr: f.Net, Cookie: f.Cookie, Inum: f.Inum},
		Dev: f.Dev, Ifindex: f.Ifindex, Path: event.Path(f.Path),
	}
}

// interner keeps one string for each name seen, up to a bound: names repeat
// endlessly, but whoever makes them can also make new ones endlessly.
type interner struct {
	known map[string]string
}

const internerBound = 4096

// string returns the C string in b, which need not end.
func (in *interner) string(b []int8) string {
	if b[0] == 0 {
		return ""
	}
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(b))), len(b))
	for i, c := range bytes {
		if c == 0 {
			bytes = bytes[:i]
			break
		}
	}
	if s, ok := in.known[string(bytes)]; ok {
		return s
	}
	if in.known == nil || len(in.known) >= internerBound {
		in.known = make(map[string]string)
	}
	s := string(bytes)
	in.known[s] = s
	return s
}
