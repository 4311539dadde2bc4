// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// findMoves: moves that failed, or never returned.
func (a *Analyzer) findMoves() {
	for _, m := range a.m.Moves {
		switch {
		case m.Result == ResultRunning:
			a.findRunning(m)
		case m.Result == ResultUndone:
			a.findUndone(m)
		case m.Result != ResultFailed:
		case m.Wiphy != nil:
			a.findWiphyFailed(m)
		case m.Carrier != nil && (m.Carrier.Result == ResultFailed || m.Carrier.Result == ResultUndone):
			// told with the radio's move
		case m.Errno == uint32(unix.EINVAL) && m.Device.Wiphy != nil:
			a.findPinned(m)
		case m.Errno == uint32(unix.EEXIST):
			a.findTaken(m, m)
		default:
			a.find(Finding{
				Rule: "netdev-move-failed", Severity: Error, Subject: m.Label(), At: m.At,
				Text:  m.asked() + fmt.Sprintf("; the kernel refused with %s.", ErrnoName(m.Errno)),
				About: []*Netns{m.From, m.To},
			})
		}
	}
}

// Label is what the move's object was called when it was asked for, escaped.
func (m *Move) Label() string {
	switch {
	case m.Name != "":
		return Escape(m.Name)
	case m.Wiphy != nil:
		return m.Wiphy.Label()
	}
	return m.Device.Label()
}

// asked says who wanted what.
func (m *Move) asked() string {
	return fmt.Sprintf("%s asked to move %s from %s to %s", m.Who(), m.Label(), m.From.Label(), m.To.Label())
}

// findPinned: a wireless interface can't leave its radio.
func (a *Analyzer) findPinned(m *Move) {
	w := m.Device.Wiphy
	others := a.interfacesAt(w, m.From, m.At, m.Device)
	along := "No other interface would go along."
	if len(others) != 0 {
		along = fmt.Sprintf("%s would go along.", list(others))
	}
	if w.CanSwitch != nil && !*w.CanSwitch {
		along = fmt.Sprintf("But its driver%s doesn't support moving radios.", w.driver())
	}
	advice := moveCommand(w, m.From, m.To, m.At)
	if w.CanSwitch != nil && !*w.CanSwitch {
		advice = ""
	}
	a.find(Finding{
		Rule: "netdev-pinned-to-wiphy", Severity: Error, Subject: m.Label(), At: m.At,
		Text: fmt.Sprintf("%s; the kernel refused with EINVAL, because a wireless interface is pinned to its radio (%s) and can only move with it. %s",
			m.asked(), w.Label(), along),
		Advice: advice,
		About:  []*Netns{m.From, m.To},
	})
}

// findWiphyFailed: a radio's move failed.
func (a *Analyzer) findWiphyFailed(m *Move) {
	f := Finding{
		Rule: "wiphy-move-failed", Severity: Error, Subject: m.Label(), At: m.At,
		About: []*Netns{m.From, m.To},
	}
	switch m.Errno {
	case uint32(unix.EOPNOTSUPP):
		f.Rule = "wiphy-cannot-move"
		f.Text = m.asked() + "; the kernel refused with EOPNOTSUPP, because the radio's driver" + m.Wiphy.driver() + " doesn't support moving (it sets no WIPHY_FLAG_NETNS_OK)."
		f.Advice = "iw phy " + shellWord(m.Name) + " info   # set_wiphy_netns is missing from its supported commands"
		if m.From != nil {
			f.Advice = m.From.within(f.Advice)
		}
	case uint32(unix.EEXIST):
		for _, c := range m.Carried {
			if c.Result == ResultFailed {
				a.findTaken(m, c)
				return
			}
		}
		a.findTaken(m, m)
		return
	default:
		f.Text = fmt.Sprintf("%s; the kernel refused with %s.%s", m.asked(), ErrnoName(m.Errno), m.rolledBack())
	}
	a.find(f)
}

// driver is the radio's driver in parentheses, "" if it is unknown.
func (w *Wiphy) driver() string {
	if w == nil {
		return ""
	}
	return parenthesis(escapeIfAny(w.Driver))
}

// rolledBack says which interfaces went and came back.
func (m *Move) rolledBack() string {
	var back []string
	for _, c := range m.Carried {
		if c.Rollback && c.Result == ResultOK {
			back = append(back, c.Label())
		}
	}
	if len(back) == 0 {
		return ""
	}
	return fmt.Sprintf(" %s had gone already and came back.", list(back))
}

// findUndone: a radio's move failed, but the kernel lost the error while it took
// back the interfaces that had gone (cfg80211_switch_netns in
// net/wireless/core.c). It may leave one behind where it went.
func (a *Analyzer) findUndone(m *Move) {
	f := Finding{
		Rule: "wiphy-move-undone", Severity: Error, Subject: m.Label(), At: m.At, About: []*Netns{m.From, m.To},
		Text: fmt.Sprintf("%s; the kernel said that it did, but %s is still in %s", m.asked(), m.Label(), m.From.Label()),
	}
	back := map[*Device]bool{}
	for _, c := range m.Carried {
		back[c.Device] = back[c.Device] || c.Rollback && c.Result == ResultOK
	}
	var left []string
	for _, c := range m.Carried {
		switch {
		case c.Result == ResultFailed && !c.Rollback:
			f.Text += fmt.Sprintf(", because its interface %s could not go (%s)", c.Label(), ErrnoName(c.Errno))
			f.Advice = m.To.within("ip link show "+shellWord(c.Name)) + "   # who has its name there"
		case c.OK() && !c.Rollback && !back[c.Device]:
			left = append(left, c.Label())
		}
	}
	f.Text += "." + m.rolledBack()
	if len(left) != 0 {
		f.Text += fmt.Sprintf(" Left behind in %s: %s.", m.To.Label(), list(left))
	}
	a.find(f)
}

// findTaken: culprit, which is m or was carried by it, met its own name or
// alternative name in the target.
func (a *Analyzer) findTaken(m, culprit *Move) {
	f := Finding{
		Rule: "name-taken", Severity: Error, Subject: m.Label(), At: m.At, About: []*Netns{m.From, m.To},
		Text: fmt.Sprintf("%s; the kernel refused with EEXIST, because a name of %s is taken there", m.asked(), culprit.Label()),
	}
	if h := culprit.nameHolder; h != nil {
		f.Text += fmt.Sprintf(" by %s (%s)", h.Label(), h.nature())
		f.Advice = m.From.within("ip link set dev " + shellWord(culprit.Name) + " name NEWNAME")
	} else {
		f.Text += " by an interface this recording doesn't know, or as an alternative name"
		f.Advice = m.To.within("ip link show " + shellWord(culprit.Name))
	}
	f.Text += "." + m.rolledBack()
	a.find(f)
}

// nature says in a word or two what kind of interface d is.
func (d *Device) nature() string {
	switch {
	case d.Wiphy != nil:
		return "of " + d.Wiphy.Label()
	case d.KindLabel() == "other":
		return "interface"
	}
	return d.KindLabel()
}

// findRunning: a move had not returned when the recording ended.
func (a *Analyzer) findRunning(m *Move) {
	text := fmt.Sprintf("%s at %s; the call had not returned %s later, when the recording ended.",
		m.asked(), a.m.Since(m.At), Span(sub(a.m.Ended, m.At)))
	if a.m.Lost != 0 || len(a.m.Damage) != 0 {
		text += " (Events are missing: its return may be among them.)"
	}
	a.find(Finding{
		Rule: "move-unfinished", Severity: Warning, Subject: m.Label(), At: m.At, Text: text,
		Advice: fmt.Sprintf("cat /proc/%d/stack   # where the mover waits", m.PID), About: []*Netns{m.From, m.To},
	})
}
