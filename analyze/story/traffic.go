// SPDX-License-Identifier: Apache-2.0

package story

import "github.com/nstrace/nstrace/event"

// Traffic tells of packets that come all the time into ap by wlan1, a hundred more
// in every tenth of a second, until phy1 is taken to sta for two seconds: there
// some come once more, and then again in ap, until they stop for good. Its
// counters are read every 100 ms.
func Traffic(h event.Handler) {
	s := New(h)
	phys, wlans := s.hwsim()
	for _, n := range []event.NetRef{AP, STA} {
		s.By(401, "ip").Create(n)
	}
	s.Name(AP, "ap", true)
	s.Name(STA, "sta", true)
	phy, wlan := phys[1], wlans[1]
	take := func(from, to event.NetRef) {
		s.By(412, "iw").Switch(phy, from, to, Outcome{}, func() { wlan = s.Move(wlan, to, Outcome{}) })
	}
	take(Initial, AP)
	s.traffic(&wlan, 1500, 3500)
	take(AP, STA)
	s.traffic(&wlan, 4500, 5000)
	s.T = 1000*MS + 5500*MS
	take(STA, AP)
	s.traffic(&wlan, 6200, 8000)
	s.T = 1000*MS + 10_000*MS
	home, ap, sta := State(Initial, Link(wlans[0]), Link(wlans[2])), State(AP, Link(wlan)), State(STA)
	for i, state := range []*event.NetnsState{&home, &ap, &home} {
		state.Wiphys = append(state.Wiphys, event.Wiphy{Index: phys[i].Index, Name: phys[i].Name, CanSwitch: true})
	}
	for name, state := range map[string]*event.NetnsState{"ap": &ap, "sta": &sta} {
		state.Names = []string{name}
		state.Holders = []event.Holder{{Kind: "mount", Path: "/run/netns/" + name}}
	}
	s.End(home, ap, sta)
}

// traffic is a reading every 100 ms between two times in milliseconds since the
// beginning; its last packets come 5 ms before it.
func (s *Story) traffic(d *Netdev, from, to uint64) {
	for at := from + 100; at <= to; at += 100 {
		s.T = (1000 + at) * MS
		packets := 100 * (1 + (at-from)/100)
		s.Read(*d, s.T-100*MS, s.T-5*MS, packets)
		d.Rx += packets
	}
}
