// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/event"
)

// Protocol is what a request was made over.
type Protocol string

// The protocols.
const (
	NL80211   Protocol = "nl80211"
	RTNetlink Protocol = "rtnetlink"
)

// Ask is a request over nl80211 or rtnetlink that creates, deletes, renames,
// retypes or moves something.
type Ask struct {
	Deed // when it was made, by whom
	// Done is when it was answered.
	Done     uint64
	Protocol Protocol
	// Command is an enum nl80211_commands, or a type of message of rtnetlink.
	Command uint32
	// Caller is the namespace of the task, Netns that of its socket: there the
	// kernel looks up what the request names. Nil if unknown.
	Caller, Netns *Netns
	// Target is where it wants something to go, nil if nowhere or unknown.
	Target *Netns
	// TargetPID is how the target was named, as the caller's pid namespace counts,
	// 0 if it wasn't by PID. Meant is the process of that number, nil if there was
	// none or it is unknown.
	TargetPID uint32
	Meant     *Process
	// Wiphy, Device and Wdev are what it is about, nil if it wasn't found.
	Wiphy  *Wiphy
	Device *Device
	Wdev   *Wdev
	// WiphyIndex (-1 without one), Ifindex and WdevID are how it was named.
	WiphyIndex, Ifindex int32
	WdevID              uint32
	// Name is the name it gives to what it creates, renames or moves, or that of
	// what it is about; Kind and Iftype are what it makes of it.
	Name   string
	Kind   string
	Iftype uint32
	Stage  event.Stage
	Errno  uint32
	// Owner is the inum of the user namespace that owns Netns, CallerOwner that of
	// the caller's credentials, 0 if unknown; Capable says that these have
	// CAP_NET_ADMIN in Owner.
	Owner, CallerOwner uint32
	Capable            bool
	// Effects counts the moves, renames, births and ends that it caused.
	Effects int

	tid   uint32
	moves []*Move
	// was is what it is about was called when it was asked for.
	was string
	// holder or namesake has the name that it wanted, elsewhere is where its radio
	// was instead of here. nowhere says that it moved a radio to where it was.
	holder    *Device
	namesake  *Wiphy
	elsewhere *Netns
	nowhere   bool
}

// Process is a process that somebody referred to.
type Process struct {
	// PID is its number in the initial pid namespace.
	PID  uint32
	Comm string
}

// OK reports whether the request was granted.
func (k *Ask) OK() bool { return k.Errno == 0 }

// commands are the requests that are recorded, by protocol and number.
var commands = map[Protocol]map[uint32]string{
	NL80211: {
		unix.NL80211_CMD_SET_WIPHY: "SET_WIPHY", unix.NL80211_CMD_NEW_WIPHY: "NEW_WIPHY", unix.NL80211_CMD_DEL_WIPHY: "DEL_WIPHY",
		unix.NL80211_CMD_SET_INTERFACE: "SET_INTERFACE", unix.NL80211_CMD_NEW_INTERFACE: "NEW_INTERFACE",
		unix.NL80211_CMD_DEL_INTERFACE: "DEL_INTERFACE", unix.NL80211_CMD_SET_WIPHY_NETNS: "SET_WIPHY_NETNS",
		unix.NL80211_CMD_START_P2P_DEVICE: "START_P2P_DEVICE", unix.NL80211_CMD_STOP_P2P_DEVICE: "STOP_P2P_DEVICE",
		unix.NL80211_CMD_START_NAN: "START_NAN", unix.NL80211_CMD_STOP_NAN: "STOP_NAN",
	},
	RTNetlink: {unix.RTM_NEWLINK: "RTM_NEWLINK", unix.RTM_DELLINK: "RTM_DELLINK", unix.RTM_SETLINK: "RTM_SETLINK"},
}

// CommandName is the kernel's name of the command, or its number.
func (k *Ask) CommandName() string {
	if s := commands[k.Protocol][k.Command]; s != "" {
		return s
	}
	return fmt.Sprintf("command %d", k.Command)
}

// maxAsks is how many requests are kept whole; before that the oldest are counted
// by what they were.
const maxAsks = 20_000

// AskFold counts requests that were alike and are in no list.
type AskFold struct {
	Comm    string
	Command string
	Errno   uint32
	Count   uint64
	// First and Last are when the first and the last of them were made.
	First, Last uint64
}

type askKey struct {
	comm, command string
	errno         uint32
}

// effect is something a thread did, perhaps because it was asked to.
type effect struct {
	at     uint64
	tid    uint32
	move   *Move
	rename *Rename
	vif    *Vif
	device *Device
	wdev   *Wdev
	pid    *event.Event // of KindNetByPID
}

// maxEffects is how many of the latest are remembered: requests cause what they
// cause at once.
const maxEffects = 4096

// asks is the state of requests.
type asks struct {
	effects []effect // a ring
	next    int
	folds   map[askKey]*AskFold
}

// cause notes that e's thread did something.
func (a *Analyzer) caused(e *event.Event, x effect) {
	x.at, x.tid = e.Time, e.TID
	s := &a.asks
	if len(s.effects) < maxEffects {
		s.effects = append(s.effects, x)
		return
	}
	s.effects[s.next] = x
	s.next = (s.next + 1) % maxEffects
}

// ask takes the answer to a request.
func (a *Analyzer) ask(e *event.Event) {
	if e.Phase == event.PhaseEnter {
		return
	}
	k := &Ask{
		Deed: deed(e), Done: e.Time, Protocol: NL80211, Command: uint32(e.Arg), tid: e.TID,
		Caller: a.netns(e.Caller, e.Time), Netns: a.netns(e.Net, e.Time), Target: a.netns(e.Net2, e.Time),
		TargetPID: e.TargetPID, WiphyIndex: e.WiphyIndex, Ifindex: e.Ifindex, WdevID: e.WdevID,
		Name: e.Name, Kind: e.LinkKind, Iftype: e.Iftype, Stage: e.Stage, Errno: e.Ret,
		Owner: e.UserNS, CallerOwner: e.CallerUserNS, Capable: e.Flags&event.FlagNetAdmin != 0,
	}
	if e.Kind == event.KindRTNetlink {
		k.Protocol = RTNetlink
	}
	if e.Start != 0 {
		k.At = e.Start
	}
	if e.WiphyName != "" {
		k.Name = e.WiphyName
	}
	if n := k.Netns; n != nil && n.OwnerUserNS == 0 {
		n.OwnerUserNS = e.UserNS
	}
	k.Wiphy = a.askedWiphy(e)
	a.collect(k)
	a.identify(k)
	delete(a.halves, e.TID) // what is made in pairs is made by one request
	a.m.Asks = append(a.m.Asks, k)
	a.foldAsks()
}

// askedWiphy is the radio that the kernel found, or that has the index. On early
// kernels only this tells the index of a radio that was renamed before.
func (a *Analyzer) askedWiphy(e *event.Event) *Wiphy {
	if e.Wiphy != 0 {
		found := *e
		found.WiphyName = "" // that is the name it is to get
		return a.wiphy(&found)
	}
	if e.WiphyIndex < 0 {
		return nil
	}
	return a.wiphys.byIndex[e.WiphyIndex]
}

// collect ties to a request what its thread did meanwhile.
func (a *Analyzer) collect(k *Ask) {
	s := &a.asks
	for i := range s.effects {
		x := &s.effects[(s.next+len(s.effects)-1-i)%len(s.effects)]
		if x.at < k.At || k.At == k.Done {
			break
		}
		if x.tid != k.tid {
			continue
		}
		a.tie(k, x)
	}
	slices.Reverse(k.moves)
}

func (a *Analyzer) tie(k *Ask, x *effect) {
	switch {
	case x.pid != nil:
		if k.TargetPID == 0 || x.pid.TargetPID != k.TargetPID {
			return
		}
		if x.pid.Arg != 0 {
			k.Meant = &Process{PID: uint32(x.pid.Arg), Comm: x.pid.NewName}
		}
		if n := a.netns(x.pid.Net, x.at); n != nil {
			k.Target = n // the kernel's own answer
		}
		return
	case x.move != nil:
		x.move.Asked = k
		k.moves = append(k.moves, x.move)
		switch {
		case x.move.Wiphy != nil:
			k.Wiphy, k.was = x.move.Wiphy, x.move.Name
		case k.Protocol == RTNetlink:
			k.Device, k.was = x.move.Device, x.move.Name
		}
	case x.rename != nil:
		x.rename.Asked = k
		k.Wiphy = cmp.Or(x.rename.Wiphy, k.Wiphy)
		k.Device = cmp.Or(k.Device, x.rename.Device)
		k.was = cmp.Or(k.was, x.rename.Old)
	case x.vif != nil:
		x.vif.Asked = k
		k.Device = cmp.Or(x.vif.Device, k.Device)
	case x.wdev != nil:
		k.Wdev = x.wdev
		if x.wdev.Name == "" && x.wdev.Ended == 0 {
			x.wdev.Name = k.Name // as far as anybody calls it anything
		}
	case x.device != nil && k.Device == nil:
		k.Device = x.device
	}
	k.Effects++
}

// identify finds what a request is about that caused nothing, and who is in its
// way.
func (a *Analyzer) identify(k *Ask) {
	n := k.Netns.canon()
	if w := k.Wiphy; w != nil && w.At() != nil {
		at := w.At().Netns.canon()
		if !k.OK() && at != n {
			k.elsewhere = at
		}
		k.nowhere = k.OK() && k.moves == nil && k.Protocol == NL80211 && k.Command == unix.NL80211_CMD_SET_WIPHY_NETNS && at == k.Target.canon()
	}
	if k.WdevID != 0 && k.Wdev == nil && k.Wiphy != nil {
		k.Wdev = a.wdevs.byID(k.Wiphy, k.WdevID)
	}
	if n == nil {
		return
	}
	if k.Ifindex != 0 && k.Device == nil {
		k.Device = n.devs[k.Ifindex]
	}
	switch {
	case k.was != "":
	case k.Device != nil:
		k.was = k.Device.Name
	case k.Wdev != nil:
		k.was = k.Wdev.Name
	case k.Wiphy != nil && k.Ifindex == 0 && k.WdevID == 0:
		k.was = k.Wiphy.Name
	}
	if k.Name == "" {
		return
	}
	if k.namesRadio() {
		k.namesake = a.wiphys.named(k.Name, k.Wiphy)
		return
	}
	if k.Target != nil && k.Protocol == RTNetlink {
		n = k.Target.canon() // the name is for there
	}
	var lowest int32
	for i, d := range n.devs {
		if d.Name == k.Name && (k.holder == nil || i < lowest) {
			k.holder, lowest = d, i
		}
	}
	if k.Protocol == RTNetlink && k.Ifindex == 0 && k.Kind == "" && k.Device == nil {
		k.Device = k.holder // the name says which it is about
	}
}

// namesRadio reports whether it gives a radio a name.
func (k *Ask) namesRadio() bool {
	return k.Protocol == NL80211 && k.Command == unix.NL80211_CMD_SET_WIPHY && k.Name != ""
}

// netByPID: the kernel looked up whose namespace a PID means.
func (a *Analyzer) netByPID(e *event.Event) {
	if e.Phase == event.PhaseEnter {
		return
	}
	found := *e
	a.netns(e.Net, e.Time)
	a.caused(e, effect{pid: &found})
}

// foldAsks counts the oldest requests instead of keeping them, if there are many.
func (a *Analyzer) foldAsks() {
	if len(a.m.Asks) < 2*maxAsks {
		return
	}
	for _, k := range a.m.Asks[:len(a.m.Asks)-maxAsks] {
		a.countAsk(k)
	}
	a.m.Asks = slices.Clone(a.m.Asks[len(a.m.Asks)-maxAsks:])
}

func (a *Analyzer) countAsk(k *Ask) {
	key := askKey{k.Comm, k.CommandName(), k.Errno}
	f := a.asks.folds[key]
	if f == nil && len(a.asks.folds) >= maxFolds {
		key = askKey{}
		f = a.asks.folds[key]
	}
	if f == nil {
		f = &AskFold{Comm: strings.Clone(key.comm), Command: key.command, Errno: key.errno, First: k.At}
		a.asks.folds[key] = f
	}
	f.Count++
	f.Last = k.At
}

// finishAsks puts the requests in order, and the accounts of those that are
// folded.
func (a *Analyzer) finishAsks() {
	for _, k := range a.m.Asks {
		k.Caller, k.Netns, k.Target, k.elsewhere = k.Caller.canon(), k.Netns.canon(), k.Target.canon(), k.elsewhere.canon()
	}
	slices.SortStableFunc(a.m.Asks, func(x, y *Ask) int { return cmp.Compare(x.At, y.At) })
	for _, f := range a.asks.folds {
		a.m.AskFolds = append(a.m.AskFolds, *f)
	}
	slices.SortFunc(a.m.AskFolds, func(x, y AskFold) int {
		return cmp.Or(cmp.Compare(y.Count, x.Count), cmp.Compare(x.First, y.First), strings.Compare(x.Comm, y.Comm), strings.Compare(x.Command, y.Command), cmp.Compare(x.Errno, y.Errno))
	})
}

// About are the namespaces that a request concerns.
func (k *Ask) About() []*Netns {
	about := []*Netns{k.Netns, k.Caller, k.Target, k.elsewhere}
	for _, m := range k.moves {
		about = append(about, m.From, m.To)
	}
	return about
}
