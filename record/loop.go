// SPDX-License-Identifier: Apache-2.0

package record

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/nstrace/nstrace/event"
	"github.com/nstrace/nstrace/snapshot"
)

// The rhythm of a recording. Records wake nobody until a quarter of their ring
// is full, so the rings are looked at from time to time: less often while
// nothing happens, but often enough that a kill costs at most the last 250 ms.
const (
	busyInterval   = 50 * time.Millisecond
	idleInterval   = 200 * time.Millisecond
	idleAfter      = time.Second
	countInterval  = 100 * time.Millisecond
	flushInterval  = 150 * time.Millisecond
	liveInterval   = time.Second
	ledgerInterval = 5 * time.Second
)

// How long a command that should end is waited for, before SIGTERM when the
// user's Ctrl-C has reached it as well, and before SIGKILL.
const (
	graceInterrupt = time.Second
	graceTerminate = 5 * time.Second
)

// record runs until something ends the recording. What it does, it does with the
// privileges that the closing snapshot will have, so that the two snapshots see the
// same.
func (s *session) record(ctx context.Context) (err error) {
	if err := s.giveUpPrivileges(); err != nil {
		return s.failed(err)
	}
	s.watchNames()
	opening := make(chan takenSnapshot, 1)
	go func() {
		snap, err := s.taker.Take(ctx, snapshot.Options{})
		opening <- takenSnapshot{snap, err}
		s.wake()
	}()
	defer context.AfterFunc(ctx, func() { s.end(context.Cause(ctx).Error()) })()
	return s.loop(opening)
}

// watchNames follows the names of namespaces.
func (s *session) watchNames() {
	known := make(chan struct{})
	var names []event.NameChange
	var err error
	s.watcher, err = snapshot.Watch(func(n event.NameChange) {
		<-known
		s.chosen.follow(n)
		s.names.add(n)
	})
	if err != nil {
		s.problem(fmt.Sprintf("names of namespaces won't be followed: %v", err), "")
	} else {
		names = s.watcher.Names()
	}
	// Those that there were before any changed.
	s.chosen.begin(names)
	close(known)
}

type takenSnapshot struct {
	event.Snapshot
	err error
}

// giveUpPrivileges gives up what attaching needed.
func (s *session) giveUpPrivileges() error {
	had, err := effective()
	if err != nil {
		return err
	}
	s.keep = kept(had, &s.options)
	soon := capSet(0)
	if s.options.ReadyFile != "" {
		soon = forReadyFile
	}
	return s.giveUp(s.keep, soon)
}

// loop moves what the kernel says to the file until the recording is to end.
func (s *session) loop(opening <-chan takenSnapshot) error {
	var due schedule
	for {
		if err := s.probes.Wait(due.interval(time.Now())); err != nil {
			return s.failed(err)
		}
		if err := s.round(&due); err != nil {
			return s.failed(err)
		}
		select {
		case snap := <-opening:
			opening = nil
			if err := s.opened(&snap); err != nil {
				return s.failed(err)
			}
		case why := <-s.stop:
			s.stopping(why)
		default:
		}
		// A stop cancels the opening snapshot; what it has belongs in the file.
		if s.reason != "" && opening == nil && !s.command.running() {
			s.result.ExitStatus = s.command.status()
			return nil
		}
	}
}

// schedule has the rhythm of everything that isn't done in every round, and when
// something happened last.
type schedule struct {
	count, flush, live, ledger rhythm
	// accounted is what was seen at the last ledger.
	seen, accounted uint64
	active          time.Time
}

// interval is how long to wait for the next round. While something happens the
// counters are not read late: rates are as fine as the readings.
func (d *schedule) interval(now time.Time) time.Duration {
	if now.Sub(d.active) < idleAfter {
		return min(busyInterval, max(d.count.left(now, countInterval), time.Millisecond))
	}
	return idleInterval
}

// saw takes how much has been seen in all.
func (d *schedule) saw(seen uint64, now time.Time) {
	if seen != d.seen {
		d.seen, d.active = seen, now
	}
}

// accounting reports whether a ledger is due: there is none while nothing
// happens.
func (d *schedule) accounting(now time.Time) bool {
	if d.seen == d.accounted || !d.ledger.now(now, ledgerInterval) {
		return false
	}
	d.accounted = d.seen
	return true
}

func (s *session) round(due *schedule) error {
	now := time.Now()
	err := s.probes.Read(s)
	due.saw(s.result.Events+s.result.Packets, now)
	if due.count.now(now, countInterval) {
		err = errors.Join(err, s.probes.ReadCounts(s))
	}
	s.writeNames()
	if due.accounting(now) {
		err = errors.Join(err, s.writeLedger())
	}
	if due.flush.now(now, flushInterval) {
		// Its error is sticky, and asked for below.
		s.writer.Flush()
	}
	if due.live.now(now, liveInterval) && s.options.Live != nil {
		s.options.Live(s.progress())
	}
	return errors.Join(err, s.writer.Err())
}

// failed ends the command with the recording.
func (s *session) failed(err error) error {
	if s.command.running() {
		s.command.signal(syscall.SIGTERM, graceTerminate)
		<-s.command.done
	}
	s.result.ExitStatus = s.command.status()
	s.reason = reasonError
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		s.reason = reasonDiskFull
	}
	return err
}

// stopping takes a wish to stop. The recording goes on while the command still
// runs, since its end belongs to the story.
func (s *session) stopping(why string) {
	if s.reason == "" {
		s.reason = why
	}
	grace := time.Duration(0)
	if why == ReasonInterrupt {
		grace = s.grace
	}
	if s.command.running() {
		time.AfterFunc(grace, func() {
			if err := s.command.signal(syscall.SIGTERM, graceTerminate); err != nil {
				s.warn(fmt.Errorf("end the command: %w; the recording goes on until it ends", err))
			}
		})
	}
}

// opened writes the opening snapshot and lets the recorded world begin.
func (s *session) opened(snap *takenSnapshot) error {
	if snap.err != nil {
		s.problem(fmt.Sprintf("take the opening snapshot: %v", snap.err), "")
	}
	if err := errors.Join(s.writer.Snapshot(&snap.Snapshot), s.writer.Flush()); err != nil {
		return err
	}
	if s.reason != "" {
		return nil
	}
	if s.options.ReadyFile != "" {
		if err := os.WriteFile(s.options.ReadyFile, nil, 0o644); err != nil {
			return fmt.Errorf("create the ready file: %w", err)
		}
		if err := s.giveUp(s.keep, 0); err != nil {
			return err
		}
	}
	if s.options.Duration > 0 {
		time.AfterFunc(s.options.Duration, func() { s.end(reasonDuration) })
	}
	if s.command == nil {
		return nil
	}
	return s.command.start(func() { s.end(reasonCommand) })
}

// rhythm says when something is due again.
type rhythm struct{ last time.Time }

// left is how long it is until then, 0 or less if it is due.
func (r *rhythm) left(now time.Time, interval time.Duration) time.Duration {
	return interval - now.Sub(r.last)
}

func (r *rhythm) now(now time.Time, interval time.Duration) bool {
	if r.left(now, interval) > 0 {
		return false
	}
	r.last = now
	return true
}
