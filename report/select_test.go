// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/analyze/story"
	"github.com/nstrace/nstrace/event"
	"github.com/nstrace/nstrace/report"
)

// reused is a recording in which blue, its inum and a PID had two owners.
func reused() *analyze.Model {
	a := analyze.New()
	s := story.New(a)
	for cookie := range uint64(2) {
		n := event.NetRef{Ptr: 0xffff7000, Cookie: 50 + cookie, Inum: 4026532777}
		s.By(1234, "ip").Setup(n)
		s.Name(n, "blue", true)
		if cookie == 0 {
			s.Name(n, "blue", false)
			s.Cleanup(n, nil)
		}
	}
	s.By(1300, "unshare").Setup(event.NetRef{Ptr: 0xffff8000, Cookie: 60, Inum: 4026532888})
	s.By(1301, "ip").Name(event.NetRef{Inum: 4026532888, Cookie: 60}, "init", true)
	s.End()
	return a.Model()
}

// shadowed is a recording with a namespace called as the id of another, one called
// as an interface, and a wdev without a netdev.
func shadowed() *analyze.Model {
	a := analyze.New()
	s := story.New(a)
	for i, name := range []string{"ns3", "wlan0", "blue"} {
		n := event.NetRef{Ptr: 0xffff7000 + uint64(i)*0x1000, Cookie: 50 + uint64(i), Inum: 4026532777 + uint32(i)}
		s.By(1234, "ip").Setup(n)
		s.Name(n, name, true)
	}
	phy := &story.Phy{Ptr: 0xaa00, Index: 0, Name: "phy0"}
	s.Radio(phy, story.Initial, story.Netdev{Ptr: 0xdd00, Net: story.Initial, Ifindex: 3, Name: "wlan0", Phy: phy})
	s.By(1300, "wpa_supplicant").Wdev(phy, story.Initial, 0xee00, 2, "p2p-dev-wlan0")
	s.Register(story.Netdev{Ptr: 0xdd10, Net: event.NetRef{Ptr: 0xffff9000, Cookie: 52, Inum: 4026532779}, Ifindex: 4, Name: "blue", Kind: "dummy"})
	s.End()
	return a.Model()
}

func TestSelect(t *testing.T) {
	tests := []struct {
		model    func() *analyze.Model
		selector string
		want     string // ids, "ambiguous: ids", or "none"
	}{
		{demo, "init", "ns1"},
		{demo, "ap", "ns2"},
		{demo, "4026532281", "ns2"},
		{demo, "net:[4026532281]", "ns2"},
		{demo, "cookie:8193", "ns2"},
		{demo, "cookie:0x2001", "ns2"},
		{demo, "/run/netns/sta", "ns3"},
		{demo, "/var/run/netns/sta", "ns3"},
		{demo, "pid:401", "ns1 ns2"}, // it ran in init and made ap
		{demo, "/proc/500/ns/net", "ns2"},
		{demo, "wlan0", "ns1"},
		{demo, "wlan1", "ns1 ns2"},
		{demo, "phy2", "ns1 ns3"},
		{demo, "ns3", "ns3"},
		{inside, "0123456789ab", "ns2"},
		{inside, "0123456789abcdef", "ns2"},
		{inside, "0123456789a", "none"},
		{inside, "0123456789ac", "none"},
		{demo, "nope", "none"},
		{demo, "", "none"},
		{demo, "net:[0]", "none"},
		{demo, "net:[x", "none"},
		{demo, "cookie:", "none"},
		{demo, "pid:4294967296", "none"},
		{demo, "pid:99999", "none"},
		{demo, "/run/netns/nope", "none"},
		{reused, "blue", "ambiguous: ns2 ns3"},
		{reused, "4026532777", "ambiguous: ns2 ns3"},
		{reused, "cookie:51", "ns3"},
		{reused, "ns2", "ns2"},
		{reused, "pid:1234", "ns1 ns2 ns3"},
		{reused, "init", "ns1"}, // whoever else is called that
		{reused, "/run/netns/init", "ns4"},
		{reused, "name:init", "ns4"},
		{reused, "name:blue", "ambiguous: ns2 ns3"},
		{shadowed, "ns3", "ambiguous: ns2 ns3"},
		{shadowed, "id:ns3", "ns3"},
		{shadowed, "name:ns3", "ns2"},
		{shadowed, "ns2", "ns2"},
		{shadowed, "wlan0", "ambiguous: ns1 ns3"},
		{shadowed, "dev:wlan0", "ns1"},
		{shadowed, "name:wlan0", "ns3"},
		{shadowed, "blue", "ns4"}, // the interface blue is in the namespace blue
		{shadowed, "p2p-dev-wlan0", "ns1"},
		{shadowed, "dev:p2p-dev-wlan0", "ns1"},
		{shadowed, "id:ns9", "none"},
		{shadowed, "dev:ns3", "none"},
	}
	for _, tt := range tests {
		t.Run(tt.selector, func(t *testing.T) {
			got, err := report.Select(tt.model(), tt.selector)
			var selection *report.SelectError
			if err != nil && !errors.As(err, &selection) {
				t.Fatalf("an untyped error: %v", err)
			}
			said := ids(got)
			switch {
			case selection != nil && len(selection.Ambiguous) != 0:
				said = "ambiguous: " + ids(selection.Ambiguous)
			case err != nil:
				said = "none"
			}
			if said != tt.want {
				t.Errorf("got %s, want %s", said, tt.want)
			}
		})
	}
}

func ids(list []*analyze.Netns) string {
	var out []string
	for _, n := range list {
		out = append(out, n.ID)
	}
	return strings.Join(out, " ")
}

func TestSelectErrors(t *testing.T) {
	_, err := report.Select(reused(), "blue")
	want := `blue could be any of 2 namespaces; choose one by its id:
  ns2   blue (ns2) net:[4026532777] from +0.003 s to +0.011 s
  ns3   blue (ns3) net:[4026532777] from +0.013 s to its end`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	_, err = report.Select(demo(), "\x1b[2J")
	want = `no namespace matches "\x1b[2J"; the recording has:
  ns1   init net:[4026531840] from before the recording to its end
  ns2   ap net:[4026532281] from +0.027 s to its end
  ns3   sta net:[4026532342] from +0.033 s to +3.069 s`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestParseTime(t *testing.T) {
	m := demo()
	tests := []struct {
		in   string
		want uint64 // since the recording began
	}{
		{"1.5s", 1_500_000_000},
		{"+20ms", 20_000_000},
		{"2023-11-14T22:13:21.1Z", 1_000_000_000},
		{"2023-11-14T23:13:21.1+01:00", 1_000_000_000},
	}
	for _, tt := range tests {
		got, err := report.ParseTime(m, tt.in)
		if err != nil || got-m.Began != tt.want {
			t.Errorf("%s: got %d, %v, want %d", tt.in, got-m.Began, err, tt.want)
		}
	}
	for _, bad := range []string{"", "yesterday", "1.5"} {
		if _, err := report.ParseTime(m, bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
