// SPDX-License-Identifier: Apache-2.0

package event

import "strings"

// Status says what became of a probe.
type Status string

// The statuses of a probe.
const (
	// StatusAttached: it is (or was until the end) attached.
	StatusAttached Status = "attached"
	// StatusAbsent: this kernel has no such function; nothing was tried.
	StatusAbsent Status = "absent"
	// StatusFailed: the kernel refused it.
	StatusFailed Status = "failed"
)

// Ledger is what a recording may have missed, as far as the kernel tells. The
// last one in a file holds the totals.
type Ledger struct {
	Time   uint64        `json:"time_ns"`
	Probes []ProbeLedger `json:"probes"`
	Rings  []RingLedger  `json:"rings"`
	// CallsDropped counts function entries that could not be remembered because
	// the table of running calls was full: their exits have no start.
	CallsDropped uint64 `json:"calls_dropped"`
	// FlowsDropped counts packets that were delivered but not counted because
	// the table of flows was full.
	FlowsDropped uint64 `json:"flows_dropped"`
	// Undecoded counts records that arrived but made no sense.
	Undecoded uint64 `json:"undecoded"`
	// Unwritten counts records that arrived but could not be written, and
	// UnwrittenFrom is a time before which none of them was; 0 if none is known.
	Unwritten     uint64 `json:"unwritten"`
	UnwrittenFrom uint64 `json:"unwritten_from_ns,omitempty"`
	// Problems are what else kept the recording from seeing everything, such as a
	// privilege that the recorder didn't have.
	Problems []Problem `json:"problems,omitempty"`
}

// Problem is one thing that went wrong with a recording.
type Problem struct {
	// What says what it was, and what the recording lacks for it.
	What string `json:"what"`
	// Remedy says what to do about it, "" if nothing is known to help.
	Remedy string `json:"remedy,omitempty"`
}

// ProbeLedger is one probe's account.
type ProbeLedger struct {
	// Name is the probe's, Function the kernel function that served it ("" if
	// none), Module where that lives ("" for the kernel itself).
	Name     string `json:"name"`
	Function string `json:"function,omitempty"`
	Module   string `json:"module,omitempty"`
	// Hook is "fentry" (with fexit), "kprobe" (with kretprobe), "tracepoint",
	// "cgroup" (a program attached to the root of the cgroup hierarchy) or "" if none.
	Hook   string `json:"hook"`
	Status Status `json:"status"`
	// Reason says why this hook, or why none, with the kernel's error.
	Reason string `json:"reason,omitempty"`
	// Loses says what a report lacks when the probe isn't attached.
	Loses string `json:"loses,omitempty"`
	// Needs is the module whose functions the probe is for, "" for the kernel
	// itself. ModuleGone is when that module was found to be unloaded, so that
	// the probe saw nothing from then on; ModuleCame when one was found that
	// wasn't there in the beginning and isn't probed. 0 if never.
	Needs      string `json:"needs,omitempty"`
	ModuleGone uint64 `json:"module_gone_ns,omitempty"`
	ModuleCame uint64 `json:"module_came_ns,omitempty"`
	// Since is from when on it was attached, 0 for the beginning: the module was
	// loaded while recording.
	Since uint64 `json:"since_ns,omitempty"`
	// Hits counts how often its programs ran.
	Hits uint64 `json:"hits"`
	// Lost counts its records that found no space in their ring.
	Lost uint64 `json:"lost"`
	// Missed counts calls that the kernel let pass without running the program at
	// their entry, and those at their return; null where the kernel doesn't tell.
	// Where it tells only of entries, the others are ReturnsMissed.
	Missed *uint64 `json:"missed"`
	// Returns counts the returns it saw of calls whose entry it had seen, null
	// if it looks at entries only. With ReturnsMissed, CallsDropped and Open they
	// make its hits.
	Returns *uint64 `json:"returns"`
	// ReturnsMissed counts returns it should have seen: when those calls ended,
	// and how, is unknown. Null if it can't be told, or if Returns is.
	ReturnsMissed *uint64 `json:"returns_missed"`
	// CallsDropped is the probe's share of [Ledger.CallsDropped].
	CallsDropped uint64 `json:"calls_dropped,omitempty"`
	// Open counts calls that hadn't returned yet.
	Open uint64 `json:"open,omitempty"`
	// Strays counts returns without an entry: the call began before the
	// recording, or its entry was missed or could not be remembered.
	Strays uint64 `json:"strays,omitempty"`
}

// Cause is the reason but for the function's name: the same for all probes that
// the same thing keeps from being attached.
func (p *ProbeLedger) Cause() string {
	if p.Function == "" {
		return p.Reason
	}
	return strings.ReplaceAll(p.Reason, p.Function, "…")
}

// RingLedger is one ring's account: Received + Lost is what the kernel sent.
type RingLedger struct {
	// Name is "lifecycle", "tasks" or "packets"; or "steps" for records of
	// [Step]s, which are in the lifecycle ring but counted by themselves.
	Name string `json:"name"`
	// Size is in bytes.
	Size     uint64 `json:"size"`
	Received uint64 `json:"received"`
	// Lost is what sequence numbers prove missing.
	Lost uint64 `json:"lost"`
}

// Loss is a gap in one CPU's sequence numbers of one ring.
type Loss struct {
	Ring string `json:"ring"`
	CPU  uint32 `json:"cpu"`
	// From and To are the times of the records before and after the gap; From
	// is 0 if the gap is at the very beginning.
	From  uint64 `json:"from_ns"`
	To    uint64 `json:"to_ns"`
	Count uint64 `json:"count"`
}
