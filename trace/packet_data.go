// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"fmt"
)

var errData = errors.New("the bytes aren't those of the packets before them")

// packetData are the bytes of one block's packets. Its memory is used again for
// the next block.
type packetData struct {
	rows  []dataRow
	bytes []byte
	raw   []byte
	next  int // of rows
	sec   section
	// These are used again.
	columns []boundColumn
	vals    []uint64
}

// openData reads the packetdata block b, which is to be of the packets block of; nil
// if that is gone, and b is to be checked by itself.
func (r *Reader) openData(d *packetData, b, of *block) error {
	d.rows, d.bytes, d.next = d.rows[:0], nil, 0
	raw, err := r.payload(b)
	if err != nil {
		return err
	}
	d.raw = raw
	if err := d.parse(r, b, of); err != nil {
		d.close(r)
		return err
	}
	return nil
}

func (d *packetData) close(r *Reader) {
	if d.raw != nil {
		r.release(d.raw)
	}
	d.raw, d.bytes, d.rows, d.next = nil, nil, d.rows[:0], 0
}

func (d *packetData) parse(r *Reader, b, of *block) error {
	if err := d.sec.parse(d.raw); err != nil {
		return err
	}
	seen := false
	for _, c := range d.sec.columns {
		if _, ok := r.maps.bytes[c.id]; !ok {
			continue
		}
		if seen || c.enc != encBytes {
			return fmt.Errorf("column %q: %w", nameBytes, errReference)
		}
		d.bytes, seen = c.data, true
	}
	n := int(b.count)
	var err error
	if d.columns, err = bindColumns(d.columns[:0], &d.sec, n, r.maps.data, dataFields, 0); err != nil {
		return err
	}
	d.rows = grow(d.rows, n)
	clear(d.rows)
	d.vals = grow(d.vals, n)
	for i := range d.columns {
		c := &d.columns[i]
		f := &dataFields[c.field]
		if err := c.read(d.vals, &context{}); err != nil {
			return fmt.Errorf("column %q: %w", f.name, err)
		}
		f.set(d.rows, d.vals)
	}
	return d.check(of)
}

// check lets what follows rely on the rows.
func (d *packetData) check(of *block) error {
	packets := uint32(maxRecords)
	if of != nil {
		packets = of.count
	}
	left := uint64(len(d.bytes))
	for i, row := range d.rows {
		switch {
		case of != nil && row.block != of.number, row.packet >= packets, i > 0 && row.packet <= d.rows[i-1].packet:
			return errData
		case row.length == 0 || uint64(row.length) > left:
			return errData
		}
		left -= uint64(row.length)
	}
	if left != 0 {
		return errData
	}
	return nil
}

// of returns the bytes of a packet, nil if it has none. Packets must be asked for
// in their order.
func (d *packetData) of(packet uint32) []byte {
	if d.next == len(d.rows) || d.rows[d.next].packet != packet {
		return nil
	}
	n := d.rows[d.next].length
	data := d.bytes[:n:n]
	d.bytes = d.bytes[n:]
	d.next++
	return data
}
