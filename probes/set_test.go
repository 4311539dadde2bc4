// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"testing"

	"github.com/nstrace/nstrace/event"
)

// heard is a sink that counts and keeps the losses.
type heard struct {
	events, tasks, packets []uint64 // their numbers
	steps                  int
	losses                 told
}

func (h *heard) HandleEvent(e *event.Event)     { h.events = append(h.events, e.Seq) }
func (h *heard) HandlePacket(p *event.Packet)   { h.packets = append(h.packets, p.Seq) }
func (h *heard) HandleStep(*event.Step)         { h.steps++ }
func (h *heard) HandleTask(t *event.Task)       { h.tasks = append(h.tasks, t.Seq) }
func (h *heard) HandleCount(*event.Count)       {}
func (h *heard) HandleLoss(l *event.Loss)       { h.losses.add(l) }
func (h *heard) HandleSymbol(*event.Symbol)     {}
func (h *heard) HandleCgroup(*event.CgroupPath) {}

// fakeRings are what a set reads in a test.
type fakeRings struct{ lifecycle, tasks, packets *fakeRing }

func newFakeSet() (s *Set, rings fakeRings) {
	rings = fakeRings{newHeapRing(1 << 14), newHeapRing(1 << 14), newHeapRing(1 << 14)}
	s = &Set{counters: &counters{gone: map[uint64]uint64{}}, modules: newModules("")}
	for i, r := range []*fakeRing{rings.lifecycle, rings.tasks, rings.packets} {
		st := s.streams()[i]
		st.ring, st.seq.ring = &r.ring, []string{"lifecycle", "tasks", "packets"}[i]
	}
	s.steps.ring, s.steps.seq.ring = s.lifecycle.ring, ringSteps
	return s, rings
}

// TestReceivedAndLost: received and lost add up to what was sent, whatever
// became of a record.
func TestReceivedAndLost(t *testing.T) {
	s, rings := newFakeSet()
	var sink heard
	for seq := range uint64(10) {
		e := bpfNstEvent{Seq: seq, Time: 100 + seq, Kind: uint16(event.KindPutNet)}
		switch seq {
		case 2: // found no space
			continue
		case 4:
			e.Kind = 99
		}
		rings.lifecycle.put(t, string(recordOf(&e)))
		rings.packets.put(t, string(recordOf(&bpfNstPacket{Seq: seq, Time: 100 + seq, Cpu: 1})))
		if seq != 5 && seq != 6 {
			rings.tasks.put(t, string(recordOf(&bpfNstTask{Seq: seq, Time: 100 + seq, Op: uint32(bpfNstTaskOpNST_OP_EXIT)})))
		}
	}
	if err := s.Read(&sink); err != nil {
		t.Fatal(err)
	}
	if err := s.read(&sink, true); err != nil {
		t.Fatal(err)
	}
	if s.decoder.undecoded != 1 {
		t.Errorf("%d undecoded, want 1", s.decoder.undecoded)
	}
	for _, c := range []struct {
		stream         *stream
		handed         int
		received, lost uint64
	}{
		{&s.lifecycle, len(sink.events), 8, 2},
		{&s.tasks, len(sink.tasks), 7, 3},
		{&s.packets, len(sink.packets), 9, 1},
	} {
		if c.stream.received != c.received || c.stream.seq.lost != c.lost || uint64(c.handed) != c.received {
			t.Errorf("%s: received %d, lost %d, handed over %d; want %d, %d", c.stream.seq.ring,
				c.stream.received, c.stream.seq.lost, c.handed, c.received, c.lost)
		}
	}
	if n := sink.losses.sum(); n != 6 {
		t.Errorf("told of %d losses, want 6: %+v", n, sink.losses)
	}
}

func TestUnregisteredDevicesAreNoted(t *testing.T) {
	s, rings := newFakeSet()
	for seq, kind := range []event.Kind{event.KindNetdevRegister, event.KindNetdevUnregister, event.KindNetdevMove} {
		e := bpfNstEvent{Seq: uint64(seq), Time: uint64(100 + seq), Kind: uint16(kind), Dev: uint64(0x100 * seq)}
		rings.lifecycle.put(t, string(recordOf(&e)))
	}
	if err := s.Read(&heard{}); err != nil {
		t.Fatal(err)
	}
	if since, ok := s.counters.gone[0x100]; !ok || since != 101 || len(s.counters.gone) != 1 {
		t.Errorf("gone: %v", s.counters.gone)
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		name              string
		in                Options
		lifecycle, packet uint32
		bad               bool
	}{
		{name: "chosen", lifecycle: defaultLifecycleRing, packet: minRing},
		{name: "packets", in: Options{Delivery: DeliveryPackets}, lifecycle: defaultLifecycleRing, packet: defaultPacketRing},
		{name: "given", in: Options{Delivery: DeliveryPackets, LifecycleRing: 1 << 13, PacketRing: 1 << 14}, lifecycle: 1 << 13, packet: 1 << 14},
		{name: "packet ring without packets", in: Options{PacketRing: 5}, lifecycle: defaultLifecycleRing, packet: minRing},
		{name: "largest", in: Options{LifecycleRing: maxRing}, lifecycle: maxRing, packet: minRing},
		{name: "no power of two", in: Options{LifecycleRing: 5000}, bad: true},
		{name: "too small", in: Options{LifecycleRing: 1 << 11}, bad: true},
		{name: "too large", in: Options{LifecycleRing: 1 << 31}, bad: true},
		{name: "tasks too small", in: Options{TaskRing: 8}, bad: true},
		{name: "bytes", in: Options{Delivery: DeliveryPackets, Packets: PacketFilter{Snaplen: MaxSnaplen}}, lifecycle: defaultLifecycleRing, packet: defaultPacketRing},
		{name: "too many bytes", in: Options{Delivery: DeliveryPackets, Packets: PacketFilter{Snaplen: MaxSnaplen + 1}}, bad: true},
		{name: "bytes of few packets", in: Options{Delivery: DeliveryPackets, PacketRing: 1 << 14, Packets: PacketFilter{Snaplen: 1025}}, bad: true},
		{name: "bytes without packets", in: Options{Delivery: DeliveryCount, Packets: PacketFilter{Snaplen: 1}}, bad: true},
		{name: "a long name", in: Options{Delivery: DeliveryPackets, Packets: PacketFilter{Devices: []string{"sixteen-bytes-ab"}}}, bad: true},
		{name: "packets too small", in: Options{Delivery: DeliveryPackets, PacketRing: 8}, bad: true},
	} {
		err := c.in.normalise()
		if (err != nil) != c.bad || !c.bad && (c.in.LifecycleRing != c.lifecycle || c.in.PacketRing != c.packet) {
			t.Errorf("%s: got %+v, %v", c.name, c.in, err)
		}
	}
}
