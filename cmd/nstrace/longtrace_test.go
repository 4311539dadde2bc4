// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/analyze/story"
	"github.com/nstrace/nstrace/event"
	"github.com/nstrace/nstrace/trace"
)

// The rhythm of `nstrace record` while packets come (record/loop.go), in
// nanoseconds: it decides how large blocks get and how many counts there are.
const (
	countEvery  = 100 * story.MS
	flushEvery  = 150 * story.MS
	ledgerEvery = 5000 * story.MS
)

const (
	etherARP  = 0x0806
	etherIPv6 = 0x86dd
	// sampleFile has what real packets are like: ping, then iperf3 over TCP from a
	// station to its access point.
	sampleFile = "../../testdata/move-6.1-packets.nst"
	// sampleSlowness is about how many times as slow the emulated machine was that
	// it was recorded on (docs/measurements.md).
	sampleSlowness = 10
)

// sample is what comes after the packet before it, in so many nanoseconds: to the
// access point, or to the station.
type sample struct {
	gap       uint64
	length    uint32
	protocol  uint16
	toStation bool
}

// sampling takes the packets of a recording, and its last ledger.
type sampling struct {
	event.Handler
	ledger event.Ledger
}

func (s *sampling) HandleLedger(l *event.Ledger) { s.ledger = *l }

func readSample(t testing.TB) (samples []sample, ledger event.Ledger) {
	t.Helper()
	r, err := trace.Open(sampleFile)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s := sampling{Handler: analyze.New()}
	if err := r.Replay(&s, trace.ReplayOptions{}); err != nil {
		t.Fatal(err)
	}
	var last uint64
	err = r.OrderedPackets(func(p *event.Packet) error {
		x := sample{length: p.Length, protocol: p.Protocol, toStation: p.Ifindex == 4}
		if last != 0 {
			x.gap = p.Time - last
		}
		last = p.Time
		samples = append(samples, x)
		return nil
	}, func(d *event.Damage) { t.Fatalf("%+v", d) })
	if err != nil {
		t.Fatal(err)
	}
	return samples, s.ledger
}

// busyHost makes up the recording of a machine with five radios, as `nstrace
// record --delivery packets` writes it. Two stations send all the time, each to an
// access point of its own, which is another CPU's business. Every ten seconds a
// third station is taken to a namespace that was made for it, sends, and comes home
// when that dies.
type busyHost struct {
	*writing
	s       *story.Story
	rng     *rand.Rand
	samples []sample
	ledger  event.Ledger
	nics    [5]*nic
	phys    [5]*story.Phy
	streams [3]stream
	// chatter is when something comes that nobody asked for.
	chatter uint64
	// flows are the kernel's counters, in the order in which they were made.
	flows []*flowCount
	known map[flowKey]*flowCount

	// total packets are to be sent; seqs are the next sequence numbers.
	sent, total uint64
	seqs        [2]uint64
	packet      event.Packet
	random      []byte
	// These are when each was last done, and due when the next of them is.
	read, flushed, accounted, due uint64
}

// nic is an interface that receives.
type nic struct {
	story.Netdev
	bytes uint64
	// flows are those of the namespace it is in, by protocol.
	flows map[uint16]*flowCount
}

type flowKey struct {
	event.Flow
	protocol uint16
}

type tally struct{ packets, bytes uint64 }

// flowCount is one of the kernel's counters, and what was read of it.
type flowCount struct {
	flowKey
	now, before, base       tally
	first, last, lastBefore uint64
}

// stream is what goes on between an access point and a station.
type stream struct {
	ap, station *nic
	cpu         uint32
	// next is when the next packet comes, and at which of the samples it is.
	next  uint64
	at    int
	speed float64
}

const never = 1<<64 - 1

// writeBusyHost writes such a recording of n packets, with up to snaplen bytes of
// each, and returns what they add up to.
func writeBusyHost(t testing.TB, path string, n uint64, snaplen int) []*flowCount {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	rec := event.Recording{
		Host: "bench", Kernel: "6.1", Arch: "x86_64", CPUs: 2, InitNet: story.Initial.Inum, Began: 1000 * story.MS, Delivery: "packets",
		Clock: event.Clock{Boot: 900 * story.MS, Wall: 1_700_000_000_000_000_000},
	}
	if snaplen > 0 {
		rec.Packets = &event.PacketOptions{Snaplen: uint32(snaplen)}
	}
	w, err := trace.NewWriter(f, rec)
	if err != nil {
		t.Fatal(err)
	}
	h := &busyHost{writing: &writing{Writer: w, b: t}, rng: rand.New(rand.NewPCG(1, 2)), known: map[flowKey]*flowCount{}, total: n}
	h.samples, h.ledger = readSample(t)
	h.random = make([]byte, snaplen)
	for i := range h.random {
		h.random[i] = byte(h.rng.Uint32())
	}
	h.tell()
	h.check(w.Close(h.end))
	h.check(f.Close())
	return h.flows
}

// tell tells all of it.
func (h *busyHost) tell() {
	h.s = story.New(h)
	h.s.By(390, "modprobe")
	for i := range h.nics {
		h.phys[i] = &story.Phy{Ptr: 0xaa0000 + uint64(i), Index: int32(i), Name: fmt.Sprintf("phy%d", i)}
		h.nics[i] = &nic{Netdev: story.Netdev{
			Ptr: 0xffff88800a002000 + uint64(i)<<13, Net: story.Initial, Ifindex: int32(2 + i), Name: fmt.Sprintf("wlan%d", i), Phy: h.phys[i],
		}}
		h.s.Radio(h.phys[i], story.Initial, h.nics[i].Netdev)
	}
	ap, guest, sta := h.make("ap", 0), h.make("guest", 1), h.make("sta", 2)
	h.move(1, ap)
	h.move(2, sta)
	h.move(3, guest)
	start := h.s.T + 500*story.MS
	h.streams = [3]stream{
		{ap: h.nics[1], station: h.nics[2], next: start, speed: sampleSlowness},
		{ap: h.nics[3], station: h.nics[0], next: start, speed: sampleSlowness, cpu: 1, at: len(h.samples) / 2},
		{ap: h.nics[1], station: h.nics[4], next: never, speed: sampleSlowness / 2, cpu: 1},
	}
	h.chatter = start
	h.read, h.flushed, h.accounted = start, start, start
	for i := uint64(3); h.sent < h.total; i++ {
		guest := h.make("roam", i)
		h.move(4, guest)
		h.streams[2].next = h.s.T + 500*story.MS
		h.until(h.s.T + 6000*story.MS)
		h.streams[2].next = never
		h.s.By(460, "ip").Name(guest, "roam", false)
		h.s.Cleanup(guest, func() { h.switchTo(4, story.Initial) })
		h.until(h.s.T + 4000*story.MS)
	}
	h.readCounts(h.s.Tick())
	h.finish(ap, guest, sta)
}

// make makes the ith namespace. Numbers and addresses of those that died come
// back.
func (h *busyHost) make(name string, i uint64) event.NetRef {
	n := event.NetRef{Ptr: 0xffff888001000000 + min(i, 3)<<13, Cookie: 0x2001 + i, Inum: 4026532198 + 52*uint32(min(i, 3))}
	h.s.By(uint32(1000+i), "ip").Create(n)
	h.s.Name(n, name, true)
	return n
}

// move gives the ith radio to a namespace, as iw does.
func (h *busyHost) move(i int, to event.NetRef) {
	const setWiphyNetns = 49 // NL80211_CMD_SET_WIPHY_NETNS
	h.s.By(412, "iw").NL80211(setWiphyNetns, h.phys[i], event.Event{Net2: to}, func() { h.switchTo(i, to) })
}

func (h *busyHost) switchTo(i int, to event.NetRef) {
	n := h.nics[i]
	h.s.Switch(h.phys[i], n.Net, to, story.Outcome{}, func() { n.Netdev = h.s.Move(n.Netdev, to, story.Outcome{}) })
	n.flows = nil
}

// until sends what comes before a time.
func (h *busyHost) until(end uint64) {
	for h.sent < h.total {
		at, which := h.chatter, -1
		for i := range h.streams {
			if next := h.streams[i].next; next < at {
				at, which = next, i
			}
		}
		if at >= end {
			break
		}
		if at >= h.due {
			h.rhythm(at)
		}
		if which < 0 {
			h.chat(at)
		} else {
			h.send(&h.streams[which])
		}
		h.s.T = at
	}
	if h.sent < h.total {
		h.s.T = end
	}
}

// send sends the next packet of a stream.
func (h *busyHost) send(x *stream) {
	p := &h.samples[x.at]
	to := x.ap
	if p.toStation {
		to = x.station
	}
	h.receive(to, x.next, x.cpu, p.length, p.protocol)
	if x.at++; x.at == len(h.samples) {
		x.at = 0
	}
	// No two times are alike.
	x.next += 1 + uint64(float64(h.samples[x.at].gap)*(0.75+h.rng.Float64()/2)/x.speed)
}

// chat sends a question for an address, or for neighbours, to one of those that are
// not on the move.
func (h *busyHost) chat(at uint64) {
	to, cpu := h.nics[h.rng.IntN(4)], h.rng.Uint32N(2)
	if h.rng.IntN(3) == 0 {
		h.receive(to, at, cpu, 42, etherARP)
	} else {
		h.receive(to, at, cpu, []uint32{70, 86, 90, 110}[h.rng.IntN(4)], etherIPv6)
	}
	h.chatter += 1 + uint64(h.rng.ExpFloat64()*10*story.MS)
}

// receive is one packet.
func (h *busyHost) receive(n *nic, at uint64, cpu, length uint32, protocol uint16) {
	f := n.flows[protocol]
	if f == nil {
		f = h.flowOf(n, protocol)
	}
	if f.now.packets == 0 {
		f.first, f.base = at, tally{n.Rx, n.bytes}
	}
	f.now.packets++
	f.now.bytes += uint64(length)
	f.last = at
	n.Rx++
	n.bytes += uint64(length)
	p := &h.packet
	p.Flow, p.Time, p.CPU, p.Seq, p.Length, p.Protocol = f.Flow, at, cpu, h.seqs[cpu], length, protocol
	p.Data = h.random[:min(len(h.random), int(length))]
	h.check(h.Packet(p))
	h.seqs[cpu]++
	h.sent++
}

func (h *busyHost) flowOf(n *nic, protocol uint16) *flowCount {
	key := flowKey{event.Flow{Net: n.Net, Dev: n.Ptr, Ifindex: n.Ifindex, Path: event.PathDeliverSKB}, protocol}
	f := h.known[key]
	if f == nil {
		f = &flowCount{flowKey: key}
		h.known[key] = f
		h.flows = append(h.flows, f)
	}
	if n.flows == nil {
		n.flows = map[uint16]*flowCount{}
	}
	n.flows[protocol] = f
	return f
}

// rhythm does what is due by now.
func (h *busyHost) rhythm(now uint64) {
	for h.read+countEvery <= now {
		h.readCounts(h.read + countEvery)
	}
	for h.accounted+ledgerEvery <= now {
		h.accounted += ledgerEvery
		h.HandleLedger(&event.Ledger{Time: h.accounted})
	}
	for h.flushed+flushEvery <= now {
		h.flushed += flushEvery
		h.check(h.Flush())
	}
	h.due = min(h.read+countEvery, h.accounted+ledgerEvery, h.flushed+flushEvery)
}

// readCounts reads the counters, as probes/delivery.go does.
func (h *busyHost) readCounts(now uint64) {
	for _, f := range h.flows {
		if f.now == f.before {
			continue
		}
		c := event.Count{
			Flow: f.Flow, Protocol: f.protocol, Time: now, First: f.first, Last: f.last, EnteredKnown: true,
			Packets: f.now.packets - f.before.packets, Bytes: f.now.bytes - f.before.bytes,
		}
		c.Entered, c.EnteredBytes = c.Packets, c.Bytes
		if f.before.packets == 0 {
			c.Base, c.BasePackets, c.BaseBytes = true, f.base.packets, f.base.bytes
		} else {
			c.Since = max(h.read, f.lastBefore)
		}
		h.HandleCount(&c)
		f.before, f.lastBefore = f.now, f.last
	}
	h.read = now
}

// HandleEvent gives the interfaces' counters, which the story knows only half of.
func (h *busyHost) HandleEvent(e *event.Event) {
	for _, n := range h.nics {
		if n != nil && n.Ptr == e.Dev && e.Flags&event.FlagRx != 0 {
			e.RxPackets, e.RxBytes = n.Rx, n.bytes
		}
	}
	h.writing.HandleEvent(e)
}

// HandleLedger writes that of the sample, with nothing missing.
func (h *busyHost) HandleLedger(l *event.Ledger) {
	full, zero := h.ledger, uint64(0)
	full.Time = l.Time
	full.Rings = []event.RingLedger{{Name: "lifecycle", Size: 1 << 20, Received: h.s.Sent()}, {Name: "packets", Size: 8 << 20, Received: h.sent}}
	full.Probes = slices.Clone(full.Probes)
	for i := range full.Probes {
		p := &full.Probes[i]
		p.Hook, p.Missed = "fentry", &zero
		if p.Name == event.PathDeliverSKB.String() {
			p.Hits = h.sent
		}
	}
	h.writing.HandleLedger(&full)
}

// finish tells what there is in the end.
func (h *busyHost) finish(ap, guest, sta event.NetRef) {
	states := []event.NetnsState{story.State(story.Initial), story.State(ap), story.State(guest), story.State(sta)}
	for i, name := range []string{"", "ap", "guest", "sta"} {
		s := &states[i]
		if name != "" {
			s.Names = []string{name}
			s.Holders = []event.Holder{{Kind: "mount", Path: "/run/netns/" + name}}
		}
		for j, n := range h.nics {
			if n.Net.Cookie == s.Cookie {
				l := story.Link(n.Netdev)
				l.RxBytes = n.bytes
				s.Links = append(s.Links, l)
				s.Wiphys = append(s.Wiphys, event.Wiphy{Index: h.phys[j].Index, Name: h.phys[j].Name, CanSwitch: true})
			}
		}
	}
	h.s.End(states...)
}

// TestBusyHost reports on such a recording.
func TestBusyHost(t *testing.T) {
	const total = 1_000_000
	path := filepath.Join(t.TempDir(), "busy.nst")
	flows := writeBusyHost(t, path, total, 0)
	want := map[event.Flow]tally{}
	for _, f := range flows {
		sum := want[f.Flow]
		want[f.Flow] = tally{sum.packets + f.now.packets, sum.bytes + f.now.bytes}
	}
	r, err := trace.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s, err := r.Verify()
	if err != nil || !s.Whole() {
		t.Errorf("%v, %+v", err, s)
	}
	sums, err := r.SumPackets(nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[event.Flow]tally{}
	for _, s := range sums {
		got[s.Flow] = tally{s.Packets, s.Bytes}
	}
	if !maps.Equal(got, want) {
		t.Errorf("packets sum up to %+v, want %+v", got, want)
	}

	m, err := readModel(path, 0, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range m.Findings {
		if strings.Contains(f.Rule, "packets") || f.Severity == analyze.Error {
			t.Errorf("%+v", f)
		}
	}
	if len(m.Moves) < 10 || m.Lost != 0 || m.LostMore || m.Audit.Compared == 0 || len(m.Audit.Differences) != 0 {
		t.Errorf("%d moves, %d lost, %+v", len(m.Moves), m.Lost, m.Audit)
	}
	var delivered uint64
	for _, d := range m.Delivery {
		delivered += d.Packets
		if d.RxPackets == nil || *d.RxPackets != d.Packets || *d.RxBytes != d.Bytes {
			t.Errorf("%+v: the kernel's own count differs", d)
		}
	}
	if delivered != total {
		t.Errorf("%d packets were counted, want %d", delivered, total)
	}
}
