// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"fmt"
	"strings"
)

// findRadios: radios that came home, were destroyed, or can't hear each other,
// and vifs that landed elsewhere.
func (a *Analyzer) findRadios() {
	for _, m := range a.m.Moves {
		if m.Wiphy != nil && m.Cause == CauseDeath && m.OK() {
			a.findReturned(m)
		}
	}
	for _, w := range a.m.Wiphys {
		if w.DiedWith != nil && w.EndedBy != nil {
			a.findDestroyed(w)
		}
	}
	for _, v := range a.m.Vifs {
		switch {
		case v.Errno != 0:
			a.find(Finding{
				Rule: "vif-add-failed", Severity: Error, Subject: Escape(v.Name), At: v.At, About: []*Netns{v.Netns, v.Caller},
				Text: fmt.Sprintf("%s asked to add interface %s to %s; the kernel refused with %s.", v.Who(), Escape(v.Name), v.Wiphy.Label(), ErrnoName(v.Errno)),
			})
		case v.Caller != nil && v.Netns != nil && v.Caller != v.Netns:
			a.findElsewhere(v)
		}
	}
	a.findBornApart()
}

// findReturned: cfg80211_pernet_exit sent a radio home.
func (a *Analyzer) findReturned(m *Move) {
	from := m.From
	text := fmt.Sprintf("%s came back to %s at %s because %s died", m.Wiphy.Label(), m.To.Label(), a.m.Since(m.At), from.Label())
	if from != nil && from.Put != nil {
		text += fmt.Sprintf(": its last reference went at %s (%s), %s before", a.m.Since(from.Put.At), from.Put.Who(), Span(sub(m.At, from.Put.At)))
	}
	text += "."
	for _, c := range m.Carried {
		switch {
		case !c.OK():
		case c.NewName != c.Name && c.NewName != "":
			text += fmt.Sprintf(" Its interface %s is now called %s.", c.Label(), Escape(c.NewName))
		default:
			text += fmt.Sprintf(" Its interface %s kept its name.", c.Label())
		}
	}
	f := Finding{
		Rule: "wiphy-returned", Severity: Warning, Subject: m.Label(), At: m.At, Text: text, About: []*Netns{from, m.To},
	}
	if m.Wiphy.At() != nil && m.Wiphy.At().Netns == m.To && m.Wiphy.Name != "" {
		f.Advice = m.To.within("iw phy "+shellWord(m.Wiphy.Name)+" set netns name NAME") + "   # to give it to another namespace"
	}
	a.find(f)
}

// findDestroyed: a driver destroyed a radio along with the namespace.
func (a *Analyzer) findDestroyed(w *Wiphy) {
	text := fmt.Sprintf("%s was destroyed with %s at %s", w.Label(), w.DiedWith.Label(), a.m.Since(w.EndedBy.At))
	switch w.BornIn {
	case w.DiedWith:
		text += " instead of going home, because it was created there: its driver ties it to that namespace, as mac80211_hwsim does."
	case nil:
		text += " instead of going home: its driver ties it to the namespace it was created in, as mac80211_hwsim does."
	default:
		text += fmt.Sprintf(" by its driver, though it was born in %s.", w.BornIn.Label())
	}
	a.find(Finding{
		Rule: "wiphy-destroyed", Severity: Warning, Subject: w.Label(), At: w.EndedBy.At, Text: text,
		Advice: "create the radio from the initial namespace and move it: iw phy PHY set netns name NAME",
		About:  []*Netns{w.DiedWith, w.BornIn},
	})
}

// findElsewhere: a vif gets the namespace of its radio, whoever adds it.
func (a *Analyzer) findElsewhere(v *Vif) {
	chain := []string{}
	if w := v.Wiphy; w != nil {
		if w.Birth != nil && w.BornIn != nil {
			chain = append(chain, fmt.Sprintf("%s made %s in %s at %s", w.Birth.Who(), w.Label(), w.BornIn.Label(), a.m.Since(w.Birth.At)))
		}
		for _, m := range a.m.Moves {
			if m.Wiphy == w && m.OK() && m.At < v.At {
				chain = append(chain, fmt.Sprintf("%s moved it to %s at %s", m.Who(), m.To.Label(), a.m.Since(m.At)))
			}
		}
	}
	chain = append(chain, fmt.Sprintf("%s, running in %s, added %s at %s", v.Who(), v.Caller.Label(), Escape(v.Name), a.m.Since(v.At)))
	f := Finding{
		Rule: "vif-in-wiphy-netns", Severity: Info, Subject: Escape(v.Name), At: v.At, About: []*Netns{v.Netns, v.Caller},
		Text: fmt.Sprintf("%s is in %s and not in %s, where its creator runs: a virtual interface gets the namespace of its radio (%s). %s.",
			Escape(v.Name), v.Netns.Label(), v.Caller.Label(), v.Wiphy.Label(), strings.Join(chain, "; ")),
	}
	if v.Wiphy != nil {
		f.Advice = moveCommand(v.Wiphy, v.Netns, v.Caller, v.At)
	}
	a.find(f)
}

// simulated is the driver of simulated radios.
const simulated = "mac80211_hwsim"

func simulatedBoth(x, y *Wiphy) string {
	if x.Driver == simulated && y.Driver == simulated {
		return "Both are simulated (mac80211_hwsim), and of different netgroups, so"
	}
	return "If both are simulated (mac80211_hwsim),"
}

// findBornApart: simulated radios hear each other only within one netgroup.
func (a *Analyzer) findBornApart() {
	var first *Wiphy
	for _, w := range a.m.Wiphys {
		if w.BornIn == nil || len(w.Stays) == 0 || w.Driver != "" && w.Driver != simulated {
			continue
		}
		if first == nil {
			first = w
		}
		if w.BornIn == first.BornIn {
			continue
		}
		a.find(Finding{
			Rule: "radios-born-apart", Severity: Info, Subject: w.Label(), At: w.Stays[0].From, About: []*Netns{w.BornIn, first.BornIn},
			Text: fmt.Sprintf("%s was created in %s but %s in %s. %s they never hear each other, wherever they are moved.",
				w.Label(), w.BornIn.Label(), first.Label(), first.BornIn.Label(), simulatedBoth(w, first)),
			Advice: "create all simulated radios from one namespace",
		})
		return
	}
}
