// SPDX-License-Identifier: Apache-2.0

package analyze

import "github.com/nstrace/nstrace/event"

// pernet: a subsystem registers or unregisters its pernet operations.
func (a *Analyzer) pernet(e *event.Event) {
	if e.Phase == event.PhaseEnter {
		p := newPernet(e)
		a.m.Pernet = append(a.m.Pernet, p)
		a.enter(e).pernet = p
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
		p = newPernet(e)
		if e.Start != 0 {
			p.At = e.Start
		}
		a.m.Pernet = append(a.m.Pernet, p)
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

func newPernet(e *event.Event) *Pernet {
	return &Pernet{
		Deed: deed(e), Register: e.Kind == event.KindRegisterPernet, Result: ResultRunning,
		OpsAddr: e.Ops, FnAddr: e.Fn,
	}
}

// finishPernet gives the operations their names, when all symbols are known.
func (a *Analyzer) finishPernet() {
	registered := make(map[uint64]*Pernet)
	for _, p := range a.m.Pernet {
		if r := registered[p.OpsAddr]; !p.Register && r != nil && r.FnAddr == p.FnAddr {
			p.Ops, p.Fn, p.Module, p.BuiltIn = r.Ops, r.Fn, r.Module, r.BuiltIn
			continue
		}
		ops, haveOps := a.symbol(p.OpsAddr, p.At)
		fn, haveFn := a.symbol(p.FnAddr, p.At)
		p.Ops, p.Fn = ops.Name, fn.Name
		if haveOps || haveFn {
			p.Module = fn.Module
			if !haveFn || p.Module == "" && ops.Module != "" {
				p.Module = ops.Module
			}
			p.BuiltIn = p.Module == ""
		}
		if p.Register {
			registered[p.OpsAddr] = p
		}
	}
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
