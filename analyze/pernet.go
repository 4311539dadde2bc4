// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"cmp"
	"slices"

	"github.com/nstrace/nstrace/event"
)

// pernetRequest: a subsystem wants to register or unregister its pernet
// operations, and begins to wait for pernet_ops_rwsem.
func (a *Analyzer) pernetRequest(e *event.Event) {
	kind := event.Kind(e.Arg)
	if kind != event.KindRegisterPernet && kind != event.KindUnregisterPernet {
		a.odd++
		return
	}
	p := a.newPernet(e, kind)
	p.Asked, p.Waiting = e.Time, true
	a.enter(e).pernet = p
}

// pernet: a subsystem registers or unregisters its pernet operations.
func (a *Analyzer) pernet(e *event.Event) {
	if e.Phase == event.PhaseEnter {
		a.enter(e).pernet = a.beginPernet(e)
		return
	}
	var p *Pernet
	if c := a.leave(e); c != nil && c.pernet != nil {
		if c.pernet.OpsAddr == e.Ops {
			p = c.pernet
		} else {
			a.exitLost(c, e.Time)
		}
	}
	if p == nil {
		p = a.beginPernet(e)
		if e.Start != 0 {
			p.At = e.Start
		}
	}
	if e.Fn != 0 {
		p.FnAddr = e.Fn
	}
	p.Done, p.Errno, p.Result = e.Time, e.Ret, ResultOK
	if e.Ret != 0 {
		p.Result = ResultFailed
	}
	count := e.Count
	p.Namespaces = &count
}

// beginPernet: the lock was had, so a request for it is over.
func (a *Analyzer) beginPernet(e *event.Event) *Pernet {
	var p *Pernet
	if c := a.take(e.TID, event.KindPernetRequest); c != nil {
		if q := c.pernet; q.OpsAddr == e.Ops && q.Register == (e.Kind == event.KindRegisterPernet) {
			p = q
		} else {
			a.exitLost(c, e.Time)
		}
	}
	if p == nil {
		p = a.newPernet(e, e.Kind)
		if e.Phase == event.PhaseEnter {
			p.Asked = e.Arg
		}
	}
	p.At, p.Waiting = e.Time, false
	if e.Fn != 0 {
		p.FnAddr = e.Fn
	}
	if p.Asked != 0 && sub(p.At, p.Asked) >= noticeable {
		p.Behind = a.behindWriter(p, p.At)
	}
	if p.Register {
		delete(a.subsystems, p.OpsAddr) // whoever's steps had this address before is gone
	}
	return p
}

func (a *Analyzer) newPernet(e *event.Event, kind event.Kind) *Pernet {
	p := &Pernet{
		Deed: deed(e), Register: kind == event.KindRegisterPernet, Result: ResultRunning,
		OpsAddr: e.Ops, FnAddr: e.Fn,
	}
	a.m.Pernet = append(a.m.Pernet, p)
	a.waits.writers = remember(a.waits.writers, p)
	return p
}

// finishPernet gives the operations their names, when all symbols are known.
func (a *Analyzer) finishPernet() {
	slices.SortStableFunc(a.m.Pernet, func(x, y *Pernet) int { return cmp.Compare(x.At, y.At) })
	registered := make(map[uint64]*Pernet)
	for _, p := range a.m.Pernet {
		if r := registered[p.OpsAddr]; !p.Register && r != nil && r.FnAddr == p.FnAddr {
			p.Ops, p.Fn, p.Module, p.BuiltIn = r.Ops, r.Fn, r.Module, r.BuiltIn
			continue
		}
		var known bool
		p.Ops, p.Fn, p.Module, known = a.nameOps(p.OpsAddr, p.FnAddr, p.At)
		p.BuiltIn = known && p.Module == ""
		if p.Register {
			registered[p.OpsAddr] = p
		}
	}
}

// nameOps returns the names that pernet operations and their function had at
// time t, and their module, "" for the kernel itself if it is known.
func (a *Analyzer) nameOps(opsAddr, fnAddr, t uint64) (ops, fn, module string, known bool) {
	o, haveOps := a.symbol(opsAddr, t)
	f, haveFn := a.symbol(fnAddr, t)
	module = f.Module
	if !haveFn || module == "" && o.Module != "" {
		module = o.Module
	}
	return o.Name, f.Name, module, haveOps || haveFn
}

// symbolDelay is how long after an event its symbol may come, in nanoseconds:
// the recorder looks names up when it has read the event.
const symbolDelay = 1e9

// symbol returns the name an address had at time t. Modules come and go, and
// their addresses are reused.
func (a *Analyzer) symbol(addr, t uint64) (event.Symbol, bool) {
	known := a.symbols[addr]
	best := -1
	for i, s := range known {
		if best < 0 || s.Time <= t+symbolDelay {
			best = i
		}
	}
	if best < 0 || addr == 0 {
		return event.Symbol{}, false
	}
	return known[best], true
}
