// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// lossReport is the part of the JSON report that tells of losses.
type lossReport struct {
	Recording struct {
		Events, Lost uint64
		Clean        bool
		Losses       []struct {
			Ring  string
			Count uint64
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

// sent is how many records the hits of namespaces that came and went with their
// last task must have made.
func (r *lossReport) sent() uint64 {
	return 2*r.hits("setup_net") + r.hits("put_net") + 2*r.hits("cleanup_net") + r.hits("free_net") +
		r.hits("register_netdevice") + r.hits("unregister_netdevice")
}

// recordLoss runs a script in a machine and returns nstrace's report of the
// recording it leaves in loss.nst.
func recordLoss(t *testing.T, script string) *lossReport {
	t.Helper()
	dir := t.TempDir()
	nstrace := filepath.Join(dir, "nstrace")
	build(t, nstrace, "build", "../cmd/nstrace")
	if err := os.WriteFile(filepath.Join(dir, "script"), []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	status, out := boot(t, suite, dir, nil, "bash", "-e", "script")
	if status != 0 {
		t.Fatalf("exit status %d\n%s", status, out)
	}
	var r lossReport
	decodeReport(t, nstrace, filepath.Join(dir, "loss.nst"), &r)
	text, err := exec.Command(nstrace, "report", filepath.Join(dir, "loss.nst")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	head, _, _ := strings.Cut(string(text), "\nFINDINGS")
	if clean := strings.Contains(head, "Nothing is known to be missing"); clean != (r.Recording.Lost == 0) {
		t.Errorf("%d records are lost, and the report says:\n%s", r.Recording.Lost, head)
	}
	return &r
}

// ready is shell: begin to record, and wait until it does.
const ready = `
mkfifo /tmp/wait
record() {
	./nstrace record --ready-file ready -o loss.nst "$@" &
	recorder=$!
	while [ ! -e ready ]; do read -t 0.05 _ <>/tmp/wait || true; done
}
# settled: wait until all namespaces are cleaned up, which is done in order; the
# last is known by who made it.
settled() {
	cp "$(command -v unshare)" /tmp/lastone
	/tmp/lastone -n true
	while ! ./nstrace report loss.nst 2>/dev/null | grep -q "lastone.* is gone"; do read -t 0.1 _ <>/tmp/wait || true; done
}
`

// TestLossRingFull fills a ring that nobody empties, and compares what the
// ledger says with what must have happened.
func TestLossRingFull(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a virtual machine")
	}
	r := recordLoss(t, ready+`
record --lifecycle-ring 4096
kill -STOP $recorder
for i in $(seq 200); do unshare -n true; done
kill -CONT $recorder
settled
kill -INT $recorder
wait $recorder
`)
	checkLoss(t, r, 201)
	if r.Recording.Lost == 0 {
		t.Error("nothing was lost of a ring with room for eleven records")
	}
}

// TestLossUnprivileged has a user without privileges make and leave namespaces
// as fast as the machine can for ten seconds.
func TestLossUnprivileged(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a virtual machine")
	}
	r := recordLoss(t, ready+`
record
# CLONE_NEWUSER | CLONE_NEWNET in a child that ends at once.
setpriv --reuid 65534 --clear-groups timeout 10 perl -e '
	$end = time + 10;
	while (time < $end) {
		if (!fork) { syscall(272, 0x50000000); exit 0 }
		wait; $n++;
	}
	print "made $n\n"' || true
settled
kill -INT $recorder
wait $recorder
`)
	if r.hits("setup_net") < 100 {
		t.Errorf("only %d namespaces were made", r.hits("setup_net"))
	}
	checkLoss(t, r, r.hits("setup_net"))
	t.Logf("%d namespaces, %d records, %d lost", r.hits("setup_net"), r.Recording.Events, r.Recording.Lost)
}

// checkLoss compares the ledger with the truth: received and lost are what the
// hits must have sent, and every account of the loss is the same.
func checkLoss(t *testing.T, r *lossReport, namespaces uint64) {
	t.Helper()
	rec := &r.Recording
	if got := r.hits("setup_net"); got != namespaces {
		t.Errorf("setup_net was hit %d times, want %d", got, namespaces)
	}
	if got := rec.Events + rec.Lost; got != r.sent() {
		t.Errorf("%d received and %d lost make %d; the hits sent %d", rec.Events, rec.Lost, got, r.sent())
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
}

// TestLossPackets has packets come faster than a tiny ring takes them: they cost
// no lifecycle event, and the counts, which are made in the kernel, are whole.
func TestLossPackets(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a virtual machine")
	}
	dir := t.TempDir()
	nstrace := filepath.Join(dir, "nstrace")
	build(t, nstrace, "build", "../cmd/nstrace")
	copyFile(t, "../lab/scenario/scenario.sh", filepath.Join(dir, "scenario.sh"))
	status, out := boot(t, suite, dir, nil, "./nstrace", "record", "--load-modules", "--delivery", "packets", "--packet-ring", "4096",
		"-o", "move.nst", "--", "sh", "scenario.sh", "kernel")
	if status != 0 {
		t.Fatalf("exit status %d\n%s", status, out)
	}
	file := filepath.Join(dir, "move.nst")
	checkDelivery(t, readReport(t, nstrace, file), filepath.Join(dir, "kernel/both"))
	var r lossReport
	decodeReport(t, nstrace, file, &r)
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
}
