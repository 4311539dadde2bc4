// SPDX-License-Identifier: Apache-2.0

package analyze

import "github.com/nstrace/nstrace/event"

// call is a traced function that a thread is running: an enter waiting for its
// exit.
type call struct {
	kind  event.Kind
	since uint64
	pid   uint32
	comm  string
	// One of these may be what the call is about.
	move    *Move
	pernet  *Pernet
	cleanup *Cleanup
	request *Request
	netns   uint64 // its address
}

// call keeps the calls of a kind that needs nothing but to be known as running.
// On enter and exit it returns the call.
func (a *Analyzer) call(e *event.Event) *call {
	switch e.Phase {
	case event.PhaseEnter:
		return a.enter(e)
	case event.PhaseExit:
		return a.leave(e)
	}
	return nil
}

// enter notes that a function was entered.
func (a *Analyzer) enter(e *event.Event) *call {
	if c := a.leave(e); c != nil { // entered again: the exit before is missing
		a.exitLost(c, e.Time)
	}
	c := &call{kind: e.Kind, since: e.Time, pid: e.PID, comm: e.Comm}
	a.calls[e.TID] = append(a.calls[e.TID], c)
	return c
}

// leave takes the running call of e's kind and thread off the list, nil if its
// enter was not seen. A thread runs one call of a kind at a time.
func (a *Analyzer) leave(e *event.Event) *call { return a.take(e.TID, e.Kind) }

// take takes the call of kind k that thread tid is in off the list.
func (a *Analyzer) take(tid uint32, k event.Kind) *call {
	running := a.calls[tid]
	for i, c := range running {
		if c.kind != k {
			continue
		}
		if len(running) == 1 {
			delete(a.calls, tid)
		} else {
			a.calls[tid] = append(running[:i:i], running[i+1:]...)
		}
		return c
	}
	return nil
}

// running returns the call of kind k that thread tid is in.
func (a *Analyzer) running(tid uint32, k event.Kind) *call {
	for _, c := range a.calls[tid] {
		if c.kind == k {
			return c
		}
	}
	return nil
}

// nests are the kinds that Event.Within can tell of.
var nests = map[event.Kind]bool{
	event.KindCleanupNet: true, event.KindWiphySwitch: true, event.KindSetupNet: true,
}

// strayCalls drops the calls which e proves to be over: the same thread is
// doing something else and not within them. Their exits were lost.
func (a *Analyzer) strayCalls(e *event.Event) {
	running := a.calls[e.TID]
	if len(running) == 0 {
		return
	}
	var kept []*call
	for _, c := range running {
		if c.kind == e.Kind || !c.over(e) {
			kept = append(kept, c)
			continue
		}
		a.exitLost(c, e.Time)
	}
	if len(kept) == 0 {
		delete(a.calls, e.TID)
		return
	}
	a.calls[e.TID] = kept
}

// over reports whether e proves that c, of the same thread, has returned.
func (c *call) over(e *event.Event) bool {
	if e.Kind == event.KindPutNet {
		return false // perhaps an interrupt: RCU lets go of what a closed socket held
	}
	switch c.kind {
	case event.KindCopyNet: // it sets a namespace up and does nothing else
		return e.Kind != event.KindSetupNet && !event.KindSetupNet.In(e.Within)
	case event.KindPernetRequest:
		return e.Kind != event.KindRegisterPernet && e.Kind != event.KindUnregisterPernet
	}
	return nests[c.kind] && !c.kind.In(e.Within)
}

// exitLost is told of a call that returned unseen before t.
func (a *Analyzer) exitLost(c *call, t uint64) {
	switch {
	case c.move != nil && c.move.Result == ResultRunning:
		c.move.Result = ResultUnknown
		a.settle(c.move, t)
	case c.pernet != nil:
		c.pernet.Result, c.pernet.Waiting = ResultUnknown, false
	case c.request != nil:
		a.unanswered(c.request, ResultUnknown)
	}
}
