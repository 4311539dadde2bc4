// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// outlook is what is known of a probe before a recording. Function is "" if
// there is no Hook.
type outlook struct{ Name, Hook, Function, Reason string }

// readCheck reads what `nstrace check --format json` announced.
func readCheck(t *testing.T, file string) []outlook {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var check struct {
		Works  bool
		Probes []struct {
			outlook
			Status string
		}
	}
	if err := json.Unmarshal(data, &check); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if !check.Works {
		t.Errorf("check says that nothing can be recorded:\n%s", data)
	}
	var probes []outlook
	for _, p := range check.Probes {
		if p.Status == "unknown" {
			t.Errorf("check doesn't know about %s: %s", p.Name, p.Reason)
		}
		probes = append(probes, p.outlook)
	}
	return probes
}

// columns are what the plans have between theirs.
var columns = regexp.MustCompile(`\s{2,}`)

// readPlan reads the golden plan for a kernel, from which docs/hooks.md is made
// as well. A kernel that nobody has described yet has none.
func readPlan(t *testing.T, release, attach string) ([]outlook, bool) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../testdata/kernels", release+".plan"))
	if err != nil {
		note(t, "docs/hooks.md tells nothing of %s: it should be described anew (%v)", release, err)
		return nil, false
	}
	_, section, ok := strings.Cut(string(data), "--attach "+attach+"\n")
	if !ok {
		t.Fatalf("the plan for %s has no --attach %s", release, attach)
	}
	section, _, _ = strings.Cut(section, "\n\n")
	var probes []outlook
	for line := range strings.Lines(section) {
		fields := append(columns.Split(strings.TrimSpace(line), -1), "", "")
		p := outlook{Name: fields[0], Function: fields[1], Hook: fields[2], Reason: fields[3]}
		if fields[1] == "absent" {
			p = outlook{Name: fields[0], Reason: fields[2]}
		}
		p.Hook, _, _ = strings.Cut(p.Hook, ",")
		probes = append(probes, p)
	}
	return probes, true
}

// absent are the probes that aren't to be had.
func absent(announced []outlook) (names []string) {
	for _, p := range announced {
		if p.Hook == "" {
			names = append(names, p.Name)
		}
	}
	return names
}

// absent are the probes that weren't to be had.
func (r *report) absent() (names []string) {
	for _, p := range r.Recording.Probes {
		if p.Status == "absent" {
			names = append(names, p.Name)
		}
	}
	return names
}

// checkProbes wants the probes to be as announced, by whom.
func checkProbes(t *testing.T, r *report, by string, announced []outlook) {
	t.Helper()
	if len(r.Recording.Probes) != len(announced) || len(announced) == 0 {
		t.Errorf("%d probes, %s announced %d", len(r.Recording.Probes), by, len(announced))
		return
	}
	for i, p := range r.Recording.Probes {
		got, want := outlook{p.Name, p.Hook, p.Function, p.Reason}, announced[i]
		status := "attached"
		if want.Hook == "" {
			got.Function, status = "", "absent"
		}
		if got != want || p.Status != status {
			t.Errorf("%s announced %s, %+v; it is %s, %+v", by, status, want, p.Status, got)
		}
	}
}
