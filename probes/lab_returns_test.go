// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"os/exec"
	"testing"

	"github.com/nstrace/nstrace/event"
)

// checkReturns: the ledger has an account of each call, and nothing was missed.
func checkReturns(t *testing.T, l *event.Ledger) {
	t.Helper()
	for _, p := range l.Probes {
		if p.Status != event.StatusAttached || p.Returns == nil {
			continue
		}
		if p.ReturnsMissed == nil {
			t.Errorf("%s by %s: %d hits, %d returns, %d open, and nobody knows how many were missed", p.Name, p.Hook, p.Hits, *p.Returns, p.Open)
			continue
		}
		if accounted := *p.Returns + *p.ReturnsMissed + p.CallsDropped + p.Open; accounted != p.Hits {
			t.Errorf("%s by %s: %d hits, but %d returns, %d missed, %d dropped and %d open", p.Name, p.Hook,
				p.Hits, *p.Returns, *p.ReturnsMissed, p.CallsDropped, p.Open)
		}
		if *p.ReturnsMissed != 0 || p.CallsDropped != 0 || p.Strays != 0 {
			t.Errorf("%s by %s: %d of %d returns missed, %d entries dropped, %d returns without an entry", p.Name, p.Hook,
				*p.ReturnsMissed, p.Hits, p.CallsDropped, p.Strays)
		}
	}
}

// TestLabReturns: each return finds its entry, by every hook. That shows that
// what calls are known by is the same at both on this kernel.
func TestLabReturns(t *testing.T) {
	k := inLab(t)
	var sets []*Set
	for _, mode := range []Mode{ModeFentry, ModeKprobe} {
		if mode == ModeFentry && !k.Features.Fentry {
			continue
		}
		s, err := attach(k, Options{Mode: mode, Delivery: DeliveryOff, LifecycleRing: 1 << 22, PacketRing: minRing})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.Begin(); err != nil {
			t.Fatal(err)
		}
		sets = append(sets, s)
	}
	for _, command := range []string{
		// Each is called from within another: a veth's peer, a bridge's port.
		"ip netns add near && ip link add v0 type veth peer name v1 netns near && ip link set v0 name veth_renamed && ip link del veth_renamed",
		// One thread, 20 namespaces: always at the same place on its stack.
		"perl -e 'for (1..20) { syscall(272, 0x40000000) and die }'",
		"ip netns del near",
	} {
		if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	for _, s := range sets {
		if err := s.Stop(&story{counts: map[event.Flow]uint64{}}); err != nil {
			t.Fatal(err)
		}
		l, err := s.Ledger()
		if err != nil {
			t.Fatal(err)
		}
		checkReturns(t, &l)
		for _, p := range l.Probes {
			if p.Name == "setup_net" && p.Hits < 21 {
				t.Errorf("only %d namespaces were made", p.Hits)
			}
		}
	}
}
