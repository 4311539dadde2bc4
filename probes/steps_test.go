// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"slices"
	"testing"

	"github.com/nstrace/nstrace/event"
)

// stepsOf is a record of steps as the programs send it.
func stepsOf(r bpfNstSteps, steps ...bpfNstStep) []byte {
	r.Count = uint32(len(steps))
	record := slices.Clone(recordOf(&r))
	for i := range steps {
		record = append(record, recordOf(&steps[i])...)
	}
	return aligned(record)
}

func TestDecodeSteps(t *testing.T) {
	head := bpfNstSteps{Seq: 1, Time: 2, Cpu: 3, Kind: uint16(bpfNstKindNST_OPS_INIT), Pid: 4, Tid: 5, Skipped: 6}
	head.Net.Ptr, head.Net.Cookie, head.Net.Inum = 7, 8, 9
	down := head
	down.Kind = uint16(bpfNstKindNST_OPS_EXIT)
	one := bpfNstStep{Ops: 10, Fn: 11, Began: 12, Duration: 13, Ret: 14}
	two := bpfNstStep{Ops: 20, Fn: 21, Began: 22, Duration: 23}
	net := event.NetRef{Ptr: 7, Cookie: 8, Inum: 9}
	for _, c := range []struct {
		name   string
		record []byte
		want   []event.Step
	}{
		{"of a set-up", stepsOf(head, one, two), []event.Step{
			{Time: 2, Kind: event.KindSetupNet, TID: 5, Net: net, Ops: 10, Fn: 11, Began: 12, Duration: 13, Ret: 14},
			{Time: 2, Kind: event.KindSetupNet, TID: 5, Net: net, Ops: 20, Fn: 21, Began: 22, Duration: 23, Skipped: 6},
		}},
		{"of a tear-down", stepsOf(down, two), []event.Step{
			{Time: 2, Kind: event.KindCleanupNet, TID: 5, Net: net, Ops: 20, Fn: 21, Began: 22, Duration: 23, Skipped: 6},
		}},
		{"none that fitted", stepsOf(head), []event.Step{{Time: 2, Kind: event.KindSetupNet, TID: 5, Net: net, Skipped: 6}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d decoder
			var got []event.Step
			if !isSteps(c.record) {
				t.Fatal("not taken for steps")
			}
			cpu, seq, time, ok := d.stepsRecord(c.record, func(s *event.Step) { got = append(got, *s) })
			if !ok || cpu != 3 || seq != 1 || time != 2 {
				t.Errorf("CPU %d, number %d, time %d, %v", cpu, seq, time, ok)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n%+v, want\n%+v", got, c.want)
			}
		})
	}
}

func TestDecodeStepsNonsense(t *testing.T) {
	head := bpfNstSteps{Kind: uint16(bpfNstKindNST_OPS_INIT)}
	whole := stepsOf(head, bpfNstStep{}, bpfNstStep{})
	far := head
	far.Cpu = maxCPUs
	var d decoder
	for i, record := range [][]byte{whole[:len(whole)-1], stepsOf(far)} {
		_, _, _, ok := d.stepsRecord(record, func(s *event.Step) { t.Errorf("got %+v", s) })
		if ok || d.undecoded != uint64(i+1) {
			t.Errorf("decoded: %v, %d undecoded", ok, d.undecoded)
		}
	}
	event := bpfNstEvent{Kind: 1}
	if isSteps(recordOf(&event)) || isSteps(whole[:8]) || isSteps(nil) {
		t.Error("taken for steps")
	}
}

func TestDecodeStepsDoesNotAllocate(t *testing.T) {
	record := stepsOf(bpfNstSteps{Kind: uint16(bpfNstKindNST_OPS_INIT)}, make([]bpfNstStep, 60)...)
	var d decoder
	n := 0
	handle := func(*event.Step) { n++ }
	if allocs := testing.AllocsPerRun(10, func() { d.stepsRecord(record, handle) }); allocs != 0 || n == 0 {
		t.Errorf("%v allocations for 60 steps", allocs)
	}
}

// Steps share a ring with events, but the numbers of either have no gap where the
// other's lost one.
func TestStepsReceivedAndLost(t *testing.T) {
	s, rings := newFakeSet()
	var sink heard
	for seq := range uint64(10) {
		e := bpfNstEvent{Seq: seq, Time: 100 + seq, Kind: uint16(event.KindPutNet)}
		rings.lifecycle.put(t, string(recordOf(&e)))
		switch seq {
		case 3, 4: // found no space
		default:
			record := stepsOf(bpfNstSteps{Seq: seq, Time: 100 + seq, Kind: uint16(bpfNstKindNST_OPS_INIT)}, bpfNstStep{Ops: 1}, bpfNstStep{Ops: 2})
			rings.lifecycle.put(t, string(record))
		}
	}
	if err := s.Read(&sink); err != nil {
		t.Fatal(err)
	}
	if err := s.read(&sink, true); err != nil {
		t.Fatal(err)
	}
	if s.lifecycle.received != 10 || s.lifecycle.seq.lost != 0 || s.steps.received != 8 || s.steps.seq.lost != 2 || sink.steps != 16 {
		t.Errorf("%d events and %d records of steps received, %d and %d lost, %d steps handed over",
			s.lifecycle.received, s.steps.received, s.lifecycle.seq.lost, s.steps.seq.lost, sink.steps)
	}
}

func FuzzDecodeSteps(f *testing.F) {
	head := bpfNstSteps{Kind: uint16(bpfNstKindNST_OPS_EXIT), Skipped: 1}
	f.Add([]byte(stepsOf(head, bpfNstStep{Ops: 1}, bpfNstStep{Ops: 2})))
	f.Add([]byte(stepsOf(head)))
	f.Fuzz(func(t *testing.T, record []byte) {
		record = aligned(record)
		if !isSteps(record) {
			return
		}
		var d decoder
		n := 0
		_, _, _, ok := d.stepsRecord(record, func(s *event.Step) {
			n++
			if s.Kind != event.KindSetupNet && s.Kind != event.KindCleanupNet {
				t.Errorf("got %+v", s)
			}
		})
		if ok == (n == 0) || ok == (d.undecoded == 1) {
			t.Errorf("ok is %v with %d steps and %d undecoded", ok, n, d.undecoded)
		}
	})
}

func BenchmarkDecodeSteps(b *testing.B) {
	record := stepsOf(bpfNstSteps{Kind: uint16(bpfNstKindNST_OPS_INIT)}, make([]bpfNstStep, 50)...)
	var d decoder
	b.ReportAllocs()
	for b.Loop() {
		if _, _, _, ok := d.stepsRecord(record, func(*event.Step) {}); !ok {
			b.Fatal("not decoded")
		}
	}
}
