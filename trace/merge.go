// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/nstrace/nstrace/event"
)

// ReplayOptions adjust Replay. The zero value replays everything.
type ReplayOptions struct {
	// Progress is called now and then with how many bytes of the file have been
	// read and how many there are. An error from it ends Replay, which returns
	// it.
	Progress func(done, total int64) error
}

// maxOpen bounds the memory for blocks that overlap in time. A recording needs a
// few MiB.
const maxOpen = 512 << 20

var errOverlap = errors.New("too much of the file overlaps in time: this is no recording")

// Replay delivers everything but packets in the order of time, which it merges
// from the blocks; at the same time, in the order of the file. It keeps in
// memory only blocks that overlap in time.
//
// Damage is delivered where it is in time, and last a Damage with Truncated if
// the file has no end. Payloads of packets and
// packetdata blocks aren't read; Packets and OrderedPackets do.
func (r *Reader) Replay(h event.Handler, opts ReplayOptions) error {
	rec := r.head.Recording
	h.HandleRecording(&rec)
	m := &merger{r: r, h: h, opts: opts, todo: r.plan()}
	if err := m.run(); err != nil {
		return err
	}
	if r.tail != nil {
		d := *r.tail
		d.Time = m.now
		h.HandleDamage(&d)
		return nil
	}
	end := r.end.End
	h.HandleEnd(&end)
	return nil
}

// source is a block, or a damaged span, that is still to be opened.
type source struct {
	time  uint64
	order int // in the file
	block *block
	span  *span
}

// plan lists all sources by time.
func (r *Reader) plan() []source {
	todo := make([]source, 0, len(r.blocks)+len(r.damage))
	d := 0
	for i := range r.blocks {
		for ; d < len(r.damage) && r.damage[d].before <= i; d++ {
			todo = append(todo, source{time: r.damage[d].Time, span: &r.damage[d]})
		}
		b := &r.blocks[i]
		if b.kind.known() && b.kind != kindPackets && b.kind != kindData && b.kind != kindEnd {
			todo = append(todo, source{time: b.first, block: b})
		}
	}
	for ; d < len(r.damage); d++ {
		todo = append(todo, source{time: r.damage[d].Time, span: &r.damage[d]})
	}
	for i := range todo {
		todo[i].order = i
	}
	slices.SortStableFunc(todo, func(a, b source) int { return cmp.Compare(a.time, b.time) })
	return todo
}

// merger delivers sources.
type merger struct {
	r    *Reader
	h    event.Handler
	opts ReplayOptions
	todo []source
	open []*cursor
	size int    // of open
	now  uint64 // the last time delivered
	done int64
}

// cursor is an open block.
type cursor struct {
	block *block
	order int
	raw   []byte
	size  int // about how much memory it takes
	recs  records
}

// records are the rest of an open block's records.
type records interface {
	// time is that of the next record, false at the end.
	time() (uint64, bool)
	// deliver delivers records up to the time until, and those of this time if
	// with is set. It returns the last time delivered.
	deliver(h event.Handler, until uint64, with bool) (uint64, error)
	// read is how many were delivered.
	read() int
}

func (m *merger) run() error {
	for {
		i, t := m.least()
		if i < 0 && len(m.todo) == 0 {
			return nil
		}
		if len(m.todo) > 0 && (i < 0 || m.todo[0].time <= t) {
			if err := m.openNext(); err != nil {
				return err
			}
			continue
		}
		until, with := m.limit(i)
		c := m.open[i]
		now, err := c.recs.deliver(m.h, until, with)
		m.now = max(m.now, now)
		if err != nil {
			m.lose(c.block, c.recs.read(), err)
		}
		if _, more := c.recs.time(); err != nil || !more {
			m.closeCursor(i)
		}
	}
}

// least is the open block whose next record is first, -1 if none is open.
func (m *merger) least() (int, uint64) {
	at, least := -1, uint64(0)
	for i, c := range m.open {
		t, _ := c.recs.time()
		if at < 0 || t < least || (t == least && c.order < m.open[at].order) {
			at, least = i, t
		}
	}
	return at, least
}

// limit is up to when the records of the open block i come before all others.
func (m *merger) limit(i int) (until uint64, with bool) {
	until, with = 1<<64-1, true
	for j, c := range m.open {
		if j == i {
			continue
		}
		t, _ := c.recs.time()
		w := m.open[i].order < c.order
		if t < until || (t == until && !w) {
			until, with = t, w
		}
	}
	if len(m.todo) > 0 && m.todo[0].time <= until {
		return m.todo[0].time, false // it may be earlier in the file
	}
	return until, with
}

func (m *merger) closeCursor(i int) {
	c := m.open[i]
	m.size -= c.size
	m.r.closeBlock(c)
	last := len(m.open) - 1
	m.open[i] = m.open[last]
	m.open[last] = nil
	m.open = m.open[:last]
}

// lose reports a block, or the rest of it, as damaged.
func (m *merger) lose(b *block, read int, err error) {
	d := m.r.describeLoss(b, read, err)
	d.Time = m.now
	m.h.HandleDamage(d)
}

func (m *merger) openNext() error {
	s := m.todo[0]
	m.todo = m.todo[1:]
	if s.span != nil {
		d := s.span.Damage
		m.h.HandleDamage(&d)
		return nil
	}
	if m.opts.Progress != nil {
		m.done = max(m.done, s.block.offset)
		if err := m.opts.Progress(m.done, m.r.size); err != nil {
			return err
		}
	}
	c, err := m.r.openBlock(s.block)
	var ioErr *ioError
	if errors.As(err, &ioErr) {
		return err
	}
	if err != nil {
		m.lose(s.block, 0, err)
		return nil
	}
	if _, more := c.recs.time(); !more {
		m.r.closeBlock(c)
		return nil
	}
	c.order = s.order
	m.open = append(m.open, c)
	if m.size += c.size; m.size > maxOpen {
		return fmt.Errorf("read trace file: %w", errOverlap)
	}
	return nil
}

// openBlock opens b for reading its records.
func (r *Reader) openBlock(b *block) (*cursor, error) {
	c := &cursor{block: b}
	var err error
	switch b.kind {
	case kindLifecycle:
		c.recs, c.raw, err = openTable(r, b, r.maps.events, eventFields, eventTime, event.Handler.HandleEvent)
	case kindSteps:
		c.recs, c.raw, err = openTable(r, b, r.maps.steps, stepFields, stepTime, event.Handler.HandleStep)
	case kindTasks:
		c.recs, c.raw, err = openTable(r, b, r.maps.tasks, taskFields, taskTime, event.Handler.HandleTask)
	case kindCounts:
		c.recs, c.raw, err = openTable(r, b, r.maps.counts, countFields, countTime, event.Handler.HandleCount)
	case kindNames:
		c.recs, c.size, err = openDocs(r, b, func(n *event.NameChange) uint64 { return n.Time }, event.Handler.HandleName)
	case kindSymbols:
		c.recs, c.size, err = openDocs(r, b, func(s *event.Symbol) uint64 { return s.Time }, event.Handler.HandleSymbol)
	case kindCgroups:
		c.recs, c.size, err = openDocs(r, b, func(g *event.CgroupPath) uint64 { return g.Time }, event.Handler.HandleCgroup)
	case kindSnapshot:
		c.recs, c.size, err = openDocs(r, b, func(s *event.Snapshot) uint64 { return s.Begin }, event.Handler.HandleSnapshot)
	case kindLedger:
		c.recs, c.size, err = openDocs(r, b, func(l *event.Ledger) uint64 { return l.Time }, event.Handler.HandleLedger)
	case kindLoss:
		c.recs, c.size, err = openDocs(r, b, func(l *event.Loss) uint64 { return l.From }, event.Handler.HandleLoss)
	case kindHead: // delivered first, so only whether it is whole
		c.recs, err = &docs[head]{}, r.checkStored(b)
	case kindIndex: // for itself too
		c.recs, c.raw, err = openTable(r, b, r.maps.index, indexFields,
			func(*blockInfo) uint64 { return 0 }, func(event.Handler, *blockInfo) {})
	default:
		return nil, fmt.Errorf("%v has no records", b.kind)
	}
	if err != nil {
		return nil, err
	}
	c.size += len(c.raw)
	return c, nil
}

// closeBlock keeps what c has for the next block. What its records had is no longer
// valid.
func (r *Reader) closeBlock(c *cursor) {
	r.release(c.raw)
	if c.block.kind.columnar() {
		r.idle[c.block.kind] = c.recs
	}
}

func eventTime(e *event.Event) uint64 { return e.Time }
func stepTime(s *event.Step) uint64   { return s.Time }
func taskTime(t *event.Task) uint64   { return t.Time }
func countTime(c *event.Count) uint64 { return c.Time }
