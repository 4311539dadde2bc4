// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/analyze/story"
	"github.com/nstrace/nstrace/event"
)

// host tells of a machine that runs n short-lived containers, one after the
// other, each with an Ethernet interface moved into it; the labels of one are
// those of the next again, as the kernel has it. Every hundredth is out of the
// ordinary: a radio visits it.
func host(keep, n int, wanted func(*Netns) bool) *Model {
	a := New()
	a.Keep(keep, wanted)
	s := story.New(a)
	radio := &story.Phy{Ptr: 0x77, Index: 0, Name: "phy0"}
	wlan := story.Netdev{Ptr: 0x770, Net: story.Initial, Ifindex: 2, Name: "wlan0", Phy: radio}
	s.Radio(radio, story.Initial, wlan)
	for i := range n {
		s.By(uint32(1000+i%300), []string{"dockerd", "ip"}[i%2])
		ref := event.NetRef{Ptr: 0x10000 + uint64(i%3)*0x1000, Cookie: uint64(100 + i), Inum: 4026532000 + uint32(i%2)}
		s.Setup(ref)
		s.Name(ref, fmt.Sprint("c", i), true)
		s.Rename(story.Netdev{Ptr: ref.Ptr + 0x100, Net: ref, Ifindex: 1, Name: "lo"}, "lo")
		out := story.Netdev{Ptr: 0x5000, Net: story.Initial, Ifindex: int32(100 + i), Name: "vethA", Kind: "veth"}
		in := story.Netdev{Ptr: 0x6000, Net: story.Initial, Ifindex: int32(200 + n + i), Name: "vethB", Kind: "veth"}
		s.Register(out)
		s.Register(in)
		in = s.Move(in, ref, story.Outcome{})
		if i%100 == 50 {
			for _, to := range []event.NetRef{ref, story.Initial} {
				s.Switch(radio, wlan.Net, to, story.Outcome{}, func() { wlan = s.Move(wlan, to, story.Outcome{}) })
			}
		}
		s.Name(ref, fmt.Sprint("c", i), false)
		s.Cleanup(ref, func() { s.Unregister(in) })
		s.Unregister(out)
	}
	// A newer one that still lives.
	last := event.NetRef{Ptr: 0x10000, Cookie: 9_999_999, Inum: 4026532000}
	s.Setup(last)
	initial := story.State(story.Initial, story.Link(wlan))
	initial.Wiphys = []event.Wiphy{{Index: 0, Name: "phy0", CanSwitch: true}}
	s.End(initial, story.State(last))
	return a.Model()
}

// Whatever is folded is accounted for, and what is left is as it is without.
func TestFold(t *testing.T) {
	const n, keep = 1000, 40
	whole, folded := host(0, n, nil), host(keep, n, nil)
	if len(whole.Folds) != 0 || len(whole.Namespaces) != n+2 {
		t.Fatalf("unfolded: %d namespaces, %v", len(whole.Namespaces), whole.Folds)
	}
	if got := len(folded.Namespaces); got > 2*keep+n/100+2 {
		t.Errorf("%d namespaces are left", got)
	}
	var sum Fold
	for _, f := range folded.Folds {
		sum.Namespaces += f.Namespaces
		sum.Devices += f.Devices
		sum.Moves += f.Moves
		if f.Comm != "dockerd" && f.Comm != "ip" || f.SetupMax == 0 || f.Setup < f.SetupMax ||
			f.CleanupMax == 0 || f.LivedMax == 0 || f.First == 0 || f.Last <= f.First {
			t.Errorf("%+v", f)
		}
	}
	for _, c := range []struct {
		what               string
		folded, left, want int
	}{
		{"namespaces", int(sum.Namespaces), len(folded.Namespaces), len(whole.Namespaces)},
		{"devices", int(sum.Devices), len(folded.Devices), len(whole.Devices)},
		{"moves", int(sum.Moves), len(folded.Moves), len(whole.Moves)},
	} {
		if c.folded+c.left != c.want {
			t.Errorf("%d %s folded and %d left, of %d", c.folded, c.what, c.left, c.want)
		}
	}
	byID := make(map[string]*Netns)
	for _, x := range whole.Namespaces {
		byID[x.ID] = x
	}
	for _, x := range folded.Namespaces {
		w := byID[x.ID]
		if w == nil || w.Cookie != x.Cookie || w.firstSeen != x.firstSeen || w.Ended != x.Ended || len(w.Stays) != len(x.Stays) && !x.Initial {
			t.Errorf("%s is cookie %d; without folding it is %+v", x.ID, x.Cookie, w)
		}
	}
	if len(folded.Audit.Differences) != 0 || folded.Audit.Compared != whole.Audit.Compared {
		t.Errorf("audit: %+v", folded.Audit)
	}
	if a, b := texts(folded), texts(whole); a != b {
		t.Errorf("findings:\n%s\nwithout folding:\n%s", a, b)
	}
}

// texts are the findings but those about ordinary lives, whose number differs.
func texts(m *Model) string {
	var b strings.Builder
	for _, f := range m.Findings {
		fmt.Fprintln(&b, f.Rule, f.Subject, f.Text)
	}
	return b.String()
}

// What somebody asks for isn't folded.
func TestFoldWanted(t *testing.T) {
	m := host(40, 1000, func(n *Netns) bool { return n.Cookie == 133 })
	for _, n := range m.Namespaces {
		if n.Cookie == 133 && n.AllNames()[0] == "c33" && len(n.Stays) == 2 {
			return
		}
	}
	t.Error("the one that was asked for is gone")
}

// However long the recording, the analyzer holds no more than before.
func TestFoldBounds(t *testing.T) {
	const keep = 20
	size := func(n int) (total int) {
		a := New()
		a.Keep(keep, nil)
		s := story.New(a)
		for i := range n {
			ref := event.NetRef{Ptr: 0x10000 + uint64(i%3)*0x1000, Cookie: uint64(100 + i), Inum: 4026532000 + uint32(i%7)}
			s.By(uint32(i%100), fmt.Sprint("maker", i%5)).Setup(ref)
			s.Cleanup(ref, nil)
		}
		total = len(a.nets.all) + len(a.nets.byCookie) + len(a.nets.dying) + len(a.devs.all) + len(a.names) +
			len(a.calls) + len(a.folds.ended) + len(a.folds.gone) + len(a.m.Moves) + len(a.m.Renames) + len(a.folds.byComm)
		for _, l := range a.nets.byPtr {
			total += len(l)
		}
		for _, l := range a.nets.byInum {
			total += len(l)
		}
		for _, l := range a.devs.byPtr {
			total += len(l)
		}
		return total
	}
	if short, long := size(1000), size(10_000); long > short+8*keep {
		t.Errorf("%d entries after a thousand namespaces, %d after ten thousand", short, long)
	}
}

// BenchmarkLifecycles is a recording of ten events per namespace.
func BenchmarkLifecycles(b *testing.B) {
	for b.Loop() {
		a := New()
		s := story.New(a)
		for i := range 100_000 {
			ref := event.NetRef{Ptr: 0x10000 + uint64(i%300)*0x1000, Cookie: uint64(100 + i), Inum: 4026532000 + uint32(i%200)}
			s.Setup(ref)
			s.Cleanup(ref, nil)
		}
		s.End()
		m := a.Model()
		b.ReportMetric(float64(m.Events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
	}
}
