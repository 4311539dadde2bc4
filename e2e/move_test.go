// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var (
	keep = flag.String("keep", "", "copy the recordings and the kernels' descriptions to `DIR`, for testdata")
	all  = flag.Bool("all", false, "record by every hook on every kernel, not only one or two on each")
)

// report is the part of the JSON report that the tests look at.
type report struct {
	Recording struct {
		Complete bool
		Lost     *uint64
		Clean    bool
		Probes   []struct {
			Name, Hook, Status, Reason string
			Hits, Lost                 uint64
			Missed                     *uint64
		}
	}
	Namespaces []struct {
		ID      string
		Inum    uint32
		Initial bool
		Names   []string
		Created *struct {
			Comm     string
			SetupNS  int64 `json:"setup_ns"`
			Inferred bool
		}
		Destroyed *struct {
			PutAtNS   *int64 `json:"put_at_ns"`
			CleanupNS *int64 `json:"cleanup_ns"`
		}
		Delivery []struct {
			Device         string
			Ifindex        int
			Path           string
			Packets, Bytes uint64
			RxPackets      *uint64 `json:"rx_packets"`
		}
	}
	Moves []struct {
		What, Name, From, To, Error, Comm, Cause string
		NewName                                  string `json:"new_name"`
		Errno                                    int
	}
	Findings []struct{ Rule string }
	Audit    struct {
		Compared    int
		Differences []any
	}
}

// name is what a namespace is called in the tests.
func (r *report) name(id string) string {
	for _, n := range r.Namespaces {
		switch {
		case n.ID == id && n.Initial:
			return "init"
		case n.ID == id && len(n.Names) > 0:
			return n.Names[0]
		}
	}
	return id
}

// readReport has nstrace tell of a recording.
func readReport(t *testing.T, nstrace, file string) *report {
	t.Helper()
	var r report
	decodeReport(t, nstrace, file, &r)
	return &r
}

// decodeReport decodes what nstrace tells of a recording into r.
func decodeReport(t *testing.T, nstrace, file string, r any) {
	t.Helper()
	cmd := exec.Command(nstrace, "report", "--format", "json", file)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	if err := json.Unmarshal(out, r); err != nil {
		t.Fatal(err)
	}
}

// TestMove records the demo's scenario on each kernel of the lab, by each way of
// attaching, and holds the report against what is known of the scenario, and its
// counts against the kernel's. The story is the same everywhere.
func TestMove(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines")
	}
	for _, c := range []struct {
		suite, attach, delivery, keep string
		// more marks what is left to -all, because it takes its time.
		more bool
	}{
		// 5.10 has no fentry for modules: auto is fentry where it can be.
		{suite: "bullseye", attach: "auto", delivery: "count"},
		{suite: "bullseye", attach: "kprobe", delivery: "packets", more: true},
		{suite: "bookworm", attach: "fentry", delivery: "count", keep: "move-6.1.nst"},
		{suite: "bookworm", attach: "kprobe", delivery: "packets", keep: "move-6.1-packets.nst"},
		{suite: "trixie", attach: "fentry", delivery: "packets"},
		{suite: "trixie", attach: "kprobe", delivery: "count", more: true},
		{suite: "sid", attach: "kprobe", delivery: "count"},
		{suite: "sid", attach: "fentry", delivery: "packets", more: true},
	} {
		t.Run(strings.Join([]string{c.suite, c.attach, c.delivery}, " "), func(t *testing.T) {
			if c.more && !*all {
				t.Skip("only with -all")
			}
			dir := t.TempDir()
			nstrace := filepath.Join(dir, "nstrace")
			build(t, nstrace, "build", "../cmd/nstrace")
			copyFile(t, "../lab/scenario/scenario.sh", filepath.Join(dir, "scenario.sh"))
			status, out := boot(t, c.suite, dir, nil, "./nstrace", "record", "--load-modules", "--attach", c.attach,
				"--delivery", c.delivery, "-o", "move.nst", "--", "sh", "scenario.sh", "kernel")
			if status != 0 {
				checkScenario(t, c.suite, dir)
				t.Fatalf("exit status %d\n%s", status, out)
			}
			file := filepath.Join(dir, "move.nst")
			if *keep != "" && c.keep != "" {
				copyFile(t, file, filepath.Join(*keep, c.keep))
			}
			r := readReport(t, nstrace, file)
			checkProbes(t, r, c.attach)
			checkStory(t, r, "iw", "ip")
			checkDelivery(t, r, filepath.Join(dir, "kernel/both"))
			checkCounters(t, r, filepath.Join(dir, "kernel/both"))
			if out, err := exec.Command(nstrace, "verify", file).CombinedOutput(); err != nil {
				t.Errorf("verify: %v\n%s", err, out)
			}
			if t.Failed() {
				text, _ := exec.Command(nstrace, "report", file).CombinedOutput()
				t.Logf("%s\n%s", out, text)
			}
		})
	}
}

// checkScenario skips the test if the scenario fails on the unstable kernel
// without nstrace, too.
func checkScenario(t *testing.T, suite, dir string) {
	t.Helper()
	if suite != unstable {
		return
	}
	if status, out := boot(t, suite, dir, nil, "sh", "scenario.sh", "without"); status != 0 {
		untested(t, "the scenario fails on Debian %s without nstrace, too:\n%s", suite, out)
	}
}

// checkProbes wants every probe attached: as asked, or with the plan's reason
// why not. Those that this kernel is known not to offer must be absent.
func checkProbes(t *testing.T, r *report, attach string, absent ...string) {
	t.Helper()
	if !r.Recording.Complete || !r.Recording.Clean || r.Recording.Lost == nil || *r.Recording.Lost != 0 {
		t.Errorf("the recording should be complete and without losses: %+v", r.Recording)
	}
	if len(r.Recording.Probes) == 0 {
		t.Error("no probes")
	}
	for _, p := range r.Recording.Probes {
		if slices.Contains(absent, p.Name) {
			if p.Status != "absent" || p.Reason == "" {
				t.Errorf("probe %s: %s (%s), should be absent", p.Name, p.Status, p.Reason)
			}
			continue
		}
		asked := p.Hook == attach && p.Reason == ""
		announced := attach == "auto" && p.Hook == "kprobe" && strings.HasPrefix(p.Reason, "no fentry: ")
		best := attach == "auto" && p.Hook == "fentry" && p.Reason == ""
		if p.Status != "attached" || !(asked || announced || best) {
			t.Errorf("probe %s: %s by %q (%s), asked for %s", p.Name, p.Status, p.Hook, p.Reason, attach)
		}
	}
}

// checkStory holds births, moves and deaths against the scenario, in which radios
// and interfaces are moved by what is called iw and ip.
func checkStory(t *testing.T, r *report, iw, ip string) {
	t.Helper()
	var moves []string
	for _, m := range r.Moves {
		moves = append(moves, fmt.Sprintf("%s %s %s>%s %s %s %s",
			m.What, m.Name, r.name(m.From), r.name(m.To), strings.TrimSpace(m.Error), m.Cause, commOf(m.Comm)))
	}
	want := []string{
		"wiphy phy1 init>ap  request " + iw,
		"netdev wlan1 init>ap  carried-by-wiphy " + iw,
		"wiphy phy2 init>sta  request " + iw,
		"netdev wlan2 init>sta  carried-by-wiphy " + iw,
		"netdev wlan0 init>ap EINVAL request " + ip,
		"wiphy phy2 sta>init  namespace-death kworker",
		"netdev wlan2 sta>init  carried-by-wiphy kworker",
	}
	if !slices.Equal(moves, want) {
		t.Errorf("moves:\n%s\nwant:\n%s", strings.Join(moves, "\n"), strings.Join(want, "\n"))
	}
	names := map[string]int{}
	for i, n := range r.Namespaces {
		names[r.name(n.ID)] = i
	}
	if len(r.Namespaces) != 3 || len(names) != 3 {
		t.Fatalf("namespaces: %v", names)
	}
	for _, name := range []string{"ap", "sta"} {
		n := r.Namespaces[names[name]]
		if n.Created == nil || n.Created.Comm != ip || n.Created.Inferred || n.Created.SetupNS <= 0 {
			t.Errorf("%s was created: %+v", name, n.Created)
		}
	}
	if d := r.Namespaces[names["sta"]].Destroyed; d == nil || d.PutAtNS == nil || d.CleanupNS == nil {
		t.Errorf("sta was destroyed: %+v", d)
	}
	if d := r.Namespaces[names["ap"]].Destroyed; d != nil {
		t.Errorf("ap was destroyed: %+v", d)
	}
	for _, rule := range []string{"netdev-pinned-to-wiphy", "wiphy-returned"} {
		if !slices.ContainsFunc(r.Findings, func(f struct{ Rule string }) bool { return f.Rule == rule }) {
			t.Errorf("no finding %s in %v", rule, r.Findings)
		}
	}
	if r.Audit.Compared == 0 || len(r.Audit.Differences) != 0 {
		t.Errorf("audit: %+v", r.Audit)
	}
}

// commOf leaves out which of the kernel's workers it was.
func commOf(comm string) string {
	name, _, _ := strings.Cut(comm, "/")
	return name
}

// checkDelivery compares every count with `ip -s link` in that namespace.
func checkDelivery(t *testing.T, r *report, kernel string) {
	t.Helper()
	for _, n := range r.Namespaces {
		if inum := inumOf(t, kernel, r.name(n.ID)); inum != n.Inum {
			t.Errorf("inum of %s: %d, the kernel has %d", r.name(n.ID), n.Inum, inum)
		}
		links := linksOf(t, filepath.Join(kernel, r.name(n.ID)+".link.json"))
		counted := map[string]uint64{}
		for _, d := range n.Delivery {
			counted[d.Device] += d.Packets
			l, ok := links[d.Device]
			if !ok {
				t.Errorf("%s has no %s", r.name(n.ID), d.Device)
				continue
			}
			if d.Packets != l.Packets || d.Bytes != l.Bytes {
				t.Errorf("%s in %s: %d packets, %d bytes; the kernel has %d and %d",
					d.Device, r.name(n.ID), d.Packets, d.Bytes, l.Packets, l.Bytes)
			}
		}
		for name, l := range links {
			if l.Packets != counted[name] {
				t.Errorf("%s in %s received %d packets; the report has %d", name, r.name(n.ID), l.Packets, counted[name])
			}
		}
	}
}

// checkCounters compares what the report says of the kernel's own counters with
// them.
func checkCounters(t *testing.T, r *report, kernel string) {
	t.Helper()
	for _, n := range r.Namespaces {
		links := linksOf(t, filepath.Join(kernel, r.name(n.ID)+".link.json"))
		for _, d := range n.Delivery {
			if l := links[d.Device]; d.RxPackets == nil || *d.RxPackets != l.Packets {
				t.Errorf("rx_packets of %s in %s: %v; the kernel has %d", d.Device, r.name(n.ID), d.RxPackets, l.Packets)
			}
		}
	}
}

type rxCounters struct{ Packets, Bytes uint64 }

func linksOf(t *testing.T, file string) map[string]rxCounters {
	t.Helper()
	var links []struct {
		Ifname  string
		Stats64 struct{ Rx rxCounters }
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &links); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	rx := map[string]rxCounters{}
	for _, l := range links {
		rx[l.Ifname] = l.Stats64.Rx
	}
	if len(rx) == 0 {
		t.Fatalf("%s has no links", file)
	}
	return rx
}

func inumOf(t *testing.T, kernel, name string) uint32 {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(kernel, "inums"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var inum uint32
		var of string
		if _, err := fmt.Sscan(line, &inum, &of); err == nil && of == name {
			return inum
		}
	}
	t.Fatalf("no inum of %s in %s", name, data)
	return 0
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
