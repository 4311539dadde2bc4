// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nstrace/nstrace/analyze"
)

// names is a namespace's names with what became of them.
func (t *writer) names(n *analyze.Netns) string {
	if n.Initial && len(n.Names) == 0 {
		return "init"
	}
	var out []string
	current := n.CurrentNames()
	for i, x := range n.Names {
		s := escape(x.Name)
		if x.Until != 0 && n.Ended == 0 {
			again := false
			for _, c := range current {
				again = again || c.Name == x.Name
			}
			if again {
				continue
			}
			s += " (name removed at " + t.m.Since(x.Until) + ")"
		}
		if i > 0 && strings.HasPrefix(s, escape(n.Names[i-1].Name)+" ") {
			continue
		}
		out = append(out, s)
	}
	if n.Initial {
		out = append([]string{"init"}, out...)
	}
	if len(out) == 0 {
		return "-"
	}
	return strings.Join(out, ", ")
}

// bornBy says how a namespace began.
func (t *writer) bornBy(n *analyze.Netns) string {
	switch {
	case n.Initial:
		return "at boot"
	case n.Failed():
		return fmt.Sprintf("%s by %s, failed: %s", t.m.Since(n.Birth.At), n.Birth.Who(), analyze.ErrnoName(n.Birth.Errno))
	case n.Birth != nil:
		s := fmt.Sprintf("%s by %s", t.m.Since(n.Birth.At), n.Birth.Who())
		if n.Birth.Setup != 0 {
			s += ", in " + analyze.Span(n.Birth.Setup)
		}
		return s + waited(n.Birth)
	case n.Origin == analyze.Preexisting:
		return "before the recording"
	}
	return "unknown (inferred)"
}

// death says how a namespace ended.
func (t *writer) death(n *analyze.Netns) string {
	switch {
	case n.Failed():
		return "never lived"
	case n.EndInferred:
		return fmt.Sprintf("gone by %s (inferred)", t.m.Since(n.Ended))
	case n.Ended != 0 && n.Put != nil:
		s := fmt.Sprintf("%s, %s after its last put by %s", t.m.Since(n.Ended), analyze.Span(span(n.Put.At, n.Ended)), n.Put.Who())
		if n.CleanupAt != 0 {
			s += fmt.Sprintf(" (clean-up %s)", analyze.Span(span(n.CleanupAt, n.Ended)))
		}
		return s
	case n.Ended != 0:
		return t.m.Since(n.Ended)
	case n.Put != nil:
		return fmt.Sprintf("dying: put at %s by %s, not gone at the end", t.m.Since(n.Put.At), n.Put.Who())
	}
	return "-"
}

func (t *writer) namespaces() {
	t.section("NAMESPACES")
	tab := newTable("id", "name", "inum", "born", "died")
	hidden := 0
	for _, n := range t.m.Namespaces {
		if t.hidden[n] {
			continue
		}
		if !t.o.during(birthAt(n), n.Ended) {
			hidden++
			continue
		}
		inum := "?"
		if n.Inum != 0 {
			inum = fmt.Sprint(n.Inum)
		}
		tab.row(n.ID, t.names(n), inum, t.bornBy(n), t.death(n))
	}
	tab.write(&t.Builder, "  ")
	if hidden != 0 {
		t.line("  (%d outside the time asked for)", hidden)
	}
	t.foldLines()
}

func birthAt(n *analyze.Netns) uint64 {
	if n.Birth == nil {
		return 0
	}
	return n.Birth.At
}

func (t *writer) radios() {
	if len(t.m.Wiphys) == 0 {
		return
	}
	t.section("RADIOS")
	tab := newTable("radio", "index", "driver", "namespace", "from", "until", "how")
	if !slices.ContainsFunc(t.m.Wiphys, func(w *analyze.Wiphy) bool { return driver(w) != "" }) {
		tab.without(2)
	}
	for _, w := range t.m.Wiphys {
		name, index, of := w.Label(), "?", driver(w)
		if w.Index >= 0 {
			index = fmt.Sprint(w.Index)
		}
		for i, s := range w.Stays {
			if i > 0 {
				name, index, of = "", "", ""
			}
			tab.row(name, index, of, s.Netns.Label(), t.at(s.From, "before"), t.at(s.Until, "the end"), t.wiphyHow(w, s))
		}
		if len(w.Stays) == 0 {
			tab.row(name, index, of, "?", "", "", "never seen registered")
		}
	}
	tab.write(&t.Builder, "  ")
}

// driver is a radio's driver, and whether it pins the radio to its namespace.
func driver(w *analyze.Wiphy) string {
	name := ""
	if w.Driver != "" {
		name = escape(w.Driver)
	}
	if w.CanSwitch != nil && !*w.CanSwitch {
		name = strings.TrimSpace(name + " (can't move)")
	}
	return name
}

// wiphyHow says how a radio came into a namespace and how it left.
func (t *writer) wiphyHow(w *analyze.Wiphy, s *analyze.WiphyStay) string {
	out := "there already"
	switch {
	case s.Arrived == analyze.ArrivedCreated && w.Birth != nil:
		out = "created by " + w.Birth.Who()
	case s.Arrived == analyze.ArrivedCreated:
		out = "created"
	case s.Arrived == analyze.ArrivedMoved:
		out = "moved"
		if m := t.moveInto(w, s.From); m != nil && m.Cause == analyze.CauseDeath {
			out = fmt.Sprintf("came home: %s died", m.From.Label())
		} else if m != nil {
			out = "moved by " + m.Who()
		}
	}
	if s.Inferred {
		out += " (inferred)"
	}
	if s.Left == analyze.LeftRemoved {
		out += ", then removed"
		if w.DiedWith != nil {
			out += " with " + w.DiedWith.Label()
		} else if w.EndedBy != nil {
			out += " by " + w.EndedBy.Who()
		}
	}
	if s.EndInferred {
		out += "; left unseen"
	}
	return out
}

// arrival is what a stay and the move that began it have in common.
type arrival struct {
	what any
	at   uint64
}

// moveInto returns the move that brought something somewhere at a time, nil if
// it wasn't seen.
func (t *writer) moveInto(what any, at uint64) *analyze.Move {
	if t.arrivals == nil {
		t.arrivals = make(map[arrival]*analyze.Move)
		for _, m := range t.m.Moves {
			switch {
			case !m.OK():
			case m.Wiphy != nil:
				t.arrivals[arrival{m.Wiphy, m.Done}] = m
			default:
				t.arrivals[arrival{m.Device, m.Done}] = m
			}
		}
	}
	return t.arrivals[arrival{what, at}]
}

func (t *writer) interfaces() {
	tab := newTable("interface", "number", "kind", "namespace", "from", "until", "how")
	rows, hidden := 0, 0
	for _, d := range t.m.Devices {
		for i, s := range d.Stays {
			if !t.o.during(s.From, s.Until) || t.hiddenDevices[d] {
				continue
			}
			if boring(d, s) && len(d.Stays) == 1 && len(s.Names) < 2 {
				hidden++
				continue
			}
			rows++
			what := kind(d)
			if i > 0 {
				what = ""
			}
			tab.row(stayName(d, s), number(s.Ifindex), what, s.Netns.Label(), t.at(s.From, "before"), t.at(s.Until, "the end"), t.deviceHow(d, s))
		}
	}
	for _, d := range t.m.Wdevs {
		for _, s := range d.Stays() {
			if t.o.during(s.From, s.Until) {
				rows++
				tab.row(d.Label(), "-", wdevKind(d), s.Netns.Label(), t.at(s.From, "before"), t.at(s.Until, "the end"), t.wdevHow(d, &s))
			}
		}
	}
	if rows == 0 {
		return
	}
	t.section("INTERFACES")
	tab.write(&t.Builder, "  ")
	if hidden != 0 {
		t.line("  (%d that came and stayed with their namespaces, like lo, are not listed; --ns lists them)", hidden)
	}
}

// stayName is what an interface was called in a namespace, in order.
func stayName(d *analyze.Device, s *analyze.Stay) string {
	if len(s.Names) == 0 {
		return d.Label()
	}
	return escapeAll(s.Names, " -> ")
}

func number(ifindex int32) string {
	if ifindex == 0 {
		return "?"
	}
	return fmt.Sprint(ifindex)
}

// deviceHow says how an interface came into a namespace and how it left.
func (t *writer) deviceHow(d *analyze.Device, s *analyze.Stay) string {
	out := "there already"
	switch s.Arrived {
	case analyze.ArrivedCreated:
		out = "created"
		if d.Birth != nil {
			out += " by " + d.Birth.Who()
		}
	case analyze.ArrivedMoved:
		out = "moved"
		switch m := t.moveInto(d, s.From); {
		case m == nil:
		case m.Rollback:
			out = "came back with " + d.Wiphy.Label()
		case m.Cause == analyze.CauseCarried:
			out += " with " + d.Wiphy.Label()
		case m.Cause == analyze.CauseDeath:
			out = fmt.Sprintf("came home: %s died", m.From.Label())
		default:
			out += " by " + m.Who()
		}
	}
	if s.Inferred {
		out += " (inferred)"
	}
	if s.Left == analyze.LeftRemoved {
		out += ", then removed"
	}
	if s.EndInferred {
		out += " (not seen leaving)"
	}
	return out
}
