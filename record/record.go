// SPDX-License-Identifier: Apache-2.0

package record

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/nstrace/nstrace/event"
	"github.com/nstrace/nstrace/probes"
	"github.com/nstrace/nstrace/snapshot"
	"github.com/nstrace/nstrace/trace"
)

// Options say what to record and for how long.
type Options struct {
	// Output is the trace file's path, or Stdout.
	Output string
	// Duration ends the recording; 0 for no end of its own.
	Duration time.Duration
	Probes   probes.Options
	// Netns has only packets recorded into these namespaces, all if it is empty.
	Netns []*NetnsSelector
	// LoadModules loads cfg80211 and mac80211 first.
	LoadModules bool
	// ReadyFile, if not "", is created once every probe is attached and the
	// opening snapshot taken.
	ReadyFile string
	// Command, if not empty, is run then, and ends the recording when it ends. If
	// it can't be run, the error is a [CommandError].
	Command []string
	// CommandLine and Version are nstrace's own, for the head of the file.
	CommandLine []string
	Version     string
	// Live is called every second with how far it is; may be nil.
	Live func(Progress)
	// Warn is told what went wrong without ending the recording; may be nil.
	Warn func(error)
	// Attach makes what is recorded from; nil for [probes.Attach].
	Attach func(probes.Options) (*probes.Set, error)
}

// Stdout is the Output that isn't a file. What the command writes to its standard
// output then goes to standard error, as with perf record.
const Stdout = "-"

// Progress is how far a recording is.
type Progress struct {
	// Events counts lifecycle events, Packets delivered packets (counted or
	// recorded), Lost records of either ring that were lost.
	Events, Packets, Lost uint64
	// Bytes is the file's size.
	Bytes int64
}

// Result is what became of a recording.
type Result struct {
	Progress
	// Ledger is the final one.
	Ledger event.Ledger
	// Reason is why it ended, as in [event.End].
	Reason string
	// ExitStatus is the command's, as shells have it: 128 plus the signal's
	// number if one killed it. nil without a command that was started.
	ExitStatus *int
}

// Reasons to end a recording, as [event.End] has them.
const (
	ReasonInterrupt  = "interrupt"
	ReasonTerminated = "terminated"
	reasonDuration   = "duration"
	reasonCommand    = "command"
	reasonDiskFull   = "disk-full"
	reasonError      = "error"
)

// Run records until ctx ends, whose cause's text becomes the reason
// (ReasonInterrupt, ReasonTerminated), or the duration is over, or the command
// ends. What was recorded up to an error is in the file.
func Run(ctx context.Context, o Options) (Result, error) {
	s := newSession(o)
	if err := s.prepare(); err != nil {
		return Result{}, err
	}
	defer s.free()
	err := s.record(ctx)
	return s.result, errors.Join(err, s.finish(err))
}

// source is what a session asks of its [probes.Set].
type source interface {
	Begin() error
	Wait(time.Duration) error
	Wake()
	Read(probes.Sink) error
	ReadCounts(probes.Sink) error
	Ledger() (event.Ledger, error)
	Stop(probes.Sink) error
	End(probes.Sink) error
	Close() error
}

// session is a running recording. Its methods run in one goroutine, but for
// end and named.
type session struct {
	options     Options
	destination *trace.Destination
	probes      source
	writer      *trace.Writer
	taker       *snapshot.Taker
	watcher     *snapshot.Watcher
	names       nameQueue
	chosen      chosen
	command     *command
	result      Result
	// problems are for the ledger: what a recording lacks is to be in the file, not
	// only on a terminal that is long gone.
	problems []event.Problem

	// keep are the capabilities that the recording needs to its end, giveUp gives up
	// the others.
	keep   capSet
	giveUp func(keep, soon capSet) error
	// grace is how long the command may take to end by itself after an
	// interrupt.
	grace time.Duration
	// stop carries wishes to stop to the loop; reason is the first it heard.
	stop   chan string
	reason string
	// waking guards the probes against being woken once they are closed.
	waking sync.Mutex
	closed bool
}

func newSession(o Options) *session {
	return &session{options: o, taker: &snapshot.Taker{}, giveUp: giveUp, grace: graceInterrupt, stop: make(chan string, 8)}
}

// prepare brings the recording to the point from which nothing escapes it. What
// can fail at once does so first: attaching takes seconds.
func (s *session) prepare() (err error) {
	defer func() {
		if err != nil {
			s.free()
		}
	}()
	if len(s.options.Command) > 0 {
		if s.command, err = newCommand(s.options.Command); err != nil {
			return err
		}
	}
	if err := s.openDestination(); err != nil {
		return err
	}
	if s.command != nil {
		if err := s.command.prepare(); err != nil {
			return err
		}
	}
	if s.options.LoadModules {
		if err := loadModules("cfg80211", "mac80211"); err != nil {
			return err
		}
	}
	s.options.Probes.Packets.Netns = len(s.options.Netns) > 0
	attach := s.options.Attach
	if attach == nil {
		attach = probes.Attach
	}
	set, err := attach(s.options.Probes)
	if err != nil {
		return err
	}
	s.probes = set
	if len(s.options.Netns) > 0 {
		s.chosen = chosen{selectors: s.options.Netns, tell: set.SelectNetns}
	}
	s.taker = snapshot.NewTaker(set.Types())
	for _, p := range set.Problems() {
		s.problem(p.What, p.Remedy)
	}
	return s.create()
}

func (s *session) openDestination() (err error) {
	if s.options.Output == Stdout {
		if s.command != nil {
			s.command.cmd.Stdout = os.Stderr
		}
		s.destination, err = trace.PrepareStdout()
		return err
	}
	s.destination, err = trace.Prepare(s.options.Output)
	return err
}

// create lets the recording and its file begin. The first ledger is written at
// once, so that even one that is killed in its first second says what it was
// made of.
func (s *session) create() error {
	if err := s.probes.Begin(); err != nil {
		return err
	}
	recording, err := describe(&s.options)
	if err != nil {
		return err
	}
	ledger, err := s.probes.Ledger()
	if err != nil {
		return err
	}
	ledger.Problems = s.problems
	if s.writer, err = s.destination.Begin(recording); err != nil {
		return err
	}
	return errors.Join(s.writer.Ledger(&ledger), s.writer.Flush())
}

func (s *session) free() {
	if s.watcher != nil {
		if err := s.watcher.Close(); err != nil {
			s.warn(err)
		}
		s.watcher = nil
	}
	s.command.abandon()
	s.taker.Close()
	if s.destination != nil {
		if err := s.destination.Close(); err != nil {
			s.warn(err)
		}
	}
	s.waking.Lock()
	defer s.waking.Unlock()
	s.closed = true
	if s.probes == nil {
		return
	}
	if err := s.probes.Close(); err != nil {
		s.warn(err)
	}
}

func (s *session) warn(err error) {
	if s.options.Warn != nil {
		s.options.Warn(err)
	}
}

// problem is a warning of something that the recording lacks.
func (s *session) problem(what, remedy string) {
	s.problems = append(slices.Clip(s.problems), event.Problem{What: what, Remedy: remedy})
	if remedy != "" {
		what += "; " + remedy
	}
	s.warn(errors.New(what))
}

// end asks the loop to stop; from any goroutine.
func (s *session) end(reason string) {
	select {
	case s.stop <- reason:
	default: // it has been asked often enough
	}
	s.wake()
}

// wake makes the loop look around; from any goroutine, at any time.
func (s *session) wake() {
	s.waking.Lock()
	defer s.waking.Unlock()
	if !s.closed {
		s.probes.Wake()
	}
}

// finish ends the recording in the order that loses nothing. The file is closed
// whatever goes wrong.
func (s *session) finish(failed error) error {
	ended, err := readClock()
	err = errors.Join(err, s.probes.Stop(s))
	if s.watcher != nil {
		if err := s.watcher.Close(); err != nil {
			s.problem(err.Error(), "")
		}
		s.watcher = nil
	}
	s.writeNames()
	for _, p := range s.chosen.problems() {
		s.problem(p, "")
	}
	if failed == nil {
		err = errors.Join(err, s.closingSnapshot())
	}
	err = errors.Join(err, s.probes.End(s), s.writeLedger())
	s.result.Reason = s.reason
	end := event.End{Time: ended.Boot, Clock: ended, Reason: s.reason, ExitStatus: s.result.ExitStatus}
	if e := errors.Join(failed, err); e != nil {
		end.Error = e.Error()
	}
	err = errors.Join(err, s.writer.Close(end))
	s.result.Bytes = s.writer.Size()
	if failed != nil && s.writer.Err() != nil {
		return nil // the writer's error is sticky: said once is enough
	}
	return err
}

// closingSnapshot takes the last snapshot and meanwhile reads what goes on.
func (s *session) closingSnapshot() error {
	closing := make(chan takenSnapshot, 1)
	go func() {
		snap, err := s.taker.Take(context.Background(), snapshot.Options{Closing: true})
		closing <- takenSnapshot{snap, err}
		s.wake()
	}()
	for {
		select {
		case snap := <-closing:
			if snap.err != nil {
				s.problem(fmt.Sprintf("take the closing snapshot: %v", snap.err), "")
				return nil
			}
			return s.writer.Snapshot(&snap.Snapshot)
		default:
		}
		if err := errors.Join(s.probes.Wait(busyInterval), s.probes.Read(s)); err != nil {
			// The snapshot is done without: wait for it, for it uses the probes' privileges.
			<-closing
			return err
		}
	}
}
