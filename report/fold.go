// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/nstrace/nstrace/analyze"
)

// maxOrdinary is how many ordinary lives (see [analyze.Netns.Ordinary]) the
// text lists, the latest; the others are counted by who made them.
const maxOrdinary = 50

// hide chooses the ordinary namespaces that aren't listed.
func (t *writer) hide() {
	t.folds = make(map[string]*analyze.Fold)
	for _, f := range t.m.Folds {
		whole := f
		t.folds[f.Comm] = &whole
	}
	t.hidden = make(map[*analyze.Netns]bool)
	if t.o.All || len(t.o.Netns) != 0 {
		return
	}
	var ordinary []*analyze.Netns
	for _, n := range t.m.Namespaces {
		if n.Ordinary() && !notable(n) {
			ordinary = append(ordinary, n)
		}
	}
	slices.SortStableFunc(ordinary, func(x, y *analyze.Netns) int { return cmp.Compare(x.Ended, y.Ended) })
	for _, n := range ordinary[:max(0, len(ordinary)-maxOrdinary)] {
		t.hidden[n] = true
		f := t.folds[n.Birth.Comm]
		if f == nil {
			f = &analyze.Fold{Comm: n.Birth.Comm}
			t.folds[f.Comm] = f
		}
		f.Add(n)
	}
	t.hideDevices()
}

// notable reports whether something other than its own life makes a namespace
// worth listing.
func notable(n *analyze.Netns) bool {
	return len(n.WiphyStays) != 0 || len(n.Delivery) != 0 ||
		slices.ContainsFunc(n.Stays, func(s *analyze.Stay) bool { return s.Device.Wiphy != nil })
}

// allHidden reports whether an item is about hidden namespaces, and about none
// that is listed but the initial one.
func (t *writer) allHidden(about []*analyze.Netns) bool {
	some := false
	for _, n := range about {
		if n == nil || n.Initial {
			continue
		}
		if !t.hidden[n] {
			return false
		}
		some = true
	}
	return some
}

// hideDevices chooses the netdevs that aren't listed: the ordinary ones that were
// only in hidden namespaces, and the oldest of those that were only in the
// initial one, like the outer ends of containers' veths.
func (t *writer) hideDevices() {
	t.hiddenDevices = make(map[*analyze.Device]bool)
	var outer []*analyze.Device
	for _, d := range t.m.Devices {
		if !d.Ordinary() {
			continue
		}
		initial, all := true, true
		for _, s := range d.Stays {
			initial = initial && s.Netns.Initial
			all = all && (s.Netns.Initial || t.hidden[s.Netns])
		}
		switch {
		case initial:
			outer = append(outer, d)
		case all:
			t.hiddenDevices[d] = true
		}
	}
	slices.SortStableFunc(outer, func(x, y *analyze.Device) int { return cmp.Compare(x.Ended, y.Ended) })
	for _, d := range outer[:max(0, len(outer)-maxOrdinary)] {
		t.hiddenDevices[d] = true
	}
}

// foldLines say how many namespaces came and went that aren't listed.
func (t *writer) foldLines() {
	all := make([]*analyze.Fold, 0, len(t.folds))
	for _, f := range t.folds {
		if f.Namespaces != 0 {
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(x, y *analyze.Fold) int {
		return cmp.Or(cmp.Compare(y.Namespaces, x.Namespaces), strings.Compare(x.Comm, y.Comm))
	})
	for i, f := range all {
		if i == maxListed {
			t.line("  and by %d other programs", len(all)-i)
			break
		}
		who := "others"
		if f.Comm != "" {
			who = escape(f.Comm)
		}
		wrap(&t.Builder, "  ", "    ", fmt.Sprintf(
			"not listed: %d made by %s from %s to %s, all gone; set-up took %s on average and %s at most, clean-up %s and %s, and they lived %s and %s.",
			f.Namespaces, who, t.m.Since(f.First), t.m.Since(f.Last),
			analyze.Span(f.Setup/f.Namespaces), analyze.Span(f.SetupMax),
			analyze.Span(f.Cleanup/f.Namespaces), analyze.Span(f.CleanupMax),
			analyze.Span(f.Lived/f.Namespaces), analyze.Span(f.LivedMax)))
	}
	if len(all) != 0 {
		t.line("  (--all lists them)")
	}
}

// jsonFold is what was folded of one creator.
type jsonFold struct {
	Comm         *string `json:"comm"`
	Namespaces   uint64  `json:"namespaces"`
	Devices      uint64  `json:"devices"`
	Moves        uint64  `json:"moves"`
	FirstNS      *int64  `json:"first_ns"`
	LastNS       *int64  `json:"last_ns"`
	SetupSumNS   uint64  `json:"setup_sum_ns"`
	SetupMaxNS   uint64  `json:"setup_max_ns"`
	CleanupSumNS uint64  `json:"cleanup_sum_ns"`
	CleanupMaxNS uint64  `json:"cleanup_max_ns"`
	LivedSumNS   uint64  `json:"lived_sum_ns"`
	LivedMaxNS   uint64  `json:"lived_max_ns"`
}

func (j converter) fold(f analyze.Fold) (jsonFold, bool) {
	return jsonFold{
		Comm: orNull(f.Comm), Namespaces: f.Namespaces, Devices: f.Devices, Moves: f.Moves,
		FirstNS: j.atOrNull(f.First), LastNS: j.atOrNull(f.Last),
		SetupSumNS: f.Setup, SetupMaxNS: f.SetupMax, CleanupSumNS: f.Cleanup, CleanupMaxNS: f.CleanupMax,
		LivedSumNS: f.Lived, LivedMaxNS: f.LivedMax,
	}, true
}
