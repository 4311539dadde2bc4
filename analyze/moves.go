// SPDX-License-Identifier: Apache-2.0

package analyze

import "github.com/nstrace/nstrace/event"

// wiphySwitch: cfg80211_switch_netns takes a radio and its interfaces elsewhere.
func (a *Analyzer) wiphySwitch(e *event.Event) {
	e = a.exitObject(e)
	w := a.wiphy(e)
	if w == nil {
		a.leave(e)
		a.odd++
		return
	}
	from, to := a.netns(e.Net, e.Time), a.netns(e.Net2, e.Time)
	if e.Phase == event.PhaseEnter {
		a.placeWiphy(w, from, e.Time)
		m := a.newMove(e, from, to)
		m.Wiphy, m.Name = w, w.Name
		a.enter(e).move = m
		return
	}
	m := a.finishMove(e, from, to, func(m *Move) bool { return m.Wiphy == w })
	if m.Wiphy == nil {
		m.Wiphy, m.Name = w, w.Name
		if m.From == nil && w.At() != nil {
			m.From = w.At().Netns
		}
		a.placeWiphy(w, m.From.canon(), m.At)
		a.adoptCarried(m)
	}
	m.NewName = w.Name
	if e.Flags&event.FlagStayed != 0 && m.Result == ResultOK {
		m.Result = ResultUndone
	}
	a.caused(e, effect{move: m})
	if m.OK() {
		a.moveWiphy(w, m.To, e.Time)
	}
}

// exitObject completes an exit that the kernel couldn't pair with its entry, so
// that it names nothing, by the entry that came as an event.
func (a *Analyzer) exitObject(e *event.Event) *event.Event {
	c := a.running(e.TID, e.Kind)
	if e.Flags&event.FlagNoEntry == 0 || c == nil || c.move == nil || e.Dev != 0 || e.Wiphy != 0 {
		return e
	}
	whole := *e
	whole.Net, whole.Net2 = event.NetRef{}, event.NetRef{}
	if w := c.move.Wiphy; w != nil {
		whole.Wiphy, whole.WiphyIndex = w.Ptr, w.Index
	}
	if d := c.move.Device; d != nil {
		whole.Dev = d.Ptr
		whole.NewName, whole.NewIfindex = c.move.Name, c.move.Ifindex
	}
	return &whole
}

// moveWiphy takes w to n at t.
func (a *Analyzer) moveWiphy(w *Wiphy, n *Netns, t uint64) {
	if n == nil || w.Ended != 0 {
		return
	}
	if s := w.At(); s != nil {
		if s.Netns.canon() == n.canon() {
			return
		}
		s.Until, s.Left = t, LeftMoved
	} else if len(w.Stays) > 0 && w.Stays[len(w.Stays)-1].EndInferred {
		w.Stays[len(w.Stays)-1].Until = t
	}
	w.stay(n.canon(), t, ArrivedMoved)
}

// netdevMove: (__)dev_change_net_namespace takes a netdev elsewhere.
func (a *Analyzer) netdevMove(e *event.Event) {
	e = a.exitObject(e)
	from, to := a.netns(e.Net, e.Time), a.netns(e.Net2, e.Time)
	if e.Phase == event.PhaseEnter {
		c := a.enter(e)
		d := a.device(e, from)
		if d == nil {
			a.odd++
			return
		}
		m := a.newMove(e, from, to)
		m.Device, m.Name, m.Ifindex = d, e.Name, e.Ifindex
		a.carry(m)
		a.holders(m)
		c.move = m
		return
	}
	d := a.movedDevice(e, from, to)
	if d == nil {
		a.leave(e)
		a.odd++
		return
	}
	m := a.finishMove(e, from, to, func(m *Move) bool { return m.Device == d })
	if m.Device == nil {
		a.describeMove(m, d, e)
	}
	m.NewName, m.NewIfindex = e.NewName, e.NewIfindex
	a.caused(e, effect{move: m})
	if m.OK() {
		a.moveDevice(m, e)
	}
}

// movedDevice returns the netdev of a move's exit. When the entry wasn't seen,
// e doesn't say where it came from.
func (a *Analyzer) movedDevice(e *event.Event, from, to *Netns) *Device {
	if d := a.devs.livingAt(e.Dev); d != nil {
		s := d.At()
		if from == nil || s == nil || s.Netns.canon() == from || s.Netns.canon() == to {
			a.describe(d, e)
			return d
		}
	}
	return a.device(e, from)
}

// describeMove fills in a move of which only the exit is known.
func (a *Analyzer) describeMove(m *Move, d *Device, e *event.Event) {
	m.Device, m.Name, m.Ifindex = d, e.Name, e.Ifindex
	if s := d.At(); s != nil {
		if m.From == nil {
			m.From = s.Netns
		}
		if m.Ifindex == 0 {
			m.Ifindex = s.Ifindex
		}
		if m.Name == "" {
			m.Name = s.Name()
		}
	}
	a.carry(m)
	a.holders(m)
}

// moveDevice applies a successful move.
func (a *Analyzer) moveDevice(m *Move, e *event.Event) {
	d, to := m.Device, m.To.canon()
	if to == nil {
		return
	}
	if s := d.At(); s != nil && s.Netns.canon() == to { // noticed already
		s.rxIn = rx(e)
		return
	}
	if s := a.depart(d, e.Time, LeftMoved); s != nil {
		s.rxOut = rx(e)
	}
	s := a.arrive(d, to, e.NewIfindex, e.NewName, e.Time, ArrivedMoved)
	s.rxIn = rx(e)
	if len(s.Names) == 0 {
		d.rename(m.Name)
	}
}

// newMove notes that a move was asked for.
func (a *Analyzer) newMove(e *event.Event, from, to *Netns) *Move {
	m := &Move{Deed: deed(e), From: from, To: to, Result: ResultRunning, tid: e.TID, Cause: cause(e)}
	if e.Phase == event.PhaseExit && e.Start != 0 {
		m.At = e.Start
	}
	a.m.Moves = append(a.m.Moves, m)
	return m
}

func cause(e *event.Event) Cause {
	switch {
	case e.Kind == event.KindNetdevMove && event.KindWiphySwitch.In(e.Within):
		return CauseCarried
	case event.KindCleanupNet.In(e.Within):
		return CauseDeath
	}
	return CauseRequest
}

// finishMove pairs a move's exit with its enter, or makes a move of it alone.
func (a *Analyzer) finishMove(e *event.Event, from, to *Netns, same func(*Move) bool) *Move {
	var m *Move
	if c := a.leave(e); c != nil {
		switch {
		case c.move != nil && same(c.move):
			m = c.move
		default:
			a.exitLost(c, e.Time)
		}
	}
	if m == nil {
		m = a.unsettled(e, same)
	}
	if m == nil {
		m = a.newMove(e, from, to)
	}
	if m.From == nil {
		m.From = from
	}
	if m.To == nil {
		m.To = to
	}
	m.Done, m.Errno = e.Time, e.Ret
	m.Result = ResultOK
	if e.Ret != 0 {
		m.Result = ResultFailed
	}
	return m
}

// unsettled returns the move that e ends although it had been given up: the
// kernel's table of running calls was full, so events within it didn't say so.
func (a *Analyzer) unsettled(e *event.Event, same func(*Move) bool) *Move {
	for i := len(a.m.Moves) - 1; i >= 0 && e.Start == 0; i-- {
		m := a.m.Moves[i]
		if m.tid != e.TID {
			continue
		}
		if m.Result == ResultUnknown && same(m) {
			return m
		}
		if m.Cause != CauseCarried {
			return nil
		}
	}
	return nil
}

// carry ties a netdev's move to its radio's, if that is going on.
func (a *Analyzer) carry(m *Move) {
	c := a.running(m.tid, event.KindWiphySwitch)
	if c == nil || c.move == nil {
		return
	}
	m.Cause, m.Carrier = CauseCarried, c.move
	m.Rollback = m.To != nil && m.To.canon() == c.move.From.canon() && m.From.canon() != m.To.canon()
	c.move.Carried = append(c.move.Carried, m)
}

// adoptCarried ties netdevs' moves to a radio's whose entry wasn't seen.
func (a *Analyzer) adoptCarried(w *Move) {
	for i := len(a.m.Moves) - 1; i >= 0; i-- {
		m := a.m.Moves[i]
		if m.At < w.At {
			return
		}
		if m.tid != w.tid || m.Cause != CauseCarried || m.Carrier != nil || m.Device == nil {
			continue
		}
		m.Carrier = w
		m.Rollback = m.To != nil && m.To.canon() == w.From.canon() && m.From.canon() != m.To.canon()
		w.Carried = append([]*Move{m}, w.Carried...)
	}
}

// holders notes who has the mover's name and number in the target.
func (a *Analyzer) holders(m *Move) {
	if m.To == nil || m.To.canon() == m.From.canon() {
		return
	}
	m.indexHolder = m.To.canon().devs[m.Ifindex]
	var lowest int32
	for i, d := range m.To.canon().devs {
		if d.Name == m.Name && m.Name != "" && (m.nameHolder == nil || i < lowest) {
			m.nameHolder, lowest = d, i
		}
	}
}

// settle concludes what it can about a move whose exit is missing: a radio whose
// interfaces have all gone has gone too.
func (a *Analyzer) settle(m *Move, t uint64) {
	if m.Wiphy == nil || len(m.Carried) == 0 || m.To == nil {
		return
	}
	for _, c := range m.Carried {
		if !c.OK() || c.Rollback {
			return
		}
	}
	a.placeWiphy(m.Wiphy, m.To.canon(), t)
}
