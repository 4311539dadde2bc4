// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/event"
)

// runMiss runs a script on a suite's kernel, as runLoss does on one.
func runMiss(t *testing.T, suite, script string) (dir, output string) {
	t.Helper()
	kernel := kernelOf(t, suite, runtime.GOARCH)
	dir = t.TempDir()
	build(t, filepath.Join(dir, "nstrace"), "build", "../cmd/nstrace")
	build(t, filepath.Join(dir, "hinder"), "build", "../lab/hinder")
	if err := os.WriteFile(filepath.Join(dir, "script"), []byte(ready+script), 0o644); err != nil {
		t.Fatal(err)
	}
	status, out := bootKernel(t, kernel, dir, nil, "bash", "-e", "script")
	if status != 0 {
		t.Fatalf("exit status %d\n%s", status, out)
	}
	return dir, out
}

// ledgerOf is a probe's account in a recording.
func ledgerOf(t *testing.T, tape *tape, name string) *event.ProbeLedger {
	t.Helper()
	for i := range tape.ledger.Probes {
		if p := &tape.ledger.Probes[i]; p.Name == name {
			return p
		}
	}
	t.Fatalf("the ledger has no probe %s", name)
	return nil
}

// number is a figure of the ledger; a test that needs it fails where it is
// unknown.
func number(t *testing.T, what string, n *uint64) uint64 {
	t.Helper()
	if n == nil {
		t.Fatalf("%s: unknown", what)
	}
	return *n
}

// manyReturns is shell: 36 namespaces, most of them at once, to a recorder that
// can await one return at a time.
const manyReturns = `
record --attach kprobe --kretprobe-instances 1 --delivery off -o miss.nst
for i in $(seq 5); do
	perl -e 'for (1..3) { syscall(272, 0x40000000) and die "unshare: $!" } open F, ">/tmp/made.$ARGV[0]"; close F; sleep 1 while 1' $i &
	pids="$pids $!"
done
for i in $(seq 20); do unshare -n true & made="$made $!"; done
wait $made
for i in $(seq 5); do while [ ! -e /tmp/made.$i ]; do nap 0.1; done; done
settled miss.nst
cat /sys/kernel/tracing/kprobe_profile > profile
cat /sys/kernel/debug/sched/preempt > preempt || true
kill -INT $recorder
wait $recorder
kill $pids
`

// TestMissedReturns has more namespaces being made at once than the kernel has
// kretprobe instances. What the ledger says must be what is missing, and what
// the kernel counted; no return may be taken for another's.
// Kernels before 6.7 count what trace events missed, later ones every probe.
func TestMissedReturns(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines")
	}
	t.Parallel()
	// Tasks that make one namespace and die, and such that make several in one
	// thread and live on.
	const short, long, each = 20, 5, 3
	for _, suite := range suitesOf("bullseye") {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			dir, _ := runMiss(t, suite, manyReturns)
			checkMissedReturns(t, dir, short+long*each+1)
		})
	}
}

// checkMissedReturns compares the ledger with how many calls there were. Where a
// task can be preempted in bpf(2) some may be missed at their entry, too, or at
// their return for that reason.
func checkMissedReturns(t *testing.T, dir string, calls uint64) {
	t.Helper()
	tape := play(t, filepath.Join(dir, "miss.nst"))
	p := ledgerOf(t, tape, "setup_net")
	returns, returnsMissed := number(t, "returns", p.Returns), number(t, "returns missed", p.ReturnsMissed)
	t.Logf("%d calls: %d hits, %d returns, %d missed, %d without entry", calls, p.Hits, returns, returnsMissed, p.Strays)
	entries, exits, strays := pairs(t, tape)
	if entries != p.Hits || exits != returns || strays != p.Strays {
		t.Errorf("%d entries, %d exits, %d exits without entry in the file; the ledger has %d hits, %d returns, %d without entry",
			entries, exits, strays, p.Hits, returns, p.Strays)
	}
	if returnsMissed == 0 || p.Hits != returns+returnsMissed || p.Open != 0 {
		t.Errorf("%d hits, but %d returns, %d missed and %d open", p.Hits, returns, returnsMissed, p.Open)
	}
	// A call that was missed at both ends is missed twice, where the kernel counts
	// returns.
	missed, entriesUnseen, exitsUnseen := number(t, "missed", p.Missed), calls-p.Hits, calls-returns-p.Strays
	if missed < entriesUnseen+returnsMissed || missed > entriesUnseen+exitsUnseen {
		t.Errorf("%d missed; of %d calls it didn't see %d entries and %d returns", missed, calls, entriesUnseen, exitsUnseen)
	}
	kernel := profileOf(t, filepath.Join(dir, "profile"), "setup_net_return_")
	switch {
	case kernel > exitsUnseen:
		t.Errorf("the kernel missed %d returns, and only %d weren't seen", kernel, exitsUnseen)
	case !isPreemptible(t, filepath.Join(dir, "preempt")) && (kernel != returnsMissed || missed != returnsMissed):
		t.Errorf("%d returns missed of %d calls missed; the kernel missed %d", returnsMissed, missed, kernel)
	}
	checkLives(t, dir, p, entriesUnseen)
}

// isPreemptible reads which of "none (voluntary) full" the kernel has chosen; if
// there is nothing to choose from, Debian's isn't.
func isPreemptible(t *testing.T, file string) bool {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(data), "(full)") || strings.Contains(string(data), "(lazy)")
}

// pairs counts the entries and exits of setup_net in a recording, and holds
// each exit to be that of the entry it says, unless it says none.
func pairs(t *testing.T, tape *tape) (entries, exits, strays uint64) {
	t.Helper()
	type call struct {
		tid        uint32
		start, net uint64
	}
	running := map[call]bool{}
	for _, e := range tape.events {
		if e.Kind != event.KindSetupNet {
			continue
		}
		c := call{e.TID, e.Start, e.Net.Ptr}
		if e.Phase == event.PhaseEnter {
			entries++
			running[c] = true
			continue
		}
		if e.Flags&event.FlagNoEntry != 0 {
			strays++
			continue
		}
		exits++
		if !running[c] {
			t.Errorf("an exit without its entry: %+v", e)
		}
		delete(running, c)
	}
	return entries, exits, strays
}

// profileOf adds up what the kernel missed of the trace events with a prefix.
func profileOf(t *testing.T, file, prefix string) (missed uint64) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && strings.HasPrefix(fields[0], prefix) {
			n, err := strconv.ParseUint(fields[2], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			missed += n
			found = true
		}
	}
	if !found {
		t.Fatalf("no event %s in %s", prefix, data)
	}
	return missed
}

// checkLives: each namespace was born as its set-up began, and how long that took
// is known of those whose return was seen, unknown of the others.
func checkLives(t *testing.T, dir string, p *event.ProbeLedger, entriesUnseen uint64) {
	t.Helper()
	r, verdict := reportLoss(t, dir, "miss.nst")
	if r.Recording.Clean || !strings.Contains(verdict, "of setup_net not seen") {
		t.Errorf("the verdict is silent about what was missed: %s", verdict)
	}
	var lives struct {
		Namespaces []struct {
			ID      string
			Inum    uint32
			Initial bool
			Created *struct {
				SetupNS  *uint64 `json:"setup_ns"`
				Inferred bool
			}
		}
	}
	decodeReport(t, filepath.Join(dir, "nstrace"), filepath.Join(dir, "miss.nst"), &lives)
	var known, unknown, inferred uint64
	for _, n := range lives.Namespaces {
		switch {
		case n.Initial:
		case n.Created == nil || n.Created.Inferred:
			inferred++
		case n.Created.SetupNS == nil:
			unknown++
		case *n.Created.SetupNS == 0 || *n.Created.SetupNS > r.Recording.DurationNS:
			t.Errorf("namespace %s was set up in %d ns", n.ID, *n.Created.SetupNS)
		default:
			known++
		}
		if n.Inum == 0 {
			t.Errorf("namespace %s has no number", n.ID)
		}
	}
	if inferred > entriesUnseen {
		t.Errorf("the births of %d namespaces are inferred, and %d entries were missed", inferred, entriesUnseen)
	}
	if known != *p.Returns || unknown != *p.ReturnsMissed {
		t.Errorf("the set-up of %d namespaces is known and of %d unknown; %d returns were seen and %d missed",
			known, unknown, *p.Returns, *p.ReturnsMissed)
	}
}

// TestTraceEventsLeftBehind kills a recorder, which leaves its trace events
// behind. The next one removes them, and none of a living recorder's.
func TestTraceEventsLeftBehind(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a virtual machine")
	}
	t.Parallel()
	dir, _ := runMiss(t, suite, `
list() { sed 's/ .*//' /sys/kernel/tracing/kprobe_events | sort > $1; }
record --attach kprobe --delivery off -o killed.nst
list first
kill -KILL $recorder
wait $recorder || true
list left
record --attach kprobe --delivery off -o second.nst
list second
./nstrace record --attach kprobe --delivery off -o third.nst -- cat /sys/kernel/tracing/kprobe_events | sed 's/ .*//' | sort > both
list again
kill -INT $recorder
wait $recorder
list none
`)
	read := func(name string) map[string]bool {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		events := map[string]bool{}
		for line := range strings.Lines(string(data)) {
			if strings.Contains(line, ":nstrace/") {
				events[line] = true
			}
		}
		return events
	}
	common := func(a, b map[string]bool) (n int) {
		for name := range a {
			if b[name] {
				n++
			}
		}
		return n
	}
	first, left, second, both, again := read("first"), read("left"), read("second"), read("both"), read("again")
	switch {
	case len(first) == 0:
		t.Error("a recording makes no trace event")
	case common(first, left) != len(first):
		t.Error("the kernel removed a killed recorder's events: there is no need to")
	case len(second) != len(first) || common(left, second) != 0:
		t.Errorf("of %d events left behind, %d are there while the next recorder runs", len(left), common(left, second))
	case common(second, both) != len(second) || len(both) != 2*len(second):
		t.Errorf("with a third recorder, %d of the %d events of the second are there, and %d in all", common(second, both), len(second), len(both))
	case common(second, again) != len(second) || len(again) != len(second):
		t.Errorf("after the third recorder there are %d events, of which %d are the second's %d", len(again), common(second, again), len(second))
	case len(read("none")) != 0:
		t.Errorf("%d events are left in the end", len(read("none")))
	}
}
