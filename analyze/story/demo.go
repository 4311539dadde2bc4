// SPDX-License-Identifier: Apache-2.0

package story

import "github.com/nstrace/nstrace/event"

// The namespaces of the demo.
var (
	AP  = event.NetRef{Ptr: 0xffff1000, Cookie: 0x2001, Inum: 4026532281}
	STA = event.NetRef{Ptr: 0xffff2000, Cookie: 0x3001, Inum: 4026532342}
)

const (
	enodev = 19
	einval = 22
	// setWiphyNetns is NL80211_CMD_SET_WIPHY_NETNS.
	setWiphyNetns = 49
)

// demoSteps are what some subsystems take of each set-up.
var demoSteps = []event.Step{
	{Ops: 0xffff8001, Fn: 0xffff8101, Duration: 30_000},
	{Ops: 0xffff8002, Fn: 0xffff8102, Duration: 1_200_000},
	{Ops: 0xffff8003, Fn: 0xffff8103, Duration: 400_000},
}

// Demo tells the demo's story: three simulated radios are loaded, phy1 goes to
// ap by name and phy2 to sta by PID, phy1 isn't found in init any more, wlan0
// can't go alone, phy0 gets a second interface, packets go to and fro, and when
// sta is deleted phy2 comes home.
func Demo(h event.Handler) {
	s := New(h)
	phys, wlans := s.hwsim()
	for _, n := range []struct {
		ref  event.NetRef
		name string
		pid  uint32
	}{{AP, "ap", 401}, {STA, "sta", 407}} {
		s.By(n.pid, "ip").Create(n.ref, demoSteps...)
		s.Name(n.ref, n.name, true)
	}
	s.By(412, "iw").NL80211(setWiphyNetns, phys[1], event.Event{Net2: AP}, func() {
		s.Switch(phys[1], Initial, AP, Outcome{}, func() { wlans[1] = s.Move(wlans[1], AP, Outcome{}) })
	})
	s.By(431, "iw").NL80211(setWiphyNetns, phys[2], event.Event{Net2: STA, TargetPID: 407}, func() {
		s.Send(event.Event{Kind: event.KindNetByPID, Phase: event.PhaseExit, TargetPID: 407, Arg: 407, NewName: "ip", Net: STA})
		s.Switch(phys[2], Initial, STA, Outcome{}, func() { wlans[2] = s.Move(wlans[2], STA, Outcome{}) })
	})
	s.By(435, "iw").NL80211(setWiphyNetns, phys[1], event.Event{Net2: STA, Ret: enodev, Stage: event.StagePreDoit}, nil)
	s.By(440, "ip").Move(wlans[0], AP, Outcome{Errno: einval})
	s.By(452, "iw").Vif(Netdev{Ptr: 0xdd0009, Net: Initial, Ifindex: 6, Name: "vap0", Phy: phys[0]})
	zero := uint64(0)
	s.Received(wlans[1], 1200, &zero)
	s.Received(wlans[2], 800, &zero)
	s.T += 3000 * MS
	s.Received(wlans[1], 34, nil)
	s.Received(wlans[2], 5, nil)
	wlans[1].Rx, wlans[2].Rx = 1234, 805
	s.By(460, "ip").Name(STA, "sta", false)
	s.Cleanup(STA, func() {
		s.Switch(phys[2], STA, Initial, Outcome{}, func() { wlans[2] = s.Move(wlans[2], Initial, Outcome{}) })
	})
	s.demoEnd(phys, wlans)
}

// hwsim loads mac80211_hwsim with three radios.
func (s *Story) hwsim() (phys [3]*Phy, wlans [3]Netdev) {
	s.By(390, "modprobe")
	const ops, init = 0xffffc0de0000, 0xffffc0de1000
	s.Want(event.KindRegisterPernet, ops, init)
	s.Registration(event.KindRegisterPernet, ops, init, 1, 0, nil)
	s.Symbol(ops, "hwsim_net_ops", "mac80211_hwsim")
	s.Symbol(init, "hwsim_init_net", "mac80211_hwsim")
	for i, name := range []string{"loopback_net", "nf_conntrack_net", "fib_net"} {
		module := ""
		if i == 1 {
			module = "nf_conntrack"
		}
		s.Symbol(demoSteps[i].Ops, name+"_ops", module)
		s.Symbol(demoSteps[i].Fn, name+"_init", module)
	}
	for i := range phys {
		phys[i] = &Phy{Ptr: 0xaa0000 + uint64(i), Index: int32(i), Name: "phy" + string(rune('0'+i))}
		wlans[i] = Netdev{Ptr: 0xdd0000 + uint64(i), Net: Initial, Ifindex: int32(3 + i), Name: "wlan" + string(rune('0'+i)), Phy: phys[i]}
		s.Radio(phys[i], Initial, wlans[i])
	}
	return phys, wlans
}

// demoEnd is the closing snapshot, the ledger and the end.
func (s *Story) demoEnd(phys [3]*Phy, wlans [3]Netdev) {
	vap := Netdev{Ifindex: 6, Name: "vap0", Phy: phys[0]}
	home := State(Initial, Link(wlans[0]), Link(wlans[2]), Link(vap))
	home.Holders = []event.Holder{{Kind: "task", PID: 1, Comm: "systemd"}}
	ap := State(AP, Link(wlans[1]))
	ap.Names = []string{"ap"}
	ap.Holders = []event.Holder{{Kind: "mount", Path: "/run/netns/ap"}, {Kind: "task", PID: 500, Comm: "hostapd"}}
	for i, p := range phys {
		w := event.Wiphy{Index: p.Index, Name: p.Name, CanSwitch: true}
		if i == 1 {
			ap.Wiphys = append(ap.Wiphys, w)
		} else {
			home.Wiphys = append(home.Wiphys, w)
		}
	}
	s.Snapshot(true, home, ap)
	none, seven := uint64(0), uint64(7)
	l := &event.Ledger{Time: s.Tick(), Rings: []event.RingLedger{{Name: "lifecycle", Size: 1 << 20, Received: s.sent}}}
	for _, name := range []string{"setup_net", "put_net", "cleanup_net", "free_net", "cfg80211_switch_netns", "ieee80211_deliver_skb"} {
		p := event.ProbeLedger{Name: name, Function: name, Hook: "fentry", Status: event.StatusAttached, Hits: seven, Missed: &none}
		if name == "setup_net" || name == "cleanup_net" || name == "cfg80211_switch_netns" {
			p.Returns, p.ReturnsMissed = &seven, &none
		}
		l.Probes = append(l.Probes, p)
	}
	l.Probes = append(l.Probes, event.ProbeLedger{
		Name: "ieee80211_rx_8023", Status: event.StatusAbsent, Reason: "no such function",
		Loses: "deliveries on the fast path",
	})
	s.HandleLedger(l)
	s.HandleEnd(&event.End{Time: s.Tick(), Reason: "command", ExitStatus: new(int)})
}
