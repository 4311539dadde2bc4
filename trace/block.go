// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/nstrace/nstrace/event"
)

// ioError is an error of the file itself: not damage, reading must stop.
type ioError struct{ err error }

func (e *ioError) Error() string { return e.err.Error() }
func (e *ioError) Unwrap() error { return e.err }

var (
	errPayloadSum = errors.New("the payload's checksum doesn't match")
	errRangesSum  = errors.New("the sequence ranges' checksum doesn't match")
	errRaw        = errors.New("the payload doesn't unpack to its length")
)

// payload reads, checks and unpacks the payload of b. The result is the
// caller's until it gives it to release.
func (r *Reader) payload(b *block) ([]byte, error) {
	r.stored = grow(r.stored, int(b.stored))
	n, err := r.readAt(r.stored, b.offset+headerLen+int64(b.ranges))
	if err != nil {
		return nil, &ioError{err}
	}
	if n < len(r.stored) || checksum(r.stored) != b.payloadSum {
		return nil, errPayloadSum
	}
	switch b.codec {
	case codecNone:
		if b.raw != b.stored {
			return nil, errRaw
		}
		return append(r.buffer(int(b.raw)), r.stored...), nil
	case codecZstd:
		raw, err := r.dec.DecodeAll(r.stored, r.buffer(int(b.raw)))
		if err != nil {
			return nil, fmt.Errorf("unpack the payload: %w", err)
		}
		if len(raw) != int(b.raw) {
			return nil, errRaw
		}
		return raw, nil
	}
	return nil, fmt.Errorf("codec %d is unknown: use a newer nstrace", b.codec)
}

// keepBuffers is how many unused payloads are kept for reuse.
const keepBuffers = 8

// buffer returns an empty slice with capacity n.
func (r *Reader) buffer(n int) []byte {
	for i, b := range r.free {
		if cap(b) >= n {
			last := len(r.free) - 1
			r.free[i] = r.free[last]
			r.free = r.free[:last]
			return b[:0:n]
		}
	}
	return make([]byte, 0, n)
}

func (r *Reader) release(b []byte) {
	if len(r.free) < keepBuffers {
		r.free = append(r.free, b)
		return
	}
	// Keep the large ones: they fit all.
	least := 0
	for i := range r.free {
		if cap(r.free[i]) < cap(r.free[least]) {
			least = i
		}
	}
	if cap(r.free[least]) < cap(b) {
		r.free[least] = b
	}
}

// ranges reads the sequence ranges of b.
func (r *Reader) ranges(b *block, rs []seqRange) ([]seqRange, error) {
	if b.ranges == 0 {
		return rs, nil
	}
	buf := make([]byte, b.header.ranges)
	n, err := r.readAt(buf, b.offset+headerLen)
	if err != nil {
		return rs, &ioError{err}
	}
	if n < len(buf) || checksum(buf) != b.rangesSum {
		return rs, errRangesSum
	}
	return parseRanges(buf, rs)
}

// checkStored checks the payload of a block without unpacking it.
func (r *Reader) checkStored(b *block) error {
	r.stored = grow(r.stored, int(min(int64(b.stored), searchWindow)))
	var sum uint32
	off, left := b.offset+headerLen+int64(b.ranges), int64(b.stored)
	for left > 0 {
		n, err := r.readAt(r.stored[:min(left, int64(len(r.stored)))], off)
		if err != nil {
			return &ioError{err}
		}
		if n == 0 {
			return errPayloadSum
		}
		sum = crc32.Update(sum, castagnoli, r.stored[:n])
		off, left = off+int64(n), left-int64(n)
	}
	if sum != b.payloadSum {
		return errPayloadSum
	}
	_, err := r.ranges(b, nil)
	return err
}

// readDocs reads the records of b, whose payload is JSON, into the slice that
// v points to. It returns about how much memory they take.
func (r *Reader) readDocs(b *block, v any) (size int, err error) {
	raw, err := r.payload(b)
	if err != nil {
		return 0, err
	}
	defer r.release(raw)
	if size, err = checkCost(raw); err != nil {
		return 0, err
	}
	if err := unmarshal(raw, v); err != nil {
		return 0, fmt.Errorf("decode the payload: %w", err)
	}
	if b.ranges > 0 { // nothing uses them, but a newer writer's can be damaged
		_, err = r.ranges(b, nil)
	}
	return size, err
}

// rows decodes a columnar block of T, chunk by chunk.
type rows[T any] struct {
	ctx   context
	sec   section
	raw   []byte
	total int
	done  int

	first, last uint64 // the header's
	prev        uint64 // time of the row before

	cols []boundColumn
	buf  []uint64
	// chunk has the rows last read.
	chunk []T
}

// boundColumn is a column of the block with the field it goes to.
type boundColumn struct {
	column
	field int
	rank  int
}

// chunkRows is how many rows are decoded at a time: few enough to stay in the
// processor's cache.
const chunkRows = 128

// openRows reads the block b. fm and fields are those of its kind.
func openRows[T any](r *Reader, b *block, fm fieldMap, fields []field[T]) (*rows[T], error) {
	rs := &rows[T]{total: int(b.count), first: b.first, last: b.last, prev: b.first}
	var err error
	if rs.ctx.ranges, err = r.ranges(b, nil); err != nil {
		return nil, err
	}
	for i := range rs.ctx.ranges {
		rs.ctx.next = append(rs.ctx.next, rs.ctx.ranges[i].first)
	}
	if rs.raw, err = r.payload(b); err != nil {
		return nil, err
	}
	if err = rs.sec.parse(rs.raw); err == nil {
		rs.cols, err = bindColumns(&rs.sec, rs.total, fm, fields, len(rs.ctx.ranges))
	}
	if err != nil {
		r.release(rs.raw)
		return nil, err
	}
	n := min(rs.total, chunkRows)
	rs.chunk = make([]T, n)
	rs.buf = make([]uint64, 3*n)
	return rs, nil
}

// bindColumns opens the columns that fm knows, those that others refer to
// first.
func bindColumns[T any](sec *section, n int, fm fieldMap, fields []field[T], ranges int) ([]boundColumn, error) {
	var cols []boundColumn
	seen := make([]bool, len(fields))
	for rank := range 3 {
		for _, raw := range sec.columns {
			i, ok := fm[raw.id]
			if !ok || columnRank(fields[i].name) != rank {
				continue
			}
			if seen[i] {
				return nil, fmt.Errorf("column %q is there twice", fields[i].name)
			}
			seen[i] = true
			limit := uint64(len(sec.strings) - 1)
			if fields[i].str == nil {
				limit = fields[i].max()
			}
			bc := boundColumn{field: i, rank: rank}
			if err := bc.open(fields[i].name, raw, n, limit, ranges); err != nil {
				return nil, fmt.Errorf("column %q: %w", fields[i].name, err)
			}
			cols = append(cols, bc)
		}
	}
	return cols, nil
}

// columnRank says when a column must be decoded.
func columnRank(name string) int {
	switch name {
	case nameTime:
		return 0
	case nameCPU:
		return 1
	}
	return 2
}

// next decodes the next chunk; it is empty at the end.
func (rs *rows[T]) next(fields []field[T]) ([]T, error) {
	n := min(rs.total-rs.done, chunkRows)
	if n == 0 {
		return nil, nil
	}
	chunk := rs.chunk[:n]
	times, cpus, vals := rs.buf[:n], rs.buf[n:2*n], rs.buf[2*n:3*n]
	rs.ctx.times, rs.ctx.cpus = nil, nil
	sawCPU := false
	for i := range rs.cols {
		c := &rs.cols[i]
		f := &fields[c.field]
		if c.enc == encConst && rs.done > 0 && c.rank > 0 {
			continue // the rows have it from the chunk before
		}
		dst := vals
		switch c.rank {
		case 0:
			dst = times
		case 1:
			dst, sawCPU = cpus, true
		}
		if err := c.read(dst, &rs.ctx); err != nil {
			return nil, fmt.Errorf("column %q: %w", f.name, err)
		}
		switch {
		case c.rank == 0:
			rs.ctx.times = dst
		case c.enc == encCPU:
			rs.ctx.cpus = dst
			for j, k := range dst {
				vals[j] = uint64(rs.ctx.ranges[k].cpu)
			}
			dst = vals
		}
		if f.str != nil {
			for j, k := range dst {
				*f.str(&chunk[j]) = rs.sec.strings[k]
			}
			continue
		}
		f.set(chunk, dst)
	}
	if !sawCPU {
		rs.oneCPU(chunk, fields)
	}
	rs.done += n
	return chunk, rs.inOrder(times)
}

// oneCPU sets the CPU of a block that has but one.
func (rs *rows[T]) oneCPU(chunk []T, fields []field[T]) {
	if len(rs.ctx.ranges) == 0 {
		return
	}
	vals := rs.buf[len(rs.buf)-len(chunk):]
	for i := range vals {
		vals[i] = uint64(rs.ctx.ranges[0].cpu)
	}
	for i := range fields {
		if fields[i].name == nameCPU {
			fields[i].set(chunk, vals)
		}
	}
}

// inOrder checks that the chunk's times are what merging relies on.
func (rs *rows[T]) inOrder(times []uint64) error {
	if rs.ctx.times == nil { // no time at all
		if rs.first != 0 {
			return errOrder
		}
		return nil
	}
	prev := rs.prev
	for _, t := range times {
		if t < prev {
			return errOrder
		}
		prev = t
	}
	rs.prev = prev
	if prev > rs.last {
		return errOrder
	}
	return nil
}

// describeLoss says what is lost with a block whose payload is unreadable.
func (r *Reader) describeLoss(b *block, read int, err error) *event.Damage {
	d := &event.Damage{Offset: b.offset, Length: b.length(), Reason: fmt.Sprintf("%v block: %v", b.kind, err)}
	switch {
	case b.kind.records():
		d.Records = int64(b.count) - int64(read)
	case !b.kind.known():
		d.Records = -1
	}
	return d
}
