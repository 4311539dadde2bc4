// SPDX-License-Identifier: Apache-2.0

package record

import (
	"reflect"
	"sync"

	"github.com/nstrace/nstrace/event"
)

// The session is the probes' sink. Errors of the writer are sticky; the loop
// asks for them.

// HandleEvent writes e.
func (s *session) HandleEvent(e *event.Event) {
	s.result.Events++
	s.writer.Event(e)
}

// HandleStep writes st.
func (s *session) HandleStep(st *event.Step) { s.writer.Step(st) }

// HandleTask writes t.
func (s *session) HandleTask(t *event.Task) {
	s.result.Events++
	s.writer.Task(t)
}

// HandlePacket writes p.
func (s *session) HandlePacket(p *event.Packet) { s.writer.Packet(p) }

// HandleCount writes c.
func (s *session) HandleCount(c *event.Count) {
	s.result.Packets += c.Delivered()
	s.writer.Count(c)
}

// HandleLoss writes l.
func (s *session) HandleLoss(l *event.Loss) {
	s.result.Lost += l.Count
	s.writer.Loss(l)
}

// HandleSymbol writes sym.
func (s *session) HandleSymbol(sym *event.Symbol) { s.writer.Symbol(sym) }

// HandleCgroup writes c.
func (s *session) HandleCgroup(c *event.CgroupPath) { s.writer.Cgroup(c) }

func (s *session) progress() Progress {
	p := s.result.Progress
	p.Bytes = s.writer.Size()
	return p
}

// writeLedger writes the account so far, unless it is as it was. The file is
// flushed first, so that what is unwritten then could not be written.
func (s *session) writeLedger() error {
	ledger, err := s.probes.Ledger()
	if err != nil {
		return err
	}
	s.writer.Flush()
	ledger.Unwritten, ledger.UnwrittenFrom = s.writer.Unwritten(), s.writer.UnwrittenFrom()
	ledger.Problems = s.problems
	last := s.result.Ledger
	last.Time = ledger.Time
	if reflect.DeepEqual(last, ledger) {
		return nil
	}
	s.result.Ledger = ledger
	return s.writer.Ledger(&ledger)
}

func (s *session) writeNames() {
	for _, n := range s.names.take() {
		s.writer.Name(&n)
	}
}

// nameQueue takes names from the watcher's goroutine to the session's.
type nameQueue struct {
	mu    sync.Mutex
	names []event.NameChange
}

func (q *nameQueue) add(n event.NameChange) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.names = append(q.names, n)
}

func (q *nameQueue) take() []event.NameChange {
	q.mu.Lock()
	defer q.mu.Unlock()
	names := q.names
	q.names = nil
	return names
}
