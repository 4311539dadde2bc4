// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

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
	if err := r.readHeader(b); err != nil {
		return nil, err
	}
	stored, err := r.part(b, headerLen+int64(b.ranges), int64(b.stored))
	if err != nil {
		return nil, err
	}
	if len(stored) < int(b.stored) || checksum(stored) != b.payloadSum {
		return nil, errPayloadSum
	}
	switch b.codec {
	case codecNone:
		if b.raw != b.stored {
			return nil, errRaw
		}
		return append(r.buffer(int(b.raw)), stored...), nil
	case codecZstd:
		buf := r.buffer(int(b.raw))
		// No more than fits, whatever it unpacks to.
		raw, err := r.dec.DecodeAll(stored, buf[:0:b.raw])
		if err != nil {
			return nil, fmt.Errorf("unpack the payload: %w", err)
		}
		if len(raw) != int(b.raw) {
			return nil, errRaw
		}
		return buf[:b.raw], nil // all of buf is to be had again
	}
	return nil, fmt.Errorf("codec %d is unknown: use a newer nstrace", b.codec)
}

// leastBuffer is how large a buffer is at least, so that it fits other small blocks.
const leastBuffer = 4 << 10

// keepBuffers is how many unused payloads are kept for reuse.
const keepBuffers = 8

// buffer returns an empty slice with capacity n at least: the smallest that fits. If
// none does, the largest makes room for a larger one, so that there are never more
// than were needed at once.
func (r *Reader) buffer(n int) []byte {
	i := min(r.place(n), len(r.free)-1)
	if i >= 0 {
		b := r.free[i]
		r.free = slices.Delete(r.free, i, i+1)
		if cap(b) >= n {
			return b[:0]
		}
	}
	return make([]byte, 0, max(n, leastBuffer))
}

// place is where a buffer with capacity n belongs in free, which is in the order of
// capacity.
func (r *Reader) place(n int) int {
	i, _ := slices.BinarySearchFunc(r.free, n, func(b []byte, n int) int { return cap(b) - n })
	return i
}

// release takes b back, nil for none.
func (r *Reader) release(b []byte) {
	if cap(b) == 0 {
		return
	}
	r.free = slices.Insert(r.free, r.place(cap(b)), b)
	if len(r.free) > keepBuffers {
		r.free = slices.Delete(r.free, 0, 1) // the others fit what it does
	}
}

// ranges reads the sequence ranges of b.
func (r *Reader) ranges(b *block, rs []seqRange) ([]seqRange, error) {
	if err := r.readHeader(b); err != nil {
		return rs, err
	}
	if b.ranges == 0 {
		return rs, nil
	}
	buf, err := r.part(b, headerLen, int64(b.ranges))
	if err != nil {
		return rs, err
	}
	if len(buf) < int(b.ranges) || checksum(buf) != b.rangesSum {
		return rs, errRangesSum
	}
	return parseRanges(buf, rs)
}

// checkStored checks the payload of a block without unpacking it.
func (r *Reader) checkStored(b *block) error {
	if err := r.readHeader(b); err != nil {
		return err
	}
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

// rows decodes columnar blocks of T, one after the other, chunk by chunk.
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

// open reads the block b. fm and fields are those of its kind. What rs needs memory
// for it takes from the block before: a long recording has thousands of small ones.
func (rs *rows[T]) open(r *Reader, b *block, fm fieldMap, fields []field[T]) error {
	rs.total, rs.done, rs.first, rs.last, rs.prev = int(b.count), 0, b.first, b.last, b.first
	var err error
	if rs.ctx.ranges, err = r.ranges(b, rs.ctx.ranges[:0]); err != nil {
		return err
	}
	rs.ctx.next = rs.ctx.next[:0]
	for i := range rs.ctx.ranges {
		rs.ctx.next = append(rs.ctx.next, rs.ctx.ranges[i].first)
	}
	if rs.raw, err = r.payload(b); err != nil {
		return err
	}
	if err = rs.sec.parse(rs.raw); err == nil {
		rs.cols, err = bindColumns(rs.cols[:0], &rs.sec, rs.total, fm, fields, len(rs.ctx.ranges))
	}
	if err != nil {
		r.release(rs.raw)
		return err
	}
	n := min(rs.total, chunkRows)
	rs.chunk = grow(rs.chunk, n)
	clear(rs.chunk)
	rs.buf = grow(rs.buf, 3*n)
	return nil
}

// bindColumns opens the columns that fm knows, those that others refer to
// first, and appends them to cols.
func bindColumns[T any](cols []boundColumn, sec *section, n int, fm fieldMap, fields []field[T], ranges int) ([]boundColumn, error) {
	for _, raw := range sec.columns {
		i, ok := fm[raw.id]
		if !ok {
			continue
		}
		name := fields[i].name
		if slices.ContainsFunc(cols, func(c boundColumn) bool { return c.field == i }) {
			return cols, fmt.Errorf("column %q is there twice", name)
		}
		limit := uint64(len(sec.strings) - 1)
		if fields[i].str == nil {
			limit = fields[i].max()
		}
		cols = grow(cols, len(cols)+1) // with what memory was there
		c := &cols[len(cols)-1]
		c.field, c.rank = i, columnRank(name)
		if err := c.open(name, raw, n, limit, ranges); err != nil {
			return cols, fmt.Errorf("column %q: %w", name, err)
		}
	}
	slices.SortStableFunc(cols, func(a, b boundColumn) int { return a.rank - b.rank })
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
