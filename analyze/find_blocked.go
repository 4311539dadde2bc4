// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nstrace/nstrace/event"
)

// The rules here are about pernet_ops_rwsem: who waited for it, who had it, and
// what it was wanted for.

// mayBeOver is said of what was going on at the end, where events are missing.
const mayBeOver = " (Events are missing: its end may be among them.)"

// missing reports whether the end of a call may just not have been seen.
func (a *Analyzer) missing() bool {
	if a.m.Lost != 0 || len(a.m.Damage) != 0 {
		return true
	}
	return a.m.Ledger != nil && slices.ContainsFunc(a.m.Ledger.Probes, func(p event.ProbeLedger) bool { return p.Missed != nil && *p.Missed != 0 })
}

// unless lowers what is said of a call that wasn't over, if it may have been.
func (a *Analyzer) unless(f Finding) Finding {
	if a.missing() {
		f.Severity, f.Text = Warning, f.Text+mayBeOver
	}
	return f
}

// findStuck: cleanup_net had not returned for long.
func (a *Analyzer) findStuck() {
	for _, tid := range slices.Sorted(maps.Keys(a.calls)) {
		for _, c := range a.calls[tid] {
			if c.kind != event.KindCleanupNet || sub(a.horizon(), c.since) < slow {
				continue
			}
			text := fmt.Sprintf("the clean-up of dying namespaces that began at %s in %s had not finished %s later. It holds pernet_ops_rwsem: a module that registers pernet operations waits for it, and then everybody who creates a namespace.",
				a.m.Since(c.since), Task(c.pid, c.comm), Span(sub(a.horizon(), c.since)))
			if dying := a.inCleanup(c.cleanup); len(dying) != 0 {
				text += fmt.Sprintf(" It is to tear down %s.", list(dying))
			}
			if waiting := a.waiting(); len(waiting) != 0 {
				text += " Waiting: " + list(waiting) + "."
			}
			a.find(a.unless(Finding{
				Rule: "cleanup-slow", Severity: Error, Subject: "cleanup_net", At: c.since, Text: text,
				Advice: fmt.Sprintf("cat /proc/%d/stack; dmesg | grep 'to become free'", tid),
			}))
		}
	}
}

// inCleanup names the namespaces that a running batch must have taken: those that
// had been put and are not gone.
func (a *Analyzer) inCleanup(c *Cleanup) []string {
	var out []string
	more := uint64(0)
	for _, n := range a.m.Namespaces {
		switch {
		case !n.Dying() || n.Put.At >= c.At:
		case len(out) == maxBehind:
			more++
		default:
			out = append(out, n.Label())
		}
	}
	if more != 0 {
		out = append(out, fmt.Sprintf("%d more", more))
	}
	return out
}

// waiting names those who waited for the lock at the end: first who wanted it
// alone, then how many wanted to create a namespace.
func (a *Analyzer) waiting() []string {
	var out []string
	for _, p := range a.m.Pernet {
		if p.Result == ResultRunning && p.Waiting {
			out = append(out, fmt.Sprintf("%s (%s, since %s)", p.Who(), p.intent(), a.m.Since(p.At)))
		}
	}
	if r := a.unserved(); len(r) != 0 {
		who := "1 task that wants a namespace"
		if len(r) > 1 {
			who = fmt.Sprintf("%d tasks that want a namespace", len(r))
		}
		out = append(out, fmt.Sprintf("%s (since %s)", who, a.m.Since(r[0].At)))
	}
	return out
}

// unserved are the requests for a namespace that had waited for long at the end.
func (a *Analyzer) unserved() []*Request {
	var out []*Request
	for _, r := range a.m.Requests {
		if r.Result == ResultRunning && sub(a.horizon(), r.At) >= slow {
			out = append(out, r)
		}
	}
	return out
}

// findUnserved: tasks that wanted a namespace and had none when the recording
// ended.
func (a *Analyzer) findUnserved() {
	waiting := a.unserved()
	if len(waiting) == 0 {
		return
	}
	var about []*Netns
	var who []string
	for _, r := range waiting {
		about = append(about, r.Caller)
		if len(who) < maxBehind {
			who = append(who, r.Who())
		}
	}
	if more := len(waiting) - len(who); more > 0 {
		who = append(who, fmt.Sprintf("%d more", more))
	}
	first := waiting[0].At
	f := Finding{
		Rule: "creators-waiting", Severity: Error, Subject: "pernet_ops_rwsem", At: first, About: about,
		Text: fmt.Sprintf("%s wanted a namespace and had none when the recording ended, the first since %s (%s before): %s.",
			plural(uint64(len(waiting)), "task"), a.m.Since(first), Span(sub(a.horizon(), first)), list(who)),
		Advice: fmt.Sprintf("cat /proc/%d/stack", waiting[0].PID),
	}
	if b := a.m.Blockers(a.behind(first, a.horizon()+1)); len(b) != 0 {
		f.Text += " They wait for pernet_ops_rwsem, behind " + strings.Join(b, "; ") + "."
	}
	a.find(a.unless(f))
}

// findWaits: namespaces that had to wait long before their set-up could begin,
// those that waited behind the same together.
func (a *Analyzer) findWaits() {
	groups := make(map[string][]*Netns)
	for _, n := range a.m.Namespaces {
		if n.Birth != nil && n.Birth.Wait() >= slow {
			behind := strings.Join(a.m.Blockers(n.Birth.Behind), "; ")
			groups[behind] = append(groups[behind], n)
		}
	}
	for _, behind := range slices.Sorted(maps.Keys(groups)) {
		members := groups[behind]
		longest := slices.MaxFunc(members, func(x, y *Netns) int { return cmp.Compare(x.Birth.Wait(), y.Birth.Wait()) })
		b := longest.Birth
		f := Finding{
			Rule: "setup-waited", Severity: Warning, Subject: longest.Label(), At: b.Asked, About: members,
			Text: fmt.Sprintf("%s waited %s before the set-up of %s could begin", b.Who(), Span(b.Wait()), longest.Label()),
		}
		if len(members) > 1 {
			f.Text = fmt.Sprintf("%s waited up to %s before their set-up could begin (the longest: %s, made by %s)",
				plural(uint64(len(members)), "new namespace"), Span(b.Wait()), longest.Label(), b.Who())
		}
		if behind != "" {
			f.Text += ", for pernet_ops_rwsem, behind " + behind
		}
		f.Text += "."
		a.find(f)
	}
}

// The errors of copy_net_ns before it sets anything up (net/core/net_namespace.c).
const (
	errEINTR  = 4
	errENOSPC = 28
)

// findRefusals: requests that failed before a namespace was set up.
func (a *Analyzer) findRefusals() {
	for _, r := range a.m.Refusals {
		who := r.Who()
		if r.Comm == "" && r.PID == 0 {
			who = "many others"
		}
		times := ""
		if r.Count > 1 {
			times = fmt.Sprintf(" %d times, until %s", r.Count, a.m.Since(r.Last))
		}
		f := Finding{
			Rule: "netns-refused", Severity: Error, Subject: who, At: r.At, About: []*Netns{r.Caller},
			Text: fmt.Sprintf("%s could not create a namespace%s: %s, before anything was set up.", who, times, ErrnoName(r.Errno)),
		}
		switch r.Errno {
		case errENOSPC:
			owner := "its user namespace"
			if r.UserNS != 0 {
				owner = fmt.Sprintf("user:[%d]", r.UserNS)
			}
			f.Text += fmt.Sprintf(" As many as user.max_net_namespaces allows exist already, in %s or in one above it.", owner)
			f.Advice = "lsns -t net; sysctl user.max_net_namespaces"
		case errEINTR:
			f.Severity = Warning
			f.Text += fmt.Sprintf(" It was killed while it waited for pernet_ops_rwsem, for up to %s.", Span(r.Longest))
		}
		a.find(f)
	}
}

// findPernet: registrations that failed, took long, or had to wait.
func (a *Analyzer) findPernet() {
	for _, p := range a.m.Pernet {
		took := sub(p.Done, p.At)
		switch {
		case p.Result == ResultFailed:
			a.find(Finding{
				Rule: "pernet-failed", Severity: Error, Subject: p.Label(), At: p.At,
				Text: fmt.Sprintf("%s could not register %s: %s.", p.Who(), p.Label(), ErrnoName(p.Errno)),
			})
		case p.Done != 0 && took >= slow:
			a.find(Finding{
				Rule: "pernet-slow", Severity: Warning, Subject: p.Label(), At: p.At,
				Text: fmt.Sprintf("%s by %s took %s; meanwhile nobody could create a namespace.", p.action(), p.Who(), Span(took)),
			})
		}
		a.findPernetWait(p)
	}
}

// findPernetWait: it had to wait for others to let go of the lock.
func (a *Analyzer) findPernetWait(p *Pernet) {
	until := p.At
	if p.Waiting {
		until = a.horizon()
	}
	if p.Asked == 0 || sub(until, p.Asked) < slow {
		return
	}
	f := Finding{
		Rule: "pernet-waited", Severity: Warning, Subject: p.Label(), At: p.Asked,
		Text: fmt.Sprintf("%s waited %s for pernet_ops_rwsem, %s; meanwhile nobody could create a namespace", p.Who(), Span(sub(until, p.Asked)), p.intent()),
	}
	behind := p.Behind
	if p.Waiting {
		f.Severity = Error
		f.Text = fmt.Sprintf("%s had waited %s for pernet_ops_rwsem when the recording ended, %s; while it does, nobody can create a namespace", p.Who(), Span(sub(until, p.Asked)), p.intent())
		f.Advice = fmt.Sprintf("cat /proc/%d/stack", p.PID)
		behind = a.behindWriter(p, until+1)
	}
	if b := a.m.Blockers(behind); len(b) != 0 {
		f.Text += ". In the way: " + strings.Join(b, "; ")
	}
	f.Text += "."
	if p.Waiting {
		f = a.unless(f)
	}
	a.find(f)
}

// action is what it does in a gerund, intent in an infinitive.
func (p *Pernet) action() string {
	if p.Register {
		return "registering " + p.full()
	}
	return "unregistering " + p.full()
}

func (p *Pernet) intent() string {
	if p.Register {
		return "to register " + p.full()
	}
	return "to unregister " + p.full()
}

func (p *Pernet) full() string {
	if p.Module == "" {
		return p.Label()
	}
	return fmt.Sprintf("%s (%s)", p.Label(), Escape(p.Module))
}

// Label is what the operations are called, escaped.
func (p *Pernet) Label() string {
	switch {
	case p.Ops != "":
		return Escape(p.Ops)
	case p.Fn != "":
		return Escape(p.Fn)
	}
	return fmt.Sprintf("pernet operations at %#x", p.OpsAddr)
}
