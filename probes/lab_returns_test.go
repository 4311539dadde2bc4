// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"math/rand/v2"
	"os/exec"
	"testing"
	"time"

	"github.com/nstrace/nstrace/event"
)

// checkReturns: the ledger has an account of each call, and nothing was missed but
// what the kernel says it let pass: a busy machine preempts tasks anywhere.
func checkReturns(t *testing.T, k *kernel, l *event.Ledger) {
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
		strays := p.Strays
		if p.Name == "ops_exit_list" {
			// A clean-up may have begun before the probes did: they are each subsystem's.
			strays = 0
		}
		if *p.ReturnsMissed+strays > letPass(k, &p) || p.CallsDropped != 0 {
			t.Errorf("%s by %s: %d of %d returns missed, %d entries dropped, %d returns without an entry", p.Name, p.Hook,
				*p.ReturnsMissed, p.Hits, p.CallsDropped, p.Strays)
		}
	}
}

// letPass is how many calls and returns of a probe the kernel let pass by its own
// count; 0 where it has none: those kernels preempt nobody in bpf(2).
func letPass(k *kernel, p *event.ProbeLedger) uint64 {
	told := k.Features.FentryMisses
	if p.Hook == hookKprobe {
		told = k.Features.KprobeMisses
	}
	if !told || p.Missed == nil {
		return 0
	}
	return *p.Missed
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
		s, err := attach(k, Options{Mode: mode, Delivery: DeliveryOff, LifecycleRing: 1 << 22, TaskRing: minRing, PacketRing: minRing})
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
		told := &story{counts: map[event.Flow]uint64{}}
		if err := errors.Join(s.Stop(told), s.End(told)); err != nil {
			t.Fatal(err)
		}
		l, err := s.Ledger()
		if err != nil {
			t.Fatal(err)
		}
		checkReturns(t, k, &l)
		for _, p := range l.Probes {
			if p.Name == "setup_net" && p.Hits+letPass(k, &p) < 21 {
				t.Errorf("only %d namespaces were made", p.Hits)
			}
		}
	}
}

// witness keeps the returns of setup_net, where a story forgets their times.
type witness struct {
	story
	returns []event.Event
}

func (w *witness) HandleEvent(e *event.Event) {
	if e.Kind == event.KindSetupNet && e.Phase == event.PhaseExit {
		w.returns = append(w.returns, *e)
	}
}

// TestLabPairing has calls whose return is missed, for want of an instance, and
// then in the same thread, at the same place on its stack, calls whose entry is
// missed: the recording is switched off and on meanwhile. No return may be
// taken for that of an earlier call. fexit, which needs no pairing, is the
// witness of which call it is.
func TestLabPairing(t *testing.T) {
	k := inLab(t)
	if !k.Features.Fentry {
		t.Skip("without fentry there is no witness")
	}
	var sets []*Set
	for _, o := range []Options{{Mode: ModeFentry}, {Mode: ModeKprobe, KretprobeInstances: 1}} {
		o.Delivery, o.LifecycleRing, o.PacketRing, o.TaskRing = DeliveryOff, 1<<22, minRing, minRing
		s, err := attach(k, o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.Begin(); err != nil {
			t.Fatal(err)
		}
		sets = append(sets, s)
	}
	fexit, kretprobe := sets[0], sets[1]
	work := exec.Command("sh", "-c", "for i in 1 2 3 4 5 6; do perl -e 'for (1..10) { syscall(272, 0x40000000) and die }' & done; wait")
	if err := work.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- work.Wait() }()
	for on := uint32(0); ; on = 1 - on {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(time.Duration(20+rand.IntN(200)) * time.Millisecond):
			if err := kretprobe.loader.record(bpfNstRecording(on)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		break
	}
	var truth, told witness
	if err := errors.Join(fexit.Stop(&truth), kretprobe.Stop(&told), fexit.End(&truth), kretprobe.End(&told)); err != nil {
		t.Fatal(err)
	}
	ledger, err := kretprobe.Ledger()
	if err != nil {
		t.Fatal(err)
	}
	checkPairs(t, truth.returns, told.returns)
	for _, p := range ledger.Probes {
		if p.Name != "setup_net" {
			continue
		}
		t.Logf("of %d calls: %d hits, %d returns, %d missed, %d without entry", len(truth.returns), p.Hits, *p.Returns, *p.ReturnsMissed, p.Strays)
		if p.Strays == 0 || *p.ReturnsMissed == 0 || *p.Returns == 0 || *p.Returns+*p.ReturnsMissed != p.Hits {
			t.Error("something of it never happened, or isn't accounted for")
		}
	}
}

// checkPairs: each return that was told of with its entry began after its
// thread's call before had returned.
func checkPairs(t *testing.T, truth, told []event.Event) {
	t.Helper()
	returns := map[uint32][]uint64{}
	for _, e := range truth {
		returns[e.TID] = append(returns[e.TID], e.Time)
	}
	for _, e := range told {
		if e.Flags&event.FlagNoEntry != 0 {
			continue
		}
		// Both programs run at the same return, one a little after the other.
		times := returns[e.TID]
		i := 0
		for i+1 < len(times) && distance(times[i+1], e.Time) < distance(times[i], e.Time) {
			i++
		}
		if len(times) == 0 || i > 0 && e.Start < times[i-1] || e.Start > e.Time {
			t.Errorf("a return at %d is said to be that of a call at %d; the thread's calls returned at %d", e.Time, e.Start, times)
		}
	}
}

func distance(a, b uint64) uint64 { return max(a, b) - min(a, b) }
