// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"testing"

	"github.com/nstrace/nstrace/event"
)

// heard is a sink that counts and keeps the losses.
type heard struct {
	events, packets []uint64 // their numbers
	losses          told
}

func (h *heard) HandleEvent(e *event.Event)     { h.events = append(h.events, e.Seq) }
func (h *heard) HandlePacket(p *event.Packet)   { h.packets = append(h.packets, p.Seq) }
func (h *heard) HandleStep(*event.Step)         {}
func (h *heard) HandleTask(*event.Task)         {}
func (h *heard) HandleCount(*event.Count)       {}
func (h *heard) HandleLoss(l *event.Loss)       { h.losses.add(l) }
func (h *heard) HandleSymbol(*event.Symbol)     {}
func (h *heard) HandleCgroup(*event.CgroupPath) {}

func newFakeSet() (s *Set, lifecycle, packets *fakeRing) {
	lifecycle, packets = newHeapRing(1<<14), newHeapRing(1<<14)
	s = &Set{lifecycle: &lifecycle.ring, packets: &packets.ring, counters: newCounters(nil), modules: newModules("")}
	s.lifecycleSeq.ring, s.packetsSeq.ring = "lifecycle", "packets"
	return s, lifecycle, packets
}

// TestReceivedAndLost: received and lost add up to what was sent, whatever
// became of a record.
func TestReceivedAndLost(t *testing.T) {
	s, lifecycle, packets := newFakeSet()
	var sink heard
	for seq := range uint64(10) {
		e := bpfNstEvent{Seq: seq, Time: 100 + seq, Kind: uint16(event.KindPutNet)}
		switch seq {
		case 2: // found no space
			continue
		case 4:
			e.Kind = 99
		}
		lifecycle.put(t, string(recordOf(&e)))
		packets.put(t, string(recordOf(&bpfNstPacket{Seq: seq, Time: 100 + seq, Cpu: 1})))
	}
	if err := s.Read(&sink); err != nil {
		t.Fatal(err)
	}
	if err := s.read(&sink, true); err != nil {
		t.Fatal(err)
	}
	if s.lifecycleN != 8 || s.lifecycleSeq.lost != 2 || s.decoder.undecoded != 1 || len(sink.events) != 8 {
		t.Errorf("lifecycle: received %d, lost %d, undecoded %d, handed over %d; want 8, 2, 1, 8",
			s.lifecycleN, s.lifecycleSeq.lost, s.decoder.undecoded, len(sink.events))
	}
	if s.packetsN != 9 || s.packetsSeq.lost != 1 || len(sink.packets) != 9 {
		t.Errorf("packets: received %d, lost %d, handed over %d; want 9, 1, 9", s.packetsN, s.packetsSeq.lost, len(sink.packets))
	}
	if n := sink.losses.sum(); n != 3 {
		t.Errorf("told of %d losses, want 3: %+v", n, sink.losses)
	}
}

func TestUnregisteredDevicesAreNoted(t *testing.T) {
	s, lifecycle, _ := newFakeSet()
	for seq, kind := range []event.Kind{event.KindNetdevRegister, event.KindNetdevUnregister, event.KindNetdevMove} {
		e := bpfNstEvent{Seq: uint64(seq), Time: uint64(100 + seq), Kind: uint16(kind), Dev: uint64(0x100 * seq)}
		lifecycle.put(t, string(recordOf(&e)))
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
		{name: "packets too small", in: Options{Delivery: DeliveryPackets, PacketRing: 8}, bad: true},
	} {
		err := c.in.normalise()
		if (err != nil) != c.bad || !c.bad && (c.in.LifecycleRing != c.lifecycle || c.in.PacketRing != c.packet) {
			t.Errorf("%s: got %+v, %v", c.name, c.in, err)
		}
	}
}
