// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/probes"
)

// observed is what became of a recording without some capabilities.
type observed struct {
	// Case is what it is about: a capability's name, or another of the cases below.
	Case    string   `json:"case"`
	Dropped []string `json:"dropped"`
	// Outcome is "refused", "less" or "whole".
	Outcome string `json:"outcome"`
	// Error is what record said when it refused.
	Error string `json:"error,omitempty"`
	// Problems are those of the JSON report.
	Problems []string `json:"problems,omitempty"`
	// Failed are modules, or vmlinux, of which no function could be probed, or "some
	// of" them.
	Failed []string `json:"failed,omitempty"`
	// Blind says that a snapshot couldn't look everywhere, Nameless that a subsystem
	// has no name.
	Blind    bool `json:"blind,omitempty"`
	Nameless bool `json:"nameless,omitempty"`
}

// observations are those of one kernel. They are kept as
// testdata/capabilities-SUITE.json, of which docs/privileges.md is made.
type observations struct {
	Kernel string     `json:"kernel"`
	Cases  []observed `json:"cases"`
}

// capabilityCases are what is tried: all but one of those that a recording has a
// use for; all of them but none else; and what contains others.
func capabilityCases() []observed {
	cases := []observed{{Case: "all"}}
	var others []string
	for _, c := range probes.Capabilities() {
		dropped := []string{c.Name}
		switch c.Name {
		case "CAP_BPF", "CAP_PERFMON":
			dropped = append(dropped, "CAP_SYS_ADMIN") // which contains it
		case "CAP_DAC_READ_SEARCH":
			dropped = append(dropped, "CAP_DAC_OVERRIDE") // which does for reading, too
		}
		cases = append(cases, observed{Case: c.Name, Dropped: dropped})
		others = append(others, c.Name)
	}
	return append(cases,
		observed{Case: "CAP_BPF and CAP_PERFMON, but not CAP_SYS_ADMIN", Dropped: []string{"CAP_BPF", "CAP_PERFMON"}},
		observed{Case: "no others", Dropped: append([]string{"all but"}, others...)})
}

// TestLabKernelCapabilities records without each capability and compares what comes
// of it with what the documentation says. To renew it:
//
//	go test ./e2e -run TestInMachine -every-kernel -keep "$PWD/testdata"
//	go test ./cmd/nstrace -run TestDocs -update
func TestLabKernelCapabilities(t *testing.T) {
	if os.Getenv("NSTRACE_LAB") == "" {
		t.Skip("not in the lab; e2e runs this in virtual machines")
	}
	dir := t.TempDir()
	script(t, dir, "setup")
	t.Cleanup(func() { script(t, dir, "clean") })
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	got := observations{Kernel: unix.ByteSliceToString(uts.Release[:]), Cases: capabilityCases()}
	modules := map[string]string{}
	for i := range got.Cases {
		observe(t, dir, &got.Cases[i], modules)
	}
	text, err := json.MarshalIndent(got, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	name := observationsOf(os.Getenv("NSTRACE_SUITE"))
	if keep := os.Getenv("NSTRACE_KEEP"); keep != "" {
		if err := os.WriteFile(filepath.Join(keep, name), append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	known := readObservations(t, filepath.Join("testdata/known", name))
	// Debian's kernels are replaced by newer ones, which mostly do the same.
	known.Kernel = got.Kernel
	want, err := json.MarshalIndent(known, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, want) {
		t.Errorf("it isn't as in %s any more; now it is\n%s", name, text)
	}
}

func observationsOf(suite string) string { return "capabilities-" + suite + ".json" }

func readObservations(t *testing.T, file string) (o observations) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &o); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return o
}

// script runs a part of the script that makes the machine such that each
// capability makes a difference.
func script(t *testing.T, dir, part string) {
	t.Helper()
	file, err := filepath.Abs("testdata/capabilities.sh")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", file, part)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", part, err, out)
	}
}

// setpriv has the arguments to drop capabilities.
func setpriv(dropped []string) []string {
	set, sign := []string{}, "-"
	if len(dropped) > 0 && dropped[0] == "all but" {
		set, sign, dropped = []string{"-all"}, "+", dropped[1:]
	}
	for _, name := range dropped {
		set = append(set, sign+strings.ToLower(strings.TrimPrefix(name, "CAP_")))
	}
	if len(set) == 0 {
		return nil
	}
	return []string{"setpriv", "--bounding-set=" + strings.Join(set, ",")}
}

// observe records without some capabilities. modules has where the probes'
// functions are, of the first case, in which all are attached.
func observe(t *testing.T, dir string, o *observed, modules map[string]string) {
	t.Helper()
	file := filepath.Join(dir, "t.nst")
	// The limit is Debian's for those who aren't root, the command one that has a
	// subsystem register.
	argv := append([]string{"sh", "-c", `ulimit -l 64; exec "$@"`, "sh"}, setpriv(o.Dropped)...)
	argv = append(argv, "nstrace", "record", "-o", file, "--", "modprobe", "bonding")
	cmd := exec.Command(argv[0], argv[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	t.Logf("%s: %v\n%s", o.Case, err, stderr.Bytes())
	if _, err := os.Stat(file); err != nil {
		o.Outcome, o.Error = "refused", strings.TrimPrefix(strings.TrimSpace(stderr.String()), "nstrace: ")
		return
	}
	defer os.Remove(file)
	script(t, dir, "again")
	r := reportOf(t, file)
	o.Outcome = "whole"
	if !r.Recording.Clean {
		o.Outcome = "less"
	}
	for _, p := range r.Recording.Problems {
		o.Problems = append(o.Problems, p.What)
		if !strings.Contains(stderr.String(), p.What) {
			t.Errorf("%s: a problem of the report isn't on standard error: %q", o.Case, p.What)
		}
	}
	o.Failed = failedOf(&r, modules)
	for _, v := range r.Verdict {
		o.Blind = o.Blind || v.Rule == "snapshot-incomplete"
	}
	for _, p := range r.Pernet {
		o.Nameless = o.Nameless || p.Ops == nil
	}
}

// failedOf says where the probes are that failed.
func failedOf(r *reported, modules map[string]string) (where []string) {
	all, failed := map[string]int{}, map[string]int{}
	for _, p := range r.Recording.Probes {
		if _, ok := modules[p.Name]; !ok {
			modules[p.Name] = "vmlinux"
			if p.Module != nil {
				modules[p.Name] = *p.Module
			}
		}
		switch m := modules[p.Name]; p.Status {
		case "failed":
			failed[m]++
			all[m]++
		case "attached":
			all[m]++
		}
	}
	for _, m := range slices.Sorted(maps.Keys(failed)) {
		if failed[m] < all[m] {
			m = "some of " + m
		}
		where = append(where, m)
	}
	return where
}

// reported is what is looked at of the JSON report.
type reported struct {
	Recording struct {
		Clean    bool
		Problems []struct{ What string }
		Probes   []struct {
			Name, Status string
			Module       *string
		}
	}
	Pernet  []struct{ Ops *string }
	Verdict []struct{ Rule string }
}

func reportOf(t *testing.T, file string) (r reported) {
	t.Helper()
	text, err := exec.Command("nstrace", "report", "--format", "json", file).Output()
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		t.Fatal(fmt.Errorf("report on %s: %w", file, err))
	}
	return r
}
