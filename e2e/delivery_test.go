// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/event"
	"github.com/nstrace/nstrace/trace"
)

// receivedBy are the paths whose packets rx_packets counts.
var receivedBy = []event.Path{event.PathDeliverSKB, event.PathRx8023, event.PathStack}

// monitors are the interfaces whose packets have no Ethernet header.
var monitors = []string{"wlan3", "mon2"}

// place is an interface in a namespace, by their names.
type place struct{ namespace, device string }

func (p place) String() string { return p.device + " in " + p.namespace }

// stay is what the kernel knew of an interface's time in a namespace.
type stay struct {
	at place
	// received is by the interface's own counters. By tracepoints are: entered, what
	// the stack got; sent, what of this hadn't been received; control, what nl80211's
	// control port got.
	received, entered, sent, control rxCounters
}

// TestDelivery has all kinds of traffic between radios, and compares what the
// report counts by interface and namespace with what the kernel counts: to the
// packet, and to the byte.
func TestDelivery(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines")
	}
	t.Parallel()
	for _, c := range []struct {
		suite, delivery string
		always          bool
	}{
		{suite: "bullseye", delivery: "count", always: true},
		{suite: "bullseye", delivery: "packets"},
		{suite: "bookworm", delivery: "count"},
		{suite: "bookworm", delivery: "packets", always: true},
		{suite: "trixie", delivery: "count"},
		{suite: "trixie", delivery: "packets"},
		{suite: unstable, delivery: "count"},
		{suite: unstable, delivery: "packets"},
	} {
		if !c.always && !*everyKernel {
			continue
		}
		t.Run(c.suite+" "+c.delivery, func(t *testing.T) {
			t.Parallel()
			testDelivery(t, c.suite, c.delivery)
		})
	}
}

func testDelivery(t *testing.T, suite, delivery string) {
	dir := t.TempDir()
	nstrace, file := filepath.Join(dir, "nstrace"), filepath.Join(dir, "traffic.nst")
	build(t, nstrace, "build", "../cmd/nstrace")
	build(t, filepath.Join(dir, "amsdu"), "build", "../lab/scenario/amsdu")
	copyScenario(t, dir, "traffic.sh")
	kernel := kernelOf(t, suite, runtime.GOARCH)
	const script = `./nstrace record --load-modules "$@" -o traffic.nst -- sh traffic.sh kernel ./amsdu`
	run := []string{"sh", "-c", script, "sh", "--delivery", delivery}
	if delivery == "packets" {
		run = append(run, "--snaplen", strconv.Itoa(tcpdumpSnaplen))
	}
	status, out := bootKernel(t, kernel, dir, nil, run...)
	if status != 0 {
		t.Fatalf("exit status %d\n%s", status, out)
	}
	r := readReport(t, nstrace, file)
	// See TestMove: it is the host's doing, and no more packets may lack than the
	// ledger has calls that the kernel let pass.
	missed := r.missed()
	if missed > 0 {
		note(t, "the kernel let %d calls pass, as the ledger says", missed)
	}
	if !r.Recording.Complete || r.Recording.Lost == nil || *r.Recording.Lost != 0 {
		t.Errorf("the recording should be complete and without losses: %+v", r.Recording)
	}
	stays := readStays(t, filepath.Join(dir, "kernel/trace"))
	checkTraffic(t, stays)
	r.checkTraffic(t, stays, missed)
	if delivery == "packets" && missed == 0 {
		checkPackets(t, r, file, stays)
		checkExport(t, nstrace, file, filepath.Join(dir, "kernel/mesh2.pcap"))
	}
	if t.Failed() {
		text, _ := exec.Command(nstrace, "report", file).CombinedOutput()
		t.Logf("%s\n%s", out, text)
	}
}

// readStays reads the record that traffic.sh keeps.
func readStays(t *testing.T, file string) []stay {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	if !strings.Contains(text, "\noverrun: 0\n") || !strings.Contains(text, "\ndropped events: 0\n") {
		t.Fatalf("%s isn't a whole record", file)
	}
	var stays []stay
	before, now := map[string]rxCounters{}, map[string]*stay{}
	for line := range strings.Lines(text) {
		what, args, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if what != "tracing_mark_write" {
			countPacket(t, now, what, args)
			continue
		}
		var s stay
		var counters rxCounters
		if _, err := fmt.Sscanf(args, "stay %s %s %d %d", &s.at.namespace, &s.at.device, &counters.Packets, &counters.Bytes); err != nil {
			t.Fatalf("%s: %v", args, err)
		}
		if n := now[s.at.device]; n != nil {
			s.entered, s.sent, s.control = n.entered, n.sent, n.control
			delete(now, s.at.device)
		}
		// The interface's counters go on from stay to stay.
		s.received = rxCounters{counters.Packets - before[s.at.device].Packets, counters.Bytes - before[s.at.device].Bytes}
		before[s.at.device] = counters
		stays = append(stays, s)
	}
	return stays
}

// countPacket counts a packet at a tracepoint, by its interface.
func countPacket(t *testing.T, stays map[string]*stay, what, args string) {
	t.Helper()
	fields := strings.Fields(args)
	var device, length string
	switch what {
	case "netif_receive_skb", "netif_rx": // dev=wlan1 skbaddr=ffff888005c08100 len=213, and 7.2 has net_cookie=13
		if len(fields) > 2 {
			device, length = strings.TrimPrefix(fields[0], "dev="), strings.TrimPrefix(fields[2], "len=")
		}
	case "cfg80211_rx_control_port": // netdev:wlan1(3), len=99, …
		if len(fields) > 2 {
			device, _, _ = strings.Cut(strings.TrimPrefix(fields[0], "netdev:"), "(")
			length = strings.Trim(fields[1], "len=,")
		}
	default:
		return
	}
	bytes, err := strconv.ParseUint(length, 10, 32)
	if err != nil {
		t.Fatalf("%s: %s: %v", what, args, err)
	}
	// At these places the Ethernet header isn't counted any more.
	if !slices.Contains(monitors, device) {
		bytes += 14
	}
	s := stays[device]
	if s == nil {
		s = &stay{}
		stays[device] = s
	}
	switch what {
	case "netif_receive_skb":
		s.entered.add(1, bytes)
	case "netif_rx":
		s.sent.add(1, bytes)
	case "cfg80211_rx_control_port":
		s.control.add(1, bytes)
	}
}

func (c *rxCounters) add(packets, bytes uint64) {
	c.Packets += packets
	c.Bytes += bytes
}

func (c *rxCounters) addAll(o rxCounters) { c.add(o.Packets, o.Bytes) }

// past is how many packets were received and didn't get to the stack.
func (s *stay) past() uint64 { return s.received.Packets + s.sent.Packets - s.entered.Packets }

// checkTraffic wants every kind of traffic to have been there: else there was
// nothing to compare.
func checkTraffic(t *testing.T, stays []stay) {
	t.Helper()
	visits := map[place]int{}
	for _, s := range stays {
		visits[s.at]++
		if s.received.Packets < 10 {
			t.Errorf("%s: only %d packets received in one stay", s.at, s.received.Packets)
		}
		// Only the access point relays.
		if relays := s.past() > s.control.Packets; relays != (s.at.namespace == "ap") || s.past() < s.control.Packets {
			t.Errorf("%s: the kernel's counters don't add up: %+v", s.at, s)
		}
		// Each side gets two of the handshake's four messages.
		if handshake := s.control.Packets >= 2; handshake != slices.Contains([]string{"wlan0", "wlan1", "wlan2"}, s.at.device) {
			t.Errorf("%s: %d packets by the control port", s.at, s.control.Packets)
		}
	}
	if there, back := visits[place{"roam", "wlan5"}], visits[place{"cell2", "wlan5"}]; there != 10 || back != 11 {
		t.Errorf("wlan5 was in roam %d times, and in cell2 %d times", there, back)
	}
}

// checkTraffic compares the report with what the kernel knew: all has to be equal,
// but for as many packets as calls were missed.
func (r *report) checkTraffic(t *testing.T, stays []stay, missed uint64) {
	t.Helper()
	want := map[place]*stay{}
	for _, s := range stays {
		w := want[s.at]
		if w == nil {
			w = &stay{at: s.at}
			want[s.at] = w
		}
		w.received.addAll(s.received)
		w.entered.addAll(s.entered)
		w.sent.addAll(s.sent)
		w.control.addAll(s.control)
	}
	for p, got := range r.sums(t) {
		if w := want[p]; w != nil {
			w.compare(t, got, missed)
			delete(want, p)
			continue
		}
		t.Errorf("%s: there was no such stay; the report has %+v", p, got)
	}
	for p, w := range want {
		t.Errorf("%s: the report has nothing; the kernel has %+v", p, w)
	}
	for _, f := range r.Findings {
		if f.Rule == "delivery-differs" && missed == 0 {
			t.Errorf("%s: finding %s", f.Subject, f.Rule)
		}
	}
}

// sum is what a report has of an interface in a namespace, over all paths.
type sum struct {
	// As in a stay.
	received, entered, sent, control rxCounters
	relayed                          rxCounters
	// rx are the kernel's counters as the report has them.
	rx *rxCounters
}

// sums adds up the report's rows.
func (r *report) sums(t *testing.T) map[place]*sum {
	t.Helper()
	all := map[place]*sum{}
	for _, n := range r.Namespaces {
		for _, d := range n.Delivery {
			p := place{r.name(n.ID), d.Device}
			s := all[p]
			if s == nil {
				s = &sum{}
				all[p] = s
			}
			// What GRO merges the tracepoints see once. Hwsim has no NAPI.
			if d.Merged != 0 || d.RelayedBytes == nil && d.Relayed != 0 {
				t.Errorf("%s: %d packets merged", p, d.Merged)
			}
			s.entered.add(d.Packets, d.Bytes)
			switch {
			case slices.ContainsFunc(receivedBy, func(path event.Path) bool { return path.String() == d.Path }):
				s.received.add(d.Packets+d.Relayed+d.ControlPort, d.Bytes+d.ControlPortBytes)
				s.control.add(d.ControlPort, d.ControlPortBytes)
				if d.RelayedBytes != nil {
					s.received.Bytes += *d.RelayedBytes
					s.relayed.add(d.Relayed, *d.RelayedBytes)
				}
			case d.Path == event.PathLoopback.String():
				// It never had the header that the record counts.
				s.sent.add(d.Packets, d.Bytes+14*d.Packets)
				s.entered.Bytes += 14 * d.Packets
			case d.Path == event.PathStationUpdate.String() || d.Path == event.PathNetifRx.String():
				s.sent.add(d.Packets, d.Bytes)
			default:
				t.Errorf("%s: a row of path %q", p, d.Path)
			}
			if d.RxPackets != nil && d.RxBytes != nil {
				s.rx = &rxCounters{*d.RxPackets, *d.RxBytes}
			}
		}
	}
	return all
}

// compare wants the report to have what the kernel has. For each call that was
// missed a packet may be where it wasn't.
func (s *stay) compare(t *testing.T, got *sum, missed uint64) {
	t.Helper()
	t.Logf("%s: %+v", s.at, *s)
	same := func(what string, got, want rxCounters) {
		t.Helper()
		lack := max(want.Packets, got.Packets) - min(want.Packets, got.Packets)
		if got != want && (lack > missed || missed == 0) {
			t.Errorf("%s: %s: %+v; the kernel has %+v", s.at, what, got, want)
		}
	}
	same("received", got.received, s.received)
	same("what the stack got", got.entered, s.entered)
	same("of its own", got.sent, s.sent)
	same("control port", got.control, s.control)
	relayed := rxCounters{s.past() - s.control.Packets, s.received.Bytes + s.sent.Bytes - s.entered.Bytes - s.control.Bytes}
	same("relayed", got.relayed, relayed)
	if got.rx == nil || *got.rx != s.received {
		t.Errorf("%s: rx_packets and rx_bytes are %v; the kernel has %v", s.at, got.rx, s.received)
	}
}

// checkPackets compares packet by packet: each stay of the radio that moved has
// all of its own, and none of another.
func checkPackets(t *testing.T, r *report, file string, stays []stay) {
	t.Helper()
	const moved = "wlan5"
	packets := packetsIn(t, r, file, "cell2", "roam")
	for _, s := range stays {
		if s.at.device != moved {
			continue
		}
		var got rxCounters
		for len(packets) > 0 && packets[0].namespace == s.at.namespace {
			if p := packets[0]; slices.Contains(receivedBy, p.Path) {
				got.add(1, uint64(p.Length))
			}
			packets = packets[1:]
		}
		if got != s.received {
			t.Errorf("%s: in one stay the packets recorded are %v; the kernel has %v", s.at, got, s.received)
		}
	}
	if len(packets) > 0 {
		t.Errorf("%d packets after the last stay of %s", len(packets), moved)
	}
}

// packetIn is a packet with the name of the namespace that it came to.
type packetIn struct {
	event.Packet
	namespace string
}

// packetsIn returns the packets that came to some namespaces, in the order of time.
func packetsIn(t *testing.T, r *report, file string, namespaces ...string) []packetIn {
	t.Helper()
	names := map[uint32]string{}
	for _, n := range r.Namespaces {
		if name := r.name(n.ID); slices.Contains(namespaces, name) {
			names[n.Inum] = name
		}
	}
	recording, err := trace.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer recording.Close()
	var packets []packetIn
	err = recording.Packets(func(b *trace.PacketBatch) error {
		for i := range b.Len() {
			var p packetIn
			b.Packet(i, &p.Packet)
			if p.namespace = names[p.Net.Inum]; p.namespace != "" {
				packets = append(packets, p)
			}
		}
		return nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(packets, func(x, y packetIn) int { return cmp.Compare(x.Time, y.Time) })
	return packets
}
