// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// resolve tells from the index what was in the damaged parts of the file.
func (r *Reader) resolve() error {
	if len(r.damage) == 0 && r.tail == nil {
		return nil
	}
	var index []blockInfo
	for i := range r.blocks {
		b := &r.blocks[i]
		if b.kind != kindIndex {
			continue
		}
		var err error
		if index, err = r.readIndex(b, index); err != nil {
			return err
		}
	}
	if len(index) == 0 {
		return nil
	}
	for i := range r.damage {
		d := &r.damage[i]
		if what, n, ok := d.inside(index); ok {
			d.Records = n
			d.Reason += "; " + what
		}
	}
	return nil
}

// readIndex appends the entries of b. That it is damaged, Replay reports.
func (r *Reader) readIndex(b *block, index []blockInfo) ([]blockInfo, error) {
	var rs rows[blockInfo]
	err := rs.open(r, b, r.maps.index, indexFields)
	if err == nil {
		defer r.release(rs.raw)
		index = slices.Grow(index, rs.total)
		for {
			var chunk []blockInfo
			if chunk, err = rs.next(indexFields); err != nil || len(chunk) == 0 {
				break
			}
			index = append(index, chunk...)
		}
	}
	var ioErr *ioError
	if errors.As(err, &ioErr) {
		return nil, err
	}
	return index, nil
}

// inside says what fills a part of the file, and how many records of the
// recording; false if the index doesn't know all of it.
func (d *span) inside(index []blockInfo) (what string, records int64, ok bool) {
	var blocks uint32
	var covered uint64
	var counts [kindCount]uint64
	for _, b := range index {
		if !d.had(&b) {
			continue
		}
		blocks++
		covered += b.length
		if b.kind.records() {
			records += int64(b.count)
		}
		if b.kind.known() {
			counts[b.kind] += uint64(b.count)
		}
	}
	var parts []string
	for k, n := range counts {
		if n != 0 {
			parts = append(parts, fmt.Sprintf("%d %v", n, kind(k)))
		}
	}
	ok = blocks != 0 && blocks == d.missing
	if d.missing == 0 {
		ok = d.Length > 0 && covered == uint64(d.Length)
	}
	return "there were " + strings.Join(parts, ", "), records, ok
}

// had reports whether a block was there. Blocks go by their numbers, for what
// comes after a part that was cut out isn't where it was.
func (d *span) had(b *blockInfo) bool {
	if d.missing != 0 {
		return b.number >= d.first && b.number-d.first < d.missing
	}
	return b.offset >= uint64(d.Offset) && b.offset < uint64(d.Offset+d.Length)
}
