// SPDX-License-Identifier: Apache-2.0

package export

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/analyze/story"
	"github.com/nstrace/nstrace/event"
	"github.com/nstrace/nstrace/trace"
)

// teller tells a story to a file and to an analyzer.
type teller struct {
	*analyze.Analyzer
	t    *testing.T
	file bytes.Buffer
	w    *trace.Writer
	end  event.End
}

func (x *teller) check(err error) {
	x.t.Helper()
	if err != nil {
		x.t.Fatal(err)
	}
}

func (x *teller) HandleRecording(r *event.Recording) {
	r.Delivery, r.Version, r.Tool = "packets", "#1 SMP", "1.2.3"
	r.Command = []string{"nstrace", "record"}
	r.Packets = &event.PacketOptions{Snaplen: 64}
	x.Analyzer.HandleRecording(r)
	var err error
	x.w, err = trace.NewWriter(&x.file, *r)
	x.check(err)
}

func (x *teller) HandleEnd(e *event.End) {
	x.Analyzer.HandleEnd(e)
	x.end = *e
}

// told returns what a story comes to, with these packets.
func told(t *testing.T, tell func(s *story.Story, packet func(story.Netdev, event.Path, string))) ([]byte, *analyze.Model) {
	t.Helper()
	x := &teller{Analyzer: analyze.New(), t: t}
	s := story.New(x)
	seq := uint64(0)
	tell(s, func(d story.Netdev, path event.Path, data string) {
		p := event.Packet{
			Flow: event.Flow{Net: d.Net, Dev: d.Ptr, Ifindex: d.Ifindex, Path: path},
			Time: s.Tick() + 7, Seq: seq, Length: 100, Protocol: 0x0800,
		}
		if data != "" {
			p.Data = []byte(data)
		}
		seq++
		x.check(x.w.Packet(&p))
	})
	s.End()
	m := x.Model()
	x.check(x.w.Close(x.end))
	return x.file.Bytes(), m
}

func exported(t *testing.T, file []byte, m *analyze.Model, o Options) ([]byte, *Summary, error) {
	t.Helper()
	r, err := trace.NewReader(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out bytes.Buffer
	s, err := PCAPNG(&out, r, m, o)
	return out.Bytes(), s, err
}

// read lists what a capture has, a line each.
func read(t *testing.T, capture []byte) (lines []string, stats []pcapgo.NgInterfaceStatistics, r *pcapgo.NgReader) {
	t.Helper()
	r, err := pcapgo.NewNgReader(bytes.NewReader(capture), pcapgo.NgReaderOptions{
		WantMixedLinkType:  true,
		StatisticsCallback: func(_ int, s pcapgo.NgInterfaceStatistics) { stats = append(stats, s) },
	})
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, info, options, err := r.ReadPacketDataWithOptions()
		if errors.Is(err, io.EOF) {
			return lines, stats, r
		}
		if err != nil {
			t.Fatal(err)
		}
		in, err := r.Interface(info.InterfaceIndex)
		if err != nil {
			t.Fatal(err)
		}
		line := fmt.Sprintf("%s %v %d %d/%d %s", in.Name, in.LinkType, info.Timestamp.UnixNano(), info.CaptureLength, info.Length, data)
		for _, c := range options.Comments {
			line += " | " + c
		}
		lines = append(lines, line)
	}
}

var (
	phy   = &story.Phy{Ptr: 0xaa00, Index: 0, Name: "phy0"}
	wlan0 = story.Netdev{Ptr: 0xdd00, Net: story.Initial, Ifindex: 3, Name: "wlan0", Phy: phy}
	blue  = event.NetRef{Ptr: 0xffff1000, Cookie: 11, Inum: 4026532001}
)

// journey is a radio that goes to a namespace and comes back, receiving everywhere.
func journey(s *story.Story, packet func(story.Netdev, event.Path, string)) {
	s.Setup(blue)
	s.Name(blue, "blue", true)
	s.Radio(phy, story.Initial, wlan0)
	packet(wlan0, event.PathDeliverSKB, "one")
	var d story.Netdev
	s.Switch(phy, story.Initial, blue, story.Outcome{}, func() { d = s.Move(wlan0, blue, story.Outcome{Name: "sta0"}) })
	packet(d, event.PathDeliverSKB, "two")
	packet(d, event.PathRx8023, "")
	s.Rename(d, "other")
	packet(d, event.PathDeliverSKB, "four")
	d.Name = "other"
	s.Switch(phy, blue, story.Initial, story.Outcome{}, func() { d = s.Move(d, story.Initial, story.Outcome{}) })
	packet(d, event.PathDeliverSKB, "five")
}

func TestPCAPNG(t *testing.T) {
	file, m := told(t, journey)
	capture, summary, err := exported(t, file, m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	lines, stats, r := read(t, capture)
	want := []string{
		"wlan0@init Ethernet 3/100 one",
		"sta0@blue Ethernet 3/100 two | sta0 was moved from init to blue at +0.014 s, where it had been wlan0, with its radio phy0, by ip[100]",
		"sta0@blue Ethernet 0/100 ",
		"sta0@blue Ethernet 4/100 four",
		"other@init Ethernet 4/100 five | other was moved from blue to init at +0.022 s, with its radio phy0, by ip[100]",
	}
	var times []string
	for i, l := range lines {
		f := strings.SplitN(l, " ", 4)
		times = append(times, f[2])
		lines[i] = f[0] + " " + f[1] + " " + f[3]
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	// Boot time 900 ms was that wall time; each packet came 7 ns after a full one.
	for _, at := range times {
		if !strings.HasPrefix(at, "17000000001") || !strings.HasSuffix(at, "000007") {
			t.Errorf("time %s", at)
		}
	}
	if !slices.IsSorted(times) {
		t.Errorf("times %v", times)
	}
	if summary.Packets != 5 || summary.Bare != 1 || summary.Interfaces != 3 || len(summary.Omitted) != 0 {
		t.Errorf("%+v", summary)
	}
	info := r.SectionInfo()
	if info.OS != "Linux 6.1 #1 SMP" || info.Application != "nstrace 1.2.3" || info.Hardware != "x86_64" ||
		info.Comment != "recorded on lab by: nstrace record\nrecords of packets lost: 0" {
		t.Errorf("section: %+v", info)
	}
	if in, err := r.Interface(1); err != nil || in.SnapLength != 64 || in.TimestampResolution != 9 ||
		!strings.HasPrefix(in.Description, "ifindex 3, in namespace blue (net:[4026532001], ns2 in the report) from +0.014 s until +0.022 s") {
		t.Errorf("interface: %+v, %v", in, err)
	}
	if len(stats) != 3 {
		t.Errorf("%d statistics", len(stats))
	}
}

// Wireshark is of the same opinion.
func TestTshark(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("there is no tshark here; e2e has another reader, tcpdump, read a capture")
	}
	file, m := told(t, journey)
	capture, _, err := exported(t, file, m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tshark, "-r", "-", "-T", "fields", "-E", "separator=/t", "-e", "frame.interface_name", "-e", "frame.len", "-e", "frame.cap_len", "-e", "frame.comment")
	cmd.Stdin = bytes.NewReader(capture)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := "wlan0@init\t100\t3\t\nsta0@blue\t100\t3\tsta0 was moved from init"
	if !strings.HasPrefix(string(out), want) || strings.Count(string(out), "\n") != 5 {
		t.Errorf("tshark says %q", out)
	}
}

func TestNothingToExport(t *testing.T) {
	silent, m := told(t, func(s *story.Story, _ func(story.Netdev, event.Path, string)) { s.Setup(blue) })
	if out, _, err := exported(t, silent, m, Options{}); !errors.Is(err, ErrNoPackets) || len(out) != 0 {
		t.Errorf("without packets: %v", err)
	}
	bare, m := told(t, func(s *story.Story, packet func(story.Netdev, event.Path, string)) {
		s.Radio(phy, story.Initial, wlan0)
		packet(wlan0, event.PathDeliverSKB, "")
	})
	if out, _, err := exported(t, bare, m, Options{}); !errors.Is(err, ErrNoBytes) || len(out) != 0 {
		t.Errorf("without bytes: %v", err)
	}
	file, m := told(t, func(s *story.Story, packet func(story.Netdev, event.Path, string)) {
		s.Setup(blue)
		s.Radio(phy, story.Initial, wlan0)
		packet(wlan0, event.PathDeliverSKB, "x")
	})
	if out, _, err := exported(t, file, m, Options{Netns: m.Namespaces[1:2]}); !errors.Is(err, ErrNothing) || len(out) != 0 {
		t.Errorf("none of that namespace: %v", err)
	}
}

// Which packets are left out, and what is told of those nobody knows more of.
func TestChosenAndUnknown(t *testing.T) {
	odd := story.Netdev{Ptr: 0xee00, Net: story.Initial, Ifindex: 9, Name: "odd"}
	file, m := told(t, func(s *story.Story, packet func(story.Netdev, event.Path, string)) {
		journey(s, packet)
		packet(odd, event.PathDeliverSKB, "who")
		odd.Ifindex++
		packet(odd, event.PathStack, "what")
		packet(wlan0, event.PathLoopback, "mine")
	})
	capture, summary, err := exported(t, file, m, Options{Netns: m.Namespaces[1:2]})
	if err != nil {
		t.Fatal(err)
	}
	if lines, _, r := read(t, capture); len(lines) != 3 || r.NInterfaces() != 1 || len(summary.Omitted) != 0 {
		t.Errorf("of one namespace: %q, %+v", lines, summary)
	}
	capture, summary, err = exported(t, file, m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	lines, _, _ := read(t, capture)
	if len(lines) != 6 || !strings.HasPrefix(lines[5], "if9@net:[4026531840] Ethernet ") {
		t.Errorf("of all: %q", lines)
	}
	if len(summary.Omitted) != 2 || summary.Omitted[ownMulticast] != 1 || summary.Omitted["what their packets begin with is unknown"] != 1 {
		t.Errorf("%+v", summary)
	}
}

func TestLinkType(t *testing.T) {
	for _, c := range []struct {
		devType uint32
		path    event.Path
		want    layers.LinkType
		known   bool
	}{
		{arphrdEther, event.PathStack, layers.LinkTypeEthernet, true},
		{arphrdLoopback, event.PathStack, layers.LinkTypeEthernet, true},
		{arphrdRadiotap, event.PathStack, layers.LinkTypeIEEE80211Radio, true},
		{arphrd80211, event.PathStack, layers.LinkTypeIEEE802_11, true},
		{0, event.PathDeliverSKB, layers.LinkTypeEthernet, true},
		{0, event.PathStack, 0, false},
		{65534, event.PathStack, 0, false},
	} {
		if got, unknown := linkType(c.devType, c.path); got != c.want || (unknown == "") != c.known {
			t.Errorf("%d, %v: got %v, %q", c.devType, c.path, got, unknown)
		}
	}
}

// Where records were lost, the next packet says so; names that a user chose can't
// break the file, whatever is in them.
func TestHostileNamesAndLosses(t *testing.T) {
	bad := story.Netdev{Ptr: 0xdd00, Net: story.Initial, Ifindex: 3, Name: "\xff\x1b[2J", Phy: phy}
	file, m := told(t, func(s *story.Story, packet func(story.Netdev, event.Path, string)) {
		s.Name(story.Initial, strings.Repeat("long\n", 20_000), true)
		s.Radio(phy, story.Initial, bad)
		packet(bad, event.PathDeliverSKB, "x")
		s.HandleLoss(&event.Loss{Ring: "packets", From: s.T, To: s.Tick(), Count: 12})
		s.HandleLoss(&event.Loss{Ring: "lifecycle", From: s.T, To: s.Tick(), Count: 99})
		packet(bad, event.PathDeliverSKB, "y")
	})
	capture, _, err := exported(t, file, m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	lines, stats, r := read(t, capture)
	if len(lines) != 2 || strings.Contains(lines[0], "|") || !strings.Contains(lines[1], " y | records of 12 packets, to whatever interface, were lost between +0.0") {
		t.Errorf("got %q", lines)
	}
	if !strings.HasSuffix(r.SectionInfo().Comment, "records of packets lost: 12") {
		t.Errorf("section: %q", r.SectionInfo().Comment)
	}
	if in, _ := r.Interface(0); len(in.Name) > maxComment+3 || !strings.HasPrefix(in.Name, `"\xff\x1b[2J"@`) {
		t.Errorf("name %q…", in.Name[:min(60, len(in.Name))])
	}
	if len(stats) != 1 || stats[0].PacketsDropped != pcapgo.NgNoValue64 {
		t.Errorf("whose packets were lost is not known: %+v", stats)
	}
	if bytes.Contains(capture, []byte("\x1b[2J")) {
		t.Errorf("a terminal would be cleared by %s", hex.EncodeToString(capture[:200]))
	}
}
