// SPDX-License-Identifier: Apache-2.0

package probes_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/bench"
	"github.com/nstrace/nstrace/probes"
	"github.com/nstrace/nstrace/record"
	"github.com/nstrace/nstrace/trace"
)

// What BenchmarkReader is in a process that it starts: a reader of one of these.
const (
	readerEnv    = "NSTRACE_BENCH_READER"
	readerRecord = "nstrace record, to a file"
	readerPlain  = "ringbuf.Reader of cilium/ebpf, records dropped"
)

const (
	recordsPerCall = 32
	trialTime      = 2 * time.Second
	finalTime      = 5 * time.Second
	finalRounds    = 3
	// The rate is found to this much.
	precision = 1.05
)

// BenchmarkReader finds the highest rate of packet records at which a reader
// loses none, and what a record costs it. The records come from a raw tracepoint
// at sys_enter; the readers are nstrace's, from the ring to the file, as `nstrace
// record` has it, and a loop around the ebpf library's, which does nothing with
// them.
func BenchmarkReader(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("needs root to use BPF")
	}
	if kind := os.Getenv(readerEnv); kind != "" {
		if err := beReader(kind); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	table := bench.Table{
		Title:   "The reader: packet records from ring to file",
		Columns: []string{"reader", "cores", "highest rate without loss", "CPU per record", "bytes per record in the file", "offered at most"},
	}
	for b.Loop() {
		for _, cores := range []int{1, 2} {
			if cores > runtime.NumCPU() {
				b.Logf("not with %d cores: there are %d", cores, runtime.NumCPU())
				continue
			}
			for _, kind := range []string{readerRecord, readerPlain} {
				measureReader(b, &table, kind, cores)
			}
		}
	}
	table.Publish(b)
}

// measureReader adds a row. With one core the source has its share of it as
// well; with two, the source has one of them and the reader both.
func measureReader(b *testing.B, table *bench.Table, kind string, cores int) {
	r := startReader(b, kind, cores)
	defer r.stop()
	rate, offered := r.search()
	var cpu, rates []float64
	for len(cpu) < finalRounds {
		t := r.try(rate, finalTime)
		if t.lost > 0 {
			b.Logf("%s, %d cores: %s isn't kept up: %d of %d lost", kind, cores, bench.Million(rate), t.lost, t.sent)
			rate /= precision
			cpu, rates = nil, nil
			continue
		}
		rates = append(rates, t.rate())
		cpu = append(cpu, t.cpu.Seconds()*1e9/float64(t.sent))
	}
	size := "–"
	if n := r.finish(); kind == readerRecord {
		size = fmt.Sprintf("%.1f", n)
	}
	table.Row(kind, cores, bench.Million(bench.Median(rates)), fmt.Sprintf("%.0f ns", bench.Median(cpu)), size, bench.Million(offered))
}

// reader is a process that reads, and the source of what it reads.
type reader struct {
	b      *testing.B
	cmd    *exec.Cmd
	file   string
	source *probes.Source
	sent   uint64
	ring   *ebpf.Map
	clock  int32
}

func startReader(b *testing.B, kind string, cores int) *reader {
	b.Helper()
	r := &reader{b: b, file: filepath.Join(b.TempDir(), "bench.nst")}
	r.cmd = exec.Command(os.Args[0], "-test.run=^$", "-test.bench=^BenchmarkReader$", "-test.benchtime=1x")
	r.cmd.Env = append(os.Environ(), readerEnv+"="+kind, "NSTRACE_BENCH_FILE="+r.file, "GOMAXPROCS="+strconv.Itoa(cores))
	r.cmd.Stderr = os.Stderr
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if r.cmd.ProcessState == nil {
			r.cmd.Process.Kill()
			r.cmd.Wait()
		}
	})
	lines := bufio.NewScanner(out)
	var ids map[string]ebpf.MapID
	for ids == nil && lines.Scan() {
		// The benchmark's own first lines are no JSON.
		json.Unmarshal(lines.Bytes(), &ids)
	}
	if ids == nil {
		b.Fatalf("the reader didn't start: %v", errors.Join(lines.Err(), r.cmd.Wait()))
	}
	pinTo(b, r.cmd.Process.Pid, cores)
	if r.source, err = probes.NewSource(ids, recordsPerCall); err != nil {
		b.Fatal(err)
	}
	if r.ring, err = ebpf.NewMapFromID(ids["packets"]); err != nil {
		b.Fatal(err)
	}
	// CPUCLOCK_SCHED of the process (kernel/time/posix-cpu-timers.c): user and
	// system time of all its threads, in ns.
	r.clock = int32(^r.cmd.Process.Pid<<3 | 2)
	return r
}

// pinTo lets all threads of a process run on the first n CPUs.
func pinTo(b *testing.B, pid, n int) {
	b.Helper()
	var set unix.CPUSet
	for cpu := range n {
		set.Set(cpu)
	}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		b.Fatal(err)
	}
	for _, t := range threads {
		tid, _ := strconv.Atoi(t.Name())
		if err := unix.SchedSetaffinity(tid, &set); err != nil {
			b.Fatal(err)
		}
	}
}

// trial is what came of sending for a while.
type trial struct {
	sent, lost uint64
	took, cpu  time.Duration
}

func (t *trial) rate() float64 { return float64(t.sent) / t.took.Seconds() }

// try sends at a rate, 0 for the highest possible, and waits until everything is
// read.
func (r *reader) try(rate float64, d time.Duration) trial {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var first unix.CPUSet
	first.Set(0)
	var before unix.CPUSet
	r.check(unix.SchedGetaffinity(0, &before))
	r.check(unix.SchedSetaffinity(0, &first))
	defer unix.SchedSetaffinity(0, &before)

	lost := r.lost()
	cpu := r.cpu()
	var t trial
	start := time.Now()
	for t.took < d {
		behind := uint64(1)
		if rate > 0 {
			want := uint64(t.took.Seconds() * rate / recordsPerCall)
			behind = min(want-t.sent/recordsPerCall, 64)
		}
		if behind == 0 {
			// Little enough that the ring isn't what evens out the pauses.
			unix.Nanosleep(&unix.Timespec{Nsec: 200_000}, nil)
		}
		for range behind {
			r.source.Call()
		}
		t.sent += behind * recordsPerCall
		t.took = time.Since(start)
	}
	r.waitRead()
	t.lost, t.cpu = r.lost()-lost, r.cpu()-cpu
	r.sent += t.sent
	r.b.Logf("%s wanted, %s sent, %d lost, %.0f ns", bench.Million(rate), bench.Million(t.rate()), t.lost, float64(t.cpu.Nanoseconds())/float64(t.sent))
	return t
}

// search returns the highest rate without loss, and the highest there was.
func (r *reader) search() (rate, offered float64) {
	good, bad := 100_000.0, 0.0
	most := r.try(0, trialTime)
	offered = most.rate()
	if most.lost == 0 {
		return offered, offered
	}
	for bad == 0 || bad/good > precision {
		next := good * 2
		if bad != 0 {
			next = (good + bad) / 2
		}
		t := r.try(next, trialTime)
		switch {
		case t.lost > 0:
			bad = next
		case t.rate() < next*0.98: // the source had no more
			good, bad = max(good, t.rate()), next
		default:
			good = next
		}
	}
	return good, offered
}

// waitRead waits until the ring is empty.
func (r *reader) waitRead() {
	for range 1000 {
		if r.unread() == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.b.Fatal("the reader doesn't empty its ring")
}

// unread is how many bytes are in the ring.
func (r *reader) unread() uint64 {
	n, err := probes.Unread(r.ring)
	r.check(err)
	return n
}

func (r *reader) lost() uint64 {
	n, err := r.source.Lost()
	r.check(err)
	return n
}

func (r *reader) cpu() time.Duration {
	var ts unix.Timespec
	r.check(unix.ClockGettime(r.clock, &ts))
	return time.Duration(ts.Nano())
}

func (r *reader) check(err error) {
	if err != nil {
		r.b.Helper()
		r.b.Fatal(err)
	}
}

func (r *reader) stop() {
	r.check(r.source.Close())
	r.ring.Close()
}

// finish ends the reader and compares its file with what was sent, to the
// record. It returns the bytes of the file for each.
func (r *reader) finish() float64 {
	lost := r.lost()
	r.check(r.cmd.Process.Signal(unix.SIGTERM))
	r.check(r.cmd.Wait())
	f, err := trace.Open(r.file)
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	r.check(err)
	defer f.Close()
	s, err := f.Verify()
	r.check(err)
	if !s.Whole() {
		r.b.Fatalf("the file isn't whole: %+v", s)
	}
	for _, k := range s.Kinds {
		if k.Kind == "packets" {
			if k.Read+lost != r.sent {
				r.b.Fatalf("%d packets are in the file and %d found no space, but %d were sent", k.Read, lost, r.sent)
			}
			return float64(s.Bytes) / float64(k.Read)
		}
	}
	r.b.Fatal("no packets in the file")
	return 0
}

// beReader reads until SIGTERM.
func beReader(kind string) error {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	var set *probes.Set
	attach := func(o probes.Options) (*probes.Set, error) {
		s, ids, err := probes.Unattached(o)
		if err != nil {
			return nil, err
		}
		set = s
		fmt.Println()
		return s, json.NewEncoder(os.Stdout).Encode(ids)
	}
	o := probes.Options{Delivery: probes.DeliveryPackets}
	if kind == readerRecord {
		_, err := record.Run(ctx, record.Options{Output: os.Getenv("NSTRACE_BENCH_FILE"), Probes: o, Attach: attach})
		return err
	}
	if _, err := attach(o); err != nil {
		return err
	}
	defer set.Close()
	r, err := ringbuf.NewReader(probes.PacketRing(set))
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { r.Close() })
	r.SetDeadline(time.Now())
	var rec ringbuf.Record
	for err == nil {
		// Records wake nobody until the ring is full to a quarter.
		if err = r.ReadInto(&rec); errors.Is(err, os.ErrDeadlineExceeded) {
			r.SetDeadline(time.Now().Add(50 * time.Millisecond))
			err = nil
		}
	}
	if errors.Is(err, ringbuf.ErrClosed) {
		return nil
	}
	return err
}
