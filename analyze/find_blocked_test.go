// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"strings"
	"testing"

	"github.com/nstrace/nstrace/analyze/story"
	"github.com/nstrace/nstrace/event"
)

// What users run into when everybody waits for everybody, as told in the end.
func TestBlocked(t *testing.T) {
	const ops, fn = 0xc100, 0xc200
	cleanup := func(s *tale, phase event.Phase) {
		s.By(8, "kworker/u4:1").Send(event.Event{Kind: event.KindCleanupNet, Phase: phase})
	}
	tests := []struct {
		name, rule string
		severity   Severity
		tell       func(*tale)
		says       []string
		advice     string
	}{
		{"creators behind a writer behind a clean-up", "creators-waiting", Error, func(s *tale) {
			s.Put(red)
			cleanup(s, event.PhaseEnter)
			s.By(90, "modprobe").Want(event.KindRegisterPernet, ops, fn)
			s.Symbol(ops, "nfct_net_ops", "nf_conntrack")
			for pid := range uint32(5) {
				s.By(300+pid, "unshare").Ask(story.UserNS)
			}
			s.T += 5000 * story.MS
		}, []string{
			"5 tasks wanted a namespace and had none when the recording ended, the first since +0.015 s (5.01 s before): unshare[300], unshare[301], unshare[302] and 2 more.",
			"behind modprobe[90], which waited since +0.013 s to register nfct_net_ops (nf_conntrack); kworker/u4:1[8], which had been cleaning up dying namespaces since +0.012 s.",
		}, "cat /proc/300/stack"},
		{"the writer", "pernet-waited", Error, func(s *tale) {
			cleanup(s, event.PhaseEnter)
			s.By(90, "modprobe").Want(event.KindUnregisterPernet, ops, fn)
			s.T += 2000 * story.MS
		}, []string{"modprobe[90] had waited 2.00 s for pernet_ops_rwsem when the recording ended, to unregister pernet operations at 0xc100", "In the way: kworker/u4:1[8], which had been cleaning up"}, "cat /proc/90/stack"},
		{"a writer that got it late", "pernet-waited", Warning, func(s *tale) {
			cleanup(s, event.PhaseEnter)
			s.By(90, "modprobe").Want(event.KindRegisterPernet, ops, fn)
			s.T += 3000 * story.MS
			cleanup(s, event.PhaseExit)
			s.By(90, "modprobe").Registration(event.KindRegisterPernet, ops, fn, 2, 0, nil)
		}, []string{"modprobe[90] waited 3.00 s for pernet_ops_rwsem", "In the way: kworker/u4:1[8], which took 3.00 s to clean up dying namespaces."}, ""},
		{"creators that got it late", "setup-waited", Warning, func(s *tale) {
			s.By(90, "modprobe").Want(event.KindRegisterPernet, ops, fn)
			s.Symbol(ops, "pktgen_net_ops", "pktgen")
			s.Registration(event.KindRegisterPernet, ops, fn, 40, 0, func() {
				s.By(300, "unshare").Ask(story.UserNS)
				s.By(301, "unshare").Ask(story.UserNS)
				s.T += 4000 * story.MS
				s.By(90, "modprobe")
			})
			s.By(300, "unshare").Setup(fresh)
			s.By(301, "unshare").Setup(event.NetRef{Ptr: fresh.Ptr + 0x1000, Cookie: fresh.Cookie + 1, Inum: fresh.Inum + 1})
		}, []string{"2 new namespaces waited up to 4.00 s before their set-up could begin", "for pernet_ops_rwsem, behind modprobe[90], which took 4.00 s to register pktgen_net_ops (pktgen)."}, ""},
		{"one that waited for nobody known", "setup-waited", Warning, func(s *tale) {
			s.By(300, "unshare").Ask(story.UserNS)
			s.T += 1500 * story.MS
			s.Setup(fresh)
		}, []string{"unshare[300] waited 1.50 s before the set-up of unshare[300]'s namespace net:[4026532500] could begin."}, ""},
		{"a slow subsystem", "setup-slow", Warning, func(s *tale) {
			s.By(300, "unshare").Send(event.Event{Kind: event.KindSetupNet, Phase: event.PhaseEnter, Net: event.NetRef{Ptr: fresh.Ptr}})
			start := s.T
			s.T += 2500 * story.MS
			s.Send(event.Event{Kind: event.KindSetupNet, Phase: event.PhaseExit, Net: fresh, Start: start})
			s.Steps(event.KindSetupNet, fresh, event.Step{Ops: 1, Fn: 2, Duration: 7}, event.Step{Ops: ops, Fn: fn, Duration: 2400 * story.MS})
			s.Symbol(ops, "slow_net_ops", "slow")
		}, []string{"took 2.50 s, of which slow_net_ops (slow) took 2.40 s."}, ""},
		{"no more allowed", "netns-refused", Error, func(s *tale) {
			for range 3 {
				s.By(300, "unshare").Ask(4026532001)
				s.Answer(event.NetRef{}, 4026532001, enospc, s.T)
			}
		}, []string{"unshare[300] could not create a namespace 3 times, until +0.015 s: ENOSPC, before anything was set up.", "max_net_namespaces allows exist already, in user:[4026532001]"}, "lsns -t net; sysctl user.max_net_namespaces"},
		{"killed in the queue", "netns-refused", Warning, func(s *tale) {
			s.By(300, "unshare").Ask(story.UserNS)
			start := s.T
			s.T += 1999 * story.MS
			s.Answer(event.NetRef{}, story.UserNS, eintr, start)
		}, []string{"EINTR", "killed while it waited for pernet_ops_rwsem, for up to 2.00 s"}, ""},
		{"a slow batch, told once", "cleanup-slow", Warning, func(s *tale) {
			s.Put(red)
			s.Put(blue)
			s.T += 1000 * story.MS
			cleanup(s, event.PhaseEnter)
			start := s.T
			s.T += 700 * story.MS
			s.Inside(event.KindCleanupNet, func() {
				s.Free(red)
				s.Free(blue)
			})
			s.Send(event.Event{Kind: event.KindCleanupNet, Phase: event.PhaseExit, Start: start})
			s.Steps(event.KindCleanupNet, event.NetRef{}, event.Step{Ops: ops, Fn: fn, Duration: 650 * story.MS})
			s.Symbol(ops, "default_device_ops", "")
		}, []string{"red, with 1 other, was gone", "it waited 1.00 s for the clean-up to begin, which took 701 ms, of which default_device_ops took 650 ms."}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := stand()
			tt.tell(s)
			f := s.end().finding(t, tt.rule)
			if f == nil {
				t.Fatalf("no finding %q among %+v", tt.rule, s.a.m.Findings)
			}
			for _, part := range tt.says {
				if !strings.Contains(f.Text, part) {
					t.Errorf("the text lacks %q: %s", part, f.Text)
				}
			}
			if f.Severity != tt.severity || f.Advice != tt.advice {
				t.Errorf("%s, advice %q", f.Severity, f.Advice)
			}
		})
	}
}

// Where returns are missing, whoever seems to wait may not.
func TestMayBeOver(t *testing.T) {
	s := stand()
	s.By(300, "unshare").Ask(story.UserNS)
	s.T += 5000 * story.MS
	missed := uint64(1)
	s.HandleLedger(&event.Ledger{
		Time: s.Tick(), Probes: []event.ProbeLedger{{Name: "copy_net_ns", Status: event.StatusAttached, Missed: &missed}},
	})
	m := s.a.Model()
	f := m.finding(t, "creators-waiting")
	if f == nil || f.Severity != Warning || !strings.HasSuffix(f.Text, mayBeOver) {
		t.Errorf("%+v", f)
	}
}

// A thread that does anything else waits for nothing any more.
func TestWaitsNoMore(t *testing.T) {
	s := stand()
	s.By(300, "unshare").Ask(story.UserNS)
	s.Register(eth0)
	s.By(301, "modprobe").Want(event.KindRegisterPernet, 1, 2)
	s.Register(eth0)
	s.T += 5000 * story.MS
	m := s.end()
	for _, rule := range []string{"creators-waiting", "pernet-waited"} {
		if f := m.finding(t, rule); f != nil {
			t.Errorf("%s: %s", rule, f.Text)
		}
	}
	if len(m.Requests) != 1 || m.Requests[0].Result != ResultUnknown || m.Pernet[0].Result != ResultUnknown {
		t.Errorf("%+v %+v", m.Requests, m.Pernet)
	}
}
