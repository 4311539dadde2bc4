// SPDX-License-Identifier: Apache-2.0

package analyze

import "github.com/nstrace/nstrace/event"

// Model is what a recording tells, put together. Nothing in it is escaped
// except the prose ([Finding.Text], [Finding.Subject], [Statement.Text]):
// names are as the kernel had them.
type Model struct {
	Recording event.Recording
	// Began is Recording.Began, or the first time seen without one. Ended is the
	// end's time, or the last time seen if the recording has no end.
	Began, Ended uint64
	// End is nil if the recording didn't finish.
	End *event.End
	// Events is how many lifecycle events were read, TaskEvents how many of tasks
	// that came and went.
	Events, TaskEvents uint64
	// Lost is how many records are known to be missing, of any ring and from the
	// file. LostMore says that there are more, and nobody knows how many.
	Lost     uint64
	LostMore bool
	// Ledger is the last one of the recording, nil if there is none.
	Ledger *event.Ledger
	Losses []event.Loss
	Damage []event.Damage

	// Opening and Closing say whether there was such a snapshot.
	Opening, Closing bool
	// SnapshotErrors is what the snapshots couldn't look at.
	SnapshotErrors []string
	// Unseen is which kinds of holder of a namespace the snapshots couldn't see.
	Unseen []string

	// Namespaces are in order of appearance, the initial one first.
	Namespaces []*Netns
	Devices    []*Device
	// Wiphys are in order of their index.
	Wiphys []*Wiphy
	// Moves are in order of the time they were asked for.
	Moves  []*Move
	Pernet []*Pernet
	// Subsystems are those that were told of in steps, in order of appearance.
	Subsystems []*Subsystem
	// Requests are those for new namespaces that had not been answered at the
	// end, or whose answer is missing, Refusals those that failed before a
	// namespace was set up.
	Requests []*Request
	Refusals []*Refusal
	// Asks are the requests over nl80211 and rtnetlink in order of time, AskFolds
	// counts those that there were too many of.
	Asks     []*Ask
	AskFolds []AskFold
	// Wdevs are the wireless interfaces without a netdev.
	Wdevs   []*Wdev
	Vifs    []*Vif
	Renames []*Rename
	// Folds count the ordinary lives that are in none of these lists.
	Folds    []Fold
	Delivery []*Delivery
	Drops    []*Drop

	// NsidRefusals are requests for numbers that failed, the last thousand.
	NsidRefusals []*NsidRefusal

	// Verdict is what the recording may have missed, worst first.
	Verdict []Statement
	// Unknown is what the kernel couldn't tell about its own losses.
	Unknown []string
	// Findings are worst first.
	Findings []Finding
	Audit    Audit
}

// Origin says how a life came to be known.
type Origin string

// The origins.
const (
	// Created: its birth is in the recording.
	Created Origin = "created"
	// Preexisting: the opening snapshot has it.
	Preexisting Origin = "preexisting"
	// Inferred: something was said of it, but neither its birth nor the opening
	// snapshot is there to tell where it came from.
	Inferred Origin = "inferred"
)

// Netns is the life of one network namespace.
type Netns struct {
	// ID is unique in the model and stable for a recording: "ns1".
	ID string
	// Ptr is the address of its struct net, 0 if never seen.
	Ptr uint64
	// Cookie and Inum are 0 if never seen.
	Cookie  uint64
	Inum    uint32
	Initial bool
	Origin  Origin
	// OwnerUserNS is the inum of the owning user namespace, 0 if unknown.
	OwnerUserNS uint32
	Names       []Name

	// Birth is nil unless the namespace was created during the recording.
	Birth *Birth
	// Put is nil unless the last reference was seen to go.
	Put *Deed
	// CleanupAt is when the batch that cleaned it up began, 0 if unknown, and
	// Cleanup that batch, nil if unknown.
	CleanupAt uint64
	Cleanup   *Cleanup
	// Ended is when its clean-up was complete, 0 if it wasn't. With EndInferred
	// it is only known to be gone by then.
	Ended       uint64
	EndInferred bool

	// Stays are the netdevs that were in it, in order of arrival.
	Stays      []*Stay
	WiphyStays []*WiphyStay
	// TaskStays are the processes that were in it, in order of arrival: all that
	// are at the end, and of those that left the first and the last. Of the
	// initial namespace there are none.
	TaskStays []*TaskStay
	TasksGone TasksGone
	// Nsids are the numbers by which it knows others, in order of their coming:
	// all it has at the end, and of those that are no more the last.
	// NsidsOmitted is how many there were before.
	Nsids        []*Nsid
	NsidsOmitted uint64
	Sysctls      SysctlWrites
	Delivery     []*Delivery
	// Silences are in order of time for each interface.
	Silences []*Silence
	Drops    []*Drop
	// Holders are some of those that Held counts, References what the kernel
	// counts, 0 if unknown, and NSIDs the numbers by which it knows others: of
	// the closing snapshot, or else the opening one.
	Holders    []event.Holder
	Held       event.HoldCounts
	References uint32
	NSIDs      []event.NSID
	InClosing  bool // the closing snapshot has it
	label      string
	firstSeen  uint64
	folded     int // lives before it that were folded
	inSetup    bool
	setupTID   uint32
	into       *Netns
	devs       map[int32]*Device
	tasks      map[uint32]string
	inside     map[taskKey]*TaskStay
	occupied   bool // some task was in it
	// unlisted says that the opening snapshot did not list all that were in it.
	unlisted bool
	nsids    nsids
	// looked says that the opening snapshot could look into it.
	looked bool
}

// Dying reports whether its last reference is gone but it isn't.
func (n *Netns) Dying() bool { return n.Put != nil && n.Ended == 0 }

// Alive reports whether it was there, and not dying, at the end.
func (n *Netns) Alive() bool { return n.Put == nil && n.Ended == 0 }

// Failed reports whether its creation failed: then it never was.
func (n *Netns) Failed() bool { return n.Birth != nil && n.Birth.Errno != 0 }

// Tasks are the processes (tgid → comm) that were seen running in it.
func (n *Netns) Tasks() map[uint32]string { return n.tasks }

// Deed is something a process did.
type Deed struct {
	At   uint64
	PID  uint32
	Comm string
}

// Birth is how a life began.
type Birth struct {
	Deed
	// Setup is how long it took in nanoseconds (setup_net), 0 if unknown.
	Setup uint64
	// Errno is the error of a creation that failed.
	Errno uint32
	// Inferred says that At is when it was complete, its beginning unknown.
	Inferred bool
	// Asked is when a namespace was asked for (copy_net_ns), 0 if unknown: from
	// then until At it was allocated, and waited for pernet_ops_rwsem. Behind is
	// who had that meanwhile, if the wait was worth asking.
	Asked  uint64
	Behind *Behind
	// Steps is what each subsystem took of the set-up, nil if unknown.
	Steps *Steps
	// Caller is the namespace it was asked for from, nil if unknown.
	Caller *Netns
}

// Name is one name of a namespace for some time.
type Name struct {
	Name, Path string
	// From is 0 if it had the name before the recording, Until 0 if it still has
	// it at the end.
	From, Until uint64
	// Late says that only the closing snapshot has it: nobody saw it come.
	Late bool
}

// Arrival says how something came into a namespace.
type Arrival string

// The arrivals.
const (
	ArrivedPreexisting Arrival = "preexisting"
	ArrivedCreated     Arrival = "created"
	ArrivedMoved       Arrival = "moved"
)

// Departure says how something left a namespace, "" if it didn't.
type Departure string

// The departures.
const (
	LeftRemoved Departure = "removed"
	LeftMoved   Departure = "moved"
)

// Device is the life of one netdev.
type Device struct {
	Ptr    uint64
	Origin Origin
	// Name is its latest name.
	Name string
	// Kind is rtnl_link_ops.kind, "" if it has none or it is unknown.
	Kind string
	// DevType is an ARPHRD_* number, Iftype an enum nl80211_iftype, 0 if unknown.
	DevType, Iftype uint32
	// Wiphy is its radio, nil if it isn't wireless.
	Wiphy *Wiphy
	// Birth is nil unless it was created during the recording.
	Birth *Birth
	Stays []*Stay
	// Ended is when it was unregistered, 0 if it wasn't; EndedBy is who did it,
	// nil if it wasn't seen.
	Ended   uint64
	EndedBy *Deed
	// Peer is the other end of a pair (veth), nil if it has none or it is unknown.
	Peer *Device
}

// At returns the stay the device is in at the end, nil if it is gone.
func (d *Device) At() *Stay {
	if len(d.Stays) == 0 || d.Stays[len(d.Stays)-1].Left != "" {
		return nil
	}
	return d.Stays[len(d.Stays)-1]
}

// Stay is a netdev's time in one namespace.
type Stay struct {
	Device *Device
	Netns  *Netns
	// Ifindex is its number there, 0 if unknown.
	Ifindex int32
	// Names are all it had there, the latest last.
	Names []string
	// From is 0 if it was there before the recording, Until 0 if it is there at
	// the end.
	From, Until uint64
	Arrived     Arrival
	Left        Departure
	// Inferred says that the arrival itself wasn't seen, EndInferred that the
	// departure wasn't: From or Until is then when it was noticed.
	Inferred, EndInferred bool

	// rxIn and rxOut are the kernel's receive counters on arrival and departure.
	rxIn, rxOut counter
}

// Name returns its latest name there.
func (s *Stay) Name() string {
	if len(s.Names) == 0 {
		return ""
	}
	return s.Names[len(s.Names)-1]
}

// counter is a reading of a netdev's receive counters.
type counter struct {
	known          bool
	packets, bytes uint64
}

// Wiphy is the life of one radio.
type Wiphy struct {
	// Index is cfg80211's, -1 if never seen.
	Index  int32
	Ptr    uint64
	Origin Origin
	// Name is its latest name, Names all it had.
	Name  string
	Names []string
	// BornIn is where it was registered, nil if that is not in the recording.
	BornIn *Netns
	Birth  *Birth
	Stays  []*WiphyStay
	// Driver is the name of its driver, "" if unknown; CanSwitch says whether that
	// lets it move, nil if unknown.
	Driver    string
	CanSwitch *bool
	// Ended is when it was unregistered (wiphy_unregister), 0 if it wasn't.
	Ended uint64
	// EndedBy is who unregistered it; DiedWith is the namespace whose clean-up
	// did, nil if it was something else.
	EndedBy  *Deed
	DiedWith *Netns
	// Freed is when its memory went (cfg80211_dev_free), 0 if it didn't.
	Freed uint64
}

// At returns the stay the wiphy is in at the end, nil if it is gone.
func (w *Wiphy) At() *WiphyStay {
	if len(w.Stays) == 0 || w.Stays[len(w.Stays)-1].Left != "" {
		return nil
	}
	return w.Stays[len(w.Stays)-1]
}

// WiphyStay is a radio's time in one namespace.
type WiphyStay struct {
	Wiphy *Wiphy
	Netns *Netns
	// From is 0 if it was there before the recording, Until 0 if it is there at
	// the end.
	From, Until           uint64
	Arrived               Arrival
	Left                  Departure
	Inferred, EndInferred bool
}

// Vif is one run of ieee80211_if_add.
type Vif struct {
	Deed
	Wiphy *Wiphy
	// Device is nil if it has no netdev or if it failed; Wdev is set instead, nil
	// in recordings that don't tell.
	Device *Device
	Wdev   *Wdev
	// Asked is the request for it, nil if unknown.
	Asked *Ask
	Name  string
	// Netns is where it landed, Caller where it was asked for from.
	Netns, Caller *Netns
	Iftype        uint32
	Errno         uint32
	// Removed is when one without a netdev was removed on request, nil if it
	// wasn't. The others end with their Device.
	Removed *Deed
}

// Rename is one run of dev_change_name or cfg80211_dev_rename.
type Rename struct {
	Deed
	// Wiphy is set for a radio, Device for a netdev.
	Wiphy  *Wiphy
	Device *Device
	// Netns is where it was, nil if unknown.
	Netns    *Netns
	Old, New string
	Errno    uint32
	// Asked is the request for it, nil if unknown.
	Asked *Ask
}

// Cause says why something moved.
type Cause string

// The causes.
const (
	CauseRequest Cause = "request"
	CauseDeath   Cause = "namespace-death"
	CauseCarried Cause = "carried-by-wiphy"
)

// Result says how a call ended.
type Result string

// The results.
const (
	ResultOK     Result = "ok"
	ResultFailed Result = "failed"
	// ResultUndone: the kernel said that it succeeded, and had taken it back.
	ResultUndone Result = "undone"
	// ResultRunning: it had not returned when the recording ended.
	ResultRunning Result = "running"
	// ResultUnknown: it returned, but the event that says how is missing.
	ResultUnknown Result = "unknown"
)

// Move is one attempt to bring a radio or a netdev to another namespace.
type Move struct {
	Deed // when it was asked for, by whom
	// Done is when it was complete, 0 if it wasn't.
	Done uint64
	// Wiphy is set for a radio's move, Device for a netdev's.
	Wiphy  *Wiphy
	Device *Device
	// Name is what it was called before, NewName afterwards, "" if unknown.
	Name, NewName       string
	Ifindex, NewIfindex int32
	// From and To may be nil if unknown, and are the same in a move that was
	// none.
	From, To *Netns
	Result   Result
	Errno    uint32
	Cause    Cause
	// Carrier is the move of the radio that carried this one, nil if none (or
	// its event is missing). Carried are those that went along.
	Carrier *Move
	Carried []*Move
	// Asked is the request for it, nil if it had another cause or is unknown.
	Asked *Ask
	// Rollback says that it undoes an earlier one, because its radio couldn't
	// go.
	Rollback bool
	// nameHolder and indexHolder had the old name and number in To already.
	nameHolder, indexHolder *Device
	tid                     uint32
}

// OK reports whether it succeeded and went elsewhere.
func (m *Move) OK() bool { return m.Result == ResultOK && m.From != m.To }

// Pernet is one registration or unregistration of pernet operations.
type Pernet struct {
	// At is when it held pernet_ops_rwsem and began, or if it never did, when it
	// was asked for.
	Deed
	// Asked is when it was asked for, 0 if unknown: until At it waited for
	// pernet_ops_rwsem. Waiting says that it still did at the end.
	Asked   uint64
	Waiting bool
	// Behind is who had it meanwhile, nil if unknown.
	Behind *Behind
	// Register is false for an unregistration.
	Register bool
	Done     uint64
	Result   Result
	Errno    uint32
	// Ops, Fn and Module are names, "" if unknown. BuiltIn says that the code is
	// in the kernel itself. Fn is the subsystem's init (or else its exit).
	Ops, Fn, Module string
	BuiltIn         bool
	OpsAddr, FnAddr uint64
	// Namespaces is how many were visited, nil if unknown.
	Namespaces *uint64
}

// Delivery is what one path delivered to one interface in one namespace.
type Delivery struct {
	Netns   *Netns
	Device  *Device
	Ifindex int32
	Path    event.Path
	// Packets and Bytes are what the stack got: with a stay's other paths, all that
	// came into the namespace by the interface. Where its entrance isn't probed,
	// those that Undelivered would have are among them.
	Packets, Bytes uint64
	// Merged is how many of the packets GRO had made part of others, so that their
	// headers may be missing from Bytes.
	Merged uint64
	// Undelivered is what mac80211 received for the interface that the stack didn't
	// get, nil if that is unknown.
	Undelivered *Undelivered
	// Ethertypes has the packets by ethertype, the most frequent first; nil if they
	// weren't counted by it.
	Ethertypes []Ethertype
	// First and Last are the times of its first and last packet, 0 if unknown.
	First, Last uint64
	// RxPackets and RxBytes are the kernel's own count for that interface over
	// the same time and for all paths together, nil if unknown.
	RxPackets, RxBytes *uint64
	// Rates is nil if nothing is known of when the packets came.
	Rates *Rates
}

// Received is how many packets of the row the kernel counts in rx_packets.
func (d *Delivery) Received() uint64 {
	if !d.Path.Received() {
		return 0
	}
	return d.Packets + d.Undelivered.Sum()
}

// Undelivered is what was received and went past the stack.
type Undelivered struct {
	// Relayed were for other stations of the same access point, which got them from
	// mac80211. RelayedBytes is nil if that is unknown because of GRO.
	Relayed      uint64
	RelayedBytes *uint64
	// Control went to whoever runs the authentication, by nl80211.
	Control, ControlBytes uint64
}

// Sum is how many packets that are, 0 if unknown.
func (u *Undelivered) Sum() uint64 {
	if u == nil {
		return 0
	}
	return u.Relayed + u.Control
}

// Ethertype is how many packets were of one protocol: its number as in
// linux/if_ether.h, 4 for frames that have a length instead, 0 for those of which
// there were too many others.
type Ethertype struct {
	Protocol       uint16
	Packets, Bytes uint64
}

// Drop is what the stack dropped of what it got by an interface in a namespace.
type Drop struct {
	Netns   *Netns
	Device  *Device
	Ifindex int32
	// Reason is a name of enum skb_drop_reason, or if Function is set of the function
	// that dropped the packets, where the kernel gives no reason; "" if unknown.
	Reason   string
	Function bool
	// Packets are those that were delivered, but for fragments: put together, they are
	// one, as long as all of them behind the header of the first.
	Packets, Bytes uint64
	First, Last    uint64

	where uint64
}

// Severity ranks findings.
type Severity string

// The severities, worst first.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
	Info    Severity = "info"
)

// Statement is one line of the verdict on the recording itself. Its text is
// escaped.
type Statement struct {
	Severity Severity
	// Rule is that of the finding which says the same.
	Rule string
	Text string
	// At is 0 if it has no time.
	At uint64
}

// Finding is something the user will want to know. Subject, Text and Advice
// have been escaped.
type Finding struct {
	Rule     string
	Severity Severity
	Subject  string
	Text     string
	// Advice is what to do: the command to type where there is one, "" if there
	// is nothing to do.
	Advice string
	At     uint64
	// About are the namespaces it concerns.
	About []*Netns

	times uint64 // that it happened
}

// Audit compares what was reconstructed with the closing snapshot.
type Audit struct {
	// Compared counts namespaces, names, links and wiphys.
	Compared    int
	Differences []Difference
	// Unverified lists namespaces that should be there and that no snapshot
	// could have seen, because neither a task nor a mount keeps them.
	Unverified []*Netns
	// Note says why nothing was compared, or what may explain differences.
	Note string
}

// Difference is one thing the reconstruction has wrong. Its texts are escaped.
type Difference struct {
	What, Expected, Reconstructed string
}
