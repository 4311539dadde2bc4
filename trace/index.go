// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"fmt"
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
		if what, n, ok := inside(index, d.Offset, d.Length); ok {
			d.Records = n
			d.Reason += ": " + what
		}
	}
	return nil
}

// readIndex appends the entries of b. That it is damaged, Replay reports.
func (r *Reader) readIndex(b *block, index []blockInfo) ([]blockInfo, error) {
	rs, err := openRows(r, b, r.maps.index, indexFields)
	if err == nil {
		defer r.release(rs.raw)
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

// inside says which blocks fill a part of the file, and how many records of the
// recording they have; false if the index doesn't know all of it.
func inside(index []blockInfo, off, length int64) (what string, records int64, ok bool) {
	var covered uint64
	var parts []string
	for _, b := range index {
		if b.offset < uint64(off) || b.offset >= uint64(off+length) {
			continue
		}
		covered += b.length
		parts = append(parts, fmt.Sprintf("%d %v", b.count, b.kind))
		if b.kind.records() {
			records += int64(b.count)
		}
	}
	if len(parts) > 8 {
		parts = append(parts[:8], "more")
	}
	return "it had " + strings.Join(parts, ", "), records, covered == uint64(length) && length > 0
}
