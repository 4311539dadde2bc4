// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/nstrace/nstrace/analyze"
)

// item is one line of a timeline.
type item struct {
	at    uint64
	text  string
	depth int // 1 for what happened within the line before
	about []*analyze.Netns
}

// items is everything that happened, in order.
func (t *writer) items() []item {
	var out []item
	add := func(at uint64, about []*analyze.Netns, format string, args ...any) {
		out = append(out, item{at: at, text: fmt.Sprintf(format, args...), about: about})
	}
	for _, n := range t.m.Namespaces {
		t.netnsItems(n, add)
		t.nsidItems(n, add)
		t.sysctlItems(n, add)
	}
	t.nsidRefusals(add)
	t.requestItems(add)
	for _, w := range t.m.Wiphys {
		t.wiphyItems(w, add)
	}
	for _, d := range t.m.Devices {
		if !t.hiddenDevices[d] {
			t.deviceItems(d, add)
		}
	}
	for _, r := range t.m.Renames {
		if !t.hiddenDevices[r.Device] {
			t.renameItem(r, add)
		}
	}
	for _, v := range t.m.Vifs {
		t.vifItems(v, add)
	}
	for _, d := range t.m.Wdevs {
		t.wdevItems(d, add)
	}
	for _, k := range t.m.Asks {
		t.askItem(k, add)
	}
	for _, m := range t.m.Moves {
		if m.Carrier == nil {
			add(m.At, append([]*analyze.Netns{m.From, m.To}, askedAbout(m.Asked)...), "%s", t.moveText(m))
		}
	}
	slices.SortStableFunc(out, func(x, y item) int {
		switch {
		case x.at < y.at:
			return -1
		case x.at > y.at:
			return 1
		}
		return 0
	})
	return t.withCarried(out)
}

// withCarried puts carried interfaces under the radio that carried them.
func (t *writer) withCarried(in []item) []item {
	byText := make(map[uint64][]*analyze.Move)
	for _, m := range t.m.Moves {
		if m.Wiphy != nil && len(m.Carried) != 0 {
			byText[m.At] = append(byText[m.At], m)
		}
	}
	var out []item
	for _, x := range in {
		out = append(out, x)
		for _, m := range byText[x.at] {
			if t.moveText(m) != x.text {
				continue
			}
			for _, c := range m.Carried {
				out = append(out, item{at: x.at, text: t.carriedText(c), depth: 1, about: []*analyze.Netns{c.From, c.To}})
			}
		}
	}
	return out
}

type adder func(at uint64, about []*analyze.Netns, format string, args ...any)

func (t *writer) netnsItems(n *analyze.Netns, add adder) {
	about := []*analyze.Netns{n}
	if b := n.Birth; b != nil {
		inum := ""
		if n.Inum != 0 && len(n.Names) != 0 {
			inum = fmt.Sprintf(" (net:[%d])", n.Inum)
		}
		switch {
		case b.Errno != 0:
			in := ""
			if s := t.m.Failed(b.Steps); s != nil {
				in = ", in the set-up of " + s.Full()
			}
			add(b.At, about, "%s failed to create a namespace%s: %s%s", b.Who(), waited(b), analyze.ErrnoName(b.Errno), in)
			return
		case len(n.Names) == 0:
			add(b.At, about, "%s created %s%s", b.Who(), strings.TrimPrefix(n.Label(), b.Who()+"'s "), waited(b))
		default:
			add(b.At, about, "%s created namespace %s%s%s", b.Who(), n.Label(), inum, waited(b))
		}
	}
	for _, x := range n.Names {
		if x.From != 0 {
			add(x.From, about, "namespace net:[%d] got the name %s (%s)", n.Inum, escape(x.Name), escape(x.Path))
		}
		if x.Until != 0 {
			add(x.Until, about, "the name %s (%s) was removed", escape(x.Name), escape(x.Path))
		}
	}
	if n.Put != nil {
		add(n.Put.At, about, "%s let go of the last reference to %s", n.Put.Who(), n.Label())
	}
	switch {
	case n.EndInferred:
		add(n.Ended, about, "%s is gone by now (its end was not seen)", n.Label())
	case n.Ended != 0 && n.Put != nil:
		add(n.Ended, about, "%s is gone, %s after its last reference", n.Label(), analyze.Span(span(n.Put.At, n.Ended)))
	case n.Ended != 0:
		add(n.Ended, about, "%s is gone", n.Label())
	}
}

func (t *writer) wiphyItems(w *analyze.Wiphy, add adder) {
	for _, s := range w.Stays {
		about := []*analyze.Netns{s.Netns}
		if s.Arrived == analyze.ArrivedCreated {
			who := "someone"
			if w.Birth != nil {
				who = w.Birth.Who()
			}
			add(s.From, about, "%s created %s in %s", who, w.Label(), s.Netns.Label())
		}
		if s.Arrived == analyze.ArrivedMoved && s.Inferred {
			add(s.From, about, "%s is in %s by now (its move was not seen)", w.Label(), s.Netns.Label())
		}
		if s.Left == analyze.LeftRemoved {
			who := ""
			if w.EndedBy != nil {
				who = " by " + w.EndedBy.Who()
			}
			if w.DiedWith != nil {
				who += ", with its namespace"
			}
			add(s.Until, about, "%s was removed from %s%s", w.Label(), s.Netns.Label(), who)
		}
	}
}

func (t *writer) deviceItems(d *analyze.Device, add adder) {
	for _, s := range d.Stays {
		about := []*analyze.Netns{s.Netns}
		if boring(d, s) {
			continue
		}
		name := d.Label()
		if len(s.Names) != 0 {
			name = escape(s.Names[0])
		}
		switch {
		case s.Arrived == analyze.ArrivedCreated && d.Birth != nil:
			add(s.From, append(about, d.Birth.Caller), "%s created %s (%s) in %s", d.Birth.Who(), name, d.KindLabel(), s.Netns.Label())
		case s.Arrived == analyze.ArrivedMoved && s.Inferred:
			add(s.From, about, "%s is in %s by now (its move was not seen)", name, s.Netns.Label())
		}
		if s.Left == analyze.LeftRemoved {
			if len(s.Names) != 0 {
				name = escape(s.Name())
			}
			seen := ""
			switch {
			case s.EndInferred:
				seen = " by now (not seen)"
			case d.EndedBy != nil:
				seen = " by " + d.EndedBy.Who()
			}
			add(s.Until, about, "%s was removed from %s%s", name, s.Netns.Label(), seen)
		}
	}
}

func (t *writer) renameItem(r *analyze.Rename, add adder) {
	about := append([]*analyze.Netns{r.Netns}, askedAbout(r.Asked)...)
	if r.Errno != 0 {
		add(r.At, about, "%s tried to rename %s to %s: %s", r.Who(), escape(r.Old), escape(r.New), analyze.ErrnoName(r.Errno))
		return
	}
	add(r.At, about, "%s renamed %s to %s", r.Who(), escape(r.Old), escape(r.New))
}

// vifItems tells of vifs that have no netdev to tell of them.
func (t *writer) vifItems(v *analyze.Vif, add adder) {
	about := []*analyze.Netns{v.Netns, v.Caller}
	kind := cmp.Or(analyze.IftypeName(v.Iftype), "an interface")
	switch {
	case v.Errno != 0:
		add(v.At, about, "%s tried to add %s (%s) to %s: %s", v.Who(), escape(v.Name), kind, v.Wiphy.Label(), analyze.ErrnoName(v.Errno))
	case v.Device == nil:
		add(v.At, about, "%s added %s (%s, without a netdev) to %s in %s", v.Who(), escape(v.Name), kind, v.Wiphy.Label(), v.Netns.Label())
	}
	if v.Removed != nil {
		add(v.Removed.At, about, "%s removed %s (%s) from %s", v.Removed.Who(), escape(v.Name), kind, v.Wiphy.Label())
	}
}

// boring reports whether an interface's coming and going is its namespace's: the
// loopback and the tunnels every namespace is born with.
func boring(d *analyze.Device, s *analyze.Stay) bool {
	n := s.Netns
	if n.Failed() {
		return true
	}
	return n.Birth != nil && s.Arrived == analyze.ArrivedCreated && d.Birth != nil && d.Wiphy == nil &&
		s.From <= n.Birth.At+n.Birth.Setup && n.Birth.Setup != 0
}

// moveText tells a move in one line.
func (t *writer) moveText(m *analyze.Move) string {
	what := m.Label()
	// It is there from the end of the call on, which the tables go by.
	took := " in " + analyze.Span(span(m.At, m.Done))
	switch {
	case m.Result == analyze.ResultRunning:
		return fmt.Sprintf("%s began to move %s from %s to %s and had not finished at the end", m.Who(), what, m.From.Label(), m.To.Label())
	case m.Result == analyze.ResultUnknown:
		return fmt.Sprintf("%s tried to move %s from %s to %s; how it ended was lost", m.Who(), what, m.From.Label(), m.To.Label())
	case m.Result == analyze.ResultFailed:
		return fmt.Sprintf("%s tried to move %s from %s to %s: %s", m.Who(), what, m.From.Label(), m.To.Label(), analyze.ErrnoName(m.Errno))
	case m.Result == analyze.ResultUndone:
		return fmt.Sprintf("%s tried to move %s from %s to %s: the kernel said that it did, and had taken it back", m.Who(), what, m.From.Label(), m.To.Label())
	case m.From == m.To:
		return fmt.Sprintf("%s moved %s to %s, where it was already", m.Who(), what, m.To.Label())
	case m.Cause == analyze.CauseDeath:
		return fmt.Sprintf("%s came home to %s%s, because %s died%s", what, m.To.Label(), took, m.From.Label(), renamed(m))
	}
	return fmt.Sprintf("%s was moved from %s to %s by %s%s%s%s", what, m.From.Label(), m.To.Label(), m.Who(), with(m.Asked), took, renamed(m))
}

// carriedText tells the move of an interface within its radio's.
func (t *writer) carriedText(m *analyze.Move) string {
	switch {
	case m.Result == analyze.ResultFailed:
		return fmt.Sprintf("its interface %s could not go: %s", m.Label(), analyze.ErrnoName(m.Errno))
	case m.Result != analyze.ResultOK:
		return fmt.Sprintf("its interface %s was on its way", m.Label())
	case m.Rollback:
		return fmt.Sprintf("its interface %s came back to %s%s", m.Label(), m.To.Label(), renamed(m))
	}
	return fmt.Sprintf("its interface %s went along%s", m.Label(), renamed(m))
}

// renamed says what changed in a move.
func renamed(m *analyze.Move) string {
	var out []string
	if m.NewName != "" && m.Name != "" && m.NewName != m.Name {
		out = append(out, "is now called "+escape(m.NewName))
	}
	if m.Ifindex != 0 && m.NewIfindex != 0 && m.Ifindex != m.NewIfindex {
		out = append(out, fmt.Sprintf("has number %d instead of %d", m.NewIfindex, m.Ifindex))
	}
	if len(out) == 0 {
		return ""
	}
	return " and " + strings.Join(out, " and ")
}

func (t *writer) timeline() {
	t.section("TIMELINE")
	t.writeItems(t.kept(func(x item) bool { return !t.allHidden(x.about) }))
	t.askFolds()
}

// kept returns the items that pass the options and keep.
func (t *writer) kept(keep func(item) bool) []item {
	return slices.DeleteFunc(t.items(), func(x item) bool { return !keep(x) || !t.o.when(x.at) })
}

// again returns how many items say what the first does.
func again(items []item) int {
	n := 1
	for n < len(items) && items[n].text == items[0].text && items[n].depth == items[0].depth {
		n++
	}
	return n
}

func (t *writer) writeItems(items []item) {
	for i := 0; i < len(items); i++ {
		x := items[i]
		if n := again(items[i:]); n > 1 { // who tries and tries is told of once
			i += n - 1
			x.text += fmt.Sprintf(" (%d times until %s)", n, t.m.Since(items[i].at))
		}
		first := fmt.Sprintf("  %11s  ", t.m.Since(x.at))
		if x.depth > 0 {
			first = strings.Repeat(" ", len(first)+2)
		}
		wrap(&t.Builder, first, strings.Repeat(" ", len(first)+2), x.text)
	}
	if len(items) == 0 {
		t.line("  nothing")
	}
}

// life tells one namespace's life as a timeline.
func (t *writer) life(n *analyze.Netns) {
	t.section(fmt.Sprintf("NAMESPACE %s (%s)", n.Label(), n.ID))
	tab := newTable()
	tab.row("names", t.names(n))
	if n.Inum != 0 {
		tab.row("inum", fmt.Sprintf("net:[%d]", n.Inum))
	}
	if n.Cookie != 0 {
		tab.row("cookie", fmt.Sprint(n.Cookie))
	}
	tab.row("born", t.bornBy(n))
	tab.row("died", t.death(n))
	if n.OwnerUserNS != 0 {
		tab.row("owner", fmt.Sprintf("user:[%d]", n.OwnerUserNS))
	}
	switch {
	case n.Initial:
	case len(n.Holders) != 0:
		tab.row("held by", holders(n))
	case n.InClosing && n.References != 0:
		tab.row("held by", fmt.Sprintf("nothing that could be seen; the kernel counted %d references", n.References))
	}
	if in := containers(n); in != "" {
		tab.row("container", in)
	}
	if len(n.NSIDs) != 0 && len(n.Nsids) == 0 {
		tab.row("nsids", t.numbers(n))
	}
	tab.write(&t.Builder, "  ")
	t.phases(n)
	t.WriteByte('\n')
	t.writeItems(t.withTasks(n, t.kept(func(x item) bool { return slices.Contains(x.about, n) })))
	t.omitted(n)
	t.inhabitants(n)
	t.tenants(n)
	t.nsids(n)
	if len(n.Delivery) != 0 {
		t.line("\n  delivered by Wi-Fi:")
		rows := t.deliveryTable()
		t.deliveryRows(rows, n)
		rows.unlessEmpty(undeliveredColumn).write(&t.Builder, "    ")
		t.lifeOverTime(n)
		for _, d := range n.Delivery {
			if of := ethertypes(d); of != "" {
				t.line("    %s: %s", nameIn(d), of)
			}
		}
	}
	if len(n.Drops) != 0 {
		t.line("\n  of these the stack dropped afterwards:")
		t.drops(n.Drops, "    ")
	}
}

// maxHolders is how many holders are listed.
const maxHolders = 8

func holders(n *analyze.Netns) string {
	var out []string
	afar := 0
	for i, h := range n.Holders {
		if h.MountNS != 0 {
			afar++ // its count has it once for each place it was propagated to
		}
		if i < maxHolders {
			out = append(out, analyze.HolderLabel(h))
		}
	}
	all := max(len(n.Holders), int(n.Held.Tasks)+int(n.Held.Mounts)+int(n.Held.Files)+afar)
	if more := all - len(out); more > 0 {
		out = append(out, fmt.Sprintf("%d more", more))
	}
	return strings.Join(out, ", ")
}

// numbers says which others the namespace knows by a number.
func (t *writer) numbers(n *analyze.Netns) string {
	var out []string
	for _, id := range n.NSIDs {
		whom := "unknown"
		if id.Inum != 0 {
			whom = fmt.Sprintf("net:[%d]", id.Inum)
		}
		for _, other := range t.m.Namespaces {
			if id.Inum == other.Inum && id.Cookie == other.Cookie && id.Inum != 0 && other.Alive() {
				whom = other.Label()
			}
		}
		out = append(out, fmt.Sprintf("%d is %s", id.ID, whom))
	}
	return strings.Join(out, ", ")
}

// inhabitants lists the radios and interfaces that were in a namespace.
func (t *writer) inhabitants(n *analyze.Netns) {
	tab := newTable("what", "number", "kind", "from", "until", "how")
	rows := 0
	for _, s := range n.WiphyStays {
		if t.o.during(s.From, s.Until) {
			tab.row(s.Wiphy.Label(), "", "radio", t.at(s.From, "before"), t.at(s.Until, "the end"), t.wiphyHow(s.Wiphy, s))
			rows++
		}
	}
	for _, s := range n.Stays {
		if t.o.during(s.From, s.Until) {
			tab.row(stayName(s.Device, s), number(s.Ifindex), kind(s.Device), t.at(s.From, "before"), t.at(s.Until, "the end"), t.deviceHow(s.Device, s))
			rows++
		}
	}
	for _, d := range t.m.Wdevs {
		for _, s := range d.Stays() {
			if s.Netns == n && t.o.during(s.From, s.Until) {
				tab.row(d.Label(), "-", wdevKind(d), t.at(s.From, "before"), t.at(s.Until, "the end"), t.wdevHow(d, &s))
				rows++
			}
		}
	}
	if rows != 0 {
		t.line("\n  radios and interfaces:")
		tab.write(&t.Builder, "    ")
	}
}
