// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nstrace/nstrace/bench"
)

const (
	// benchPackets is the variable that says how many packets the long trace has.
	benchPackets   = "NSTRACE_BENCH_PACKETS"
	defaultPackets = 100_000_000
	// peerEvents is how many events the other tools have at most: they take some
	// seconds for them.
	peerEvents   = 2_000_000
	reportRounds = 3
	// maxPeak is how many bytes of memory a report takes at most, and maxGrowth how
	// many more for ten times as many packets: something is kept of each block.
	maxPeak   = 100 << 20
	maxGrowth = 24 << 20
)

// subject is a command that reads a recording, and what it took in each round.
type subject struct {
	name    string
	command []string
	cores   int // 0 for all there are
	file    string
	events  uint64
	took    []float64
	cpu     []float64
	peak    float64 // in bytes
}

// forgetPeak makes this process small and its peak forgotten: of a child the kernel
// counts the memory of its parent, too, which it shares until it executes something
// (exec_mmap in fs/exec.c).
func forgetPeak(b *testing.B) {
	b.Helper()
	debug.FreeOSMemory()
	// man 5 proc: 5 resets the peak.
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		b.Logf("peaks may be this process's own: %v", err)
	}
}

// measure runs the command once, its output thrown away.
func (s *subject) measure(b *testing.B) {
	b.Helper()
	cmd := exec.Command(s.command[0], s.command[1:]...)
	cmd.Env = os.Environ()
	if s.cores > 0 {
		cmd.Env = append(cmd.Env, "GOMAXPROCS="+strconv.Itoa(s.cores))
	}
	var complaint strings.Builder
	cmd.Stderr = &complaint
	start := time.Now()
	if err := cmd.Run(); err != nil {
		b.Fatalf("%s: %v\n%s", cmd, err, complaint.String())
	}
	s.took = append(s.took, time.Since(start).Seconds())
	u := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	s.cpu = append(s.cpu, (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
	s.peak = max(s.peak, float64(u.Maxrss)*1024)
}

func (s *subject) rate() float64 { return float64(s.events) / bench.Median(s.took) }

// BenchmarkReport reports on a recording of a hundred million packets with the
// program itself, and lets perf and trace-cmd read what they recorded of as many
// system calls as they take in some seconds. perf script and trace-cmd report print
// every event; perf report adds them up, as nstrace does.
func BenchmarkReport(b *testing.B) {
	packets := uint64(defaultPackets)
	if v := os.Getenv(benchPackets); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil || n == 0 {
			b.Fatalf("%s=%q is no number of packets", benchPackets, v)
		}
		packets = n
	}
	dir := b.TempDir()
	program := filepath.Join(dir, "nstrace")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	long, short := filepath.Join(dir, "long.nst"), filepath.Join(dir, "short.nst")
	writeBusyHost(b, long, packets, 0)
	writeBusyHost(b, short, packets/10, 0)
	forgetPeak(b)
	full := &subject{name: "nstrace report", command: []string{program, "report", long}, file: long, events: packets}
	tenth := &subject{name: "nstrace report", command: []string{program, "report", short}, file: short, events: packets / 10}
	skip := &subject{name: "nstrace report --skip-packets", command: []string{program, "report", "--skip-packets", long}, file: long}
	all := []*subject{
		full,
		{name: "nstrace report, GOMAXPROCS=1", command: full.command, cores: 1, file: long, events: packets},
		skip,
		{name: "nstrace verify", command: []string{program, "verify", long}, file: long, events: packets},
		tenth,
		{name: "nstrace report --skip-packets", command: []string{program, "report", "--skip-packets", short}, file: short},
		{name: "nstrace verify", command: []string{program, "verify", short}, file: short, events: packets / 10},
	}
	var script *subject
	for _, p := range peers(b, dir, min(peerEvents, packets)) {
		s := &subject{name: strings.Join(p.command[:2], " "), command: p.command, file: p.file, events: p.events}
		if s.name == "perf script" {
			script = s
		}
		all = append(all, s)
	}
	for b.Loop() {
		for range reportRounds {
			for _, s := range all {
				s.measure(b)
			}
		}
	}
	table := bench.Table{
		Title:   fmt.Sprintf("Reading a recording through, %d cores", runtime.NumCPU()),
		Columns: []string{"tool", "events", "time", "events/s", "times perf script's", "CPU", "CPU per event", "peak memory", "bytes per event on disk"},
	}
	for _, s := range all {
		s.row(b, &table, script)
	}
	table.Publish(b)
	b.ReportMetric(full.rate()/1e6, "Mevents/s")
	b.ReportMetric(full.peak/(1<<20), "MiB-peak")
	b.ReportMetric(100*bench.Median(skip.cpu)/bench.Median(full.cpu), "%-CPU-without-packets")
	if full.peak > maxPeak {
		b.Errorf("the report takes %.1f MiB, more than %d", full.peak/(1<<20), maxPeak>>20)
	}
	if grown := full.peak - tenth.peak; grown > maxGrowth {
		b.Errorf("the report of ten times as many packets takes %.1f MiB more, which is too much", grown/(1<<20))
	}
}

func (s *subject) row(b *testing.B, table *bench.Table, script *subject) {
	st, err := os.Stat(s.file)
	if err != nil {
		b.Fatal(err)
	}
	took, cpu := fmt.Sprintf("%.3f s", bench.Median(s.took)), fmt.Sprintf("%.3f s", bench.Median(s.cpu))
	peak := fmt.Sprintf("%.1f MiB", s.peak/(1<<20))
	if s.events == 0 {
		table.Row(s.name, "–", took, "–", "–", cpu, "–", peak, "–")
		return
	}
	times := "–"
	if script != nil {
		times = bench.Times(s.rate() / script.rate())
	}
	n := float64(s.events)
	table.Row(s.name, fmt.Sprintf("%.1f M", n/1e6), took, bench.Million(s.rate()), times, cpu,
		fmt.Sprintf("%.1f ns", bench.Median(s.cpu)*1e9/n), peak, fmt.Sprintf("%.2f", float64(st.Size())/n))
}
