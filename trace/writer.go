// SPDX-License-Identifier: Apache-2.0

// Package trace writes and reads trace files (.nst): what a recording saw, in
// blocks that are compressed and protected one by one, so that a file that was
// cut or damaged is readable but for what is missing, and says what that is.
// The layout is described in format.go.
package trace

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/nstrace/nstrace/event"
)

// When blocks are written without being asked to.
const (
	eventsPerBlock  = 16 << 10
	countsPerBlock  = 16 << 10
	stepsPerBlock   = 16 << 10
	tasksPerBlock   = 16 << 10
	packetsPerBlock = 64 << 10
	indexPerBlock   = 4 << 10
	dataPerBlock    = 4 << 20
	textPerBlock    = 4 << 20
	docsPerBlock    = 1 << 20
)

// MaxPacketData is how many bytes of a packet a file can have.
const MaxPacketData = 1 << 20

// ErrClosed is what a closed Writer answers.
var ErrClosed = errors.New("trace file is closed")

// Writer writes a trace file. What it is given it keeps until Flush or until
// there is enough for a block. Its methods must not be called concurrently.
//
// The first error of the file is the answer to everything after it. What is
// then still given, and what was not written yet, is counted as unwritten.
// The file stays readable, and Close ends it properly where there is space.
type Writer struct {
	out    output
	file   *os.File // to close, nil if it isn't ours
	closed bool
	err    error

	id     fileID
	number uint32
	enc    *zstd.Encoder
	// fast is for packets: of what they are made of, the better compression takes
	// a third more time and saves nothing.
	fast  *zstd.Encoder
	block []byte
	p     payload
	order []uint32

	events  []event.Event
	text    int // bytes of strings in events
	counts  []event.Count
	steps   []event.Step
	tasks   []event.Task
	packets packetBuffer
	docs    [kindCount]docBuffer
	index   []blockInfo

	given, written [kindCount]uint64
	// pending is the oldest time given since everything was last written, 0 if
	// nothing was.
	pending uint64
}

// NewWriter begins a trace of rec in w, which is at its beginning. If w is a
// regular *os.File, what is written of a block when the disk is full is taken
// back. NewWriter doesn't close w.
func NewWriter(w io.Writer, rec event.Recording) (*Writer, error) {
	return newWriter(w, head{formatVersion{versionMajor, versionMinor}, rec, ownFields()})
}

func newWriter(w io.Writer, h head) (*Writer, error) {
	tw := &Writer{out: output{w: w}}
	for level, enc := range map[zstd.EncoderLevel]**zstd.Encoder{zstd.SpeedDefault: &tw.enc, zstd.SpeedFastest: &tw.fast} {
		var err error
		*enc, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
			zstd.WithEncoderLevel(level), zstd.WithLowerEncoderMem(true))
		if err != nil {
			return nil, fmt.Errorf("prepare compression: %w", err)
		}
	}
	if f, ok := w.(*os.File); ok {
		if st, err := f.Stat(); err == nil && st.Mode().IsRegular() {
			tw.out.f = f
		}
	}
	if _, err := rand.Read(tw.id[:]); err != nil {
		return nil, fmt.Errorf("make a file id: %w", err)
	}
	return tw, tw.begin(&h)
}

// head is the payload of the head.
type head struct {
	Format    formatVersion   `json:"format"`
	Recording event.Recording `json:"recording"`
	Fields    fieldTable      `json:"fields"`
}

type formatVersion struct {
	Major uint16 `json:"major"`
	Minor uint16 `json:"minor"`
}

// begin writes the preamble and the head, all at once.
func (w *Writer) begin(hd *head) error {
	doc, err := marshal([]head{*hd})
	if err != nil {
		return fmt.Errorf("encode recording: %w", err)
	}
	if len(doc) > maxRawDocs {
		return fmt.Errorf("head of %d bytes is larger than %d: shorten the command line", len(doc), maxRawDocs)
	}
	p := preamble{hd.Format.Major, hd.Format.Minor, byteOrder, w.id}
	began := hd.Recording.Began
	b := p.append(nil)
	for range 2 {
		h := header{kind: kindHead, count: 1, first: began, last: began}
		w.assemble(&h, nil, doc, nil)
		w.indexBlock(&h, int64(len(b)))
		b = append(b, w.block...)
	}
	if err := w.out.write(b); err != nil {
		w.err = fmt.Errorf("write trace file: %w", err)
	}
	return w.err
}

// leastPacked is the least that is compressed. A recording in which little happens
// is full of smaller blocks: each has a tenth of a second's counts. To unpack them
// takes longer than all else that a report does with them.
const leastPacked = 1 << 10

// assemble makes w.block of h, which it completes, the ranges and the payload.
func (w *Writer) assemble(h *header, rs []seqRange, raw []byte, cuts []int) {
	b := grow(w.block, headerLen)
	b = appendRanges(b, rs)
	at := len(b)
	enc := w.enc
	if h.kind == kindPackets {
		enc = w.fast
	}
	if len(raw) >= leastPacked {
		b = compress(enc, b, raw, cuts)
	}
	h.codec = codecZstd
	if packed := len(b) - at; packed == 0 || packed >= len(raw) {
		b = append(b[:at], raw...)
		h.codec = codecNone
	}
	h.id, h.number = w.id, w.number
	h.raw, h.stored, h.ranges = uint32(len(raw)), uint32(len(b)-at), uint32(at-headerLen)
	h.rangesSum, h.payloadSum = checksum(b[headerLen:at]), checksum(b[at:])
	h.put(b)
	w.block = b
	w.number++
}

func (w *Writer) indexBlock(h *header, at int64) {
	w.index = append(w.index, blockInfo{
		offset: uint64(at), length: uint64(h.length()),
		number: h.number, kind: h.kind, count: h.count, first: h.first, last: h.last,
	})
}

// put writes one block.
func (w *Writer) put(h *header, rs []seqRange, raw []byte, cuts []int) error {
	if w.err != nil && !w.out.lastWrites {
		return w.err
	}
	if len(raw) > int(h.kind.maxRaw()) { // can't be: blocks are flushed long before
		return w.fail(fmt.Errorf("%v block of %d bytes is too large", h.kind, len(raw)))
	}
	at := w.out.off
	w.assemble(h, rs, raw, cuts)
	if err := w.out.write(w.block); err != nil {
		if w.out.off == at {
			w.number--
		}
		return w.fail(fmt.Errorf("write trace file: %w", err))
	}
	w.written[h.kind] += uint64(h.count)
	w.indexBlock(h, at)
	if len(w.index) >= indexPerBlock && h.kind != kindIndex {
		return w.flushIndex()
	}
	return nil
}

// fail keeps the first error.
func (w *Writer) fail(err error) error {
	if w.err == nil {
		w.err = err
	}
	return w.err
}

// take counts a record that is given.
func (w *Writer) take(k kind, time uint64) {
	w.given[k]++
	if !k.account() && (w.pending == 0 || time < w.pending) {
		w.pending = time
	}
}

// Event adds a lifecycle event.
func (w *Writer) Event(e *event.Event) error {
	w.take(kindLifecycle, e.Time)
	if w.err != nil {
		return w.err
	}
	text := len(e.Comm) + len(e.Name) + len(e.NewName) + len(e.WiphyName) + len(e.LinkKind) + len(e.Driver) + len(e.Path)
	if text > textPerBlock {
		return fmt.Errorf("event has strings of %d bytes, more than %d", text, textPerBlock)
	}
	w.events = append(w.events, *e)
	w.text += text
	if len(w.events) >= eventsPerBlock || w.text > textPerBlock {
		return w.flushEvents()
	}
	return nil
}

// Count adds what a flow delivered.
func (w *Writer) Count(c *event.Count) error {
	w.take(kindCounts, c.Time)
	if w.err != nil {
		return w.err
	}
	w.counts = append(w.counts, *c)
	if len(w.counts) >= countsPerBlock {
		return w.flushCounts()
	}
	return nil
}

// Step adds a subsystem's share of a set-up or tear-down.
func (w *Writer) Step(s *event.Step) error {
	w.take(kindSteps, s.Time)
	if w.err != nil {
		return w.err
	}
	w.steps = append(w.steps, *s)
	if len(w.steps) >= stepsPerBlock {
		return w.flushSteps()
	}
	return nil
}

// Task adds a task that came or went. Its Comm is short, as the kernel's are.
func (w *Writer) Task(t *event.Task) error {
	w.take(kindTasks, t.Time)
	if w.err != nil {
		return w.err
	}
	if len(t.Comm) > textPerBlock/tasksPerBlock {
		return fmt.Errorf("task has a name of %d bytes, more than %d", len(t.Comm), textPerBlock/tasksPerBlock)
	}
	w.tasks = append(w.tasks, *t)
	if len(w.tasks) >= tasksPerBlock {
		return w.flushTasks()
	}
	return nil
}

// Packet adds a packet, whose Data it copies.
func (w *Writer) Packet(p *event.Packet) error {
	w.take(kindPackets, p.Time)
	if len(p.Data) > 0 {
		w.given[kindData]++
	}
	if w.err != nil {
		return w.err
	}
	if len(p.Data) > MaxPacketData {
		return fmt.Errorf("packet has %d bytes, more than %d", len(p.Data), MaxPacketData)
	}
	w.packets.add(p)
	if len(w.packets.rows) >= packetsPerBlock || len(w.packets.data) >= dataPerBlock {
		return w.flushPackets()
	}
	return nil
}

// Name adds a name that came or went.
func (w *Writer) Name(n *event.NameChange) error { return w.doc(kindNames, n.Time, n) }

// Symbol adds the name of an address.
func (w *Writer) Symbol(s *event.Symbol) error { return w.doc(kindSymbols, s.Time, s) }

// Cgroup adds the path of a cgroup.
func (w *Writer) Cgroup(c *event.CgroupPath) error { return w.doc(kindCgroups, c.Time, c) }

// Snapshot adds a state of the machine. Its place in time is its beginning.
func (w *Writer) Snapshot(s *event.Snapshot) error { return w.doc(kindSnapshot, s.Begin, s) }

// Loss adds a gap. Its place in time is its beginning.
func (w *Writer) Loss(l *event.Loss) error { return w.doc(kindLoss, l.From, l) }

// Ledger adds an account of what was missed. After an error of the file it is
// still taken, and written by Close if the reserved space suffices.
func (w *Writer) Ledger(l *event.Ledger) error { return w.doc(kindLedger, l.Time, l) }

// Flush writes everything that was given. What it has written survives the end
// of the process, however that comes.
func (w *Writer) Flush() error {
	if w.err != nil {
		return w.err
	}
	err := errors.Join(w.flushEvents(), w.flushSteps(), w.flushTasks(), w.flushCounts(), w.flushPackets(), w.flushDocs())
	if err == nil {
		w.pending = 0
	}
	return err
}

func (w *Writer) flushEvents() error {
	w.text = 0
	return flushRows(w, kindLifecycle, eventFields, &w.events, eventTime)
}

func (w *Writer) flushCounts() error {
	return flushRows(w, kindCounts, countFields, &w.counts, countTime)
}

func (w *Writer) flushSteps() error { return flushRows(w, kindSteps, stepFields, &w.steps, stepTime) }

func (w *Writer) flushTasks() error { return flushRows(w, kindTasks, taskFields, &w.tasks, taskTime) }

// flushRows writes rows, if there are any, as a block, and empties them.
func flushRows[T any](w *Writer, k kind, fields []field[T], rows *[]T, time func(*T) uint64) error {
	if len(*rows) == 0 {
		return nil
	}
	w.order = sortOrder(w.order, *rows, time)
	err := putRows(w, k, fields, *rows, w.order)
	*rows = (*rows)[:0]
	return err
}

func (w *Writer) flushIndex() error {
	w.order = sortOrder(w.order, w.index, func(*blockInfo) uint64 { return 0 })
	rows := w.index
	w.index = nil // the index block isn't in itself, but in the next
	err := putRows(w, kindIndex, indexFields, rows, w.order)
	return err
}

// putRows writes rows as one columnar block.
func putRows[T any](w *Writer, k kind, fields []field[T], rows []T, order []uint32) error {
	w.p.reset()
	addFields(&w.p, fields, 1, rows, order)
	w.p.finish(0)
	return w.putColumns(k, len(rows))
}

// putColumns writes w.p as a block of n records.
func (w *Writer) putColumns(k kind, n int) error {
	h := header{kind: k, count: uint32(n)}
	if w.p.times != nil {
		h.first, h.last = w.p.times[0], w.p.times[n-1]
	}
	return w.put(&h, w.p.rs, w.p.buf, w.p.cuts)
}

// sortOrder returns the order of rows by time, ties as they are. They mostly
// are in order, or nearly.
func sortOrder[T any](order []uint32, rows []T, time func(*T) uint64) []uint32 {
	order = grow(order, len(rows))
	for i := range order {
		order[i] = uint32(i)
	}
	moves := 16 * len(rows)
	for i := 1; i < len(order); i++ {
		t := time(&rows[i])
		j := i
		for ; j > 0 && time(&rows[order[j-1]]) > t; j-- {
			order[j] = order[j-1]
			moves--
		}
		order[j] = uint32(i)
		if moves < 0 {
			sortIndices(order, rows, time)
			break
		}
	}
	return order
}

// sortIndices is for rows that are far from in order.
func sortIndices[T any](order []uint32, rows []T, time func(*T) uint64) {
	slices.SortFunc(order, func(a, b uint32) int {
		ta, tb := time(&rows[a]), time(&rows[b])
		switch {
		case ta < tb:
			return -1
		case ta > tb:
			return 1
		}
		return int(a) - int(b)
	})
}

func sortRanges(rs []seqRange) {
	slices.SortFunc(rs, func(a, b seqRange) int {
		if a.cpu < b.cpu {
			return -1
		}
		return 1
	})
}
