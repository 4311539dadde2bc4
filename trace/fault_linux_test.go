// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nstrace/nstrace/event"
)

// The test binary runs itself as a child for what can't be done in a process
// that goes on: childEnv says what to do, childFile with which file.
const (
	childEnv  = "NSTRACE_TRACE_CHILD"
	childFile = "NSTRACE_TRACE_FILE"
)

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "record":
		childRecord(os.Getenv(childFile), 0)
	case "record-200ms":
		childRecord(os.Getenv(childFile), 200*time.Millisecond)
	case "limit":
		childLimit(os.Getenv(childFile))
	}
	os.Exit(m.Run())
}

func child(t *testing.T, what, file string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+what, childFile+"="+file)
	cmd.Stderr = os.Stderr
	return cmd
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(3)
	}
}

// childRecord writes events until it is killed, and tells of each before and of
// each flush after.
func childRecord(path string, every time.Duration) {
	w, err := Create(path, sampleRecording)
	must(err)
	began := time.Now()
	flushed := began
	for i := uint64(0); ; i++ {
		now := time.Now()
		if now.Sub(flushed) >= every {
			must(w.Flush())
			flushed = now
			fmt.Printf("flushed %d 0\n", i)
		}
		e := sampleEvent(int(i))
		e.Seq, e.CPU, e.Time = i, 0, uint64(now.Sub(began))
		e.Start = 0
		fmt.Printf("event %d %d\n", i, e.Time)
		must(w.Event(&e))
		if every > 0 {
			time.Sleep(time.Millisecond) // the pace of a busy machine
		}
	}
}

// killed runs a child that records, kills it after some flushes, and returns
// the times of the events it wrote, how many it had flushed, and what is read.
func killed(t *testing.T, what string, flushes int) (times []uint64, flushed int, got *content) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "killed.nst")
	cmd := child(t, what, path)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	in := bufio.NewScanner(out)
	seen := 0
	for in.Scan() {
		var verb string
		var n, at uint64
		if _, err := fmt.Sscanf(in.Text(), "%s %d %d", &verb, &n, &at); err != nil {
			break // the line the kill cut
		}
		if verb == "event" {
			times = append(times, at)
			// With an event on its way that isn't flushed.
			if seen == flushes {
				check(t, cmd.Process.Signal(syscall.SIGKILL))
				seen++
			}
			continue
		}
		flushed = int(n)
		seen = min(seen+1, flushes)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("child ended by itself: %v", err)
	}
	r, err := Open(path)
	check(t, err)
	t.Cleanup(func() { r.Close() })
	got = readAll(t, r)
	if len(got.damage) != 1 || !got.damage[0].Truncated || got.end != nil {
		t.Fatalf("damage: %+v", got.damage)
	}
	for i, e := range got.events {
		if e.Seq != uint64(i) || e.Time != times[i] {
			t.Fatalf("event %d: %+v", i, e)
		}
	}
	if len(got.events) < flushed {
		t.Fatalf("%d events of %d that were flushed", len(got.events), flushed)
	}
	return times, flushed, got
}

// What Flush has returned from is in the file, wherever the kill comes.
func TestKill(t *testing.T) {
	for flushes := range 20 {
		killed(t, "record", 10+7*flushes)
	}
}

// With a flush every 200 ms, kill -9 loses no event older than 250 ms.
func TestKillLosesAtMost250ms(t *testing.T) {
	// A machine that is busy may let the child flush once more before the kill
	// reaches it; then there was nothing to lose, and nothing is shown.
	for range 20 {
		times, _, got := killed(t, "record-200ms", 3)
		if len(got.events) == 0 {
			t.Fatal("nothing was written")
		}
		if len(times) == len(got.events) {
			continue
		}
		newest, lost := times[len(times)-1], times[len(got.events)]
		if d := time.Duration(newest - lost); d > 250*time.Millisecond {
			t.Errorf("lost %v", d)
		}
		return
	}
	t.Fatal("every kill came too late to lose anything")
}

// fill writes to path until the file can't grow, and closes it. It returns how
// many events it gave, and the errors of writing and of closing.
func fill(path string) (given int, werr, cerr error) {
	w, err := Create(path, sampleRecording)
	if err != nil {
		return 0, err, err
	}
	for ; werr == nil && given < 1<<22; given++ {
		e := sampleEvent(given)
		// Nothing of this compresses.
		e.Dev, e.Fn, e.Ops = scramble(given, 1), scramble(given, 2), scramble(given, 3)
		werr = w.Event(&e)
		if given%1000 == 999 && werr == nil {
			werr = w.Flush()
		}
	}
	// The recorder's last words.
	_ = w.Loss(&event.Loss{Ring: "lifecycle", CPU: 1, From: 5, To: 6, Count: 7})
	_ = w.Ledger(&event.Ledger{Time: 8_000_000, Unwritten: w.Unwritten(), UnwrittenFrom: w.UnwrittenFrom()})
	return given, werr, w.Close(sampleEnd)
}

func scramble(i, j int) uint64 {
	x := uint64(i)*4 + uint64(j)
	for range 3 {
		x = (x ^ x>>31) * 0x9e3779b97f4a7c15
	}
	return x
}

// checkFull checks the file of a full disk: readable, without damage, with the
// ledger and an end that says why.
func checkFull(t *testing.T, path string, given int, werr, cerr, cause error) {
	t.Helper()
	if !errors.Is(werr, cause) || !errors.Is(cerr, cause) {
		t.Fatalf("write: %v, close: %v, both should be %v", werr, cerr, cause)
	}
	r, err := Open(path)
	check(t, err)
	defer r.Close()
	s, err := r.Verify()
	check(t, err)
	if !s.Whole() {
		t.Errorf("not whole: %+v", s)
	}
	k := kindOf(s, kindLifecycle)
	if k.Read == 0 || k.Unwritten == 0 || k.Read+k.Unwritten != uint64(given) {
		t.Errorf("given %d: %+v", given, k)
	}
	got := readAll(t, r)
	if got.end == nil || got.end.Reason != "disk-full" || !strings.Contains(got.end.Error, cause.Error()) {
		t.Errorf("end: %+v", got.end)
	}
	if len(got.ledgers) != 1 || len(got.losses) != 1 || got.ledgers[0].Unwritten != k.Unwritten {
		t.Errorf("last words: %+v %+v, %d unwritten", got.ledgers, got.losses, k.Unwritten)
	}
	// Nothing before that time is missing, and not much after it isn't.
	from, first := got.ledgers[0].UnwrittenFrom, sampleEvent(int(k.Read)).Time
	if lower := sampleEvent(max(0, int(k.Read)-1000)).Time; from > first || from < lower {
		t.Errorf("unwritten from %d on, the first missing is from %d", from, first)
	}
}

// On a disk that is full, recording ends with a clear error and a whole file.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	for _, size := range []string{"512k", "1m", "3m"} {
		dir := t.TempDir()
		check(t, syscall.Mount("none", dir, "tmpfs", 0, "size="+size))
		t.Cleanup(func() { check(t, syscall.Unmount(dir, 0)) })
		path := filepath.Join(dir, "full.nst")
		given, werr, cerr := fill(path)
		checkFull(t, path, given, werr, cerr, syscall.ENOSPC)
	}
}

// So it is with a limit on the size of files, which doesn't kill the process
// either.
func TestFileSizeLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "limit.nst")
	out, err := child(t, "limit", path).Output()
	check(t, err)
	var given int
	_, err = fmt.Sscan(string(out), &given)
	check(t, err)
	checkFull(t, path, given, syscall.EFBIG, syscall.EFBIG, syscall.EFBIG)
	st, err := os.Stat(path)
	check(t, err)
	if st.Size() > 1<<20 || st.Size() < 1<<20-3*reserveBytes {
		t.Errorf("%d bytes of %d were used", st.Size(), 1<<20)
	}
}

func childLimit(path string) {
	must(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20}))
	given, werr, cerr := fill(path)
	if !errors.Is(werr, syscall.EFBIG) || !errors.Is(cerr, syscall.EFBIG) {
		must(fmt.Errorf("write: %w, close: %w", werr, cerr))
	}
	fmt.Println(given)
	os.Exit(0)
}

// A device that takes nothing is an error at once.
func TestDevFull(t *testing.T) {
	if _, err := Create("/dev/full", sampleRecording); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Create: %v", err)
	}
	if _, err := os.Lstat("/dev/full"); err != nil {
		t.Errorf("the device is gone: %v", err)
	}
}

// A pipe gets the whole trace.
func TestCreatePipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	check(t, syscall.Mkfifo(path, 0o600))
	if _, err := Create(path, sampleRecording); err == nil || !strings.Contains(err.Error(), "nobody reads") {
		t.Errorf("a pipe that nobody reads: %v", err)
	}
	// Both ends at once, so that neither open has to wait for the other.
	both, err := os.OpenFile(path, os.O_RDWR, 0)
	check(t, err)
	w, err := Create(path, sampleRecording)
	check(t, err)
	f, err := os.Open(path)
	check(t, err)
	defer f.Close()
	check(t, both.Close())
	all := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(f)
		all <- b
	}()
	e := sampleEvent(1)
	check(t, w.Event(&e))
	check(t, w.Close(sampleEnd))
	if s := verify(t, <-all); !s.Whole() || kindOf(s, kindLifecycle).Read != 1 {
		t.Errorf("%+v", s)
	}
}

// What is in the way is kept, and nothing is written through a link.
func TestCreate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "nstrace.nst")
	for i := range 3 {
		w, err := Create(path, event.Recording{Host: fmt.Sprint(i)})
		check(t, err)
		check(t, w.Close(sampleEnd))
	}
	for file, host := range map[string]string{path: "2", path + oldSuffix: "1"} {
		r, err := Open(file)
		check(t, err)
		if got := r.Recording().Host; got != host {
			t.Errorf("%s is recording %s", file, got)
		}
		st, err := os.Stat(file)
		check(t, err)
		if st.Mode() != 0o600 {
			t.Errorf("%s has mode %v", file, st.Mode())
		}
		check(t, r.Close())
	}

	victim := filepath.Join(dir, "victim")
	check(t, os.WriteFile(victim, []byte("precious"), 0o644))
	link := filepath.Join(dir, "link.nst")
	check(t, os.Symlink(victim, link))
	if _, err := Create(link, sampleRecording); err == nil {
		t.Error("a link is followed")
	}
	if _, err := Create(dir, sampleRecording); err == nil {
		t.Error("a directory is written to")
	}
	b, err := os.ReadFile(victim)
	check(t, err)
	if string(b) != "precious" {
		t.Errorf("the link's target is now %q", b)
	}
	w, err := Create(os.DevNull, sampleRecording)
	check(t, err)
	check(t, w.Close(sampleEnd))
	names, err := os.ReadDir("/dev")
	check(t, err)
	if slices.ContainsFunc(names, func(e os.DirEntry) bool { return e.Name() == "null"+oldSuffix }) {
		t.Error("/dev/null was renamed")
	}
}
