// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/pcapgo"
)

// tcpdumpSnaplen is how many bytes of each packet tcpdump takes in traffic.sh.
const tcpdumpSnaplen = 128

// captured is a packet in a capture.
type captured struct {
	length int
	data   string
}

// checkExport compares the packets that nstrace exports of an interface with those
// that tcpdump had of it, for a while, in the same order: length by length, byte by
// byte.
func checkExport(t *testing.T, nstrace, file, tcpdumps string) {
	t.Helper()
	capture := file + ".pcapng"
	// Of one namespace: tcpdump reads no capture with several link types.
	if out, err := exec.Command(nstrace, "export", "--ns", "mesh2", "-o", capture, file).CombinedOutput(); err != nil {
		t.Fatalf("export: %v\n%s", err, out)
	}
	// It is what other readers of captures take for one.
	if out, err := exec.Command("tcpdump", "-n", "-r", capture, "--count").CombinedOutput(); err != nil {
		t.Errorf("tcpdump -r: %v\n%s", err, out)
	}
	got, want := exportedFrom(t, capture, "wlan7@mesh2"), dumped(t, tcpdumps)
	if len(want) != 200 {
		t.Fatalf("tcpdump has %d packets", len(want))
	}
	for i := range len(got) - len(want) + 1 {
		if slices.Equal(got[i:i+len(want)], want) {
			t.Logf("%d packets, as tcpdump has them, from the %d. of %d", len(want), i+1, len(got))
			return
		}
	}
	t.Errorf("the %d packets that tcpdump has aren't among the %d that were exported of that interface", len(want), len(got))
}

// exportedFrom reads the packets of one interface of a pcapng file.
func exportedFrom(t *testing.T, path, name string) []captured {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewNgReader(f, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	return packetsOf(t, r, func(info *gopacket.CaptureInfo) bool {
		in, err := r.Interface(info.InterfaceIndex)
		return err == nil && in.Name == name
	})
}

// dumped reads what tcpdump wrote.
func dumped(t *testing.T, path string) []captured {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return packetsOf(t, r, func(*gopacket.CaptureInfo) bool { return true })
}

func packetsOf(t *testing.T, r gopacket.PacketDataSource, wanted func(*gopacket.CaptureInfo) bool) []captured {
	t.Helper()
	var all []captured
	for {
		data, info, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if wanted(&info) {
			all = append(all, captured{info.Length, string(data)})
		}
	}
}
