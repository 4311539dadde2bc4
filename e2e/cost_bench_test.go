// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nstrace/nstrace/bench"
	"github.com/nstrace/nstrace/event"
	"github.com/nstrace/nstrace/lab"
	"github.com/nstrace/nstrace/trace"
)

var (
	costKernel = flag.String("cost-kernel", suite, "the Debian suite in whose kernel BenchmarkCost measures")
	costRounds = flag.Int("cost-rounds", 3, "how often BenchmarkCost measures each way")
	costKeep   = flag.String("cost-keep", "", "a folder that keeps what BenchmarkCost has measured, and all recordings")
)

// costTrips and costPackets are what cost.sh sends: enough for the tools to have
// something to read meanwhile.
const (
	costTrips   = 10_000
	costPackets = 10_000
)

// costNothing is the way without a tool, costCount the one that others are
// compared with.
const (
	costNothing = "nothing"
	costCount   = "bpftrace-kfunc"
)

// costWay is one of cost.sh's ways.
type costWay struct {
	name, text string
	// count returns how many packets a recording tells of; base is its path without
	// an ending.
	count func(r *costRun, base string) (uint64, error)
}

var costWays = []costWay{
	{costNothing, "nothing", nil},
	{"nothing-again", "nothing, once more", nil},
	{"nstrace-count", "nstrace record", (*costRun).reported},
	{"nstrace-packets", "nstrace record --delivery packets", (*costRun).packetRecords},
	{costCount, "bpftrace, count by namespace (kfunc)", (*costRun).mapSum},
	{"bpftrace-kprobe", "bpftrace, count by namespace (kprobe)", (*costRun).mapSum},
	{"bpftrace-print", "bpftrace, a line for each (kfunc)", (*costRun).linesPrinted},
	{"trace-cmd", "trace-cmd, bare kprobe event", (*costRun).traceEvents},
	{"trace-cmd-fields", "trace-cmd, kprobe event with namespace, interface, length", (*costRun).traceEvents},
	{"perf-fields", "perf record, the same event", (*costRun).perfSamples},
}

var costLoads = []struct{ name, text string }{
	{"ping", "flood ping"},
	{"raw-ping", "flood ping, raw sockets"},
	{"udp", "iperf3 (UDP)"},
}

// costMeasured is a line of cost.sh: what a load did.
type costMeasured struct {
	packets, ns, idle, own float64
}

// busy is what all of it took, without waiting, for each packet.
func (m costMeasured) busy() float64 { return (m.ns - m.idle) / m.packets }

func (m costMeasured) elapsed() float64 { return m.ns / m.packets }

// costRun is what came of one machine.
type costRun struct {
	dir, machine string
	rounds       int
	// loads are by way and load, a value for each round.
	loads map[[2]string][]costMeasured
	// seen are how many packets came in each round of a way, without is why it
	// can't be gone.
	seen    map[string][]uint64
	without map[string]string
	// lost tells of each way how many packets came that it doesn't tell of, in all
	// rounds.
	lost map[string]string
}

// BenchmarkCost tells what recording costs for each packet that Wi-Fi delivers,
// beside what other tools cost that tell similar: in instructions, on one CPU
// which counts them, and in time, on two.
func BenchmarkCost(b *testing.B) {
	kernel, err := lab.Fetch(b.Context(), *costKernel, runtime.GOARCH, os.Stderr)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		r := measureCost(b, "instructions", lab.VM{Kernel: kernel, CountInstructions: true})
		r.instructions().Publish(b)
		r = measureCost(b, "time", lab.VM{Kernel: kernel, CPUs: 2})
		r.times().Publish(b)
		// At full rate nothing may be lost.
		for _, way := range []string{"nstrace-count", "nstrace-packets"} {
			if lost := r.lost[way]; !strings.HasPrefix(lost, "0 of ") {
				b.Errorf("%s lost packets: %s", way, lost)
			}
		}
	}
}

// measureCost runs cost.sh in a machine.
func measureCost(b *testing.B, name string, vm lab.VM) *costRun {
	b.Helper()
	dir := b.TempDir()
	if *costKeep != "" {
		dir = filepath.Join(*costKeep, *costKernel+"-"+name)
		if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
			b.Fatal(err)
		}
	}
	for out, pkg := range map[string]string{"nstrace": "../cmd/nstrace", "cost": "../lab/scenario/cost"} {
		program, err := compile(runtime.GOARCH, []string{"build", pkg})
		if err != nil {
			b.Fatal(err)
		}
		defer os.RemoveAll(filepath.Dir(program))
		if err := exec.Command("cp", program, filepath.Join(dir, out)).Run(); err != nil {
			b.Fatal(err)
		}
	}
	if err := exec.Command("cp", "../lab/scenario/cost.sh", "../lab/scenario/steps.sh", dir).Run(); err != nil {
		b.Fatal(err)
	}
	var out bytes.Buffer
	vm.Share, vm.Stdout, vm.Stderr, vm.Timeout = dir, &out, &out, 2*time.Hour
	status, err := vm.Run(b.Context(), "sh", "cost.sh", "out", "./nstrace", "./cost",
		strconv.Itoa(*costRounds), strconv.Itoa(costTrips), strconv.Itoa(costPackets))
	if err != nil || status != 0 {
		b.Fatalf("exit status %d, %v\n%s", status, err, out.Bytes())
	}
	r, err := readCost(dir)
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// readCost reads what cost.sh has left in a folder.
func readCost(dir string) (*costRun, error) {
	data, err := os.ReadFile(filepath.Join(dir, "out/lines"))
	if err != nil {
		return nil, err
	}
	r := &costRun{
		dir: dir, rounds: *costRounds,
		loads: map[[2]string][]costMeasured{}, seen: map[string][]uint64{},
		without: map[string]string{}, lost: map[string]string{},
	}
	for line := range strings.Lines(string(data)) {
		what, args, _ := strings.Cut(strings.TrimSpace(line), " ")
		var way, load string
		var round int
		var m costMeasured
		var seen uint64
		switch what {
		case "machine":
			r.machine = args
		case "load":
			_, err = fmt.Sscan(args, &round, &way, &load, &m.packets, &m.ns, &m.idle, &m.own)
			r.loads[[2]string{way, load}] = append(r.loads[[2]string{way, load}], m)
		case "seen":
			_, err = fmt.Sscan(args, &round, &way, &seen)
			r.seen[way] = append(r.seen[way], seen)
		case "without":
			way, why, _ := strings.Cut(args, " ")
			r.without[way] = why
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
	}
	for _, load := range costLoads {
		if r.measured(costNothing, load.name) == nil {
			return nil, fmt.Errorf("without any tool %s failed: %s", load.text, r.why(costNothing))
		}
	}
	for _, way := range costWays {
		r.lost[way.name] = r.compare(way)
	}
	return r, nil
}

// measured returns a way's rounds with a load, nil if some of them failed.
func (r *costRun) measured(way, load string) []costMeasured {
	if m := r.loads[[2]string{way, load}]; len(m) == r.rounds && len(r.seen[way]) == r.rounds {
		return m
	}
	return nil
}

// why is what a row says that has no figures.
func (r *costRun) why(way string) string {
	if why := r.without[way]; why != "" {
		return why
	}
	return "it failed"
}

// added returns for each round what a way costs more than nothing.
func (r *costRun) added(way, load string, cost func(costMeasured) float64) []float64 {
	var added []float64
	nothing := r.measured(costNothing, load)
	for round, m := range r.measured(way, load) {
		added = append(added, cost(m)-cost(nothing[round]))
	}
	return added
}

// each returns a figure of each round.
func each(rounds []costMeasured, cost func(costMeasured) float64) []float64 {
	var all []float64
	for _, m := range rounds {
		all = append(all, cost(m))
	}
	return all
}

// spread prints the median, and the least and most, each by a format.
func spread(format string, rounds []float64) string {
	return fmt.Sprintf(format+" ("+format+" to "+format+")", bench.Median(rounds), slices.Min(rounds), slices.Max(rounds))
}

// instructions makes the table of a machine that counts them. Its nanoseconds are
// instructions.
func (r *costRun) instructions() *bench.Table {
	t := &bench.Table{
		Title: "What recording adds for each packet, in instructions (not time), on one CPU; Linux " + r.machine,
		Columns: []string{
			"load", "way", "instructions a packet", "of them in its own process", "the rest, in the kernel",
			"times bpftrace's count", "packets lost in all loads",
		},
	}
	for _, load := range costLoads {
		count := bench.Median(r.added(costCount, load.name, costMeasured.busy))
		for _, way := range costWays {
			rounds := r.measured(way.name, load.name)
			if rounds == nil {
				t.Row(load.text, way.text, r.why(way.name), "–", "–", "–", "–")
				continue
			}
			if way.name == costNothing {
				t.Row(load.text, way.text, spread("%.0f", each(rounds, costMeasured.busy)), "–", "–", "–", "–")
				continue
			}
			added := r.added(way.name, load.name, costMeasured.busy)
			own, times := "–", "–"
			path := slices.Clone(added)
			if way.count != nil {
				owns := each(rounds, func(m costMeasured) float64 { return m.own / m.packets })
				own = fmt.Sprintf("%.0f", bench.Median(owns))
				for round := range path {
					path[round] -= owns[round]
				}
				times = bench.Times(bench.Median(added) / count)
			}
			t.Row(load.text, way.text, spread("%+.0f", added), own, fmt.Sprintf("%+.0f", bench.Median(path)), times, r.lost[way.name])
		}
	}
	return t
}

// times makes the table of an ordinary machine.
func (r *costRun) times() *bench.Table {
	t := &bench.Table{
		Title:   "The same by the clock, on two CPUs; Linux " + r.machine,
		Columns: []string{"load", "way", "ns a packet", "times nothing", "packets lost in all loads"},
	}
	for _, load := range costLoads {
		nothing := bench.Median(each(r.measured(costNothing, load.name), costMeasured.elapsed))
		for _, way := range costWays {
			rounds := r.measured(way.name, load.name)
			if rounds == nil {
				t.Row(load.text, way.text, r.why(way.name), "–", "–")
				continue
			}
			took := each(rounds, costMeasured.elapsed)
			t.Row(load.text, way.text, spread("%.0f", took), bench.Times(bench.Median(took)/nothing), r.lost[way.name])
		}
	}
	return t
}

// compare returns how many of the packets that came a way doesn't tell of.
func (r *costRun) compare(way costWay) string {
	switch {
	case way.count == nil:
		return "–"
	case len(r.seen[way.name]) == 0:
		return r.why(way.name)
	}
	var came, told uint64
	for round, seen := range r.seen[way.name] {
		n, err := way.count(r, fmt.Sprintf("%s/out/%d-%s", r.dir, round+1, way.name))
		if err != nil {
			return err.Error()
		}
		came += seen
		told += n
	}
	return fmt.Sprintf("%d of %d", int64(came-told), came)
}

// reported returns how many packets nstrace's report counts as received.
func (r *costRun) reported(base string) (n uint64, err error) {
	told, err := r.report(base)
	if err != nil {
		return 0, err
	}
	for _, namespace := range told.Namespaces {
		for _, d := range namespace.Delivery {
			if slices.ContainsFunc(receivedBy, func(p event.Path) bool { return p.String() == d.Path }) {
				n += d.Packets + d.Relayed + d.ControlPort
			}
		}
	}
	return n, nil
}

func (r *costRun) report(base string) (*report, error) {
	out, err := exec.Command(filepath.Join(r.dir, "nstrace"), "report", "--format", "json", base+".nst").Output()
	if err != nil {
		return nil, fmt.Errorf("nstrace report: %w", err)
	}
	var told report
	if err := json.Unmarshal(out, &told); err != nil {
		return nil, err
	}
	if lost := told.Recording.Lost; lost == nil || *lost > 0 {
		return nil, errors.New("the ledger has losses")
	}
	return &told, nil
}

// packetRecords returns how many records of received packets nstrace has written.
// What it counts besides must be the same.
func (r *costRun) packetRecords(base string) (n uint64, err error) {
	counted, err := r.reported(base)
	if err != nil {
		return 0, err
	}
	f, err := trace.Open(base + ".nst")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	err = f.Packets(func(b *trace.PacketBatch) error {
		for i := range b.Len() {
			var p event.Packet
			b.Packet(i, &p)
			if slices.Contains(receivedBy, p.Path) {
				n++
			}
		}
		return nil
	}, nil)
	if err == nil && n != counted {
		err = fmt.Errorf("%d records, but %d counted", n, counted)
	}
	return n, err
}

// mapSum returns the sum of the map that bpftrace has printed.
func (r *costRun) mapSum(base string) (n uint64, err error) {
	err = r.matches(`^@\[\d+\]: (\d+)$`, func(found []string) {
		count, _ := strconv.ParseUint(found[1], 10, 64)
		n += count
	}, "cat", base+".txt")
	return n, err
}

func (r *costRun) linesPrinted(base string) (n uint64, err error) {
	return r.count(`^\d+ \d+ \d+ \d+$`, "cat", base+".txt")
}

func (r *costRun) traceEvents(base string) (n uint64, err error) {
	return r.count(` deliver: `, "trace-cmd", "report", "-i", base+".dat")
}

func (r *costRun) perfSamples(base string) (n uint64, err error) {
	err = r.matches(`^\s+SAMPLE events:\s+(\d+)`, func(found []string) {
		// Of all, and then of each event.
		n, _ = strconv.ParseUint(found[1], 10, 64)
	}, "perf", "report", "--stats", "--force", "-i", base+".perf")
	return n, err
}

func (r *costRun) count(pattern string, command ...string) (n uint64, err error) {
	err = r.matches(pattern, func([]string) { n++ }, command...)
	return n, err
}

// matches hands out the lines of a command's output that match.
func (r *costRun) matches(pattern string, found func([]string), command ...string) error {
	line := regexp.MustCompile(pattern)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if m := line.FindStringSubmatch(lines.Text()); m != nil {
			found(m)
		}
	}
	if err := errors.Join(lines.Err(), cmd.Wait()); err != nil {
		return fmt.Errorf("%s: %w", command[0], err)
	}
	return nil
}
