// SPDX-License-Identifier: Apache-2.0

// Package story makes up recordings for tests: what the kernel would have said,
// told to an event.Handler. It knows nothing of who listens.
package story

import "github.com/nstrace/nstrace/event"

// MS is one millisecond of boot time.
const MS = 1_000_000

const arphrdLoopback = 772

// Initial is the initial namespace of the stories.
var Initial = event.NetRef{Ptr: 0xffff0001, Cookie: 1, Inum: 4026531840}

// Story builds a recording by hand. Everything takes a millisecond.
type Story struct {
	event.Handler
	// T is the time of the last thing that happened.
	T uint64
	// PID and Comm run what comes, in Caller, Within functions of these kinds.
	PID    uint32
	Comm   string
	Caller event.NetRef
	Within uint32
	sent   uint64
	tasks  uint64
	// Probes are attached besides those that everyone has.
	Probes []event.ProbeLedger
}

// New starts a recording at 1000 ms; the opening snapshot has init alone.
func New(h event.Handler) *Story {
	s := Blank(h)
	s.Snapshot(false, State(Initial))
	return s
}

// Blank starts a recording without an opening snapshot.
func Blank(h event.Handler) *Story {
	s := &Story{Handler: h, T: 1000 * MS, PID: 100, Comm: "ip", Caller: Initial}
	s.HandleRecording(&event.Recording{
		Host: "lab", Kernel: "6.1", Arch: "x86_64", InitNet: Initial.Inum, Began: 1000 * MS, Delivery: "count",
		Clock: event.Clock{Boot: 900 * MS, Wall: 1_700_000_000_000_000_000},
	})
	return s
}

// Tick lets a millisecond pass.
func (s *Story) Tick() uint64 {
	s.T += MS
	return s.T
}

// Sent is how many lifecycle events there were.
func (s *Story) Sent() uint64 { return s.sent }

// By says who does what comes.
func (s *Story) By(pid uint32, comm string) *Story {
	s.PID, s.Comm = pid, comm
	return s
}

// Send fills in what is common and handles e.
func (s *Story) Send(e event.Event) {
	e.Time = s.Tick()
	e.PID, e.TID, e.Comm, e.Caller, e.Within = s.PID, s.PID, s.Comm, s.Caller, s.Within
	if e.Wiphy == 0 && e.Kind != event.KindNL80211 {
		e.WiphyIndex = -1
	}
	s.sent++
	s.HandleEvent(&e)
}

// Inside runs f within a function of kind k.
func (s *Story) Inside(k event.Kind, f func()) {
	before := s.Within
	s.Within |= 1 << k
	f()
	s.Within = before
}

// Setup is setup_net of n with its loopback.
func (s *Story) Setup(n event.NetRef) {
	start := s.T + MS
	s.Send(event.Event{Kind: event.KindSetupNet, Phase: event.PhaseEnter, Net: event.NetRef{Ptr: n.Ptr}})
	s.Inside(event.KindSetupNet, func() {
		s.Register(Netdev{Ptr: n.Ptr + 0x100, Net: event.NetRef{Ptr: n.Ptr, Cookie: n.Cookie}, Ifindex: 1, Name: "lo"})
	})
	s.Send(event.Event{Kind: event.KindSetupNet, Phase: event.PhaseExit, Net: n, Start: start})
}

// Cleanup is the whole end of n; f is what happens within.
func (s *Story) Cleanup(n event.NetRef, f func()) {
	s.Put(n)
	pid, comm := s.PID, s.Comm
	s.By(7, "kworker/u4:0").Send(event.Event{Kind: event.KindCleanupNet, Phase: event.PhaseEnter})
	start := s.T
	s.Inside(event.KindCleanupNet, func() {
		if f != nil {
			f()
		}
		s.Unregister(Netdev{Ptr: n.Ptr + 0x100, Net: n, Ifindex: 1, Name: "lo"})
		s.Free(n)
	})
	s.Send(event.Event{Kind: event.KindCleanupNet, Phase: event.PhaseExit, Start: start})
	s.By(pid, comm)
}

// Put is __put_net.
func (s *Story) Put(n event.NetRef) { s.Send(event.Event{Kind: event.KindPutNet, Net: n}) }

// Free is the end of clean-up.
func (s *Story) Free(n event.NetRef) { s.Send(event.Event{Kind: event.KindFreeNet, Net: n}) }

// Name gives n a name under /run/netns, or takes it away.
func (s *Story) Name(n event.NetRef, name string, added bool) {
	c := event.NameChange{Time: s.Tick(), Name: name, Path: "/run/netns/" + name, Added: added}
	if added {
		c.Inum, c.Cookie = n.Inum, n.Cookie
	}
	s.HandleName(&c)
}

// Netdev is what an event says of an interface.
type Netdev struct {
	Ptr     uint64
	Net     event.NetRef
	Ifindex int32
	Name    string
	Kind    string
	Phy     *Phy
	Rx      uint64
}

// Phy is what an event says of a radio.
type Phy struct {
	Ptr   uint64
	Index int32
	Name  string
}

func (d Netdev) event(k event.Kind, p event.Phase) event.Event {
	e := event.Event{
		Kind: k, Phase: p, Dev: d.Ptr, Net: d.Net, Ifindex: d.Ifindex, Name: d.Name, LinkKind: d.Kind,
		RxPackets: d.Rx, RxBytes: d.Rx * 100, Flags: event.FlagRx,
	}
	if d.Name == "lo" {
		e.DevType = arphrdLoopback
	}
	return d.Phy.into(e)
}

func (p *Phy) into(e event.Event) event.Event {
	if p != nil {
		e.Wiphy, e.WiphyIndex, e.WiphyName = p.Ptr, p.Index, p.Name
	}
	return e
}

// Register is register_netdevice.
func (s *Story) Register(d Netdev) { s.Send(d.event(event.KindNetdevRegister, event.PhaseExit)) }

// Unregister is netdev_unregister_kobject.
func (s *Story) Unregister(d Netdev) {
	s.Send(d.event(event.KindNetdevUnregister, event.PhaseInstant))
}

// Rename is dev_change_name.
func (s *Story) Rename(d Netdev, name string) {
	e := d.event(event.KindNetdevRename, event.PhaseExit)
	e.NewName = name
	s.Send(e)
}

// Outcome is how a move went.
type Outcome struct {
	Errno   uint32
	Name    string // new name, "" for the same
	Ifindex int32  // new number, 0 for the same
	Half    string // "enter" or "exit" for only that event
	Stayed  bool   // a radio that is where it was after all
}

// Move is dev_change_net_namespace; it returns what the device is afterwards.
func (s *Story) Move(d Netdev, to event.NetRef, o Outcome) Netdev {
	start := s.T + MS
	enter := d.event(event.KindNetdevMove, event.PhaseEnter)
	enter.Net2 = to
	if o.Half != "exit" {
		s.Send(enter)
	}
	after := d
	exit := d.event(event.KindNetdevMove, event.PhaseExit)
	exit.Net2, exit.Ret, exit.Start = to, o.Errno, start
	if o.Errno == 0 {
		after.Net = to
		if o.Name != "" {
			after.Name = o.Name
		}
		if o.Ifindex != 0 {
			after.Ifindex = o.Ifindex
		}
	}
	exit.NewName, exit.NewIfindex = after.Name, after.Ifindex
	if o.Half == "exit" {
		exit.Flags |= event.FlagNoEntry
		exit.Start, exit.Net, exit.Name, exit.Ifindex = 0, event.NetRef{}, "", 0
	}
	if o.Half != "enter" {
		s.Send(exit)
	}
	return after
}

// Radio is the birth of a radio in n with one interface.
func (s *Story) Radio(p *Phy, n event.NetRef, d Netdev) {
	s.Send(p.into(event.Event{Kind: event.KindWiphyNew, Phase: event.PhaseExit, Net: Initial}))
	s.Send(p.into(event.Event{
		Kind: event.KindWiphyRegister, Phase: event.PhaseExit, Net: n, Driver: "mac80211_hwsim", Flags: event.FlagCanSwitch,
	}))
	s.Vif(d)
}

// Vif is ieee80211_if_add.
func (s *Story) Vif(d Netdev) {
	s.Inside(event.KindIfAdd, func() { s.Register(d) })
	e := d.event(event.KindIfAdd, event.PhaseExit)
	e.Iftype = 2
	s.Send(e)
}

// Switch is cfg80211_switch_netns around f.
func (s *Story) Switch(p *Phy, from, to event.NetRef, o Outcome, f func()) {
	start := s.T + MS
	e := p.into(event.Event{Kind: event.KindWiphySwitch, Phase: event.PhaseEnter, Net: from, Net2: to})
	if o.Half != "exit" {
		s.Send(e)
	}
	if f != nil {
		s.Inside(event.KindWiphySwitch, f)
	}
	e.Phase, e.Ret, e.Start = event.PhaseExit, o.Errno, start
	if o.Half == "exit" {
		e.Flags, e.Start, e.Net = event.FlagNoEntry, 0, event.NetRef{}
	}
	if o.Stayed {
		e.Flags |= event.FlagStayed
	}
	if o.Half != "enter" {
		s.Send(e)
	}
}

// Received is one increment of a flow's count.
func (s *Story) Received(d Netdev, packets uint64, base *uint64) {
	c := event.Count{
		Flow:  event.Flow{Net: d.Net, Dev: d.Ptr, Ifindex: d.Ifindex, Path: event.PathDeliverSKB},
		First: s.T, Last: s.T, Time: s.Tick(), Packets: packets, Bytes: packets * 100,
	}
	if base != nil {
		c.Base, c.BasePackets, c.BaseBytes = true, *base, *base*100
	}
	s.HandleCount(&c)
}

// Read is a reading of the counters, now: packets that came into d after the one
// before, at since, and the last of them at last.
func (s *Story) Read(d Netdev, since, last, packets uint64) {
	s.HandleCount(&event.Count{
		Flow: event.Flow{Net: d.Net, Dev: d.Ptr, Ifindex: d.Ifindex, Path: event.PathDeliverSKB},
		Time: s.T, Since: since, Last: last, Packets: packets, Bytes: packets * 100,
	})
}

// State is a namespace in a snapshot, with links of its own.
func State(n event.NetRef, links ...event.Link) event.NetnsState {
	return event.NetnsState{
		Inum: n.Inum, Cookie: n.Cookie, Initial: n.Inum == Initial.Inum,
		Links: append([]event.Link{{Ifindex: 1, Name: "lo", Wiphy: -1, DevType: arphrdLoopback}}, links...),
	}
}

// Link is an interface in a snapshot.
func Link(d Netdev) event.Link {
	l := event.Link{Ifindex: d.Ifindex, Name: d.Name, Kind: d.Kind, Wiphy: -1, Stats: true, RxPackets: d.Rx, RxBytes: d.Rx * 100}
	if d.Phy != nil {
		l.Wiphy = d.Phy.Index
	}
	return l
}

// Snapshot is an instantaneous one.
func (s *Story) Snapshot(closing bool, states ...event.NetnsState) {
	b := s.Tick()
	for i := range states {
		for j := range states[i].Links {
			states[i].Links[j].StatsTime = b
		}
	}
	s.HandleSnapshot(&event.Snapshot{Begin: b, Finish: b, Closing: closing, Namespaces: states})
	s.Tick()
}

// End finishes a clean recording.
func (s *Story) End(states ...event.NetnsState) {
	if len(states) != 0 {
		s.Snapshot(true, states...)
	}
	zero := uint64(0)
	s.HandleLedger(&event.Ledger{
		Time:   s.Tick(),
		Probes: append([]event.ProbeLedger{{Name: "setup_net", Function: "setup_net", Hook: "fentry", Status: event.StatusAttached, Hits: 2, Missed: &zero}}, s.Probes...),
		Rings:  []event.RingLedger{{Name: "lifecycle", Size: 1 << 20, Received: s.sent}},
	})
	s.HandleEnd(&event.End{Time: s.Tick(), Reason: "command"})
}

// Gone is wiphy_unregister and the end of the radio.
func (s *Story) Gone(p *Phy, n event.NetRef) {
	e := p.into(event.Event{Kind: event.KindWiphyUnregister, Phase: event.PhaseEnter, Net: n})
	s.Send(e)
	e.Phase = event.PhaseExit
	s.Send(e)
	s.Send(p.into(event.Event{Kind: event.KindWiphyFree}))
}

// Wdev is the birth of an interface without a netdev.
func (s *Story) Wdev(p *Phy, n event.NetRef, ptr uint64, id uint32, name string) {
	e := p.into(event.Event{Phase: event.PhaseExit, Net: n, Wdev: ptr, Iftype: p2pDevice})
	add := e
	add.Kind, add.Name = event.KindIfAdd, name
	s.Send(add)
	s.JoinWdev(p, n, ptr, id)
}

// p2pDevice is NL80211_IFTYPE_P2P_DEVICE.
const p2pDevice = 10

// JoinWdev is cfg80211_register_wdev.
func (s *Story) JoinWdev(p *Phy, n event.NetRef, ptr uint64, id uint32) {
	s.Send(p.into(event.Event{Kind: event.KindWdevRegister, Phase: event.PhaseExit, Net: n, Wdev: ptr, WdevID: id, Iftype: p2pDevice}))
}

// LeaveWdev is cfg80211_unregister_wdev.
func (s *Story) LeaveWdev(p *Phy, n event.NetRef, ptr uint64, id uint32) {
	s.Send(p.into(event.Event{Kind: event.KindWdevUnregister, Net: n, Wdev: ptr, WdevID: id, Iftype: p2pDevice}))
}

// Netlink is a request over nl80211 or rtnetlink around f.
func (s *Story) Netlink(e event.Event, f func()) {
	e.Phase, e.Start = event.PhaseExit, s.T+MS
	s.Tick()
	if f != nil {
		f()
	}
	if !e.Net.Known() {
		e.Net = s.Caller
	}
	s.Send(e)
}

// NL80211 is a request over nl80211 about a radio, or about none if p is nil, that
// reached its handler.
func (s *Story) NL80211(command uint64, p *Phy, e event.Event, f func()) {
	e.Kind, e.Arg, e.Flags = event.KindNL80211, command, e.Flags|event.FlagNetAdmin
	if e.Stage == event.StageUnknown {
		e.Stage = event.StageHandled
	}
	e.WiphyIndex = -1
	if p != nil {
		e.WiphyIndex = p.Index
		if e.Stage == event.StageHandled {
			e.Wiphy = p.Ptr
		}
	}
	s.Netlink(e, f)
}
