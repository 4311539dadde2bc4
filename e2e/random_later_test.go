// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nstrace/nstrace/analyze"
)

// checkLater wants a recording that began in the middle of it all to tell the
// truth.
func (r *randomRun) checkLater(t *testing.T) {
	t.Helper()
	file := filepath.Join(r.dir, "later.nst")
	m := readModel(t, file)
	if out, err := exec.Command(r.nstrace, "verify", file).CombinedOutput(); err != nil {
		t.Errorf("begun later: verify: %v\n%s", err, out)
	}
	if m.Lost != 0 || !m.Opening {
		t.Errorf("begun later: %d lost, %v", m.Lost, m.Verdict)
	}
	// Two programs on one function tell of a call one after the other; a machine
	// whose host is busy may stand still between them.
	p := &part{T: t, whole: r.model, model: m, begin: r.ops[r.n/2-2].To, from: m.Began, slack: uint64(20 * time.Millisecond)}
	p.check()
	before := 0
	for _, n := range m.Namespaces {
		if n.Origin == analyze.Preexisting && n.Birth == nil {
			before++
		}
	}
	since := 0
	for _, o := range r.ops {
		if o.From > m.Began {
			since++
		}
	}
	if before < 2 || since < r.n/2-1 {
		t.Errorf("begun later: %d namespaces were there before, and there were %d operations after that", before, since)
	}
}

// checkCut cuts away the first part of what was recorded, and wants the rest to
// tell the truth, and that the rest isn't all.
func (r *randomRun) checkCut(t *testing.T) {
	t.Helper()
	for _, percent := range []uint64{25, 50, 75} {
		file := filepath.Join(r.dir, "cut.nst")
		at := r.summary.From + (r.summary.To-r.summary.From)*percent/100
		begin, from := cutHead(t, r.file, file, at)
		m := readModel(t, file)
		p := &part{T: t, whole: r.model, model: m, begin: begin, from: from}
		p.check()
		checkCutSaid(t, r.nstrace, file, m, begin)
	}
}

// checkCutSaid wants it said that there is something missing, what, and until
// when.
func checkCutSaid(t *testing.T, nstrace, file string, m *analyze.Model, begin uint64) {
	t.Helper()
	rules := map[string]bool{}
	for _, s := range m.Verdict {
		rules[s.Rule] = true
	}
	if !rules["file-damaged"] || !rules["snapshot-incomplete"] || m.Opening || m.Lost == 0 || len(m.Audit.Differences) > 0 && m.Audit.Note == "" {
		t.Errorf("cut: %d lost, %v, audit: %s", m.Lost, m.Verdict, m.Audit.Note)
	}
	for _, n := range m.Namespaces {
		if n.Birth == nil && n.Origin != analyze.Inferred && !n.Initial {
			t.Errorf("cut: %s is %s, and nobody can know", n.Label(), n.Origin)
		}
	}
	for _, d := range m.Devices {
		if s := d.Stays[0]; d.Birth == nil && s.From != 0 && s.From < begin && !s.Inferred {
			t.Errorf("cut: %s was seen to come at %d, and the file begins at %d", d.Label(), s.From, begin)
		}
	}
	out, err := exec.Command(nstrace, "verify", file).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "damaged") {
		t.Errorf("cut: verify says nothing of it: %v\n%s", err, out)
	}
}

// The layout of a trace file: see trace/format.go.
const (
	preambleLen = 32
	headerLen   = 72
)

// cutHead copies a trace without the blocks from after its heads until one that
// begins at a time or later. It returns what the first time is that is left, and
// what the last one that isn't.
func cutHead(t *testing.T, from, to string, until uint64) (begin, complete uint64) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	const heads = 2
	after, rest := 0, 0
	for n, at := 0, preambleLen; at+headerLen <= len(data); n++ {
		number := func(offset int) uint64 { return binary.LittleEndian.Uint64(data[at+offset:]) }
		first, last := number(40), number(48)
		switch {
		case n < heads:
		case n == heads:
			after = at
		case rest == 0 && first < until:
			complete = max(complete, last)
		case rest == 0:
			rest, begin = at, first
		case first != 0:
			begin = min(begin, first)
		}
		lengths := number(32) // of the payload, and of the ranges
		at += headerLen + int(lengths&0xffffffff+lengths>>32)
	}
	if rest == 0 {
		t.Fatalf("%s has no block after %d", from, until)
	}
	if err := os.WriteFile(to, slices.Concat(data[:after], data[rest:]), 0o600); err != nil {
		t.Fatal(err)
	}
	return begin, complete
}
