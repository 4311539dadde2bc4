// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/analyze/story"
	"github.com/nstrace/nstrace/event"
	"github.com/nstrace/nstrace/report"
)

// evil is what a user program would choose.
const evil = "x\x1b[2J\n\u202e\"<b>\xff"

// hostile is a recording in which every string a user can choose is hostile.
func hostile() *analyze.Model {
	a := analyze.New()
	s := story.Blank(a)
	s.HandleRecording(&event.Recording{
		Host: evil, Kernel: evil, Arch: evil, Command: []string{"nstrace", "record", "--", evil}, Began: s.T, Delivery: evil,
	})
	home := story.State(story.Initial)
	home.Names = []string{evil}
	home.Holders = []event.Holder{
		{Kind: evil, Comm: evil, Path: evil},
		{Kind: "task", PID: 3, Comm: evil},
		{Kind: "mount", Path: evil, Comm: evil, MountNS: 5},
		{Kind: "file", PID: 3, Comm: evil, Path: evil},
		{Kind: "socket", PID: 3, Comm: evil, Path: evil},
		{Kind: "tun", PID: 3, Comm: evil, Path: evil},
		{Kind: "proc", PID: 3, Comm: evil, Path: evil},
	}
	held := story.State(event.NetRef{Cookie: 9, Inum: 4026532999})
	held.Holders = home.Holders
	s.Snapshot(false, home, held)
	s.HandleSnapshot(&event.Snapshot{Begin: s.T, Finish: s.T, Errors: []string{evil}})
	n := event.NetRef{Ptr: 0xffff1000, Cookie: 7, Inum: 4026532100}
	p := &story.Phy{Ptr: 0xaa, Index: 0, Name: evil}
	d := story.Netdev{Ptr: 0xdd, Net: story.Initial, Ifindex: 3, Name: evil, Kind: evil, Phy: p}
	s.By(9, evil).Setup(n)
	s.Name(n, evil, true)
	s.Radio(p, story.Initial, d)
	s.Move(d, n, story.Outcome{Errno: 22})
	s.Switch(p, story.Initial, n, story.Outcome{}, func() { d = s.Move(d, n, story.Outcome{Name: evil + "2"}) })
	s.Rename(d, evil+"3")
	s.Rename(d, evil+"4")
	s.By(8, "other").Rename(d, evil+"5")
	s.Vif(story.Netdev{Net: n, Name: evil, Phy: p})
	s.Send(event.Event{Kind: event.KindIfAdd, Phase: event.PhaseExit, Net: n, Name: evil, Ret: 22})
	s.By(9, evil)
	hostileRequests(s, p, n)
	base := uint64(0)
	s.Received(d, 3, &base)
	s.Name(n, evil, false)
	s.Send(event.Event{Kind: event.KindRegisterPernet, Phase: event.PhaseExit, Ops: 1, Fn: 2, Ret: 12})
	s.HandleSymbol(&event.Symbol{Time: s.T, Addr: 1, Name: evil, Module: evil})
	s.HandleSymbol(&event.Symbol{Time: s.T, Addr: 2, Name: evil, Module: evil})
	s.HandleDamage(&event.Damage{Time: s.T, Length: 1, Reason: evil})
	s.HandleLoss(&event.Loss{Ring: evil, To: s.T, Count: 1})
	other := story.State(n)
	other.Names = []string{evil + "other"}
	s.Snapshot(true, story.State(story.Initial, event.Link{Ifindex: 44, Name: evil, Wiphy: -1}), other)
	s.HandleLedger(&event.Ledger{
		Time: s.T,
		Probes: []event.ProbeLedger{
			{Name: evil, Function: evil, Module: evil, Hook: evil, Status: event.StatusFailed, Reason: evil, Loses: evil},
			{Name: evil, Function: evil, Hook: evil, Status: event.StatusAttached},
			{Name: "x", Status: event.Status(evil)},
		},
		Rings:    []event.RingLedger{{Name: evil, Lost: 7}},
		Problems: []event.Problem{{What: evil, Remedy: evil}},
	})
	s.HandleEnd(&event.End{Time: s.Tick(), Reason: evil, Error: evil})
	return a.Model()
}

// hostileRequests asks for things with hostile names, in vain and not.
func hostileRequests(s *story.Story, p *story.Phy, n event.NetRef) {
	s.Wdev(p, n, 0xe0, 2, evil)
	for _, errno := range []uint32{0, 1, 16, 17, 22} {
		for _, command := range []uint64{unix.NL80211_CMD_SET_WIPHY, unix.NL80211_CMD_NEW_INTERFACE, unix.NL80211_CMD_SET_WIPHY_NETNS} {
			s.NL80211(command, p, event.Event{Ret: errno, Name: evil + "6", WiphyName: evil, TargetPID: 5, Net2: n, Iftype: 99}, func() {
				s.Send(event.Event{Kind: event.KindNetByPID, Phase: event.PhaseExit, TargetPID: 5, Arg: 9, NewName: evil, Net: n})
			})
		}
		for _, command := range []uint64{unix.RTM_NEWLINK, unix.RTM_DELLINK} {
			s.Netlink(event.Event{Kind: event.KindRTNetlink, Arg: command, WiphyIndex: -1, Name: evil, LinkKind: evil, Ret: errno}, nil)
		}
	}
	s.LeaveWdev(p, n, 0xe0, 2)
}

func TestHostileStrings(t *testing.T) {
	m := hostile()
	for _, o := range []report.Options{{}, {Netns: m.Namespaces}} {
		var b bytes.Buffer
		if err := report.Text(&b, m, o); err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(b.String(), "\n") {
			if strings.ContainsFunc(line, func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsGraphic(r) }) {
				t.Errorf("line %d isn't safe to print: %q", i+1, line)
			}
		}
	}
	_, err := report.Select(m, evil+"?")
	if err == nil || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("the error isn't safe to print: %q", err)
	}
}

func TestHostileJSON(t *testing.T) {
	var b bytes.Buffer
	if err := report.JSON(&b, hostile(), report.Options{}); err != nil {
		t.Fatal(err)
	}
	var back map[string]any
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if bytes.ContainsAny(b.Bytes(), "\x1b<>") {
		t.Error("the JSON holds characters that a terminal or a browser would act on")
	}
}

// What kept the recorder from seeing everything is a list of its own.
func TestProblemsJSON(t *testing.T) {
	a := analyze.New()
	a.HandleLedger(&event.Ledger{Problems: []event.Problem{{What: "one", Remedy: "help"}, {What: "two"}}})
	var b bytes.Buffer
	if err := report.JSON(&b, a.Model(), report.Options{}); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Recording struct {
			Clean    bool
			Problems json.RawMessage
		}
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	var list bytes.Buffer
	if err := json.Compact(&list, got.Recording.Problems); err != nil {
		t.Fatal(err)
	}
	if want := `[{"what":"one","remedy":"help"},{"what":"two","remedy":null}]`; list.String() != want || got.Recording.Clean {
		t.Errorf("clean %v, got %s", got.Recording.Clean, &list)
	}
}

// An array of the schema is never null, whatever is missing.
func TestEmptyJSON(t *testing.T) {
	var b bytes.Buffer
	if err := report.JSON(&b, analyze.New().Model(), report.Options{}); err != nil {
		t.Fatal(err)
	}
	var back map[string]any
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"namespaces", "wiphys", "moves", "pernet", "requests", "subsystems", "vifs", "renames", "findings", "verdict"} {
		if _, ok := back[key].([]any); !ok {
			t.Errorf("%s is %v", key, back[key])
		}
	}
	if err := report.Text(io.Discard, analyze.New().Model(), report.Options{}); err != nil {
		t.Error(err)
	}
}

func TestFormat(t *testing.T) {
	if err := report.Write(io.Discard, demo(), "html", report.Options{}); !errors.Is(err, report.ErrFormat) {
		t.Errorf("got %v", err)
	}
}

func TestVerdictComesFirst(t *testing.T) {
	a := analyze.New()
	s := story.New(a)
	s.HandleLoss(&event.Loss{Ring: "lifecycle", CPU: 1, From: s.T, To: s.Tick(), Count: 12})
	s.End()
	var b bytes.Buffer
	if err := report.Text(&b, a.Model(), report.Options{}); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	lost, findings := strings.Index(text, "12 lifecycle events lost on CPU 1"), strings.Index(text, "FINDINGS")
	if lost < 0 || findings < lost || strings.Contains(text, "Nothing is known to be missing") {
		t.Errorf("the loss isn't told first:\n%s", text)
	}
}

func TestUnknownIsNamed(t *testing.T) {
	a := analyze.New()
	s := story.New(a)
	s.HandleLedger(&event.Ledger{Probes: []event.ProbeLedger{{Name: "free_net", Hook: "fentry", Status: event.StatusAttached}}})
	s.Snapshot(true, story.State(story.Initial))
	s.HandleEnd(&event.End{Time: s.Tick()})
	var b bytes.Buffer
	if err := report.Text(&b, a.Model(), report.Options{}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "Nothing is known to be missing from this recording; whether the kernel skipped any call is unknown\n  for free_net.") {
		t.Errorf("got\n%s", b.String())
	}
}

func TestNoise(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 1))
		data := make([]byte, 3000)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		a := analyze.New()
		story.Noise(a, data)
		m := a.Model()
		for _, o := range []report.Options{{}, {Netns: m.Namespaces}} {
			if err := errors.Join(report.Text(io.Discard, m, o), report.JSON(io.Discard, m, o)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// many is a recording of many short lives.
func many(n int) *analyze.Model {
	a := analyze.New()
	s := story.New(a)
	for i := range n {
		ref := event.NetRef{Ptr: 0xffff0000 + uint64(i%50)<<12, Cookie: uint64(100 + i), Inum: 4026533000 + uint32(i%50)}
		s.By(uint32(1000+i%30000), "ip").Setup(ref)
		s.Name(ref, fmt.Sprint("n", i), true)
		s.Name(ref, fmt.Sprint("n", i), false)
		s.Cleanup(ref, nil)
	}
	s.End()
	return a.Model()
}

func BenchmarkReport(b *testing.B) {
	for b.Loop() {
		m := many(1000) // 8,000 events
		if err := report.Text(io.Discard, m, report.Options{}); err != nil {
			b.Fatal(err)
		}
		if err := report.JSON(io.Discard, m, report.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
