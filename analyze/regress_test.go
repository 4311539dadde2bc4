// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"slices"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/event"
)

// Each of these was once told wrongly of a real recording.

var (
	regressInit = event.NetRef{Ptr: 0xa0, Cookie: 1, Inum: 100}
	regressNet  = event.NetRef{Ptr: 0xb0, Cookie: 2, Inum: 200}
)

func regressState(closing bool, rx uint64, at uint64, states ...event.NetnsState) *event.Snapshot {
	initial := event.NetnsState{
		Inum: regressInit.Inum, Cookie: regressInit.Cookie, Initial: true,
		Links: []event.Link{{
			Ifindex: 3, Name: "wlan1", DevType: 1, Iftype: 3, Wiphy: 0,
			Stats: true, StatsTime: at, RxPackets: rx, RxBytes: rx * 100,
		}},
		Wiphys: []event.Wiphy{{Index: 0, Name: "phy0"}},
	}
	return &event.Snapshot{Begin: at, Finish: at + 1, Closing: closing, Namespaces: append([]event.NetnsState{initial}, states...)}
}

func regressBegin() *Analyzer {
	a := New()
	a.HandleRecording(&event.Recording{Began: 1e9, Delivery: "count", InitNet: regressInit.Inum})
	return a
}

// A packet that came before the opening snapshot was taken made an interface
// without a name, which then disagreed with the closing snapshot.
func TestPacketsBeforeTheSnapshot(t *testing.T) {
	a := regressBegin()
	flow := event.Flow{Net: regressInit, Dev: 0xd0, Ifindex: 3, Path: event.PathDeliverSKB}
	a.HandleCount(&event.Count{Flow: flow, Time: 1.1e9, First: 1.05e9, Last: 1.1e9, Packets: 4, Bytes: 400, Base: true, BasePackets: 10, BaseBytes: 1000})
	a.HandleSnapshot(regressState(false, 14, 1.2e9))
	a.HandleCount(&event.Count{Flow: flow, Time: 1.9e9, First: 1.05e9, Last: 1.9e9, Packets: 6, Bytes: 600})
	a.HandleSnapshot(regressState(true, 20, 2.1e9))
	a.HandleEnd(&event.End{Time: 2e9, Reason: "interrupt"})
	m := a.Model()
	if len(m.Audit.Differences) != 0 {
		t.Errorf("audit: %+v", m.Audit.Differences)
	}
	if got := rowsOf(m); got != "init/wlan1 10/10" {
		t.Errorf("delivery: %s", got)
	}
}

// Packets between the end of counting and the closing snapshot aren't a loss.
func TestPacketsAfterTheEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		last uint64
		want Severity
	}{{"still coming", 1.99e9, Info}, {"long over", 1.1e9, Warning}} {
		a := regressBegin()
		flow := event.Flow{Net: regressInit, Dev: 0xd0, Ifindex: 3, Path: event.PathDeliverSKB}
		end := uint64(2e9)
		if c.want == Warning {
			end = 9e9
		}
		a.HandleSnapshot(regressState(false, 10, 1.01e9))
		a.HandleCount(&event.Count{Flow: flow, Time: c.last, First: 1.05e9, Last: c.last, Packets: 10, Bytes: 1000, Base: true, BasePackets: 10, BaseBytes: 1000})
		a.HandleSnapshot(regressState(true, 28, end+1e6))
		a.HandleEnd(&event.End{Time: end, Reason: "interrupt"})
		i := slices.IndexFunc(a.Model().Findings, func(f Finding) bool { return f.Rule == "delivery-differs" })
		if i < 0 {
			t.Fatalf("%s: no finding", c.name)
		}
		if f := a.Model().Findings[i]; f.Severity != c.want || !strings.Contains(f.Text, "8 fewer") {
			t.Errorf("%s: %s: %s", c.name, f.Severity, f.Text)
		}
	}
}

func regressBirth(a *Analyzer) {
	e := event.Event{Kind: event.KindSetupNet, Phase: event.PhaseEnter, Time: 1.1e9, PID: 7, TID: 7, Comm: "ip", Caller: regressInit, Net: event.NetRef{Ptr: regressNet.Ptr}}
	a.HandleEvent(&e)
	e.Phase, e.Start, e.Time, e.Net = event.PhaseExit, e.Time, 1.2e9, regressNet
	a.HandleEvent(&e)
	a.HandleName(&event.NameChange{Time: 1.3e9, Name: "blue", Path: "/run/netns/blue", Inum: regressNet.Inum, Added: true})
}

// A name whose namespace a task keeps alive is a finding whoever made it.
func TestNameRemovedWhileHeld(t *testing.T) {
	a := regressBegin()
	a.HandleSnapshot(regressState(false, 0, 1.01e9))
	regressBirth(a)
	a.HandleName(&event.NameChange{Time: 1.5e9, Name: "blue", Path: "/run/netns/blue"})
	held := event.NetnsState{
		Inum: regressNet.Inum, Cookie: regressNet.Cookie, Links: []event.Link{},
		Holders: []event.Holder{{Kind: "task", PID: 42, Comm: "sleep"}},
	}
	a.HandleSnapshot(regressState(true, 0, 2.1e9, held))
	a.HandleEnd(&event.End{Time: 2e9})
	for _, f := range a.Model().Findings {
		if f.Rule == "name-removed-netns-alive" && strings.Contains(f.Text, "sleep[42]") {
			return
		}
	}
	t.Errorf("findings: %+v", a.Model().Findings)
}

// That a name is gone is noticed a little later; it was gone by the last put.
func TestNameRemovedBeforeItsPut(t *testing.T) {
	a := regressBegin()
	a.HandleSnapshot(regressState(false, 0, 1.01e9))
	regressBirth(a)
	a.HandleEvent(&event.Event{Kind: event.KindPutNet, Time: 1.4e9, PID: 8, TID: 8, Comm: "ip", Caller: regressInit, Net: regressNet})
	a.HandleName(&event.NameChange{Time: 1.5e9, Name: "blue", Path: "/run/netns/blue"})
	a.HandleSnapshot(regressState(true, 0, 2.1e9))
	a.HandleEnd(&event.End{Time: 2e9})
	n := a.Model().Namespaces[1]
	if len(n.Names) != 1 || n.Names[0].Until != 1.4e9 {
		t.Errorf("names: %+v", n.Names)
	}
}

// A radio that the opening snapshot didn't see, because its module was loaded
// later, wasn't there before the recording.
func TestRadioOfALateModule(t *testing.T) {
	a := regressBegin()
	a.HandleSnapshot(regressState(false, 0, 1.01e9))
	// Registered before its module was hooked: only its interface is seen, and
	// its index isn't known.
	e := event.Event{
		Kind: event.KindNetdevRegister, Phase: event.PhaseExit, Time: 1.5e9, Start: 1.4e9, PID: 9, TID: 9, Comm: "modprobe",
		Caller: regressInit, Net: regressInit, Dev: 0xd1, Wiphy: 0xf1, WiphyIndex: -1, WiphyName: "phy1", Name: "wlan2", Ifindex: 4, DevType: 1, Iftype: 2,
	}
	a.HandleEvent(&e)
	closing := regressState(true, 0, 2.1e9)
	closing.Namespaces[0].Links = append(closing.Namespaces[0].Links, event.Link{Ifindex: 4, Name: "wlan2", DevType: 1, Iftype: 2, Wiphy: 1})
	closing.Namespaces[0].Wiphys = append(closing.Namespaces[0].Wiphys, event.Wiphy{Index: 1, Name: "phy1"})
	a.HandleSnapshot(closing)
	a.HandleEnd(&event.End{Time: 2e9})
	m := a.Model()
	i := slices.IndexFunc(m.Wiphys, func(w *Wiphy) bool { return w.Name == "phy1" })
	if i < 0 {
		t.Fatalf("radios: %+v", m.Wiphys)
	}
	if s := m.Wiphys[i].Stays[0]; s.Arrived != ArrivedCreated || s.From != 1.5e9 || !s.Inferred {
		t.Errorf("phy1 came: %+v", s)
	}
	if len(m.Wiphys) != 2 || m.Wiphys[i].Index != 1 || len(m.Audit.Differences) != 0 {
		t.Errorf("%d radios, phy1 has index %d, audit %+v", len(m.Wiphys), m.Wiphys[i].Index, m.Audit.Differences)
	}
}
