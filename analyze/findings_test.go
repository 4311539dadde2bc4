// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/analyze/story"
	"github.com/nstrace/nstrace/event"
)

const (
	eperm      = 1
	eexist     = 17
	einval     = 22
	enomem     = 12
	eopnotsupp = 95
)

func TestFindings(t *testing.T) {
	hostile := event.NetRef{Ptr: 0xffff9000, Cookie: 99, Inum: 4026532009}
	tests := []struct {
		name, rule string
		tell       func(*tale) *Model
		says       []string // parts of the text
		advice     string   // all of it
	}{
		{"pinned", "netdev-pinned-to-wiphy", func(s *tale) *Model {
			vap := wlan0
			vap.Ptr, vap.Ifindex, vap.Name = 0xdd01, 5, "vap0"
			s.Vif(vap)
			s.By(7, "ip").Move(wlan0, red, story.Outcome{Errno: einval})
			return s.end()
		}, []string{"ip[7] asked to move wlan0 from init to red", "EINVAL", "phy0", "vap0 would go along"}, "iw phy phy0 set netns name red"},
		{"pinned, to a namespace without a name", "netdev-pinned-to-wiphy", func(s *tale) *Model {
			s.By(77, "unshare").Setup(blue)
			s.By(7, "ip").Move(wlan0, blue, story.Outcome{Errno: einval})
			return s.end()
		}, []string{"unshare[77]'s namespace net:[4026532002]", "No other interface"}, "iw phy phy0 set netns 77"},
		{"pinned, with a name made to be pasted", "netdev-pinned-to-wiphy", func(s *tale) *Model {
			s.Setup(hostile)
			s.Name(hostile, "a;reboot\x1b[31m", true)
			s.Move(wlan0, hostile, story.Outcome{Errno: einval})
			return s.end()
		}, []string{`"a;reboot\x1b[31m"`}, `iw phy phy0 set netns name $'a;reboot\x1b[31m'`},
		{"another refusal", "netdev-move-failed", func(s *tale) *Model {
			s.Register(eth0)
			s.Move(eth0, red, story.Outcome{Errno: eperm})
			return s.end()
		}, []string{"eth0", "EPERM"}, ""},
		{"the driver can't", "wiphy-cannot-move", func(s *tale) *Model {
			s.Switch(phy0, story.Initial, red, story.Outcome{Errno: eopnotsupp}, nil)
			return s.end()
		}, []string{"EOPNOTSUPP", "WIPHY_FLAG_NETNS_OK"}, "iw phy phy0 info   # set_wiphy_netns is missing from its supported commands"},
		{"a driver of USB that nobody knows", "wiphy-cannot-move", func(s *tale) *Model {
			p := &story.Phy{Ptr: 0xaa11, Index: 5, Name: "phy5"}
			s.Send(event.Event{
				Kind: event.KindWiphyRegister, Phase: event.PhaseExit, Net: story.Initial,
				Wiphy: p.Ptr, WiphyIndex: p.Index, WiphyName: p.Name, Driver: "usb",
			})
			s.Switch(p, story.Initial, red, story.Outcome{Errno: eopnotsupp}, nil)
			return s.end()
		}, []string{"because the radio's driver doesn't support moving"}, "iw phy phy5 info   # set_wiphy_netns is missing from its supported commands"},
		{"another refusal of a radio", "wiphy-move-failed", func(s *tale) *Model {
			s.Switch(phy0, story.Initial, red, story.Outcome{Errno: enomem}, func() {
				d := s.Move(wlan0, red, story.Outcome{})
				s.Move(d, story.Initial, story.Outcome{})
			})
			return s.end()
		}, []string{"ENOMEM", "wlan0 had gone already and came back"}, ""},
		{"taken back, and one left behind", "wiphy-move-undone", func(s *tale) *Model {
			vap, sta := wlan0, wlan0
			vap.Ptr, vap.Ifindex, vap.Name = 0xdd01, 5, "vap0"
			sta.Ptr, sta.Ifindex, sta.Name = 0xdd02, 6, "sta0"
			s.Vif(vap)
			s.Vif(sta)
			s.Switch(phy0, story.Initial, red, story.Outcome{Stayed: true}, func() {
				moved := s.Move(wlan0, red, story.Outcome{})
				s.Move(sta, red, story.Outcome{})
				s.Move(vap, red, story.Outcome{Errno: eexist})
				s.Move(moved, story.Initial, story.Outcome{})
			})
			return s.end()
		}, []string{
			"the kernel said that it did, but phy0 is still in init, because its interface vap0 could not go (EEXIST)",
			"wlan0 had gone already and came back.", "Left behind in red: sta0.",
		}, "ip netns exec red ip link show vap0   # who has its name there"},
		{"name taken", "name-taken", func(s *tale) *Model {
			d := eth0
			d.Net, d.Name = red, "wlan0"
			s.Register(d)
			s.Switch(phy0, story.Initial, red, story.Outcome{Errno: eexist}, func() {
				s.Move(wlan0, red, story.Outcome{Errno: eexist})
			})
			return s.end()
		}, []string{"EEXIST", "a name of wlan0 is taken there by wlan0 (veth)"}, "ip link set dev wlan0 name NEWNAME"},
		{"came home", "wiphy-returned", func(s *tale) *Model {
			d := wlan0
			s.Switch(phy0, story.Initial, red, story.Outcome{}, func() { d = s.Move(wlan0, red, story.Outcome{}) })
			s.By(9, "ip").Cleanup(red, func() {
				s.Switch(phy0, red, story.Initial, story.Outcome{}, func() { s.Move(d, story.Initial, story.Outcome{Name: "wlan1"}) })
			})
			return s.end()
		}, []string{"because red died", "(ip[9])", "2.00 ms before", "wlan0 is now called wlan1"}, "iw phy phy0 set netns name NAME   # to give it to another namespace"},
		{"destroyed", "wiphy-destroyed", func(s *tale) *Model {
			p := &story.Phy{Ptr: 0xaa10, Index: 4, Name: "phy4"}
			s.Radio(p, red, story.Netdev{Ptr: 0xdd40, Net: red, Ifindex: 9, Name: "wlan4", Phy: p})
			s.Cleanup(red, func() { s.Gone(p, red) })
			return s.end()
		}, []string{"phy4 was destroyed with red", "created there"}, "create the radio from the initial namespace and move it: iw phy PHY set netns name NAME"},
		{"a vif where its radio is", "vif-in-wiphy-netns", func(s *tale) *Model {
			s.By(5, "iw").Switch(phy0, story.Initial, red, story.Outcome{}, nil)
			s.By(6, "iw").Vif(story.Netdev{Ptr: 0xdd41, Net: red, Ifindex: 9, Name: "vap0", Phy: phy0})
			return s.end()
		}, []string{"vap0 is in red and not in init", "made phy0 in init", "iw[5] moved it to red", "iw[6], running in init, added vap0"}, "ip netns exec red iw phy phy0 set netns 1"},
		{"down", "link-down-after-move", func(s *tale) *Model {
			s.Switch(phy0, story.Initial, red, story.Outcome{}, func() { s.Move(wlan0, red, story.Outcome{}) })
			return s.end()
		}, []string{"wlan0 was moved to red", "closes"}, "ip netns exec red ip link set wlan0 up"},
		{"renamed", "renamed-by-move", func(s *tale) *Model {
			d := eth0
			d.Net, d.Name = red, "wlan0"
			s.Register(d)
			s.Move(wlan0, red, story.Outcome{Name: "wlan1"})
			return s.end()
		}, []string{"wlan0 became wlan1", "the name was taken there by another interface (veth)"}, "ip netns exec red ip link set dev wlan1 name NEWNAME"},
		{"renumbered", "renumbered-by-move", func(s *tale) *Model {
			d := eth0
			d.Net, d.Ifindex = red, wlan0.Ifindex
			s.Register(d)
			s.Move(wlan0, red, story.Outcome{Ifindex: 8})
			return s.end()
		}, []string{"had number 3 in init and has 8 in red", "taken there by eth0"}, ""},
		{"contended", "interface-contended", func(s *tale) *Model {
			s.Register(eth0)
			s.By(20, "systemd-udevd").Rename(eth0, "enp1s0")
			d := eth0
			d.Name = "enp1s0"
			s.By(21, "ip").Move(d, red, story.Outcome{})
			return s.end()
		}, []string{"systemd-udevd[20] renamed it from eth0 to enp1s0 at", "ip[21] moved it to red at"}, ""},
		{"left behind", "netns-left-behind", func(s *tale) *Model {
			for i := range uint32(5) {
				s.By(50+i, "leaky").Setup(event.NetRef{Ptr: 0xf000 + uint64(i)*0x1000, Cookie: uint64(70 + i), Inum: 4026532100 + i})
			}
			st := story.State(event.NetRef{Ptr: 1, Cookie: 70, Inum: 4026532100})
			st.Holders = []event.Holder{{Kind: "task", PID: 50, Comm: "leaky"}}
			return s.end(story.State(story.Initial), story.State(red), st)
		}, []string{"4 namespaces made by leaky", "neither a task nor a mount", "1 more"}, "lsns -t net; find /proc/[0-9]*/fd -lname 'net:*4026532101*' 2>/dev/null"},
		{"left behind by a leaking agent", "netns-left-behind", func(s *tale) *Model {
			var states []event.NetnsState
			for i := range uint32(3) {
				n := event.NetRef{Ptr: 0xf000 + uint64(i)*0x1000, Cookie: uint64(70 + i), Inum: 4026532100 + i}
				s.By(50, "ip").Setup(n)
				st := story.State(n)
				st.Holders = []event.Holder{
					{Kind: "file", PID: 77, Comm: "agent", Path: fmt.Sprintf("/proc/77/fd/%d", i)},
					{Kind: "mount", PID: 80, Comm: "udevd", Path: "/run/netns/x", MountNS: 5},
				}
				states = append(states, st)
			}
			return s.end(append(states, story.State(story.Initial), story.State(red))...)
		}, []string{"3 namespaces made by ip", "Kept by an open file of agent[77]"}, "lsns -t net; find /proc/[0-9]*/fd -lname 'net:*4026532100*' 2>/dev/null"},
		{"left behind by what can't be seen", "netns-left-behind", func(s *tale) *Model {
			n := event.NetRef{Ptr: 0xf000, Cookie: 70, Inum: 4026532100}
			s.By(50, "ip").Setup(n)
			b := s.Tick()
			s.HandleSnapshot(&event.Snapshot{
				Begin: b, Finish: b, Closing: true, Unseen: []string{"the kernel itself", "what is on its way"},
				Namespaces: []event.NetnsState{story.State(n), story.State(story.Initial), story.State(red)},
			})
			return s.end()
		}, []string{"1 namespace made by ip", "Kept by nothing that could be seen. What can't be: the kernel itself; what is on its way"}, "lsns -t net; find /proc/[0-9]*/fd -lname 'net:*4026532100*' 2>/dev/null"},
		{"its name is gone, not a mount elsewhere", "name-removed-netns-alive", func(s *tale) *Model {
			s.Name(red, "red", false)
			st := story.State(red)
			st.Holders = []event.Holder{{Kind: "mount", PID: 80, Comm: "udevd", Path: "/run/netns/red", MountNS: 5}}
			return s.end(story.State(story.Initial), st)
		}, []string{"the name red was removed", "held by a mount at /run/netns/red in the mount namespace of udevd[80]"}, ""},
		{"its name is gone, not its radio", "name-removed-netns-alive", func(s *tale) *Model {
			s.Switch(phy0, story.Initial, red, story.Outcome{}, nil)
			s.Name(red, "red", false)
			st := story.State(red)
			st.Holders = []event.Holder{{Kind: "task", PID: 31, Comm: "hostapd"}}
			return s.end(story.State(story.Initial), st)
		}, []string{"the name red was removed", "held by hostapd[31]", "With it stays phy0"}, "nsenter --net=/proc/31/ns/net ip link; kill 31"},
		{"dying", "netns-dying", func(s *tale) *Model {
			s.By(3, "ip").Put(red)
			return s.end()
		}, []string{"red was being cleaned up", "ip[3]"}, ""},
		{"clean-up stuck", "cleanup-slow", func(s *tale) *Model {
			s.Put(red)
			s.By(8, "kworker/u4:1").Send(event.Event{Kind: event.KindCleanupNet, Phase: event.PhaseEnter})
			s.By(90, "modprobe").Want(event.KindRegisterPernet, 1, 2)
			s.By(91, "unshare").Ask(story.UserNS)
			s.T += 5000 * story.MS
			return s.end()
		}, []string{"kworker/u4:1[8]", "5.00 s later", "It is to tear down red.", "Waiting: modprobe[90] (to register pernet operations at 0x1, since +0.013 s) and 1 task that wants a namespace (since +0.014 s)."}, "cat /proc/8/stack; dmesg | grep 'to become free'"},
		{"set-up failed", "setup-failed", func(s *tale) *Model {
			s.By(4, "unshare").Send(event.Event{Kind: event.KindSetupNet, Phase: event.PhaseEnter, Net: event.NetRef{Ptr: 0x7000}})
			s.Send(event.Event{Kind: event.KindSetupNet, Phase: event.PhaseExit, Net: event.NetRef{Ptr: 0x7000}, Ret: enomem})
			return s.end()
		}, []string{"unshare[4] could not create a namespace", "ENOMEM"}, ""},
		{"born apart", "radios-born-apart", func(s *tale) *Model {
			p := &story.Phy{Ptr: 0xaa10, Index: 4, Name: "phy4"}
			s.Radio(p, red, story.Netdev{Ptr: 0xdd40, Net: red, Ifindex: 9, Name: "wlan4", Phy: p})
			return s.end()
		}, []string{"phy4 was created in red but phy0 in init"}, "create all simulated radios from one namespace"},
		{"unfinished", "move-unfinished", func(s *tale) *Model {
			s.By(66, "iw").Switch(phy0, story.Initial, red, story.Outcome{Half: "enter"}, nil)
			return s.end()
		}, []string{"iw[66] asked to move phy0 from init to red", "had not returned"}, "cat /proc/66/stack   # where the mover waits"},
		{"lost", "events-lost", func(s *tale) *Model {
			s.HandleLoss(&event.Loss{Ring: "lifecycle", CPU: 3, From: s.T, To: s.Tick(), Count: 12})
			return s.end()
		}, []string{"12 lifecycle events lost on CPU 3 between"}, ""},
		{"damaged", "file-damaged", func(s *tale) *Model {
			s.HandleDamage(&event.Damage{Offset: 4096, Length: 100, Time: s.T, Reason: "bad checksum"})
			return s.end()
		}, []string{"100 bytes of the file at offset 4096", "bad checksum"}, ""},
		{"cut", "recording-incomplete", func(s *tale) *Model {
			s.HandleLedger(&event.Ledger{Time: s.Tick()})
			s.HandleDamage(&event.Damage{Offset: 4096, Time: s.T, Truncated: true})
			return s.a.Model()
		}, []string{"did not finish"}, ""},
		{"the end disagrees", "audit-differs", func(s *tale) *Model {
			return s.end(story.State(story.Initial, story.Link(eth0)), story.State(red))
		}, []string{"4 points", "interface 4 in init: eth0, not absent"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := tt.tell(stand())
			f := m.finding(t, tt.rule)
			if f == nil {
				t.Fatalf("no finding %q among %+v", tt.rule, m.Findings)
			}
			for _, part := range tt.says {
				if !strings.Contains(f.Text, part) {
					t.Errorf("the text lacks %q: %s", part, f.Text)
				}
			}
			if f.Advice != tt.advice {
				t.Errorf("advice\ngot  %s\nwant %s", f.Advice, tt.advice)
			}
		})
	}
}

// Every finding's rule is documented, and nothing ordinary makes one.
func TestNoFindings(t *testing.T) {
	s := begin()
	s.Setup(red)
	s.Name(red, "red", true)
	s.Name(red, "red", false)
	s.Cleanup(red, nil)
	m := s.end(story.State(story.Initial))
	for _, f := range m.Findings {
		t.Errorf("%s: %s", f.Rule, f.Text)
	}
	if !m.Clean() || m.Audit.Compared == 0 {
		t.Errorf("clean %v, compared %d", m.Clean(), m.Audit.Compared)
	}
}

func TestWorstFirst(t *testing.T) {
	s := stand()
	s.Switch(phy0, story.Initial, red, story.Outcome{}, func() { s.Move(wlan0, red, story.Outcome{}) })
	s.Register(eth0)
	s.Move(eth0, red, story.Outcome{Errno: eperm})
	last := 0
	for _, f := range s.end().Findings {
		if Rules[f.Rule] == "" {
			t.Errorf("rule %q isn't documented", f.Rule)
		}
		if rank(f.Severity) < last {
			t.Errorf("%s comes after a lesser one", f.Rule)
		}
		last = rank(f.Severity)
	}
}
