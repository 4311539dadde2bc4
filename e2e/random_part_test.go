// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nstrace/nstrace/analyze"
)

// part is what a recording tells that saw only a part of what another one saw
// whole. All it tells has to be so, and what it can't know it must not tell.
type part struct {
	*testing.T
	whole, model *analyze.Model
	// The part may have seen something from the time begin on, and has seen
	// everything from the time from on, the two recordings' clocks differing by
	// slack at most.
	begin, from, slack uint64
	namespaces         map[*analyze.Netns]*analyze.Netns
	devices            map[*analyze.Device]*analyze.Device
	wiphys             map[*analyze.Wiphy]*analyze.Wiphy
}

// check holds the part against the whole.
func (p *part) check() {
	p.Helper()
	p.namespaces = map[*analyze.Netns]*analyze.Netns{}
	p.devices = map[*analyze.Device]*analyze.Device{}
	p.wiphys = map[*analyze.Wiphy]*analyze.Wiphy{}
	for _, n := range p.model.Namespaces {
		pair(p, p.namespaces, n, p.whole.Namespaces, p.isNetns, func(n *analyze.Netns) string {
			return fmt.Sprintf("namespace %s net:[%d]", n.Label(), n.Inum)
		})
	}
	for _, w := range p.model.Wiphys {
		pair(p, p.wiphys, w, p.whole.Wiphys, p.isWiphy, (*analyze.Wiphy).Label)
	}
	for _, d := range p.model.Devices {
		pair(p, p.devices, d, p.whole.Devices, p.isDevice, func(d *analyze.Device) string {
			return fmt.Sprintf("interface %s in %s", d.Label(), d.Stays[0].Netns.Label())
		})
	}
	for n, w := range p.namespaces {
		p.checkNetns(n, w)
	}
	for x, w := range p.wiphys {
		p.checkWiphy(x, w)
	}
	for d, w := range p.devices {
		p.checkDevice(d, w)
	}
	p.checkMissing()
	p.checkDeeds()
}

// pair finds what something of the part is in the whole. No two may be the same
// there, or else a life was split, and none may be two, or else two were merged.
func pair[T comparable](p *part, pairs map[T]T, one T, whole []T, is func(part, whole T) bool, label func(T) string) {
	p.Helper()
	var found []T
	for _, w := range whole {
		if is(one, w) {
			found = append(found, w)
		}
	}
	if len(found) != 1 {
		p.Errorf("%s of the part is %d of the whole", label(one), len(found))
		return
	}
	for other, w := range pairs {
		if w == found[0] {
			p.Errorf("%s and %s of the part are one", label(one), label(other))
		}
	}
	pairs[one] = found[0]
}

// near reports whether two times are those of one event.
func (p *part) near(a, b uint64) bool { return max(a, b)-min(a, b) <= p.slack }

// isBirth reports whether a birth of the part, nil if it has none, can be that of
// a life of the whole, which ended at a time, 0 if it didn't.
func (p *part) isBirth(birth, whole *analyze.Birth, ended uint64) bool {
	if birth != nil {
		return whole != nil && p.near(birth.At, whole.At)
	}
	return (whole == nil || whole.At <= p.from+p.slack) && (ended == 0 || ended+p.slack >= p.begin)
}

func (p *part) isNetns(n, w *analyze.Netns) bool {
	return n.Inum == w.Inum && (n.Ptr == 0 || n.Ptr == w.Ptr || w.Ptr == 0) &&
		(n.Cookie == 0 || w.Cookie == 0 || n.Cookie == w.Cookie) && p.isBirth(n.Birth, w.Birth, w.Ended)
}

func (p *part) isWiphy(x, w *analyze.Wiphy) bool {
	if x.Index >= 0 && w.Index >= 0 {
		return x.Index == w.Index
	}
	return x.Ptr == w.Ptr && p.isBirth(x.Birth, w.Birth, w.Ended)
}

// isDevice: interfaces that have the same number in the same namespace at a time
// are the same.
func (p *part) isDevice(d, w *analyze.Device) bool {
	if d.Ptr != 0 && w.Ptr != 0 && d.Ptr != w.Ptr || !p.isBirth(d.Birth, w.Birth, w.Ended) {
		return false
	}
	return slices.ContainsFunc(w.Stays, func(s *analyze.Stay) bool { return p.isStay(d.Stays[0], s) })
}

// isStay reports whether a stay of the part can be one of the whole. Where its
// beginning was only noticed it began earlier, and where its end was it ended
// earlier.
func (p *part) isStay(s, w *analyze.Stay) bool {
	if p.namespaces[s.Netns] != w.Netns || s.Ifindex != w.Ifindex {
		return false
	}
	switch {
	case w.Left != "" && w.Until+p.slack < p.begin:
		return false
	case s.From != 0 && !s.Inferred:
		return p.near(s.From, w.From)
	case s.From == 0:
		return w.From <= p.from+p.slack
	}
	return w.From <= s.From+p.slack && (w.Left == "" || w.Until+p.slack >= s.From)
}

// checkEnd compares how something ended: it didn't, it was seen to, or it was
// noticed.
func (p *part) checkEnd(what string, ended uint64, inferred bool, whole uint64) {
	p.Helper()
	switch {
	case ended == 0 && whole == 0:
	case ended == 0 || whole == 0 || ended+p.slack < whole:
		p.Errorf("%s ended at %d, in the whole at %d", what, ended, whole)
	case !inferred && !p.near(ended, whole):
		p.Errorf("%s was seen to end at %d, in the whole it ended at %d", what, ended, whole)
	case inferred && whole > p.from+p.slack:
		p.Errorf("%s ended at %d, and nobody saw it", what, whole)
	}
}

func (p *part) checkNetns(n, w *analyze.Netns) {
	p.Helper()
	what := "namespace " + w.Label()
	p.checkEnd(what, n.Ended, n.EndInferred, w.Ended)
	if n.Initial != w.Initial || n.OwnerUserNS != 0 && w.OwnerUserNS != 0 && n.OwnerUserNS != w.OwnerUserNS {
		p.Errorf("%s: initial %v, owned by %d, not %v, %d", what, n.Initial, n.OwnerUserNS, w.Initial, w.OwnerUserNS)
	}
	switch {
	case n.Put == nil && w.Put != nil && w.Put.At > p.from:
		p.Errorf("%s was let go at %d, and nobody saw it", what, w.Put.At)
	case n.Put != nil && (w.Put == nil || !p.near(n.Put.At, w.Put.At)):
		p.Errorf("%s was let go at %d, in the whole at %v", what, n.Put.At, w.Put)
	}
	if names, want := namesInTheEnd(n), namesInTheEnd(w); !slices.Equal(names, want) {
		p.Errorf("%s is called %q in the end, in the whole %q", what, names, want)
	}
}

func namesInTheEnd(n *analyze.Netns) (names []string) {
	for _, x := range n.CurrentNames() {
		names = append(names, x.Name)
	}
	slices.Sort(names)
	return names
}

func (p *part) checkWiphy(x, w *analyze.Wiphy) {
	p.Helper()
	what := "radio " + w.Label()
	p.checkEnd(what, x.Ended, false, w.Ended)
	if x.BornIn != nil && p.namespaces[x.BornIn] != w.BornIn || x.Birth == nil && x.BornIn != nil {
		p.Errorf("%s was born in %s, in the whole in %s", what, x.BornIn.Label(), w.BornIn.Label())
	}
	if x.Name != w.Name {
		p.Errorf("%s is called %s in the end, in the whole %s", what, x.Name, w.Name)
	}
	// What was seen of where it was is the end of where it was.
	var got, want []*analyze.Netns
	for _, s := range x.Stays {
		got = append(got, p.namespaces[s.Netns])
	}
	for _, s := range w.Stays {
		want = append(want, s.Netns)
	}
	if len(got) > len(want) || !slices.Equal(got, want[len(want)-len(got):]) {
		p.Errorf("%s was in %d namespaces, and they aren't the last ones of %d", what, len(got), len(want))
	}
}

func (p *part) checkDevice(d, w *analyze.Device) {
	p.Helper()
	what := "interface " + w.Label()
	last := d.Stays[len(d.Stays)-1]
	p.checkEnd(what, d.Ended, last.EndInferred, w.Ended)
	if d.Name != w.Name || d.Kind != "" && d.Kind != w.Kind {
		p.Errorf("%s, of kind %q, is called %s of kind %q", what, w.Kind, d.Name, d.Kind)
	}
	if d.Wiphy != nil && p.wiphys[d.Wiphy] != w.Wiphy {
		p.Errorf("%s is of the radio %s, not %s", what, d.Wiphy.Label(), w.Wiphy.Label())
	}
	if len(d.Stays) > len(w.Stays) {
		p.Errorf("%s was in %d namespaces, in the whole in %d", what, len(d.Stays), len(w.Stays))
		return
	}
	rest := w.Stays[len(w.Stays)-len(d.Stays):]
	for i, s := range d.Stays {
		if !p.isStay(s, rest[i]) || s.Left != rest[i].Left || s.Left != "" && !s.EndInferred && !p.near(s.Until, rest[i].Until) {
			p.Errorf("%s was number %d in %s, in the whole %d in %s", what, s.Ifindex, s.Netns.Label(), rest[i].Ifindex, rest[i].Netns.Label())
		}
	}
}

// checkMissing wants every life of the whole that the part can know to be in it.
// What was dying when it began nobody lists any more.
func (p *part) checkMissing() {
	p.Helper()
	due := func(birth *analyze.Birth, ended uint64) bool {
		if birth != nil && birth.At > p.from+p.slack {
			return true
		}
		return p.model.Opening && (ended == 0 || ended > p.from+p.slack)
	}
	dying := func(n *analyze.Netns) bool { return n.Put != nil && n.Put.At <= p.from+p.slack }
	for _, w := range p.whole.Namespaces {
		if due(w.Birth, w.Ended) && !dying(w) && !found(p.namespaces, w) {
			p.Errorf("namespace %s isn't in the part", w.Label())
		}
	}
	for _, w := range p.whole.Wiphys {
		if due(w.Birth, w.Ended) && (w.DiedWith == nil || !dying(w.DiedWith)) && !found(p.wiphys, w) {
			p.Errorf("radio %s isn't in the part", w.Label())
		}
	}
	for _, w := range p.whole.Devices {
		if due(w.Birth, w.Ended) && !dying(w.Stays[len(w.Stays)-1].Netns) && !found(p.devices, w) {
			p.Errorf("interface %s isn't in the part", w.Label())
		}
	}
}

func found[T comparable](pairs map[T]T, whole T) bool {
	for _, w := range pairs {
		if w == whole {
			return true
		}
	}
	return false
}

// checkDeeds wants what was done in both to be the same, one by one.
func (p *part) checkDeeds() {
	p.Helper()
	of := func(n *analyze.Netns) *analyze.Netns { return p.namespaces[n] }
	self := func(n *analyze.Netns) *analyze.Netns { return n }
	got, want := p.deeds(p.model, of), p.deeds(p.whole, self)
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			p.Errorf("missing from the part: %s", want[i])
		case i >= len(want):
			p.Errorf("the part has %s", got[i])
		case got[i] != want[i]:
			p.Errorf("the part has %s, the whole %s", got[i], want[i])
			return
		}
	}
	p.Logf("%d of %d namespaces, %d of %d interfaces, %d of %d radios, %d deeds after %v", len(p.namespaces), len(p.whole.Namespaces),
		len(p.devices), len(p.whole.Devices), len(p.wiphys), len(p.whole.Wiphys), len(got), time.Duration(p.from-p.whole.Began))
}

// deeds are what was done since the part saw everything, in words, in which a
// namespace is what it is in the whole.
func (p *part) deeds(m *analyze.Model, whole func(*analyze.Netns) *analyze.Netns) (deeds []string) {
	add := func(d analyze.Deed, format string, args ...any) {
		// A call that had begun before can't be told when it did.
		if d.At <= p.from+uint64(time.Second) {
			return
		}
		for i, arg := range args {
			if n, ok := arg.(*analyze.Netns); ok {
				args[i] = whole(n).Label()
			}
		}
		deeds = append(deeds, d.Who()+" "+fmt.Sprintf(format, args...))
	}
	for _, x := range m.Moves {
		add(x.Deed, "moved %s (%d) to %s (%d) from %v to %v: %s, %d, %s", x.Name, x.Ifindex, x.NewName, x.NewIfindex, x.From, x.To, x.Result, x.Errno, x.Cause)
	}
	for _, x := range m.Renames {
		add(x.Deed, "renamed %s to %s in %v: %d", x.Old, x.New, x.Netns, x.Errno)
	}
	for _, x := range m.Vifs {
		add(x.Deed, "added %s of type %d in %v from %v: %d", x.Name, x.Iftype, x.Netns, x.Caller, x.Errno)
	}
	for _, x := range m.Pernet {
		add(x.Deed, "registered %v %#x: %s, %d", x.Register, x.OpsAddr, x.Result, x.Errno)
	}
	// Those alike are told together, so the first of them may be older.
	for _, x := range m.Refusals {
		add(analyze.Deed{At: x.Last, PID: x.PID, Comm: x.Comm}, "was last refused a namespace: %d", x.Errno)
	}
	return deeds
}
