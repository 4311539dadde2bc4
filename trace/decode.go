// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

var (
	errCut       = errors.New("payload ends inside a column")
	errValue     = errors.New("value doesn't fit its column")
	errReference = errors.New("column refers to something that isn't there")
	errOrder     = errors.New("records are not in the order of time")
)

// uvarint takes one from the front of *b.
func uvarint(b *[]byte) (uint64, error) {
	v, n := binary.Uvarint(*b)
	if n <= 0 {
		return 0, errCut
	}
	*b = (*b)[n:]
	return v, nil
}

// section is the raw payload of a columnar block, taken apart but not decoded.
type section struct {
	dictRows int
	// strings has "" first.
	strings []string
	columns []rawColumn
}

type rawColumn struct {
	id   uint64
	enc  byte
	data []byte
}

func (s *section) parse(b []byte) error {
	rows, err := uvarint(&b)
	if err != nil {
		return err
	}
	if rows > maxRecords {
		return fmt.Errorf("dictionary of %d rows: %w", rows, errBounds)
	}
	s.dictRows = int(rows)
	if b, err = s.parseStrings(b); err != nil {
		return err
	}
	s.columns = s.columns[:0]
	for len(b) > 0 {
		var c rawColumn
		if c.id, err = uvarint(&b); err != nil {
			return err
		}
		if len(b) == 0 {
			return errCut
		}
		c.enc, b = b[0], b[1:]
		n, err := uvarint(&b)
		if err != nil {
			return err
		}
		if n > uint64(len(b)) || len(s.columns) >= maxFields {
			return errCut
		}
		c.data, b = b[:n], b[n:]
		s.columns = append(s.columns, c)
	}
	return nil
}

func (s *section) parseStrings(b []byte) ([]byte, error) {
	n, err := uvarint(&b)
	if err != nil {
		return nil, err
	}
	if n > uint64(len(b)) { // each has a length of at least a byte
		return nil, errCut
	}
	lens := b
	var total uint64
	for range n {
		l, err := uvarint(&b)
		if err != nil {
			return nil, err
		}
		if total += l; l > maxRawColumns || total > maxRawColumns {
			return nil, errCut
		}
	}
	if total > uint64(len(b)) {
		return nil, errCut
	}
	// Fresh memory: events share these strings, handlers may keep them.
	all := string(b[:total])
	s.strings = append(slices.Grow(s.strings[:0], int(n)+1), "")
	for range n {
		l, _ := uvarint(&lens)
		s.strings = append(s.strings, all[:l])
		all = all[l:]
	}
	return b[total:], nil
}

// context is what columns of one block share while a chunk is decoded.
type context struct {
	ranges []seqRange
	// next is the next sequence number of each range.
	next []uint64
	// times and cpus are the chunk's; cpus are numbers of ranges, nil if all 0.
	times []uint64
	cpus  []uint64
}

// column decodes one column, chunk by chunk.
type column struct {
	enc    byte
	planes []byte
	width  int
	rows   int // in the block
	at     int // decoded so far
	value  uint64
	base   uint64
	dict   []uint64
	// max is the largest value that fits; check says that a greater one could
	// come.
	max   uint64
	check bool
}

// open reads the column's parameters. Its name says whether it is one of those
// with an encoding of their own.
func (c *column) open(name string, raw rawColumn, rows int, maxValue uint64, ranges int) (err error) {
	if (raw.enc == encCPU && name != nameCPU) || (raw.enc == encSeq && name != nameSeq) {
		return fmt.Errorf("%w: encoding %d of another column", errReference, raw.enc)
	}
	*c = column{enc: raw.enc, rows: rows, max: maxValue, check: maxValue != 1<<64-1, dict: c.dict[:0]}
	b := raw.data
	switch raw.enc {
	case encConst:
		c.value, err = uvarint(&b)
		if err == nil && c.value > c.max {
			err = errValue
		}
		return err
	case encPlain, encBefore:
		c.base, err = uvarint(&b)
	case encDelta:
		if c.value, err = uvarint(&b); err == nil {
			c.base, err = uvarint(&b)
			c.base = unzigzag(c.base)
		}
	case encDict:
		err = c.openDict(&b)
	case encCPU, encSeq:
		if ranges == 0 {
			err = fmt.Errorf("%w: sequence ranges", errReference)
		}
	default:
		err = fmt.Errorf("encoding %d is unknown: use a newer nstrace", raw.enc)
	}
	if err != nil {
		return err
	}
	if len(b) == 0 {
		return errCut
	}
	c.width, c.planes = int(b[0]), b[1:]
	if c.width > 8 || len(c.planes) != c.width*rows {
		return errCut
	}
	if c.enc == encPlain && c.base <= c.max && c.width < 8 && c.max-c.base >= 1<<(8*c.width)-1 {
		c.check = false
	}
	return nil
}

func (c *column) openDict(b *[]byte) error {
	n, err := uvarint(b)
	if err != nil {
		return err
	}
	if n == 0 || n > uint64(len(*b)) {
		return errCut
	}
	var prev uint64
	for range n {
		d, err := uvarint(b)
		if err != nil {
			return err
		}
		prev += unzigzag(d)
		if prev > c.max {
			return errValue
		}
		c.dict = append(c.dict, prev)
	}
	c.check = false
	return nil
}

// read decodes the next len(dst) rows.
func (c *column) read(dst []uint64, ctx *context) error {
	if c.at+len(dst) > c.rows {
		return errCut
	}
	if c.enc == encConst {
		for i := range dst {
			dst[i] = c.value
		}
		c.at += len(dst)
		return nil
	}
	c.unplane(dst)
	c.at += len(dst)
	switch c.enc {
	case encPlain:
		if c.base != 0 {
			for i := range dst {
				dst[i] += c.base
			}
		}
	case encDelta:
		v, base := c.value, c.base
		for i, d := range dst {
			v += d + base
			dst[i] = v
		}
		c.value = v
	case encDict:
		dict := c.dict
		for i, d := range dst {
			if d >= uint64(len(dict)) {
				return errReference
			}
			dst[i] = dict[d]
		}
	case encBefore:
		if len(ctx.times) != len(dst) {
			return errReference
		}
		for i, d := range dst {
			if d += c.base; d != 0 {
				d = ctx.times[i] + 1 - d
			}
			dst[i] = d
		}
	case encCPU:
		for _, d := range dst {
			if d >= uint64(len(ctx.ranges)) {
				return errReference
			}
		}
		return nil // the reader makes CPUs of them
	case encSeq:
		return c.sequence(dst, ctx)
	}
	return c.bounded(dst)
}

func (c *column) bounded(dst []uint64) error {
	if !c.check {
		return nil
	}
	var over bool
	for _, v := range dst {
		over = over || v > c.max
	}
	if over {
		return errValue
	}
	return nil
}

func (c *column) sequence(dst []uint64, ctx *context) error {
	next := ctx.next
	if ctx.cpus == nil {
		n := next[0]
		for i, d := range dst {
			n += unzigzag(d)
			dst[i] = n
			n++
		}
		next[0] = n
		return nil
	}
	if len(ctx.cpus) != len(dst) {
		return errReference
	}
	for i, d := range dst {
		r := &next[ctx.cpus[i]]
		v := *r + unzigzag(d)
		dst[i] = v
		*r = v + 1
	}
	return nil
}

// unplane puts the bytes of the next len(dst) rows together.
func (c *column) unplane(dst []uint64) {
	plane := func(k int) []byte { return c.planes[k*c.rows+c.at:][:len(dst)] }
	switch c.width {
	case 0:
		clear(dst)
		return
	case 1:
		for i, b := range plane(0) {
			dst[i] = uint64(b)
		}
		return
	}
	p0, p1 := plane(0), plane(1)
	p1 = p1[:len(p0)]
	for i, b := range p0 {
		dst[i] = uint64(b) | uint64(p1[i])<<8
	}
	for k := 2; k < c.width; k++ {
		shift := 8 * k & 63
		for i, b := range plane(k) {
			dst[i] |= uint64(b) << shift
		}
	}
}
