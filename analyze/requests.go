// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/nstrace/nstrace/event"
)

// Request is a call for a new namespace (copy_net_ns) that was not seen to be
// answered.
type Request struct {
	Deed
	// Caller is the namespace it was made from, nil if unknown.
	Caller *Netns
	// UserNS is the inum of the user namespace that was to own the new one, 0 if
	// unknown.
	UserNS uint32
	// Result is ResultRunning or ResultUnknown.
	Result Result

	made *Netns // what is being set up for it
}

// Refusal is requests for new namespaces that failed alike before anything was
// set up.
type Refusal struct {
	// The first of them.
	Deed
	Caller *Netns
	UserNS uint32
	Errno  uint32
	// Count is how many there were, Last when the last one was made, and Longest
	// how long the longest took to be refused, in nanoseconds.
	Count, Last, Longest uint64
}

type refusalKey struct {
	comm          string
	caller        *Netns
	userNS, errno uint32
}

// maxAnswers bounds the lists of refusals and of unanswered requests: whoever
// makes them can make them endlessly. Beyond it refusals go by their error alone.
const maxAnswers = 1000

// waits is what is known of pernet_ops_rwsem.
type waits struct {
	refusals map[refusalKey]*Refusal
	// writers and setUps are the latest that may have had it.
	writers []*Pernet
	setUps  []*Netns
	failed  *Netns // the latest set-up that failed
}

// copyNet: a task asks for a namespace.
func (a *Analyzer) copyNet(e *event.Event) {
	if e.Phase == event.PhaseEnter {
		a.enter(e).request = &Request{
			Deed: deed(e), Caller: a.netns(e.Caller, e.Time), UserNS: e.UserNS, Result: ResultRunning,
		}
		return
	}
	var made *Netns
	if c := a.leave(e); c != nil {
		made = c.request.made.canon()
	}
	switch {
	case e.Ret == 0:
		a.answered(e, made)
	case made == nil:
		if f := a.waits.failed; f == nil || f.setupTID != e.TID || e.Start == 0 || f.Birth.At < e.Start {
			a.refused(e)
		}
	case made.Ended == 0:
		made.Birth.Errno = e.Ret // the end of its set-up is missing
		a.endNetns(made, e.Time)
	}
}

// answered: a request was granted. Its set-up was seen, unless that is missing.
func (a *Analyzer) answered(e *event.Event, made *Netns) {
	n := a.netns(e.Net, e.Time)
	if n == nil {
		n = made
	}
	if n == nil {
		a.odd++
		return
	}
	if n.Birth == nil && !n.Initial && e.Start != 0 && n.firstSeen >= e.Start {
		a.setBirth(n, e, 0)
	}
	n.inSetup = false
	n.asked(e.Start, e.UserNS)
}

// asked notes the request that made n.
func (n *Netns) asked(at uint64, userNS uint32) {
	if n.Birth != nil && n.Birth.Asked == 0 {
		n.Birth.Asked = at
	}
	if n.OwnerUserNS == 0 {
		n.OwnerUserNS = userNS
	}
}

// granted: the set-up of n has begun, so whoever asked for it waits no more.
func (a *Analyzer) granted(n *Netns, e *event.Event) {
	at := uint64(0)
	if e.Phase == event.PhaseEnter {
		at = e.Arg
	}
	if c := a.running(e.TID, event.KindCopyNet); c != nil {
		c.request.made = n
		n.asked(c.since, c.request.UserNS)
	}
	n.asked(at, 0)
	if b := n.Birth; b.Behind == nil && b.Wait() >= noticeable {
		b.Behind = a.behind(b.Asked, b.At)
	}
}

// Wait is how long it took from the request to the set-up, in nanoseconds: the
// allocation and the wait for pernet_ops_rwsem. It is 0 if unknown.
func (b *Birth) Wait() uint64 {
	if b.Asked == 0 || b.Inferred {
		return 0
	}
	return sub(b.At, b.Asked)
}

// refused: a request failed before the set-up.
func (a *Analyzer) refused(e *event.Event) {
	d := deed(e)
	if e.Start != 0 {
		d.At = e.Start
	}
	r := &Refusal{Deed: d, Caller: a.netns(e.Caller, e.Time), UserNS: e.UserNS, Errno: e.Ret}
	key := refusalKey{r.Comm, r.Caller, r.UserNS, r.Errno}
	if a.waits.refusals[key] == nil && len(a.waits.refusals) >= maxAnswers {
		r.PID, r.Comm, r.Caller, r.UserNS = 0, "", nil, 0
		key = refusalKey{errno: r.Errno}
	}
	known := a.waits.refusals[key]
	if known == nil {
		known = r
		a.waits.refusals[key] = r
		a.m.Refusals = append(a.m.Refusals, r)
	}
	known.Count++
	known.Last = d.At
	known.Longest = max(known.Longest, sub(e.Time, d.At))
}

// unanswered keeps a request whose answer wasn't seen.
func (a *Analyzer) unanswered(r *Request, result Result) {
	if r.made == nil && len(a.m.Requests) < maxAnswers {
		r.Result = result
		a.m.Requests = append(a.m.Requests, r)
	}
}

// finishRequests takes those that are still waiting.
func (a *Analyzer) finishRequests() {
	for _, running := range a.calls {
		for _, c := range running {
			if c.request != nil {
				a.unanswered(c.request, ResultRunning)
			}
		}
	}
	for _, r := range a.m.Requests {
		r.Caller = r.Caller.listed()
	}
	slices.SortFunc(a.m.Requests, func(x, y *Request) int { return cmp.Or(cmp.Compare(x.At, y.At), cmp.Compare(x.PID, y.PID)) })
	for _, r := range a.m.Refusals {
		r.Caller = r.Caller.listed()
	}
}

// listed is the life that n turned out to be, nil if it was folded.
func (n *Netns) listed() *Netns {
	if n = n.canon(); n == nil || n.label == "" {
		return nil
	}
	return n
}

// noticeable is how long a wait must be, in nanoseconds, for it to be asked who
// caused it.
const noticeable = 10_000_000

// Behind is who had pernet_ops_rwsem while somebody waited for it. Those who
// register pernet operations want it alone; set-ups and clean-ups share it, and
// keep out only those. But once one of those waits, it lets nobody else in.
type Behind struct {
	// Writers registered or unregistered pernet operations, or waited to.
	Writers []*Pernet
	// Cleanups and SetUps shared it when a writer wanted it.
	Cleanups []*Cleanup
	SetUps   []*Netns
}

// behind says who was in the way of a task that wanted to create a namespace
// from one time to another.
func (a *Analyzer) behind(from, until uint64) *Behind {
	b := &Behind{}
	first, last := until, from
	for _, p := range a.waits.writers {
		since := cmp.Or(p.Asked, p.At)
		if since >= until || p.Done != 0 && p.Done <= from || p.Result == ResultUnknown {
			continue
		}
		b.Writers = append(b.Writers, p)
		held := p.At
		if p.Waiting {
			held = until
		}
		first, last = min(first, since), max(last, held)
	}
	if len(b.Writers) == 0 {
		return nil
	}
	a.sharers(b, first, last)
	return b
}

// sharers adds those who shared the lock between two times.
func (a *Analyzer) sharers(b *Behind, from, until uint64) {
	for _, c := range a.cleanups.recent {
		if c.At < until && (c.Done == 0 || c.Done > from) && sub(cmp.Or(c.Done, until), c.At) >= noticeable {
			b.Cleanups = append(b.Cleanups, c)
		}
	}
	for _, n := range a.waits.setUps {
		end := n.Birth.At + n.Birth.Setup
		if n.inSetup {
			end = until
		}
		if n.Birth.At < until && end > from && sub(end, n.Birth.At) >= noticeable {
			b.SetUps = append(b.SetUps, n)
		}
	}
}

// behindWriter says who was in the way of one who wanted to register pernet
// operations.
func (a *Analyzer) behindWriter(p *Pernet, until uint64) *Behind {
	b := &Behind{}
	for _, w := range a.waits.writers {
		if w != p && w.At < until && !w.Waiting && (w.Done == 0 || w.Done > p.Asked) && w.Result != ResultUnknown {
			b.Writers = append(b.Writers, w)
		}
	}
	a.sharers(b, p.Asked, until)
	if len(b.Writers)+len(b.Cleanups)+len(b.SetUps) == 0 {
		return nil
	}
	return b
}

// maxBehind is how many of each are named.
const maxBehind = 3

// Blockers tells who had the lock, each in a clause, escaped.
func (m *Model) Blockers(b *Behind) []string {
	if b == nil {
		return nil
	}
	var out []string
	add := func(n int, clause func(int) string, more string) {
		for i := range min(n, maxBehind) {
			out = append(out, clause(i))
		}
		if n > maxBehind {
			out = append(out, plural(uint64(n-maxBehind), more))
		}
	}
	add(len(b.Writers), func(i int) string { return m.writer(b.Writers[i]) }, "more that changed pernet operation")
	add(len(b.Cleanups), func(i int) string {
		c := b.Cleanups[i]
		if c.Done == 0 {
			return fmt.Sprintf("%s, which had been cleaning up dying namespaces since %s", c.Who(), m.Since(c.At))
		}
		return fmt.Sprintf("%s, which took %s to clean up dying namespaces", c.Who(), Span(sub(c.Done, c.At)))
	}, "more clean-up")
	add(len(b.SetUps), func(i int) string {
		n := b.SetUps[i].canon()
		if n.inSetup {
			return fmt.Sprintf("%s, which had been setting up a namespace since %s", n.Birth.Who(), m.Since(n.Birth.At))
		}
		return fmt.Sprintf("%s, which took %s to set up a namespace", n.Birth.Who(), Span(n.Birth.Setup))
	}, "more set-up")
	return out
}

// writer tells what one did that wanted the lock alone.
func (m *Model) writer(p *Pernet) string {
	switch {
	case p.Waiting:
		return fmt.Sprintf("%s, which waited since %s %s", p.Who(), m.Since(p.At), p.intent())
	case p.Done == 0:
		return fmt.Sprintf("%s, which had been %s since %s", p.Who(), p.action(), m.Since(p.At))
	case sub(p.At, p.Asked) >= noticeable && p.Asked != 0:
		return fmt.Sprintf("%s, which waited %s for it itself and then took %s %s", p.Who(), Span(sub(p.At, p.Asked)), Span(sub(p.Done, p.At)), p.intent())
	}
	return fmt.Sprintf("%s, which took %s %s", p.Who(), Span(sub(p.Done, p.At)), p.intent())
}
