// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// tenantsReport is the part of the JSON report that tells who is in namespaces,
// and what they did there.
type tenantsReport struct {
	Recording struct {
		Clean  bool
		Probes []struct {
			Missed        *uint64
			ReturnsMissed *uint64 `json:"returns_missed"`
		}
	}
	Namespaces []*tenantsNetns
	Refusals   []struct {
		Namespace, Peer string
		Error, Comm     string
	} `json:"nsid_refusals"`
	Audit struct {
		Compared    int
		Differences []struct{ What, Expected, Reconstructed string }
	}
}

type tenantsNetns struct {
	ID      string
	Inum    uint32
	Initial bool
	Names   []string
	Tasks   []*tenant
	Nsids   []struct {
		Nsid      int32
		Namespace string
		Given     *string
		Comm      *string
		UntilNS   *int64 `json:"until_ns"`
	} `json:"nsid_spans"`
	Sysctls []struct{ Path, Old, New, Comm string }
}

type tenant struct {
	PID           uint32
	TID           *uint32
	Comm, Arrived string
	Left          *string
	CameFrom      *string           `json:"came_from"`
	Others        map[string]uint32 `json:"other_namespaces"`
	Inferred      bool
	EndInferred   bool `json:"end_inferred"`
	Cgroup        string
	Container     *struct{ Runtime, ID string }
}

// TestTenants records tasks that come and go on each kernel of the lab, and holds
// the report against /proc, and against what they did.
func TestTenants(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines")
	}
	t.Parallel()
	for _, c := range []struct{ suite, attach, keep string }{
		{suite: "bullseye", attach: "auto"},
		{suite: "bookworm", attach: "auto", keep: "tenants-6.1.nst"},
		{suite: "bookworm", attach: "kprobe"},
		{suite: "trixie", attach: "auto"},
		{suite: unstable, attach: "auto"},
	} {
		if !*everyKernel && c.suite != "bullseye" && (c.suite != suite || c.attach != "kprobe") {
			continue
		}
		t.Run(c.suite+" "+c.attach, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			nstrace, file := filepath.Join(dir, "nstrace"), filepath.Join(dir, "tenants.nst")
			build(t, nstrace, "build", "../cmd/nstrace")
			copyFile(t, "../lab/scenario/tenants.sh", filepath.Join(dir, "tenants.sh"))
			const script = `./nstrace record --attach "$1" -o tenants.nst -- sh tenants.sh out
				ip netns list-id >out/nsids`
			kernel := kernelOf(t, c.suite, runtime.GOARCH)
			var out string
			r := recordTasks(t, nstrace, file, func() {
				var status int
				if status, out = bootKernel(t, kernel, dir, nil, "sh", "-ec", script, "sh", c.attach); status != 0 {
					t.Fatalf("exit status %d\n%s", status, out)
				}
			})
			if *keep != "" && c.keep != "" {
				copyFile(t, file, filepath.Join(*keep, c.keep))
			}
			r.checkStaying(t, filepath.Join(dir, "out"))
			r.checkVisits(t)
			r.checkDeeds(t, filepath.Join(dir, "out/nsids"))
			if t.Failed() {
				text, _ := exec.Command(nstrace, "report", "--ns", "blue", file).CombinedOutput()
				t.Logf("%s\n%s", out, text)
			}
		})
	}
}

// recordTasks has something recorded, and once more if the kernel let calls pass
// meanwhile, and returns what nstrace tells of the file.
func recordTasks(t *testing.T, nstrace, file string, record func()) *tenantsReport {
	t.Helper()
	for again := false; ; again = true {
		record()
		r := &tenantsReport{}
		decodeReport(t, nstrace, file, r)
		n := r.missed()
		if n == 0 || again {
			return r
		}
		// See TestMove and runRandom: it is counted, and the host's doing.
		note(t, "the kernel let %d calls or returns pass, as the ledger says: recorded again", n)
	}
}

// missed is how many calls and returns the kernel let pass, as far as it tells.
func (r *tenantsReport) missed() (n uint64) {
	for _, p := range r.Recording.Probes {
		for _, missed := range []*uint64{p.Missed, p.ReturnsMissed} {
			if missed != nil {
				n += *missed
			}
		}
	}
	return n
}

func (r *tenantsReport) netns(t *testing.T, name string) *tenantsNetns {
	t.Helper()
	for _, n := range r.Namespaces {
		if n.Initial && name == "init" || slices.Contains(n.Names, name) {
			return n
		}
	}
	t.Fatalf("the report has no namespace %s", name)
	return nil
}

// checkStaying compares who is where in the end, and in which other namespaces,
// with /proc.
func (r *tenantsReport) checkStaying(t *testing.T, dir string) {
	t.Helper()
	others := readOthers(t, filepath.Join(dir, "others"))
	there := tasksInProc(t, filepath.Join(dir, "tasks"))
	if len(others) != 4 {
		t.Fatalf("%d processes stay", len(others))
	}
	for _, n := range r.Namespaces {
		if n.Initial {
			if n.Tasks != nil {
				t.Errorf("the report lists tasks of the initial namespace: %+v", n.Tasks)
			}
			continue
		}
		var got, want []uint32
		for _, x := range n.Tasks {
			if x.Left != nil {
				continue
			}
			got = append(got, x.PID)
			for kind, inum := range others[x.PID] {
				if x.Others[kind] != inum {
					t.Errorf("%s[%d] is in %s:[%d]; the report has %d", x.Comm, x.PID, kind, inum, x.Others[kind])
				}
			}
			if x.Comm != "sleep" || x.TID != nil {
				t.Errorf("%s[%d] is in %s in the end", x.Comm, x.PID, n.ID)
			}
		}
		for x := range there[n.Inum] {
			want = append(want, x.pid)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("in %s %v are there in the end, /proc has %v", n.ID, got, want)
		}
	}
	if !r.Recording.Clean || len(r.Audit.Differences) != 0 || r.Audit.Compared == 0 {
		t.Errorf("clean: %v; of %d things compared differ %+v", r.Recording.Clean, r.Audit.Compared, r.Audit.Differences)
	}
}

// readOthers reads the namespaces of processes: a PID, a kind and an inum a line.
func readOthers(t *testing.T, file string) map[uint32]map[string]uint32 {
	t.Helper()
	text, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	others := map[uint32]map[string]uint32{}
	for lines := bufio.NewScanner(text); lines.Scan(); {
		var pid, inum uint32
		var kind string
		if _, err := fmt.Sscan(lines.Text(), &pid, &kind, &inum); err != nil {
			t.Fatalf("%s: %q: %v", file, lines.Text(), err)
		}
		if others[pid] == nil {
			others[pid] = map[string]uint32{}
		}
		// Those for children aren't told, and one's own network namespace is the
		// one it is listed in.
		if kind != "net" {
			others[pid][kind] = inum
		}
	}
	return others
}

// checkVisits wants everyone who came to have come as it did.
func (r *tenantsReport) checkVisits(t *testing.T) {
	t.Helper()
	count := map[string]int{}
	for _, n := range r.Namespaces {
		for _, x := range n.Tasks {
			if x.Inferred || x.EndInferred || x.CameFrom == nil {
				t.Errorf("%s[%d] in %s: %+v", x.Comm, x.PID, n.ID, x)
			}
			how := "another " + x.Comm + " " + x.Arrived
			if len(n.Names) != 0 {
				how = n.Names[0] + " " + x.Comm + " " + x.Arrived
			}
			if x.Left != nil {
				how += ", " + *x.Left
			}
			count[how]++
			if in := x.Container; in != nil {
				count["in "+in.Runtime+" "+in.ID[:4]]++
			}
		}
	}
	for what, want := range map[string]int{
		"blue ip unshare, setns":     1, // ip netns add
		"green ip unshare, setns":    1,
		"blue sleep setns":           1,
		"in docker 0123":             1,
		"blue sh setns, exit":        3,
		"blue sh fork, exit":         40,
		"blue sysctl setns, exit":    1,
		"green sleep setns":          1,
		"another sleep unshare":      2,
		"another true unshare, exit": 1,
	} {
		if count[what] != want {
			t.Errorf("%q: %d in the report, want %d", what, count[what], want)
		}
		delete(count, what)
	}
	// ip -n goes to where it is to ask.
	if asked := "green ip setns, exit"; count[asked] != 2 {
		t.Errorf("%q: %d in the report, want 2", asked, count[asked])
	}
	delete(count, "green ip setns, exit")
	if len(count) != 0 {
		t.Errorf("the report has %v as well", count)
	}
}

// checkDeeds looks for the settings and the numbers.
func (r *tenantsReport) checkDeeds(t *testing.T, list string) {
	t.Helper()
	initial, blue, green := r.netns(t, "init"), r.netns(t, "blue"), r.netns(t, "green")
	var writes []string
	for _, w := range blue.Sysctls {
		writes = append(writes, fmt.Sprintf("%s: %s %q -> %q", w.Comm, w.Path, strings.TrimSpace(w.Old), strings.TrimSpace(w.New)))
	}
	if want := []string{
		`sysctl: net/ipv4/ip_forward "0" -> "1"`, `sh: net/ipv4/ip_forward "1" -> "nonsense"`,
		`sh: net/ipv4/conf/all/rp_filter "0" -> "2"`,
	}; !slices.Equal(writes, want) {
		t.Errorf("the report has written\n%q, want\n%q", writes, want)
	}
	numbers := map[string]bool{}
	for _, n := range []*tenantsNetns{initial, blue, green} {
		for _, x := range n.Nsids {
			if x.Given != nil && x.Comm != nil && x.UntilNS == nil {
				numbers[fmt.Sprintf("%s in %s as %d, %s for %s", x.Namespace, n.ID, x.Nsid, *x.Given, *x.Comm)] = true
			}
		}
	}
	for _, want := range []string{
		fmt.Sprintf("%s in %s as 42, requested for ip", green.ID, initial.ID),
		fmt.Sprintf("%s in %s as 7, requested for ip", blue.ID, green.ID),
		fmt.Sprintf("%s in %s as 0, kernel for ip", green.ID, blue.ID),
	} {
		if !numbers[want] {
			t.Errorf("the report hasn't %q, but %v", want, numbers)
		}
	}
	if there := nsidsByIP(t, list); len(there) != 1 || !there[42] {
		t.Errorf("ip netns list-id has %v", there)
	}
	if len(r.Refusals) != 1 || r.Refusals[0].Namespace != green.ID || r.Refusals[0].Peer != blue.ID || r.Refusals[0].Error != "EEXIST" {
		t.Errorf("the report has refused %+v", r.Refusals)
	}
}
