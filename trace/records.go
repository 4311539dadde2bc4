// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"fmt"

	"github.com/nstrace/nstrace/event"
)

// table is the records of a columnar block.
type table[T any] struct {
	rows   rows[T]
	fields []field[T]
	timeOf func(*T) uint64
	give   func(event.Handler, *T)
	chunk  []T
	at     int
	given  int
}

func openTable[T any](r *Reader, b *block, fm fieldMap, fields []field[T],
	timeOf func(*T) uint64, give func(event.Handler, *T),
) (records, []byte, error) {
	t, idle := r.idle[b.kind].(*table[T])
	if !idle {
		t = &table[T]{fields: fields, timeOf: timeOf, give: give}
	}
	r.idle[b.kind] = nil
	err := t.rows.open(r, b, fm, fields)
	if err != nil {
		return nil, nil, err
	}
	t.at, t.given = 0, 0
	if t.chunk, err = t.rows.next(fields); err != nil {
		r.release(t.rows.raw)
		return nil, nil, err
	}
	return t, t.rows.raw, nil
}

func (t *table[T]) time() (uint64, bool) {
	if t.at == len(t.chunk) {
		return 0, false
	}
	return t.timeOf(&t.chunk[t.at]), true
}

func (t *table[T]) read() int { return t.given }

func (t *table[T]) deliver(h event.Handler, until uint64, with bool) (now uint64, err error) {
	for t.at < len(t.chunk) {
		for t.at < len(t.chunk) {
			row := &t.chunk[t.at]
			at := t.timeOf(row)
			if at > until || (at == until && !with) {
				return now, nil
			}
			t.give(h, row)
			now = at
			t.at++
			t.given++
		}
		t.at = 0
		if t.chunk, err = t.rows.next(t.fields); err != nil {
			return now, err
		}
	}
	return now, nil
}

// docs is the records of a block whose payload is JSON.
type docs[T any] struct {
	all    []T
	timeOf func(*T) uint64
	give   func(event.Handler, *T)
	at     int
}

// openDocs also returns about how much memory the records take.
func openDocs[T any](r *Reader, b *block, timeOf func(*T) uint64, give func(event.Handler, *T)) (records, int, error) {
	d := &docs[T]{timeOf: timeOf, give: give}
	size, err := r.readDocs(b, &d.all)
	if err != nil {
		return nil, 0, err
	}
	if len(d.all) != int(b.count) {
		return nil, 0, fmt.Errorf("%d records instead of %d", len(d.all), b.count)
	}
	prev := b.first
	for i := range d.all {
		t := timeOf(&d.all[i])
		if t < prev || t > b.last {
			return nil, 0, errOrder
		}
		prev = t
	}
	return d, size, nil
}

func (d *docs[T]) time() (uint64, bool) {
	if d.at == len(d.all) {
		return 0, false
	}
	return d.timeOf(&d.all[d.at]), true
}

func (d *docs[T]) read() int { return d.at }

func (d *docs[T]) deliver(h event.Handler, until uint64, with bool) (now uint64, err error) {
	for ; d.at < len(d.all); d.at++ {
		v := &d.all[d.at]
		t := d.timeOf(v)
		if t > until || (t == until && !with) {
			return now, nil
		}
		d.give(h, v)
		now = t
	}
	return now, nil
}
