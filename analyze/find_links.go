// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"fmt"
	"strings"
)

// findLinks: what moving does to an interface.
func (a *Analyzer) findLinks() {
	last := make(map[*Device]*Move)
	for _, m := range a.m.Moves {
		if m.Device != nil && m.OK() && !m.Rollback {
			last[m.Device] = m
		}
	}
	groups := make(map[*Move][]*Move) // by carrier, or the move itself
	for _, m := range a.m.Moves {
		if m.Device == nil || !m.OK() || m.Rollback {
			continue
		}
		a.findRenamed(m)
		if last[m.Device] != m || !a.stillClosed(m) {
			continue
		}
		key := m
		if m.Carrier != nil {
			key = m.Carrier
		}
		groups[key] = append(groups[key], m)
	}
	for _, m := range a.m.Moves {
		if g := groups[m]; len(g) != 0 {
			a.findClosed(m, g)
		}
	}
}

// stillClosed reports whether nothing shows that the device was opened again
// after the move: it is there at the end, and nothing was delivered to it.
func (a *Analyzer) stillClosed(m *Move) bool {
	if s := m.Device.At(); s == nil || s.Netns != m.To || m.To.Ended != 0 {
		return false
	}
	for _, d := range m.To.Delivery {
		if d.Device == m.Device && d.Last >= m.Done {
			return false
		}
	}
	return true
}

func (a *Analyzer) findClosed(m *Move, moved []*Move) {
	var names, commands []string
	for _, x := range moved {
		names = append(names, x.Device.Label())
		if x.Device.Name != "" {
			if c := m.To.within("ip link set " + shellWord(x.Device.Name) + " up"); c != "" {
				commands = append(commands, c)
			}
		}
	}
	verb, it, pronoun := "was", "it is", "it"
	if len(names) > 1 {
		verb, it, pronoun = "were", "they are", "them"
	}
	a.find(Finding{
		Rule: "link-down-after-move", Severity: Info, Subject: strings.Join(names, " "), At: moved[0].Done,
		Text: fmt.Sprintf("%s %s moved to %s at %s. Moving closes an interface, so %s down there, and its addresses are gone, until someone brings %s up.",
			list(names), verb, m.To.Label(), a.m.Since(moved[0].Done), it, pronoun),
		Advice: strings.Join(commands, "; "),
		About:  []*Netns{m.To},
	})
}

// findRenamed: the name or number was taken in the target, or others were asked
// for.
func (a *Analyzer) findRenamed(m *Move) {
	asked := m.Asked != nil && m.Asked.Protocol == RTNetlink && m.Asked.Name == m.NewName
	if m.Name != "" && m.NewName != "" && m.NewName != m.Name && !asked {
		f := Finding{
			Rule: "renamed-by-move", Severity: Warning, Subject: Escape(m.Name), At: m.Done, About: []*Netns{m.To},
			Text: fmt.Sprintf("%s became %s when it moved from %s to %s", Escape(m.Name), Escape(m.NewName), m.From.Label(), m.To.Label()),
		}
		if h := m.nameHolder; h != nil {
			f.Text += fmt.Sprintf(", because the name was taken there by another interface (%s).", h.nature())
			f.Advice = m.To.within("ip link set dev " + shellWord(m.NewName) + " name NEWNAME")
		} else {
			f.Severity = Info
			f.Text += fmt.Sprintf(". Nobody there is known to have had the old name: %s may have asked for the new one.", m.Who())
		}
		a.find(f)
	}
	if m.Ifindex != 0 && m.NewIfindex != 0 && m.NewIfindex != m.Ifindex {
		f := Finding{
			Rule: "renumbered-by-move", Severity: Info, Subject: m.Label(), At: m.Done, About: []*Netns{m.To},
			Text: fmt.Sprintf("%s had number %d in %s and has %d in %s", m.Label(), m.Ifindex, m.From.Label(), m.NewIfindex, m.To.Label()),
		}
		if h := m.indexHolder; h != nil {
			f.Text += fmt.Sprintf(", because the number was taken there by %s.", h.Label())
		} else {
			f.Text += "."
		}
		a.find(f)
	}
}
