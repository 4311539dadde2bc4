// SPDX-License-Identifier: Apache-2.0

package story

import "github.com/nstrace/nstrace/event"

// noise makes up events from random bytes, out of few enough pointers, numbers
// and names that they collide all the time.
type noise struct {
	data []byte
	t    uint64
}

func (x *noise) next(n int) int {
	if len(x.data) == 0 {
		return 0
	}
	v := int(x.data[0])
	x.data = x.data[1:]
	return v % n
}

func (x *noise) net() event.NetRef {
	r := event.NetRef{Ptr: uint64(x.next(4)), Inum: uint32(x.next(4))}
	if x.next(2) == 0 {
		r.Cookie = uint64(x.next(5))
	}
	return r
}

func (x *noise) text(prefix string) string {
	if i := x.next(4); i > 0 {
		return prefix + string(rune('0'+i))
	}
	return ""
}

func (x *noise) event() *event.Event {
	e := &event.Event{
		Time: x.t, Kind: event.Kind(x.next(int(event.KindCount) + 1)), Phase: event.Phase(x.next(3)),
		Flags: event.Flags(x.next(4)), PID: uint32(x.next(4)), TID: uint32(x.next(4)), Within: uint32(x.next(256)) << x.next(8),
		Caller: x.net(), Net: x.net(), Net2: x.net(), Ret: uint32(x.next(2) * x.next(130)), Dev: uint64(x.next(5)),
		Wiphy: uint64(x.next(4)), WiphyIndex: int32(x.next(4)) - 1, Ifindex: int32(x.next(4)), NewIfindex: int32(x.next(4)),
		Nsid: int32(x.next(4)) - 1, Arg: uint64(x.next(4)),
		Name: x.text("if"), NewName: x.text("if"), WiphyName: x.text("phy"), Ops: uint64(x.next(3)), Fn: uint64(x.next(3)),
		RxPackets: uint64(x.next(9)),
	}
	if e.Phase == event.PhaseExit && x.next(2) == 0 {
		e.Start = x.t - uint64(x.next(8))
	}
	return e
}

func (x *noise) task() *event.Task {
	return &event.Task{
		Time: x.t, Op: event.TaskOp(x.next(int(event.TaskOpCount) + 1)), PID: uint32(x.next(4)), TID: uint32(x.next(4)), Parent: uint32(x.next(4)),
		Threads: uint32(x.next(4)), Comm: x.text("task"), Net: x.net(), From: x.net(), Cgroup: uint64(x.next(3)),
	}
}

func (x *noise) snapshot() *event.Snapshot {
	s := &event.Snapshot{Begin: x.t, Finish: x.t + uint64(x.next(20)), Closing: x.next(2) == 0}
	for range x.next(4) {
		n := event.NetnsState{Inum: uint32(x.next(4)), Cookie: uint64(x.next(5)), Initial: x.next(4) == 0}
		for range x.next(3) {
			n.Names = append(n.Names, x.text("n"))
			n.Links = append(n.Links, event.Link{Ifindex: int32(x.next(4)), Name: x.text("if"), Wiphy: int32(x.next(3)) - 1, Stats: x.next(2) == 0, RxPackets: uint64(x.next(9))})
			n.Tasks = append(n.Tasks, event.Resident{PID: uint32(x.next(4)), TID: uint32(x.next(3)), Comm: x.text("task")})
			n.NSIDs = append(n.NSIDs, event.NSID{ID: int32(x.next(3)), Inum: uint32(x.next(4))})
			n.Wiphys = append(n.Wiphys, event.Wiphy{Index: int32(x.next(3)), Name: x.text("phy")})
		}
		s.Namespaces = append(s.Namespaces, n)
	}
	return s
}

// Noise makes up a recording from random bytes. None of it makes sense, but
// whoever listens must bear it.
func Noise(h event.Handler, data []byte) {
	x := noise{data: data, t: 100}
	h.HandleRecording(&event.Recording{Began: 100, InitNet: uint32(x.next(3))})
	for len(x.data) > 0 {
		x.t += uint64(x.next(5))
		switch x.next(16) {
		case 0:
			h.HandleSnapshot(x.snapshot())
		case 1:
			h.HandleName(&event.NameChange{Time: x.t, Name: "n1", Path: "/run/netns/" + x.text("n"), Inum: uint32(x.next(4)), Cookie: uint64(x.next(5)), Added: x.next(2) == 0})
		case 2:
			h.HandleCount(&event.Count{
				Flow: event.Flow{Net: x.net(), Dev: uint64(x.next(5)), Ifindex: int32(x.next(4)), Path: event.Path(x.next(5))},
				Time: x.t, First: x.t - uint64(x.next(9)), Last: x.t, Packets: uint64(x.next(9)), Base: x.next(2) == 0,
			})
		case 3:
			h.HandleSymbol(&event.Symbol{Time: x.t, Addr: uint64(x.next(3)), Name: "f"})
		case 4:
			h.HandleLoss(&event.Loss{Ring: "lifecycle", To: x.t, Count: 1})
		case 5, 6, 7:
			h.HandleTask(x.task())
		case 8:
			h.HandleCgroup(&event.CgroupPath{Time: x.t, ID: uint64(x.next(3)), Path: "/" + x.text("a")})
		default:
			h.HandleEvent(x.event())
		}
	}
}
