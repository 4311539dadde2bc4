// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/lab"
	"github.com/nstrace/nstrace/trace"
)

var (
	randomSeed = flag.Uint64("seed", 1, "what TestRandom's choices follow from; 0 takes the time")
	randomDir  = flag.String("leave", "", "leave what TestRandom recorded in `DIR`")
	randomRead = flag.Bool("reread", false, "don't record, but check what -leave left")
	randomHook = flag.String("attach", "auto", "how nstrace attaches to what TestRandom does: auto, fentry or kprobe")
	randomJoin = flag.Bool("join", false, "have a second recorder join TestRandom halfway")
	randomN    = flag.Int("operations", 0, "how many operations TestRandom makes on each kernel of the lab; 0: some, on two of them")
)

// Without -operations few are made, on the kernels that give least and most.
const randomFew = 300

var randomSuites = []string{"bullseye", suite}

// randomScript records what lab/scenario/random does, which leaves a world alive, and then has the machine's own
// tools look at that. A second recorder may join when half of it is done. Nothing is done meanwhile: the kernel changes
// trampolines when somebody joins, and calls that run then never tell the others of their return (bpf_tramp_image_put
// in kernel/bpf/trampoline.c).
const randomScript = `
rm -rf look
mkdir look
export n=$1 seed=$2 attach=$4
if [ "$3" = later ]; then
	./nstrace record --load-modules --attach "$attach" -o random.nst -- bash -ec '
		mkfifo /tmp/halfway /tmp/over
		exec 3<>/tmp/halfway 4<>/tmp/over
		{
			status=0
			./random -n "$n" -seed "$seed" -halfway /tmp/halfway -joined /tmp/ready out || status=$?
			# Who waits for one of the two is told, however far it came.
			echo $status | tee /tmp/halfway >/tmp/over
		} 3>&- 4>&- &
		read -r _ <&3
		./nstrace record --load-modules --attach "$attach" --ready-file /tmp/ready -o later.nst -- sh -c "read -r status; exit \$status" <&4
	'
else
	./nstrace record --load-modules --attach "$attach" -o random.nst -- ./random -n "$n" -seed "$seed" out
fi
while read -r inum path; do
	nsenter --net="$path" sh -c "ip netns list-id >look/$inum.nsids; ip -j link >look/$inum.links; iw dev >look/$inum.vifs"
done <out/paths
ls -l /proc/[0-9]*/task/[0-9]*/ns/net >look/tasks 2>look/gone || true
lsns --json --type net --output NS,PID,TYPE >look/lsns
`

// TestRandom makes thousands of random operations, legal and illegal, on each
// kernel of the lab, and holds what nstrace makes of them against what the
// kernel answered and what is there in the end. A seed that fails is one to
// repeat:
//
//	go test ./e2e -run 'TestRandom/^sid$' -seed 17 -operations 1000
func TestRandom(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines")
	}
	t.Parallel()
	seed, n, suites := *randomSeed, *randomN, lab.Suites()
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	if n == 0 {
		n, suites = randomFew, randomSuites
	}
	for _, on := range suites {
		t.Run(on, func(t *testing.T) {
			t.Parallel()
			t.Logf("repeat with -seed %d -operations %d", seed, n)
			r := runRandom(t, on, seed, n)
			r.checkAudit(t)
			r.checkKinds(t)
			r.checkNamespaces(t)
			r.checkMoves(t)
			r.checkRenames(t)
			r.checkLinks(t)
			r.checkRadios(t)
			r.checkVifs(t)
			r.checkWorld(t)
			r.checkReuse(t)
			r.checkTasks(t)
			r.checkSysctls(t)
			r.checkNsids(t)
			r.checkCut(t)
			if r.later {
				r.checkLater(t)
			}
		})
	}
}

// randomRun is what a run has left.
type randomRun struct {
	n                  int
	dir, nstrace, file string
	// later says that a second recorder joined.
	later   bool
	ops     []*randomOp
	summary randomSummary
	model   *analyze.Model
	// spaces are the namespaces by the numbers that the driver gave them.
	spaces map[int]*analyze.Netns
}

// randomOp is a line of the driver's log: see lab/scenario/random.
type randomOp struct {
	N        int
	Op, Case string
	Args     struct {
		ID             int
		To             *int
		Name, New      string
		Value          string
		Kind           string
		Ifindex, Index int32
		// Inum is the new namespace's, Inums those of several. Dead are the ids of
		// those that die of it.
		Inum  uint32
		Inums []uint32
		Dead  []int
		// The numbers of the new task, of its parent, and of who was told to do it.
		PID, TID     uint32
		Parent, Task uint32
		Done         []struct{ Inum, Errno uint32 }
	}
	Errno uint32
	Error string
	From  uint64 `json:"from_ns"`
	To    uint64 `json:"to_ns"`

	args json.RawMessage // as they are in the log
}

func (o *randomOp) String() string {
	return fmt.Sprintf("operation %d, %s %s %s: %s", o.N, o.Op, o.Case, o.args, o.Error)
}

type randomSummary struct {
	Seed       uint64
	Operations int
	PID        uint32
	Cases      map[string]struct {
		Succeeded int
		Failed    map[string]int
	}
	From uint64 `json:"from_ns"`
	To   uint64 `json:"to_ns"`
}

func runRandom(t *testing.T, on string, seed uint64, n int) *randomRun {
	t.Helper()
	r := &randomRun{n: n, dir: t.TempDir(), later: *randomJoin || *randomN == 0 && on == suite}
	if *randomDir != "" {
		r.dir = filepath.Join(*randomDir, on)
		if err := os.MkdirAll(r.dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.nstrace, r.file = filepath.Join(r.dir, "nstrace"), filepath.Join(r.dir, "random.nst")
	build(t, r.nstrace, "build", "../cmd/nstrace")
	if !*randomRead {
		r.record(t, on, seed, *randomHook)
	}
	r.read(t)
	if missed := r.missed(); len(missed) > 0 && !*randomRead {
		// Where the kernel can preempt a program, another task's call of the same
		// function is let pass and counted (__bpf_prog_enter_recur in
		// kernel/bpf/trampoline.c). A busy host has an emulated machine preempted
		// anywhere. kprobes aren't preempted, but interrupts may be let pass.
		t.Logf("the kernel let calls pass, as the ledger says, %v: recorded again, by kprobes", missed)
		r.record(t, on, seed, "kprobe")
		r.read(t)
	}
	return r
}

// randomAside are probes that say nothing of what the driver does.
var randomAside = []string{"exit_task_namespaces"}

// missed is how many calls and returns the kernel let pass, by probe.
func (r *randomRun) missed() map[string]uint64 {
	missed := map[string]uint64{}
	for _, p := range r.model.Ledger.Probes {
		if p.Missed != nil && *p.Missed > 0 && !slices.Contains(randomAside, p.Name) {
			missed[p.Name] = *p.Missed
		}
	}
	return missed
}

func (r *randomRun) record(t *testing.T, on string, seed uint64, attach string) {
	t.Helper()
	build(t, filepath.Join(r.dir, "random"), "build", "../lab/scenario/random")
	kernel := kernelOf(t, on, runtime.GOARCH)
	// go test's own timeout is there for the rest.
	const timeout = 2 * time.Hour
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var out bytes.Buffer
	vm := lab.VM{Kernel: kernel, Share: r.dir, Timeout: timeout, Stdout: &out, Stderr: &out}
	joins := ""
	if r.later {
		joins = "later"
	}
	status, err := vm.Run(ctx, "bash", "-ec", randomScript, "random", fmt.Sprint(r.n), fmt.Sprint(seed), joins, attach)
	if err != nil || status != 0 {
		t.Fatalf("exit status %d, %v\n%s", status, err, out.Bytes())
	}
}

func (r *randomRun) read(t *testing.T) {
	t.Helper()
	r.ops, r.summary = nil, randomSummary{}
	readJSON(t, filepath.Join(r.dir, "out/summary.json"), &r.summary)
	log, err := os.Open(filepath.Join(r.dir, "out/log.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for d := json.NewDecoder(log); d.More(); {
		var line json.RawMessage
		var raw struct{ Args json.RawMessage }
		o := &randomOp{}
		if err := errors.Join(d.Decode(&line), json.Unmarshal(line, o), json.Unmarshal(line, &raw)); err != nil {
			t.Fatal(err)
		}
		o.args = raw.Args
		r.ops = append(r.ops, o)
	}
	if len(r.ops) != r.n || r.summary.Operations != r.n {
		t.Errorf("%d operations in the log, %d in the summary", len(r.ops), r.summary.Operations)
	}
	r.model = readModel(t, r.file)
}

func readModel(t *testing.T, file string) *analyze.Model {
	t.Helper()
	recording, err := trace.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer recording.Close()
	a := analyze.New()
	if err := recording.Replay(a, trace.ReplayOptions{}); err != nil {
		t.Fatal(err)
	}
	return a.Model()
}

func readJSON(t *testing.T, file string, v any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// checkAudit wants nothing lost and the reconstruction to be what the kernel
// said in the end.
func (r *randomRun) checkAudit(t *testing.T) {
	t.Helper()
	out, err := exec.Command(r.nstrace, "verify", r.file).CombinedOutput()
	if err != nil {
		t.Errorf("verify: %v\n%s", err, out)
	}
	if missed := r.missed(); len(missed) > 0 {
		note(t, "the kernel let calls pass, as the ledger says: %v", missed)
	}
	for _, s := range r.model.Verdict {
		if s.Severity != analyze.Info && s.Rule != "calls-missed" {
			t.Errorf("not clean: %s", s.Text)
		}
	}
	if r.model.Lost != 0 {
		t.Errorf("%d lost: %v", r.model.Lost, r.model.Verdict)
	}
	for _, problem := range r.model.SnapshotErrors {
		if slices.ContainsFunc(r.model.Namespaces, func(n *analyze.Netns) bool {
			return r.isKept(n) && strings.Contains(problem, fmt.Sprintf("net:[%d]", n.Inum))
		}) {
			continue // nobody can look into that
		}
		t.Errorf("a snapshot couldn't look everywhere: %s", problem)
	}
	// The world is what the driver's limits let live: see lab/scenario/random/world.go.
	if n := r.model.Audit.Compared; n < 25 {
		t.Errorf("only %d things were compared", n)
	}
	t.Logf("%d events, %d namespaces, %d interfaces, %d radios, %d moves; %d things compared", r.model.Events,
		len(r.model.Namespaces), len(r.model.Devices), len(r.model.Wiphys), len(r.model.Moves), r.model.Audit.Compared)
}
