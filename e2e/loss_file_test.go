// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nstrace/nstrace/event"
)

// full is shell: what a recording on a disk that gets full is made of.
const full = `
# onSmall NAME ARGS: record onto a small disk, which fills up when the recorded
# script says so. It is too small to have much set aside for the recording.
onSmall() {
	mkdir -p small
	mount -t tmpfs -o size=512k none small
	status=0
	./nstrace record -o "small/$1" "${@:2}" 2>"$1.err" || status=$?
	[ $status = 1 ]
	cp "small/$1" .
	umount small
}
fill() { dd if=/dev/zero of=small/fill bs=1k status=none 2>/dev/null || true; }
`

// TestLossDiskFull: what was written before the disk was full is readable, and
// what came later is counted, to the record.
func TestLossDiskFull(t *testing.T) {
	dir, _ := runLoss(t, full+`
cat >namespaces <<'END'
for i in $(seq 50); do unshare -n true; done
mark small/count.nst before
cat /proc/uptime >full
fill
while unshare -n true; do :; done
END
cat >packets <<'END'
sh scenario.sh kernel | while read -r line; do
	echo "$line"
	case $line in "== send over TCP"*) fill ;; esac
done
END
export -f mark nap fill
onSmall count.nst -- bash namespaces
onSmall packets.nst --load-modules --delivery packets -- bash packets
`)
	count := checkDiskFull(t, dir, "count.nst")
	if before := count.by("before"); before == nil {
		t.Error("a namespace that was in the file when the disk got full isn't there now")
	}
	// Of the namespaces made until then none is missing.
	var early uint64
	until := uptime(t, filepath.Join(dir, "full"))
	for _, e := range count.events {
		if e.Kind == event.KindSetupNet && e.Phase == event.PhaseExit && e.Time < until {
			early++
		}
	}
	if early < 51 {
		t.Errorf("%d namespaces were made before the disk was full, want 51 or more", early)
	}
	packets := checkDiskFull(t, dir, "packets.nst")
	p, r := packets.of("packets"), packets.ring("packets")
	if p.Read == 0 || packets.ledger.Unwritten == 0 || p.Read+p.Unwritten != r.Received {
		t.Errorf("packets: %d in the file and %d unwritten; %d were received", p.Read, p.Unwritten, r.Received)
	}
	report, _ := reportLoss(t, dir, "packets.nst")
	if seen := report.packetsSeen(); r.Received+r.Lost != seen {
		t.Errorf("%d packets were received and %d lost; %d were seen", r.Received, r.Lost, seen)
	}
}

// uptime reads a copy of /proc/uptime, as an event's time.
func uptime(t *testing.T, file string) uint64 {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var seconds float64
	if _, err := fmt.Sscan(string(data), &seconds); err != nil {
		t.Fatal(err)
	}
	return uint64(seconds * 1e9)
}

// checkDiskFull: the file is whole, and written and unwritten are what was
// received; the events in it are the first ones, and the report says so.
func checkDiskFull(t *testing.T, dir, name string) *tape {
	t.Helper()
	said, err := os.ReadFile(filepath.Join(dir, name+".err"))
	if err != nil || !strings.Contains(string(said), "no space left on device") {
		t.Errorf("record said: %s (%v)", said, err)
	}
	tape := play(t, filepath.Join(dir, name))
	if !tape.summary.Whole() {
		t.Errorf("%s isn't whole: %+v", name, tape.summary)
	}
	var unwritten uint64
	for _, k := range tape.summary.Kinds {
		if k.Kind != "ledger" && k.Kind != "loss" { // the account itself, of which the last is in the end
			unwritten += k.Unwritten
		}
	}
	// None if it was the account itself that there was no space for, and nothing
	// came between that and the end.
	if tape.ledger.Unwritten != unwritten {
		t.Errorf("the ledger has %d unwritten records, the file's end %d", tape.ledger.Unwritten, unwritten)
	}
	l, r := tape.of("lifecycle"), tape.ring("lifecycle")
	if l.Read != uint64(len(tape.events)) || l.Read+l.Unwritten != r.Received {
		t.Errorf("%d events, %d in the file and %d unwritten; %d were received", len(tape.events), l.Read, l.Unwritten, r.Received)
	}
	checkGaps(t, tape, 0)
	report, verdict := reportLoss(t, dir, name)
	lost := unwritten
	for _, r := range tape.ledger.Rings {
		lost += r.Lost
	}
	if report.Recording.Lost != lost {
		t.Errorf("the report has %d lost, the ledger %+v", report.Recording.Lost, tape.ledger)
	}
	t.Logf("%s: %d events and %d unwritten\n%s", name, l.Read, l.Unwritten, verdict)
	return tape
}

// TestLossKilled kills recorders while another one goes on, which sees what they
// would have: each file is a beginning of that story, and lacks no more of its
// end than the last 250 ms.
func TestLossKilled(t *testing.T) {
	const rounds = 3
	dir, _ := runLoss(t, `
record -o whole.nst
whole=$recorder
for round in $(seq `+fmt.Sprint(rounds)+`); do
	cp "$(command -v unshare)" "/tmp/kill$round"
	# How long this machine, whose time is that of a busy host, stands still.
	chrt -f 60 perl -MTime::HiRes=clock_gettime,CLOCK_MONOTONIC -e '
		$| = 1;
		for ($last = clock_gettime(CLOCK_MONOTONIC);; $last = $now) {
			select undef, undef, undef, .01;
			$now = clock_gettime(CLOCK_MONOTONIC);
			if ($now - $last > $most) { $most = $now - $last; print "$most\n" }
		}' >"stalls$round" &
	stalls=$!
	# The promise is the recorder's, not the scheduler's.
	rm ready
	chrt -f 50 ./nstrace record --ready-file ready -o "killed$round.nst" &
	recorder=$!
	while [ ! -e ready ]; do nap 0.05; done
	for i in $(seq 20); do unshare -n true; nap 0.05; done
	"/tmp/kill$round" -n true
	kill -KILL $recorder
	kill $stalls
	wait $recorder $stalls || true
done
settled whole.nst
kill -INT $whole
wait $whole
`)
	whole := play(t, filepath.Join(dir, "whole.nst"))
	for round := 1; round <= rounds; round++ {
		name := fmt.Sprintf("killed%d.nst", round)
		killed := play(t, filepath.Join(dir, name))
		missing := after(t, whole, killed)
		mark := whole.by(fmt.Sprintf("kill%d", round))
		if len(killed.events) < 20 || mark == nil || len(missing) == 0 {
			t.Fatalf("round %d: %d events, the mark before the kill: %v, missing %d", round, len(killed.events), mark, len(missing))
		}
		// It was killed at mark.Time or later.
		lost, stall := time.Duration(int64(mark.Time)-int64(missing[0].Time)), longestStall(t, filepath.Join(dir, fmt.Sprintf("stalls%d", round)))
		t.Logf("round %d: %d events; of the last %v before the kill something is missing; the machine stood still for %v", round, len(killed.events), lost, stall)
		if lost > 250*time.Millisecond+stall {
			t.Errorf("round %d: the last %v before the kill are missing", round, lost)
		}
		last := killed.events[len(killed.events)-1].Time
		report, verdict := reportLoss(t, dir, name)
		until := killed.began + report.Recording.DurationNS
		if report.Recording.Complete || report.Recording.Clean || until < last || until > missing[0].Time+uint64(time.Second) {
			t.Errorf("complete %v, clean %v, until %d; the last event is at %d", report.Recording.Complete, report.Recording.Clean, until, last)
		}
		if want := fmt.Sprintf("+%.3f", float64(report.Recording.DurationNS)/1e9); !strings.Contains(verdict, "did not finish") || !strings.Contains(verdict, want) {
			t.Errorf("the report doesn't say that it ends at %s:\n%s", want, verdict)
		}
	}
}

// after returns what a recording saw after another one, which must have the
// same events up to there.
func after(t *testing.T, whole, part *tape) []event.Event {
	t.Helper()
	for i := range whole.events {
		rest := whole.events[i:]
		if len(rest) >= len(part.events) && slices.EqualFunc(part.events, rest[:len(part.events)], same) {
			return rest[len(part.events):]
		}
	}
	for _, e := range part.events {
		t.Logf("killed: %v", e)
	}
	t.Fatal("what the killed recorder wrote isn't what the other one saw")
	return nil
}

// same reports whether two recorders tell of the same.
func same(a, b event.Event) bool {
	return a.Kind == b.Kind && a.Phase == b.Phase && a.PID == b.PID && a.TID == b.TID && a.Comm == b.Comm &&
		a.Net == b.Net && a.Ret == b.Ret && a.Dev == b.Dev && a.Name == b.Name
}

// longestStall reads the last line.
func longestStall(t *testing.T, file string) time.Duration {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(data))
	seconds, err := strconv.ParseFloat(lines[len(lines)-1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(seconds * 1e9)
}
