// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"fmt"
	"slices"

	"github.com/nstrace/nstrace/event"
)

// docBuffer has the next records of a kind of which there are few.
type docBuffer struct {
	docs []doc
	size int
}

type doc struct {
	time uint64
	json []byte
}

// lateDocs is how many losses and ledgers are kept after an error of the file,
// for Close to write into what is reserved.
const lateDocs = 256

// doc adds a record of kind k.
func (w *Writer) doc(k kind, time uint64, v any) error {
	w.take(k, time)
	late := w.err != nil && !w.closed && k.account()
	if w.err != nil && !late {
		return w.err
	}
	b, err := marshal(v)
	if err != nil {
		return fmt.Errorf("encode %v: %w", k, err)
	}
	if len(b)+2 > int(k.maxRaw()) {
		return fmt.Errorf("%v of %d bytes is larger than a block can be", k, len(b))
	}
	buf := &w.docs[k]
	if late {
		if k == kindLedger {
			buf.docs, buf.size = buf.docs[:0], 0 // the last one has the totals
		}
		if len(buf.docs) < lateDocs {
			buf.docs = append(buf.docs, doc{time, b})
		}
		return w.err
	}
	if buf.size+len(b) > docsPerBlock {
		if err := w.flushKind(k); err != nil {
			return err
		}
	}
	buf.docs = append(buf.docs, doc{time, b})
	buf.size += len(b) + 1
	return nil
}

func (w *Writer) flushDocs() error {
	// Losses last: at the same time, the record before the gap comes first.
	for _, k := range []kind{kindNames, kindSymbols, kindCgroups, kindSnapshot, kindLedger, kindLoss} {
		if err := w.flushKind(k); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) flushKind(k kind) error {
	buf := &w.docs[k]
	if len(buf.docs) == 0 {
		return nil
	}
	slices.SortStableFunc(buf.docs, func(a, b doc) int {
		switch {
		case a.time < b.time:
			return -1
		case a.time > b.time:
			return 1
		}
		return 0
	})
	raw := []byte{'['}
	for i, d := range buf.docs {
		if i > 0 {
			raw = append(raw, ',')
		}
		raw = append(raw, d.json...)
	}
	raw = append(raw, ']')
	h := header{kind: k, count: uint32(len(buf.docs)), first: buf.docs[0].time, last: buf.docs[len(buf.docs)-1].time}
	err := w.put(&h, nil, raw, nil)
	if err != nil && !w.out.lastWrites && k.account() {
		return err // Close tries again
	}
	clear(buf.docs)
	buf.docs, buf.size = buf.docs[:0], 0
	return err
}

// ending is the payload of the end.
type ending struct {
	End    event.End `json:"end"`
	Totals totals    `json:"totals"`
}

// totals are of the file before the end block.
type totals struct {
	Blocks uint32 `json:"blocks"`
	Bytes  int64  `json:"bytes"`
	// Written and Unwritten count records by the kind's name.
	Written   map[string]uint64 `json:"written"`
	Unwritten map[string]uint64 `json:"unwritten,omitempty"`
}

// Close writes what was given and the end, and makes sure that it is on the
// disk. After an error of the file the end says "disk-full" or "error" instead
// of end.Reason, and Close returns that error.
func (w *Writer) Close(end event.End) error {
	if w.closed {
		return ErrClosed
	}
	flushErr := w.Flush()
	w.out.lastWrites = true
	if flushErr != nil {
		end.Reason, end.Error = "error", flushErr.Error()
		if isFull(flushErr) {
			end.Reason = "disk-full"
		}
		w.dropAll()
		// What they answer is known: the file's first error.
		_ = w.flushKind(kindLoss)
		_ = w.flushKind(kindLedger)
	}
	err := w.finish(end)
	if w.err == nil {
		w.err = ErrClosed
	}
	w.closed = true
	w.enc.Close()
	w.fast.Close()
	cerr := w.out.sync()
	if w.file != nil {
		cerr = errors.Join(cerr, w.file.Close())
	}
	if cerr != nil {
		err = errors.Join(err, fmt.Errorf("close trace file: %w", cerr))
	}
	return err
}

// dropAll forgets what can't be written; it stays counted as given.
func (w *Writer) dropAll() {
	w.events, w.counts, w.steps, w.tasks = w.events[:0], w.counts[:0], w.steps[:0], w.tasks[:0]
	w.packets.reset()
	for _, k := range []kind{kindNames, kindSymbols, kindCgroups, kindSnapshot} {
		w.docs[k] = docBuffer{}
	}
}

// finish writes the index and the end.
func (w *Writer) finish(end event.End) error {
	first := w.err
	if len(w.index) > 0 {
		if err := w.flushIndex(); err != nil && first == nil {
			return err
		}
	}
	t := totals{Blocks: w.number, Bytes: w.out.off, Written: map[string]uint64{}, Unwritten: map[string]uint64{}}
	for _, k := range totalKinds {
		if n := w.written[k]; n > 0 {
			t.Written[k.String()] = n
		}
		if n := w.given[k] - w.written[k]; n > 0 {
			t.Unwritten[k.String()] = n
		}
	}
	raw, err := marshal([]ending{{end, t}})
	if err != nil {
		return fmt.Errorf("encode the end: %w", err)
	}
	h := header{kind: kindEnd, count: 1, first: end.Time, last: end.Time}
	err = w.put(&h, nil, raw, nil)
	if first != nil {
		return first
	}
	return err
}

// Unwritten counts the records that were given but did not get into the file,
// and those that wait for Flush. The account itself, losses and ledgers, isn't
// among them: Close has space for it.
func (w *Writer) Unwritten() uint64 {
	var n uint64
	for _, k := range recordKinds {
		if !k.account() {
			n += w.given[k] - w.written[k]
		}
	}
	return n
}

// UnwrittenFrom is a time before which all of them are in the file, 0 if they
// are anyway.
func (w *Writer) UnwrittenFrom() uint64 {
	if w.Unwritten() == 0 {
		return 0
	}
	return w.pending
}

// Size is how many bytes the file has.
func (w *Writer) Size() int64 { return w.out.off }

// Err is the first error of the file, nil if there was none.
func (w *Writer) Err() error { return w.err }
