// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/event"
)

// lossReport is the part of the JSON report that tells of losses.
type lossReport struct {
	Recording struct {
		Events, Lost    uint64
		DurationNS      uint64 `json:"duration_ns"`
		Complete, Clean bool
		Losses          []struct {
			Ring  string
			Count uint64
		}
		Rings []struct {
			Name           string
			Received, Lost uint64
		}
		Probes []struct {
			Name       string
			Hits, Lost uint64
			Missed     *uint64
		}
	}
}

func (r *lossReport) hits(name string) uint64 {
	for _, p := range r.Recording.Probes {
		if p.Name == name {
			return p.Hits
		}
	}
	return 0
}

// ring is what came through a ring, and what didn't.
func (r *lossReport) ring(name string) (received, lost uint64) {
	for _, x := range r.Recording.Rings {
		if x.Name == name {
			return x.Received, x.Lost
		}
	}
	return 0, 0
}

func (r *lossReport) lost(name string) uint64 {
	for _, p := range r.Recording.Probes {
		if p.Name == name {
			return p.Lost
		}
	}
	return 0
}

// sentBy is how many records each hit sends, of the kinds that there are when
// namespaces come and go with their last task.
var sentBy = map[event.Kind]uint64{
	event.KindCopyNet: 2, event.KindSetupNet: 2, event.KindPutNet: 1, event.KindCleanupNet: 2, event.KindFreeNet: 1,
	event.KindNetdevRegister: 1, event.KindNetdevUnregister: 1,
}

// runLoss runs a script in a machine that finds nstrace beside it, and returns
// the folder with what it left there, and what it printed.
func runLoss(t *testing.T, script string) (dir, output string) {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a virtual machine")
	}
	t.Parallel()
	dir = t.TempDir()
	build(t, filepath.Join(dir, "nstrace"), "build", "../cmd/nstrace")
	copyScenario(t, dir, "scenario.sh")
	if err := os.WriteFile(filepath.Join(dir, "script"), []byte(ready+script), 0o644); err != nil {
		t.Fatal(err)
	}
	status, out := boot(t, suite, dir, nil, "bash", "-e", "script")
	if status != 0 {
		t.Fatalf("exit status %d\n%s", status, out)
	}
	return dir, out
}

// reportLoss returns nstrace's report of a recording, and what is before its
// findings: the verdict on the recording.
func reportLoss(t *testing.T, dir, file string) (r *lossReport, verdict string) {
	t.Helper()
	nstrace := filepath.Join(dir, "nstrace")
	r = new(lossReport)
	decodeReport(t, nstrace, filepath.Join(dir, file), r)
	text, err := exec.Command(nstrace, "report", filepath.Join(dir, file)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	verdict, _, _ = strings.Cut(string(text), "\nFINDINGS")
	if clean := strings.Contains(verdict, "Nothing is known to be missing"); clean != r.Recording.Clean {
		t.Errorf("clean is %v, and the report says:\n%s", r.Recording.Clean, verdict)
	}
	return r, verdict
}

// ready is shell that the scripts begin with.
const ready = `
mkfifo /tmp/wait
nap() { read -t "$1" _ <>/tmp/wait || true; }
# record ARGS: begin to record, and wait until it does.
record() {
	rm -f ready
	./nstrace record --ready-file ready "$@" &
	recorder=$!
	while [ ! -e ready ]; do nap 0.05; done
}
# mark FILE NAME: let a program NAME make namespaces until the recording has one;
# marks is how many it took.
mark() {
	cp "$(command -v unshare)" "/tmp/$2"
	marks=0
	until ./nstrace report --format json "$1" 2>/dev/null | grep -q "\"comm\": \"$2\""; do
		"/tmp/$2" -n true
		marks=$((marks + 1))
		nap 0.2
	done
}
# settled FILE: wait until all namespaces are cleaned up, which is done in order;
# the last is known by who made it.
settled() {
	cp "$(command -v unshare)" /tmp/lastone
	/tmp/lastone -n true
	until ./nstrace report "$1" 2>/dev/null | grep -q "lastone.* is gone"; do nap 0.1; done
}
`

// TestLossRingFull has a reader that is too slow, again and again, for a tiny
// ring, and compares what the ledger says with what must have happened.
func TestLossRingFull(t *testing.T) {
	const bursts = 5
	dir, out := runLoss(t, `
record --lifecycle-ring 4096 -o loss.nst
made=0
for burst in $(seq `+fmt.Sprint(bursts)+`); do
	kill -STOP $recorder
	for i in $(seq 20); do unshare -n true; done
	kill -CONT $recorder
	# The reader is back when it has seen this.
	mark loss.nst "mark$burst"
	made=$((made + 20 + marks))
done
kill -INT $recorder
wait $recorder
echo "made $made"
`)
	r, _ := reportLoss(t, dir, "loss.nst")
	tape := play(t, filepath.Join(dir, "loss.nst"))
	var made uint64
	if _, err := fmt.Sscanf(out[strings.LastIndex(out, "made "):], "made %d", &made); err != nil {
		t.Fatal(err)
	}
	checkLoss(t, r, tape, made)
	// Each burst cost something, and what it cost is where it was.
	before := uint64(0)
	for burst := range bursts {
		mark := tape.by(fmt.Sprintf("mark%d", burst+1))
		if mark == nil {
			t.Fatalf("mark%d wasn't seen", burst+1)
		}
		if !slices.ContainsFunc(tape.losses, func(l event.Loss) bool { return l.From >= before && l.To <= mark.Time }) {
			t.Errorf("nothing was lost between %d and %d, of a ring with room for a dozen records: %+v", before, mark.Time, tape.losses)
		}
		before = mark.Time
	}
	t.Logf("%d namespaces, %d records, %d lost in %d places", made, r.Recording.Events, r.Recording.Lost, len(tape.losses))
}

// TestLossUnprivileged has a user without privileges make and leave namespaces
// as fast as the machine can.
func TestLossUnprivileged(t *testing.T) {
	const made = 300
	dir, _ := runLoss(t, fmt.Sprintf(`
record -o loss.nst
# CLONE_NEWUSER | CLONE_NEWNET in a child that ends at once.
setpriv --reuid 65534 --clear-groups perl -e '
	for (1 .. %d) {
		if (!fork) { exit(syscall(272, 0x50000000) != 0) }
		wait; $? == 0 or die "no namespace: $?";
	}'
settled loss.nst
kill -INT $recorder
wait $recorder
`, made))
	r, _ := reportLoss(t, dir, "loss.nst")
	checkLoss(t, r, play(t, filepath.Join(dir, "loss.nst")), made+1) // with the last one
	t.Logf("%d namespaces, %d records, %d lost", r.hits("setup_net"), r.Recording.Events, r.Recording.Lost)
}

// checkLoss compares the ledger with the truth: received and lost are what the
// hits must have sent, of each kind and together, and every account of the loss
// is the same.
func checkLoss(t *testing.T, r *lossReport, tape *tape, namespaces uint64) {
	t.Helper()
	rec := &r.Recording
	if got := r.hits("setup_net"); got != namespaces {
		t.Errorf("setup_net was hit %d times, want %d", got, namespaces)
	}
	var sent uint64
	for kind, each := range sentBy {
		n := each * r.hits(kind.String())
		sent += n
		if got, lost := tape.count(kind), r.lost(kind.String()); got+lost != n {
			t.Errorf("%d events of %v and %d lost make %d; its hits sent %d", got, kind, lost, got+lost, n)
		}
	}
	received, lost := r.ring("lifecycle")
	if received+lost != sent || received != rec.Events {
		t.Errorf("%d received, %d reported and %d lost; the hits sent %d", received, rec.Events, lost, sent)
	}
	// Each set-up and each tear-down sends what its subsystems took.
	received, lostSteps := r.ring("steps")
	if want := r.hits("setup_net") + r.hits("cleanup_net"); received+lostSteps != want {
		t.Errorf("%d records of steps received and %d lost; want %d", received, lostSteps, want)
	}
	var byProbe, byGap uint64
	for _, p := range rec.Probes {
		byProbe += p.Lost
	}
	for _, l := range rec.Losses {
		byGap += l.Count
	}
	if byProbe != rec.Lost || byGap != rec.Lost {
		t.Errorf("%d lost; by probe %d, by gaps %d", rec.Lost, byProbe, byGap)
	}
	if rec.Clean != (rec.Lost == 0) {
		t.Errorf("%d lost, and clean is %v", rec.Lost, rec.Clean)
	}
	checkGaps(t, tape, lost)
}

// checkGaps finds each loss between the two events whose numbers prove it.
func checkGaps(t *testing.T, tape *tape, lost uint64) {
	t.Helper()
	last := map[uint32]event.Event{}
	var found uint64
	for _, e := range tape.events {
		before, any := last[e.CPU]
		last[e.CPU] = e
		missing := e.Seq - before.Seq - 1
		if !any {
			missing = e.Seq
		}
		if missing == 0 {
			continue
		}
		found += missing
		if want := (event.Loss{Ring: "lifecycle", CPU: e.CPU, From: before.Time, To: e.Time, Count: missing}); !slices.Contains(tape.losses, want) {
			t.Errorf("%+v isn't among the losses %+v", want, tape.losses)
		}
	}
	for _, l := range tape.losses {
		if l.Ring == "lifecycle" && l.From >= last[l.CPU].Time {
			found += l.Count // the end of it
		}
	}
	if found != lost {
		t.Errorf("%d numbers are missing, %d are said to be lost", found, lost)
	}
}

// TestLossPackets has packets come faster than a tiny ring takes them: they cost
// no lifecycle event, and the counts, which are made in the kernel, are whole.
func TestLossPackets(t *testing.T) {
	dir, _ := runLoss(t, `
./nstrace record --load-modules --delivery packets --packet-ring 4096 -o move.nst -- sh scenario.sh kernel
`)
	file := filepath.Join(dir, "move.nst")
	checkDelivery(t, readReport(t, filepath.Join(dir, "nstrace"), file), filepath.Join(dir, "kernel/both"))
	r, _ := reportLoss(t, dir, "move.nst")
	lost := map[string]uint64{}
	for _, l := range r.Recording.Losses {
		lost[l.Ring] += l.Count
	}
	if lost["lifecycle"] != 0 || lost["packets"] == 0 {
		t.Errorf("lost by ring: %v; want packets and nothing else", lost)
	}
	if r.Recording.Clean {
		t.Error("packets were lost, and the recording is called clean")
	}
	// Each packet that was seen was sent, and read or lost.
	tape := play(t, file)
	if read, seen := tape.of("packets").Read, r.packetsSeen(); read+lost["packets"] != seen {
		t.Errorf("%d packets and %d lost make %d; %d were seen", read, lost["packets"], read+lost["packets"], seen)
	}
}

// packetsSeen is how many packets the probes made a record of, in a scenario with
// none but these: each that mac80211 had, and each that cfg80211 made up for the stack.
func (r *lossReport) packetsSeen() uint64 {
	var n uint64
	for _, path := range []event.Path{event.PathDeliverSKB, event.PathRx8023, event.PathStationUpdate} {
		n += r.hits(path.String())
	}
	return n
}
