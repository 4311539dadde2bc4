// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/event"
)

// fullMACDriver is the driver of the radio in fullmac.sh.
const fullMACDriver = "rndis_wlan"

// ethernetHeader is how much of a packet usbnet doesn't count: it looks at the
// length when eth_type_trans has taken the header off (usbnet_skb_return), while
// mac80211 counts first.
const ethernetHeader = 14

// fullMACReport is a report with what else this test looks at.
type fullMACReport struct {
	report
	Wiphys []struct {
		Name, Driver string
		CanSwitch    *bool `json:"can_switch"`
	}
	Findings []struct{ Rule, Subject, Text string }
}

// TestFullMAC has a radio receive whose driver does without mac80211, and
// compares what is told of it with what the kernel and the radio itself count. The
// driver, rndis_wlan, is real, the radio is a program. The kernels of trixie and sid
// don't have this driver any more, nor another one whose device a program can be:
// there it isn't tested.
func TestFullMAC(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines")
	}
	t.Parallel()
	for _, c := range []struct {
		suite, delivery string
		always          bool
	}{
		{suite: "bullseye", delivery: "count"},
		{suite: "bullseye", delivery: "packets"},
		{suite: "bookworm", delivery: "count"},
		{suite: "bookworm", delivery: "packets", always: true},
	} {
		if !c.always && !*everyKernel {
			continue
		}
		t.Run(c.suite+" "+c.delivery, func(t *testing.T) {
			t.Parallel()
			testFullMAC(t, c.suite, c.delivery)
		})
	}
}

func testFullMAC(t *testing.T, suite, delivery string) {
	dir := t.TempDir()
	nstrace, file := filepath.Join(dir, "nstrace"), filepath.Join(dir, "fullmac.nst")
	build(t, nstrace, "build", "../cmd/nstrace")
	build(t, filepath.Join(dir, "fullmac"), "build", "../lab/scenario/fullmac")
	copyScenario(t, dir, "fullmac.sh")
	kernel := kernelOf(t, suite, runtime.GOARCH)
	const script = `./nstrace record --load-modules --delivery "$1" -o fullmac.nst -- sh fullmac.sh kernel ./fullmac`
	var r fullMACReport
	var out string
	for range 3 {
		var status int
		if status, out = bootKernel(t, kernel, dir, nil, "sh", "-c", script, "sh", delivery); status != 0 {
			t.Fatalf("exit status %d\n%s", status, out)
		}
		r = fullMACReport{}
		decodeReport(t, nstrace, file, &r)
		n := r.missed()
		if n == 0 {
			break
		}
		note(t, "the kernel let %d calls pass, as the ledger says: recorded again", n) // see TestMove
	}
	if !r.Recording.Complete || r.Recording.Lost == nil || *r.Recording.Lost != 0 || !r.Recording.Clean {
		t.Errorf("the recording should be complete and without losses: %+v", r.Recording)
	}
	if r.Audit.Compared == 0 || len(r.Audit.Differences) > 0 {
		t.Errorf("audit: %+v", r.Audit)
	}
	first, second := readFullMAC(t, dir, "first"), readFullMAC(t, dir, "second")
	// The interface of the first time is gone at the end. 5.10's usbnet keeps its
	// counters where only the driver finds them: what they were last isn't known.
	if suite == "bullseye" {
		first.rx = nil
	}
	r.checkFullMAC(t, first, second)
	r.checkFullMACRadios(t)
	if delivery == "packets" {
		want := first.received
		want.addAll(second.received)
		var got rxCounters
		for _, p := range packetsIn(t, &r.report, file, "init") {
			if p.Path == event.PathStack {
				got.add(1, uint64(p.Length))
			}
		}
		if got != want {
			t.Errorf("packets recorded: %v; the radio received %v", got, want)
		}
	}
	if t.Failed() {
		text, _ := exec.Command(nstrace, "report", file).CombinedOutput()
		t.Logf("%s\n%s", out, text)
	}
}

// fullMACStay is one time that the radio received: what it did itself, and what
// the kernel's counters are to be in the report, nil if unknown.
type fullMACStay struct {
	received rxCounters
	rx       *rxCounters
}

// readFullMAC reads what fullmac.sh has noted, and wants the kernel to agree with
// the radio.
func readFullMAC(t *testing.T, dir, time string) fullMACStay {
	t.Helper()
	var s fullMACStay
	said, err := os.ReadFile(filepath.Join(dir, "kernel", time+".device"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(said), "received: %d packets, %d bytes", &s.received.Packets, &s.received.Bytes); err != nil {
		t.Fatalf("%q: %v", said, err)
	}
	stays := readStays(t, filepath.Join(dir, "kernel", time))
	if len(stays) != 1 {
		t.Fatalf("%s: %+v", time, stays)
	}
	if got := stays[0].entered; got != s.received {
		t.Errorf("%s: the stack got %v; the radio received %v", time, got, s.received)
	}
	s.rx = &rxCounters{s.received.Packets, s.received.Bytes - ethernetHeader*s.received.Packets}
	if got := stays[0].received; got != *s.rx {
		t.Errorf("%s: rx_packets and rx_bytes are %v, expected %v", time, got, *s.rx)
	}
	return s
}

// checkFullMAC wants a row for each stay, and nothing else.
func (r *fullMACReport) checkFullMAC(t *testing.T, stays ...fullMACStay) {
	t.Helper()
	for _, n := range r.Namespaces {
		if !n.Initial {
			if len(n.Delivery) > 0 {
				t.Errorf("deliveries into %s: %+v", n.ID, n.Delivery)
			}
			continue
		}
		if len(n.Delivery) != len(stays) {
			t.Fatalf("deliveries: %+v", n.Delivery)
		}
		// They are in the order of ifindexes, which aren't used again.
		for i, d := range n.Delivery {
			want, got := stays[i], rxCounters{d.Packets, d.Bytes}
			if got != want.received || d.Device != "wlan0" || d.Path != event.PathStack.String() || d.Merged != 0 || d.Relayed != 0 {
				t.Errorf("delivery: %+v; the radio received %+v", d, want.received)
			}
			switch known := d.RxPackets != nil && d.RxBytes != nil; {
			case known != (want.rx != nil):
				t.Errorf("rx_packets of the %d. interface: %v", i+1, d.RxPackets)
			case known && (rxCounters{*d.RxPackets, *d.RxBytes}) != *want.rx:
				t.Errorf("rx_packets and rx_bytes of the %d. interface are %d and %d; the kernel has %v", i+1, *d.RxPackets, *d.RxBytes, *want.rx)
			}
		}
	}
}

// checkFullMACRadios wants both radios, and the second one to be pinned by its
// driver.
func (r *fullMACReport) checkFullMACRadios(t *testing.T) {
	t.Helper()
	if len(r.Wiphys) != 2 {
		t.Fatalf("radios: %+v", r.Wiphys)
	}
	// Of the first only events tell, and those know no more than the driver that all
	// USB devices have.
	for i, driver := range []string{"", fullMACDriver} {
		if w := r.Wiphys[i]; w.Name != fmt.Sprintf("phy%d", i) || w.Driver != driver || w.CanSwitch == nil || *w.CanSwitch {
			t.Errorf("radio: %+v", w)
		}
	}
	refused := map[string]string{}
	for _, m := range r.Moves {
		refused[m.Name] = m.Error
	}
	if want := map[string]string{"phy1": "EOPNOTSUPP", "wlan0": "EINVAL"}; !maps.Equal(refused, want) {
		t.Errorf("moves: %+v", r.Moves)
	}
	texts := map[string]string{}
	for _, f := range r.Findings {
		if f.Rule != "probe-missing" { // TestMove knows which are
			texts[f.Rule+" "+f.Subject] = f.Text
		}
	}
	wants := map[string]string{
		"wiphy-cannot-move phy1":       "the radio's driver (" + fullMACDriver + ") doesn't support moving",
		"netdev-pinned-to-wiphy wlan0": "its driver (" + fullMACDriver + ") doesn't support moving radios",
	}
	if got, want := slices.Sorted(maps.Keys(texts)), slices.Sorted(maps.Keys(wants)); !slices.Equal(got, want) {
		t.Errorf("findings: %q, expected %q", got, want)
	}
	for which, part := range wants {
		if text, ok := texts[which]; ok && !strings.Contains(text, part) {
			t.Errorf("%s: %q lacks %q", which, text, part)
		}
	}
}
