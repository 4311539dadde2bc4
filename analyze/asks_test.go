// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/analyze/story"
	"github.com/nstrace/nstrace/event"
)

const (
	enodev = 19
	esrch  = 3
	ebusy  = 16
)

// inRed has what comes asked for by processes in red.
func inRed(s *tale) *tale {
	s.Caller = red
	return s
}

// byPID is get_net_ns_by_pid: vpid, as the caller counts, is a process in n.
func byPID(s *tale, vpid, pid uint32, comm string, n event.NetRef) {
	e := event.Event{Kind: event.KindNetByPID, Phase: event.PhaseExit, TargetPID: vpid, Arg: uint64(pid), NewName: comm, Net: n}
	if pid == 0 {
		e.Ret = esrch
	}
	s.Send(e)
}

func rtnetlink(s *tale, command uint64, e event.Event, f func()) {
	e.Kind, e.Arg, e.WiphyIndex, e.Nsid = event.KindRTNetlink, command, -1, -1
	s.Netlink(e, f)
}

func TestAskFindings(t *testing.T) {
	tests := []struct {
		name, rule string
		tell       func(*tale)
		says       []string
		advice     string
	}{
		{"the radio is elsewhere", "wiphy-not-here", func(s *tale) {
			inRed(s).By(7, "iw").NL80211(unix.NL80211_CMD_SET_WIPHY_NETNS, phy0, event.Event{Ret: enodev, Stage: event.StagePreDoit, Net2: red}, nil)
		}, []string{"iw[7], running in red, asked to move phy0 to red", "ENODEV", "because phy0 was in init"}, "iw phy phy0 set netns name red"},
		{"the radio was elsewhere and is home now", "wiphy-not-here", func(s *tale) {
			s.Switch(phy0, story.Initial, red, story.Outcome{}, nil)
			s.By(7, "iw").NL80211(unix.NL80211_CMD_NEW_INTERFACE, phy0, event.Event{Ret: enodev, Stage: event.StagePreDoit, Name: "vap0", Iftype: 3}, nil)
			s.Switch(phy0, red, story.Initial, story.Outcome{}, nil)
		}, []string{"iw[7], running in init, asked to add vap0 (AP) to phy0", "because phy0 was in red", "Now it is in init"}, "iw phy phy0 interface add vap0 type __ap"},
		{"a radio nobody knows", "request-refused", func(s *tale) {
			s.NL80211(unix.NL80211_CMD_SET_WIPHY_NETNS, &story.Phy{Index: 9}, event.Event{Ret: enodev, Stage: event.StagePreDoit, Net2: red}, nil)
		}, []string{"move radio number 9 to red", "No radio of this recording has the number 9"}, ""},
		{"a PID that means nobody", "pid-unknown", func(s *tale) {
			inRed(s).By(41, "hostapd").Register(eth0) // seen to run in red
			s.Caller = story.Initial
			s.By(7, "iw").NL80211(unix.NL80211_CMD_SET_WIPHY_NETNS, phy0, event.Event{Ret: esrch, TargetPID: 41}, func() { byPID(s, 41, 0, "", event.NetRef{}) })
		}, []string{"move phy0 to the namespace of PID 41", "ESRCH", "no process has that number in the pid namespace of iw[7]", "hostapd[41], in red"}, "iw phy phy0 set netns name red"},
		{"a PID that means another", "pid-means-another", func(s *tale) {
			s.By(7, "iw").NL80211(unix.NL80211_CMD_SET_WIPHY_NETNS, phy0, event.Event{TargetPID: 5, Net2: red}, func() {
				byPID(s, 5, 500, "sleep", red)
				s.Switch(phy0, story.Initial, red, story.Outcome{}, nil)
			})
		}, []string{"iw[7] asked to move phy0 to red (the namespace of PID 5)", "counts PIDs in a pid namespace of its own: 5 is sleep[500]"}, ""},
		{"a PID that means where it is", "moved-nowhere", func(s *tale) {
			s.By(9, "ip").Register(eth0)
			s.By(7, "iw").NL80211(unix.NL80211_CMD_SET_WIPHY_NETNS, phy0, event.Event{TargetPID: 9, Net2: story.Initial}, func() {
				byPID(s, 9, 900, "sh", story.Initial)
			})
		}, []string{"move phy0 to init (the namespace of PID 9), where it was already: nothing moved", "9 is sh[900], not ip[9], which is in init"}, ""},
		{"no capability", "not-permitted", func(s *tale) {
			s.By(7, "iw").Netlink(event.Event{
				Kind: event.KindNL80211, Arg: unix.NL80211_CMD_SET_WIPHY_NETNS, WiphyIndex: 0, Ret: eperm, Stage: event.StageRefused,
				Net2: red, UserNS: 4026531837, CallerUserNS: 4026531837,
			}, nil)
		}, []string{"asked to move phy0 to red", "EPERM", "CAP_NET_ADMIN in user:[4026531837], which owns init", "iw[7] runs in that without the capability"}, "iw phy phy0 set netns name red   # with CAP_NET_ADMIN in user:[4026531837]"},
		{"a capability that doesn't count", "not-permitted", func(s *tale) {
			s.Register(eth0)
			rtnetlink(s, unix.RTM_NEWLINK, event.Event{Ifindex: eth0.Ifindex, Name: "eth9", Ret: eperm, UserNS: 4026531837, CallerUserNS: 4026532555}, nil)
		}, []string{"asked to rename eth0 to eth9", "runs in user:[4026532555]: what it may do there counts for nothing"}, "ip link set eth0 name eth9   # with CAP_NET_ADMIN in user:[4026531837]"},
		{"no capability over the target", "not-permitted", func(s *tale) {
			s.Register(eth0)
			rtnetlink(inRed(s), unix.RTM_NEWLINK, event.Event{Ifindex: 1, Net2: story.Initial, Ret: eperm, UserNS: 4026532555, CallerUserNS: 4026532555, Flags: event.FlagNetAdmin}, nil)
		}, []string{"running in red, asked to move lo to init", "over both namespaces", "has it in user:[4026532555], which owns red, but not in the user namespace that owns the target"}, "ip netns exec red ip link set lo netns 1   # as root, outside the container"},
		{"a security module", "not-permitted", func(s *tale) {
			s.NL80211(unix.NL80211_CMD_SET_WIPHY, phy0, event.Event{Ret: eperm, Stage: event.StageRefused, WiphyName: "x"}, nil)
		}, []string{"asked to rename phy0 to x", "a security module may have refused"}, ""},
		{"a name that is taken", "name-taken", func(s *tale) {
			s.Register(eth0)
			rtnetlink(s, unix.RTM_NEWLINK, event.Event{Name: "eth0", LinkKind: "dummy", Ret: eexist}, nil)
		}, []string{"asked to create eth0 (dummy)", "the name eth0 is taken in init by another interface (veth)"}, "ip link show eth0"},
		{"a radio's name that is taken", "name-taken", func(s *tale) {
			s.Send(event.Event{Kind: event.KindWiphyRegister, Phase: event.PhaseExit, Net: red, Wiphy: 0xac00, WiphyIndex: 7, WiphyName: "phy7"})
			s.NL80211(unix.NL80211_CMD_SET_WIPHY, phy0, event.Event{Ret: einval, WiphyName: "phy7"}, nil)
		}, []string{"asked to rename phy0 to phy7", "another radio (number 7, in red)", "radios' names are the machine's"}, "iw phy phy0 set name NEWNAME"},
		{"a radio's name that is another's by right", "request-refused", func(s *tale) {
			s.NL80211(unix.NL80211_CMD_SET_WIPHY, phy0, event.Event{Ret: einval, WiphyName: "phy8"}, nil)
		}, []string{"asked to rename phy0 to phy8", "EINVAL. Only the radio of number 8 may be called that."}, ""},
		{"moved, but not renamed", "name-taken", func(s *tale) {
			s.Register(eth0)
			rtnetlink(s, unix.RTM_NEWLINK, event.Event{Ifindex: eth0.Ifindex, Net2: red, Name: "lo", Ret: eexist}, func() {
				s.Move(eth0, red, story.Outcome{})
			})
		}, []string{"asked to move eth0 to red as lo", "EEXIST", "By then eth0 had moved to red, and it stays there as eth0."}, "ip netns exec red ip link show lo"},
		{"the same again and again", "request-refused", func(s *tale) {
			s.Register(eth0)
			for range 3 {
				rtnetlink(s, unix.RTM_SETLINK, event.Event{Ifindex: eth0.Ifindex, Name: "x", Ret: ebusy}, nil)
			}
		}, []string{"asked to rename eth0 to x 3 times from", "EBUSY", "only while it is down"}, ""},
		{"who can't hear whom", "radios-born-apart", func(s *tale) {
			for i, n := range []event.NetRef{story.Initial, red} {
				p := &story.Phy{Ptr: 0xab00 + uint64(i), Index: 10 + int32(i), Name: fmt.Sprintf("phy1%d", i)}
				s.Send(event.Event{
					Kind: event.KindWiphyRegister, Phase: event.PhaseExit, Net: n, Wiphy: p.Ptr, WiphyIndex: p.Index, WiphyName: p.Name,
					Driver: "mac80211_hwsim", Flags: event.FlagCanSwitch,
				})
			}
			// It hears whoever it hears: this rule is about simulated ones.
			s.Send(event.Event{Kind: event.KindWiphyRegister, Phase: event.PhaseExit, Net: red, Wiphy: 0xac00, WiphyIndex: 5, WiphyName: "phy5", Driver: "rtl8xxxu"})
		}, []string{"phy11 was created in red but phy0 in init"}, "create all simulated radios from one namespace"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := stand()
			tt.tell(s)
			m := s.end()
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
			if Rules[f.Rule] == "" {
				t.Errorf("rule %s isn't documented", f.Rule)
			}
		})
	}
}

// What a request caused is tied to it, and isn't told twice.
func TestAskEffects(t *testing.T) {
	s := stand()
	s.By(5, "iw").NL80211(unix.NL80211_CMD_SET_WIPHY_NETNS, phy0, event.Event{Net2: red}, func() {
		s.Switch(phy0, story.Initial, red, story.Outcome{}, func() { s.Move(wlan0, red, story.Outcome{}) })
	})
	s.Register(eth0)
	rtnetlink(s, unix.RTM_NEWLINK, event.Event{Ifindex: eth0.Ifindex, Net2: red, Name: "eth9"}, func() {
		s.Move(eth0, red, story.Outcome{Errno: eexist, Name: "eth9"})
	})
	s.By(6, "udevd")
	rtnetlink(s, unix.RTM_SETLINK, event.Event{Ifindex: eth0.Ifindex, Name: "enp1"}, func() { s.Rename(eth0, "enp1") })
	same := story.Netdev{Ptr: 0xdd90, Net: story.Initial, Ifindex: 19, Name: "eth3"}
	s.Register(same)
	rtnetlink(s, unix.RTM_NEWLINK, event.Event{Ifindex: same.Ifindex, Net2: red, Name: "eth4"}, func() {
		s.Move(same, red, story.Outcome{Name: "eth4"})
		same.Name, same.Net = "eth4", red
		s.Rename(same, "eth4") // do_setlink goes on so, and dev_change_name changes nothing
	})
	gone := eth0
	gone.Name = "enp1"
	rtnetlink(s, unix.RTM_DELLINK, event.Event{Ifindex: eth0.Ifindex}, func() { s.Unregister(gone) })
	m := s.end()
	var got []string
	for _, k := range m.Asks {
		got = append(got, fmt.Sprintf("%s: %s, %d effects", k.CommandName(), k.Intent(), k.Effects))
	}
	want := []string{
		"SET_WIPHY_NETNS: move phy0 to red, 2 effects",
		"RTM_NEWLINK: move eth0 to red as eth9, 1 effects",
		"RTM_SETLINK: rename eth0 to enp1, 1 effects",
		"RTM_NEWLINK: move eth3 to red as eth4, 1 effects",
		"RTM_DELLINK: delete enp1, 1 effects",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for i, of := range []int{0, 0, 1} {
		if m.Moves[i].Asked != m.Asks[of] {
			t.Errorf("move %d was asked for by %+v", i, m.Moves[i].Asked)
		}
	}
	if len(m.Renames) != 1 || m.Renames[0].Asked != m.Asks[2] {
		t.Errorf("renamed by %+v", m.Renames)
	}
	for _, rule := range []string{"request-refused", "not-permitted", "renamed-by-move"} {
		if f := m.finding(t, rule); f != nil {
			t.Errorf("told twice: %s", f.Text)
		}
	}
}

// The index of a radio that was renamed before the recording is learnt from what
// is asked of it, or from the opening snapshot by its name.
func TestIndexOfARenamedRadio(t *testing.T) {
	strange := &story.Phy{Ptr: 0xaa50, Index: -1, Name: "strange"}
	t.Run("asked", func(t *testing.T) {
		s := stand()
		s.NL80211(unix.NL80211_CMD_SET_WIPHY_NETNS, nil, event.Event{Net2: red, Wiphy: strange.Ptr, WiphyIndex: 6}, nil)
		s.Send(event.Event{Kind: event.KindNL80211, Phase: event.PhaseExit, Arg: unix.NL80211_CMD_NEW_INTERFACE, Wiphy: strange.Ptr, WiphyIndex: 6, Stage: event.StageHandled})
		s.Switch(strange, story.Initial, red, story.Outcome{}, nil)
		m := s.end()
		if w := m.Wiphys[len(m.Wiphys)-1]; w.Index != 6 || w.Name != "strange" || len(m.Wiphys) != 2 {
			t.Errorf("%+v", m.Wiphys)
		}
	})
	for _, when := range []string{"before", "after"} {
		t.Run("snapshot "+when, func(t *testing.T) {
			s := blank()
			see := func() {
				st := story.State(story.Initial)
				st.Wiphys = []event.Wiphy{{Index: 6, Name: "strange", CanSwitch: true}}
				b := s.Tick()
				s.HandleSnapshot(&event.Snapshot{Begin: b, Finish: b + 5*story.MS, Namespaces: []event.NetnsState{st}})
			}
			see()
			if when == "after" {
				s.T += 10 * story.MS
			}
			s.Switch(strange, story.Initial, story.Initial, story.Outcome{}, nil)
			s.T += 10 * story.MS
			s.Setup(red)
			s.Switch(strange, story.Initial, red, story.Outcome{}, nil)
			m := s.end()
			if len(m.Wiphys) != 1 || m.Wiphys[0].Index != 6 || m.Wiphys[0].At().Netns.Inum != red.Inum {
				t.Errorf("%+v", m.Wiphys[0])
			}
		})
	}
}

// wdevsOf writes the lives of wdevs in short.
func wdevsOf(m *Model) string {
	var out []string
	for _, d := range m.Wdevs {
		s := fmt.Sprintf("%s/%d:", d.Label(), d.ID)
		for _, x := range d.Stays() {
			s += fmt.Sprintf(" %s:%s:%s", x.Netns.Label(), x.Arrived, x.Left)
			if x.EndInferred {
				s += ":inferred"
			}
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

func TestWdevs(t *testing.T) {
	tests := []struct {
		name string
		tell func(*tale)
		want string
	}{
		{"a whole life, carried along", func(s *tale) {
			s.Wdev(phy0, story.Initial, 0xe0, 2, "p2p0")
			s.Switch(phy0, story.Initial, red, story.Outcome{}, nil)
			s.LeaveWdev(phy0, red, 0xe0, 2)
		}, "p2p0/2: init:created:moved red:moved:removed"},
		{"gone with its radio", func(s *tale) {
			s.Wdev(phy0, story.Initial, 0xe0, 2, "p2p0")
			s.Gone(phy0, story.Initial)
		}, "p2p0/2: init:created:removed:inferred"},
		{"of another driver, named by the request", func(s *tale) {
			s.NL80211(unix.NL80211_CMD_NEW_INTERFACE, phy0, event.Event{Name: "p2p-dev", Iftype: 10}, func() { s.JoinWdev(phy0, story.Initial, 0xe0, 3) })
		}, "p2p-dev/3: init:created:"},
		{"there before", func(s *tale) {
			s.LeaveWdev(phy0, story.Initial, 0xe0, 4)
		}, "interface 4 of phy0/4: init:created:removed"},
		{"an address that is used again", func(s *tale) {
			s.Wdev(phy0, story.Initial, 0xe0, 2, "p2p0")
			s.JoinWdev(phy0, story.Initial, 0xe0, 5) // an end and a beginning are missing
			s.LeaveWdev(phy0, story.Initial, 0xe0, 5)
		}, "p2p0/2: init:created:removed:inferred; interface 5 of phy0/5: init:created:removed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := stand()
			tt.tell(s)
			if got := wdevsOf(s.end()); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestPairs(t *testing.T) {
	s := stand()
	end := func(i int32, name, kind string) story.Netdev {
		return story.Netdev{Ptr: 0xb000 + uint64(i)*0x10, Net: story.Initial, Ifindex: 20 + i, Name: name, Kind: kind}
	}
	half := end(0, "half", "veth")
	s.By(8, "ip")
	rtnetlink(s, unix.RTM_NEWLINK, event.Event{Name: "x", LinkKind: "veth", Ret: eexist}, func() {
		s.Register(half) // its other end fails
		s.Unregister(half)
	})
	rtnetlink(s, unix.RTM_NEWLINK, event.Event{Name: "v0", LinkKind: "veth"}, func() {
		s.Register(end(1, "v1", "veth"))
		s.By(9, "docker").Register(end(2, "w1", "veth")) // another's, at the same time
		s.By(8, "ip").Register(end(3, "v0", "veth"))
		s.By(9, "docker").Register(end(4, "w0", "veth"))
		s.By(8, "ip")
	})
	s.Register(end(5, "odd", "veth"))
	rtnetlink(s, unix.RTM_NEWLINK, event.Event{Name: "lost", LinkKind: "veth"}, nil) // the event of its other end is missing
	s.Register(end(6, "br0", "bridge"))
	s.Register(end(7, "z1", "veth"))
	s.Register(end(8, "z0", "veth"))
	got := ""
	for _, d := range s.end().Devices {
		if d.Kind == "veth" {
			got += d.Name + "-"
			if d.Peer != nil {
				got += d.Peer.Name
			}
			got += " "
		}
	}
	if want := "half- v1-v0 w1-w0 v0-v1 w0-w1 odd- z1-z0 z0-z1 "; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// However many requests there are, only the latest are kept; all are counted.
func TestAsksAreBounded(t *testing.T) {
	s := stand()
	const n = 5 * maxAsks
	for i := range n {
		rtnetlink(s, unix.RTM_SETLINK, event.Event{Ifindex: 1, Name: fmt.Sprintf("x%d", i), Ret: ebusy}, nil)
	}
	m := s.end()
	if len(m.Asks) < maxAsks || len(m.Asks) > 2*maxAsks || len(m.AskFolds) != 1 || m.AskFolds[0].Count+uint64(len(m.Asks)) != n {
		t.Errorf("%d kept, %+v", len(m.Asks), m.AskFolds)
	}
}
