// SPDX-License-Identifier: Apache-2.0

package record

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/event"
	"github.com/nstrace/nstrace/probes"
	"github.com/nstrace/nstrace/trace"
)

// fakeProbes stand for the kernel. Every round the loop reads them, and the test
// takes part in that.
type fakeProbes struct {
	woken  chan struct{}
	calls  []string // except Wait, Wake, Read and ReadCounts
	closed bool
	seq    uint64
	round  func(sink probes.Sink) error
}

func (f *fakeProbes) call(name string) { f.calls = append(f.calls, name) }

func (f *fakeProbes) Begin() error { f.call("begin"); return nil }
func (f *fakeProbes) Close() error { f.call("close"); f.closed = true; return nil }

func (f *fakeProbes) Wake() {
	select {
	case f.woken <- struct{}{}:
	default:
	}
}

// Wait doesn't: the tests want rounds.
func (f *fakeProbes) Wait(time.Duration) error {
	select {
	case <-f.woken:
	case <-time.After(time.Millisecond):
	}
	return nil
}

func (f *fakeProbes) Read(sink probes.Sink) error {
	if f.round == nil {
		return nil
	}
	return f.round(sink)
}

func (f *fakeProbes) ReadCounts(probes.Sink) error { return nil }

func (f *fakeProbes) Ledger() (event.Ledger, error) {
	f.call("ledger")
	return event.Ledger{Time: f.seq, Rings: []event.RingLedger{{Name: "lifecycle", Received: f.seq}}}, nil
}

func (f *fakeProbes) Stop(sink probes.Sink) error {
	f.call("stop")
	f.send(sink, event.KindFreeNet)
	return nil
}

func (f *fakeProbes) End(sink probes.Sink) error {
	f.call("end")
	sink.HandleTask(&event.Task{})
	return nil
}

func (f *fakeProbes) send(sink probes.Sink, kind event.Kind) {
	f.seq++
	sink.HandleEvent(&event.Event{Seq: f.seq - 1, Time: f.seq, Kind: kind})
}

// newTestSession is a session on fake probes, prepared. Its folder is for the
// test's and the command's files, and is the command's $0.
func newTestSession(t *testing.T, o Options, script string) (s *session, f *fakeProbes, dir string) {
	t.Helper()
	dir = t.TempDir()
	o.Output = filepath.Join(dir, "out.nst")
	o.Warn = func(err error) { t.Log(err) }
	f = &fakeProbes{woken: make(chan struct{}, 1)}
	s = newSession(o)
	s.grace = time.Hour
	s.probes = f
	s.giveUp = func(capSet, capSet) error { return nil } // the tests need theirs
	if script != "" {
		s.command = prepared(t, "sh", "-c", script, dir)
	}
	if err := errors.Join(s.openDestination(), s.create()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.free)
	return s, f, dir
}

// taken is an opening snapshot that is ready.
func taken() <-chan takenSnapshot {
	opening := make(chan takenSnapshot, 1)
	opening <- takenSnapshot{}
	return opening
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Error(err)
	}
}

// wantEnd compares how the loop ended.
func wantEnd(t *testing.T, s *session, reason string, status ...int) {
	t.Helper()
	if s.reason != reason {
		t.Errorf("ended by %q, want %q", s.reason, reason)
	}
	switch got := s.result.ExitStatus; {
	case len(status) == 0 && got != nil:
		t.Errorf("an exit status out of nowhere: %d", *got)
	case len(status) == 1 && (got == nil || *got != status[0]):
		t.Errorf("exit status %v, want %d", got, status[0])
	}
}

// The scripts of commands: "ready" is there once their traps are set, and they
// wait for "go" to end.
const (
	scriptReady = `: >"$0/ready"; `
	scriptGo    = `while ! [ -e "$0/go" ]; do sleep 0.01; done; `
)

func TestLoopEndsWithTheCommand(t *testing.T) {
	s, f, dir := newTestSession(t, Options{}, scriptReady+scriptGo+"exit 5")
	f.round = func(sink probes.Sink) error {
		if exists(dir+"/ready") && f.seq == 0 {
			f.send(sink, event.KindSetupNet)
			touch(t, dir+"/go")
		}
		return nil
	}
	if err := s.loop(taken()); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, s, reasonCommand, 5)
	if s.result.Events != 1 {
		t.Errorf("%d events", s.result.Events)
	}
}

// TestLoopOutlastsTheCommand: a wish to stop sends SIGTERM, and the recording
// goes on until the command has cleaned up behind it.
func TestLoopOutlastsTheCommand(t *testing.T) {
	for _, c := range []struct {
		name  string
		wants []string // wishes to stop
		grace time.Duration
	}{
		{"terminated", []string{ReasonTerminated}, time.Hour},
		{"duration", []string{reasonDuration}, time.Hour},
		{"interrupted, out of grace", []string{ReasonInterrupt}, time.Millisecond},
		{"interrupted and terminated", []string{ReasonInterrupt, ReasonTerminated}, time.Hour},
		{"many wishes", []string{ReasonTerminated, ReasonTerminated, ReasonInterrupt, ReasonTerminated}, time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, f, dir := newTestSession(t, Options{},
				`trap ': >"$0/term"; `+scriptGo+`exit 3' TERM; `+scriptReady+"while :; do sleep 0.01; done")
			s.grace = c.grace
			const after = 10
			asked, rounds := false, 0
			f.round = func(sink probes.Sink) error {
				if !asked && exists(dir+"/ready") {
					asked = true
					for _, why := range c.wants {
						s.end(why)
					}
				}
				if exists(dir + "/term") {
					if rounds++; rounds <= after {
						f.send(sink, event.KindPutNet)
					}
				}
				if rounds == after {
					touch(t, dir+"/go")
				}
				return nil
			}
			if err := s.loop(taken()); err != nil {
				t.Fatal(err)
			}
			wantEnd(t, s, c.wants[0], 3)
			if s.result.Events != after {
				t.Errorf("%d events after the stop, want %d", s.result.Events, after)
			}
		})
	}
}

// TestLoopInterruptIsGentle: an interrupt has reached the command as well, so
// it is left alone for its grace.
func TestLoopInterruptIsGentle(t *testing.T) {
	s, f, dir := newTestSession(t, Options{}, `trap 'exit 9' TERM; `+scriptReady+scriptGo+"exit 4")
	rounds := 0
	f.round = func(probes.Sink) error {
		if exists(dir + "/ready") {
			if rounds++; rounds == 1 {
				s.end(ReasonInterrupt)
			}
		}
		if rounds == 20 {
			touch(t, dir+"/go")
		}
		return nil
	}
	if err := s.loop(taken()); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, s, ReasonInterrupt, 4)
}

func TestLoopDuration(t *testing.T) {
	s, _, _ := newTestSession(t, Options{Duration: time.Millisecond}, "")
	if err := s.loop(taken()); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, s, reasonDuration)
}

// TestLoopOpens: nothing of the recorded world begins before the opening
// snapshot is taken.
func TestLoopOpens(t *testing.T) {
	ready := filepath.Join(t.TempDir(), "ready")
	s, f, dir := newTestSession(t, Options{ReadyFile: ready}, scriptReady+"exit 0")
	opening := make(chan takenSnapshot, 1)
	rounds := 0
	f.round = func(probes.Sink) error {
		rounds++
		if rounds <= 20 && (exists(ready) || exists(dir+"/ready") || s.command.started) {
			t.Error("something began before the snapshot was there")
		}
		if rounds == 20 {
			opening <- takenSnapshot{err: errors.New("only half of it")} // a warning, no more
		}
		return nil
	}
	if err := s.loop(opening); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, s, reasonCommand, 0)
	if !exists(ready) || !exists(dir+"/ready") {
		t.Errorf("ready file: %v, command ran: %v", exists(ready), exists(dir+"/ready"))
	}
}

// TestLoopStoppedBeforeItOpens: the snapshot is waited for, but nothing begins.
func TestLoopStoppedBeforeItOpens(t *testing.T) {
	ready := filepath.Join(t.TempDir(), "ready")
	s, f, dir := newTestSession(t, Options{ReadyFile: ready}, scriptReady)
	opening := make(chan takenSnapshot, 1)
	rounds := 0
	f.round = func(probes.Sink) error {
		switch rounds++; rounds {
		case 1:
			s.end(ReasonTerminated)
		case 20:
			if s.reason != ReasonTerminated {
				t.Errorf("the wish wasn't heard: %q", s.reason)
			}
			opening <- takenSnapshot{}
		}
		return nil
	}
	if err := s.loop(opening); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, s, ReasonTerminated)
	if rounds < 20 || exists(ready) || exists(dir+"/ready") {
		t.Errorf("after %d rounds: ready file %v, command ran %v", rounds, exists(ready), exists(dir+"/ready"))
	}
}

func TestLoopReadyFileFails(t *testing.T) {
	s, _, _ := newTestSession(t, Options{ReadyFile: filepath.Join(t.TempDir(), "no", "such", "folder")}, "exit 0")
	if err := s.loop(taken()); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
	wantEnd(t, s, reasonError)
}

// TestLoopFails: an error ends the command as well, and is waited for.
func TestLoopFails(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		err    error
		reason string
	}{
		{broken, reasonError},
		{fmt.Errorf("write: %w", syscall.ENOSPC), reasonDiskFull},
		{fmt.Errorf("write: %w", syscall.EDQUOT), reasonDiskFull},
		{fmt.Errorf("write: %w", syscall.EFBIG), reasonDiskFull},
	} {
		t.Run(c.err.Error(), func(t *testing.T) {
			s, f, dir := newTestSession(t, Options{}, "trap 'exit 6' TERM; "+scriptReady+"while :; do sleep 0.01; done")
			f.round = func(probes.Sink) error {
				if exists(dir + "/ready") {
					return c.err
				}
				return nil
			}
			if err := s.loop(taken()); !errors.Is(err, c.err) {
				t.Fatalf("got %v, want %v", err, c.err)
			}
			if s.command.running() {
				t.Error("the command is still running")
			}
			wantEnd(t, s, c.reason, 6)
		})
	}
}

// TestFinish: first the probes are stopped and the rings drained, then comes
// the account, and it is the file's last word.
func TestFinish(t *testing.T) {
	s, f, _ := newTestSession(t, Options{}, "exit 7")
	f.round = func(sink probes.Sink) error {
		if f.seq == 0 {
			f.send(sink, event.KindSetupNet)
		}
		return nil
	}
	s.names.add(event.NameChange{Name: "blue"})
	if err := s.loop(taken()); err != nil {
		t.Fatal(err)
	}
	if err := s.finish(nil); err != nil {
		t.Fatal(err)
	}
	s.free()
	if want := []string{"begin", "ledger", "ledger", "stop", "end", "ledger", "close"}; !slices.Equal(f.calls, want) {
		t.Errorf("calls\n got %q\nwant %q", f.calls, want)
	}
	r, err := trace.Open(s.options.Output)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	end, ok := r.End()
	if !ok || end.Reason != reasonCommand || end.ExitStatus == nil || *end.ExitStatus != 7 || end.Error != "" {
		t.Errorf("got %+v, %v", end, ok)
	}
	summary, err := r.Verify()
	if err != nil || !summary.Whole() {
		t.Errorf("the file isn't whole: %+v, %v", summary, err)
	}
	if s.result.Events != 3 || s.result.Reason != reasonCommand || s.result.Ledger.Rings[0].Received != 2 || s.result.Bytes == 0 {
		t.Errorf("got %+v", s.result)
	}
}

// TestProblemsAreInTheFile: a warning alone would be gone with the terminal.
func TestProblemsAreInTheFile(t *testing.T) {
	s, _, _ := newTestSession(t, Options{}, "exit 0")
	var warned []string
	s.options.Warn = func(err error) { warned = append(warned, err.Error()) }
	opening := make(chan takenSnapshot, 1)
	opening <- takenSnapshot{err: errors.New("only half of it")}
	s.problem("CAP_X missing", "run it as root")
	if err := s.loop(opening); err != nil {
		t.Fatal(err)
	}
	if err := s.finish(nil); err != nil {
		t.Fatal(err)
	}
	if want := []string{"CAP_X missing; run it as root", "take the opening snapshot: only half of it"}; !slices.Equal(warned, want) {
		t.Errorf("warned of %q, want %q", warned, want)
	}
	want := []event.Problem{{What: "CAP_X missing", Remedy: "run it as root"}, {What: "take the opening snapshot: only half of it"}}
	if got := lastLedger(t, s.options.Output).Problems; !slices.Equal(got, want) {
		t.Errorf("the file has %+v, want %+v", got, want)
	}
}

// lastLedger is the one with the totals.
func lastLedger(t *testing.T, path string) event.Ledger {
	t.Helper()
	r, err := trace.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	a := analyze.New()
	if err := r.Replay(a, trace.ReplayOptions{}); err != nil {
		t.Fatal(err)
	}
	return *a.Model().Ledger
}

// TestFinishAfterAnError: the file says so.
func TestFinishAfterAnError(t *testing.T) {
	s, f, _ := newTestSession(t, Options{}, "")
	f.round = func(probes.Sink) error { return errors.New("broken") }
	failed := s.loop(taken())
	if failed == nil {
		t.Fatal("no error")
	}
	if err := s.finish(failed); err != nil {
		t.Fatal(err)
	}
	r, err := trace.Open(s.options.Output)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if end, ok := r.End(); !ok || end.Reason != reasonError || end.Error != "broken" || end.ExitStatus != nil {
		t.Errorf("got %+v, %v", end, ok)
	}
}

// TestWakeAfterClose: timers and the command's end may come late.
func TestWakeAfterClose(t *testing.T) {
	s, f, _ := newTestSession(t, Options{}, "")
	s.wake()
	if len(f.woken) != 1 {
		t.Error("not woken")
	}
	<-f.woken
	s.free()
	for range 100 {
		s.end(reasonDuration) // doesn't block, though nobody listens
	}
	if len(f.woken) != 0 {
		t.Error("probes were woken that are closed")
	}
}

// TestRecordEndsWithItsContext watches and looks at the real machine.
func TestRecordEndsWithItsContext(t *testing.T) {
	s, f, _ := newTestSession(t, Options{}, "")
	ctx, cancel := context.WithCancelCause(context.Background())
	rounds := 0
	f.round = func(probes.Sink) error {
		if rounds++; rounds == 3 {
			cancel(errors.New(ReasonInterrupt))
		}
		return nil
	}
	if err := s.record(ctx); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, s, ReasonInterrupt)
}

// TestRecordGivesUpPrivileges: before anything is looked at, and what the ready
// file needs before the command runs.
func TestRecordGivesUpPrivileges(t *testing.T) {
	ready := filepath.Join(t.TempDir(), "ready")
	s, _, _ := newTestSession(t, Options{ReadyFile: ready}, "exit 0")
	var seen []string
	s.giveUp = func(_, soon capSet) error {
		seen = append(seen, fmt.Sprintf("%v %v %v", soon == forReadyFile, exists(ready), s.command.started))
		return nil
	}
	if err := s.record(context.Background()); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, s, reasonCommand, 0)
	if want := []string{"true false false", "false true false"}; !slices.Equal(seen, want) {
		t.Errorf("soon, ready, running:\n got %q\nwant %q", seen, want)
	}
}

// TestRecordKeepsNoPrivileges: if they can't be given up there is no recording.
func TestRecordKeepsNoPrivileges(t *testing.T) {
	s, _, _ := newTestSession(t, Options{}, "exit 0")
	s.giveUp = func(capSet, capSet) error { return syscall.EPERM }
	if err := s.record(context.Background()); !errors.Is(err, syscall.EPERM) {
		t.Fatalf("got %v", err)
	}
	wantEnd(t, s, reasonError)
	if s.command.started {
		t.Error("the command ran")
	}
}
