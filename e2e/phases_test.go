// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// phasesReport is the part of the JSON report that tells of namespaces being made.
type phasesReport struct {
	Namespaces []struct {
		ID      string
		Created *struct {
			PID uint32
			phasesSteps
		}
	}
	Requests []struct {
		Count               uint64
		Comm, Result, Error string
		From                string
	}
	Findings []struct{ Rule, Severity, Text string }
}

// phasesSteps is what subsystems did for a namespace.
type phasesSteps struct {
	Number *uint64 `json:"steps_number"`
	Steps  []struct {
		Order      int
		Subsystem  string
		DurationNS int64 `json:"duration_ns"`
	}
}

// TestPhases compares what is reported of namespaces being made with what ftrace
// measured at the same time, and what user space was told.
func TestPhases(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines")
	}
	t.Parallel()
	for _, suite := range suitesOf(suite) {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			nstrace := filepath.Join(dir, "nstrace")
			build(t, nstrace, "build", "../cmd/nstrace")
			copyFile(t, "testdata/phases.sh", filepath.Join(dir, "phases.sh"))
			status, out := boot(t, suite, dir, nil, "bash", "phases.sh")
			if status != 0 {
				t.Fatalf("exit status %d\n%s", status, out)
			}
			var agree, refused phasesReport
			decodeReport(t, nstrace, filepath.Join(dir, "agree.nst"), &agree)
			checkAgree(t, &agree, filepath.Join(dir, "agree.graph"))
			decodeReport(t, nstrace, filepath.Join(dir, "refused.nst"), &refused)
			checkRefused(t, &refused)
		})
	}
}

// checkAgree holds the ten subsystems that took longest of each creation against
// what ftrace measured at the same time.
//
// Both are hooked to the same calls, function_graph around nstrace's programs: so
// it measures more, by what those and itself cost, which is about the same for all
// steps. What an interrupt adds between the two hooks is in one and not in the
// other, and the machine's host may take its CPU away at any time, even there: that
// is seen as a step of which ftrace measured much more, and of those there are few.
func checkAgree(t *testing.T, r *phasesReport, graphFile string) {
	t.Helper()
	const creations, reported = 6, 10
	graph := readGraph(t, graphFile)
	if len(graph) != creations {
		t.Fatalf("ftrace saw %d tasks create namespaces", len(graph))
	}
	seen, disturbed := 0, 0
	for _, n := range r.Namespaces {
		if n.Created == nil || graph[n.Created.PID] == nil {
			continue
		}
		seen++
		disturbed += disturbedSteps(t, n.ID, &n.Created.phasesSteps, graph[n.Created.PID])
	}
	if seen != creations {
		t.Errorf("%d of %d creations are reported", seen, creations)
	}
	if disturbed > creations*reported/2 {
		t.Errorf("ftrace measured something else in %d of %d steps", disturbed, creations*reported)
	}
}

// readGraph returns how long each call of ops_init took, in order, by process.
func readGraph(t *testing.T, file string) map[uint32][]int64 {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	exit := regexp.MustCompile(`unshare-(\d+) .*funcgraph_exit:.* calltime=(?:0x)?([0-9a-f]+) rettime=(?:0x)?([0-9a-f]+)`)
	graph := map[uint32][]int64{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		m := exit.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		pid, _ := strconv.ParseUint(m[1], 10, 32)
		from, _ := strconv.ParseInt(m[2], 16, 64)
		to, _ := strconv.ParseInt(m[3], 16, 64)
		graph[uint32(pid)] = append(graph[uint32(pid)], to-from)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return graph
}

// disturbedSteps compares one creation's steps with how long ftrace says that all
// of them took, in their order. Never less: else both didn't see the same. It
// returns how many of the ten aren't the same to within what the hooks cost, or
// aren't ftrace's ten.
func disturbedSteps(t *testing.T, id string, s *phasesSteps, calls []int64) (disturbed int) {
	t.Helper()
	if s.Number == nil || int(*s.Number) != len(calls) || len(s.Steps) != 10 {
		t.Fatalf("%s: of %d steps %d are reported one by one, and their number as %v", id, len(calls), len(s.Steps), s.Number)
	}
	var more []int64
	least := s.Steps[0].DurationNS
	known := map[int]bool{}
	line := ""
	for _, x := range s.Steps {
		took := calls[x.Order-1]
		if took < x.DurationNS {
			t.Errorf("%s: %s took %d ns; ftrace measured less: %d", id, x.Subsystem, x.DurationNS, took)
		}
		if x.DurationNS > least {
			t.Errorf("%s: %s took longer than one before it", id, x.Subsystem)
		}
		more = append(more, took-x.DurationNS)
		least = x.DurationNS
		known[x.Order] = true
		line += fmt.Sprintf(" %s %d+%d", x.Subsystem, x.DurationNS/1000, more[len(more)-1]/1000)
	}
	cost := 4 * slices.Sorted(slices.Values(more))[len(more)/2]
	for _, m := range more {
		if m > cost {
			disturbed++
		}
	}
	for i, took := range calls {
		if !known[i+1] && took > least+cost {
			disturbed++
		}
	}
	t.Logf("%s, in us:%s; %d disturbed", id, line, disturbed)
	return disturbed
}

// checkRefused: a request that failed says who asked, and why it failed.
func checkRefused(t *testing.T, r *phasesReport) {
	t.Helper()
	var refused uint64
	for _, x := range r.Requests {
		if x.Comm == "unshare" && x.Error == "ENOSPC" && x.Result == "failed" && x.From == "ns1" {
			refused += x.Count
		}
	}
	if refused != 3 {
		t.Errorf("%d refused: %+v", refused, r.Requests)
	}
	for _, f := range r.Findings {
		if f.Rule == "netns-refused" && f.Severity == "error" && strings.Contains(f.Text, "user.max_net_namespaces") {
			return
		}
	}
	t.Errorf("nothing is said of it: %+v", r.Findings)
}
