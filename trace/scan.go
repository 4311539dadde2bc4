// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/nstrace/nstrace/event"
)

// window reads a file by pieces, for headers that are close together and for
// the search of the next one.
type window struct {
	r   *Reader
	buf []byte
	off int64
}

const (
	scanWindow   = 4 << 10
	searchWindow = 256 << 10
)

// at returns up to n bytes at off: fewer at the end of the file only.
func (w *window) at(off int64, n, ahead int) ([]byte, error) {
	if off >= w.off && off+int64(n) <= w.off+int64(len(w.buf)) {
		return w.buf[off-w.off:][:n], nil
	}
	w.buf = grow(w.buf, max(n, ahead))
	got, err := w.r.readAt(w.buf, off)
	w.buf, w.off = w.buf[:got], off
	return w.buf[:min(n, got)], err
}

// scan finds the blocks from off on, by their headers only.
func (r *Reader) scan(off int64) error {
	w := &window{r: r}
	for off < r.size {
		b, err := w.at(off, headerLen, scanWindow)
		if err != nil {
			return err
		}
		h, bad := r.parse(b)
		if bad == nil {
			if off+h.length() > r.size {
				r.cut(off, fmt.Sprintf("the file ends inside a block of %d %v records", h.count, h.kind))
				return nil
			}
			r.found(off, h)
			off += h.length()
			continue
		}
		next, err := r.search(w, off+1)
		if err != nil {
			return err
		}
		if next < 0 {
			r.rest(off, bad)
			return nil
		}
		r.lost(off, next-off, bad.Error())
		off = next
	}
	if n := len(r.blocks); n == 0 || r.blocks[n-1].kind != kindEnd {
		r.cut(off, "the file has no end block: the recording did not finish, or the file was cut")
	}
	return nil
}

// parse parses a header of this file.
func (r *Reader) parse(b []byte) (header, error) {
	h, err := parseHeader(b)
	if err == nil && h.id != r.id {
		err = errors.New("block of another file")
	}
	if n := len(r.blocks); err == nil && n > 0 {
		if h.number <= r.blocks[n-1].number {
			err = fmt.Errorf("block %d comes after block %d", h.number, r.blocks[n-1].number)
		} else if r.blocks[n-1].kind == kindEnd {
			err = errors.New("block after the end")
		}
	}
	return h, err
}

// search returns where the next header is, -1 if there is none.
func (r *Reader) search(w *window, off int64) (int64, error) {
	for off < r.size {
		b, err := w.at(off, searchWindow, searchWindow)
		if err != nil {
			return 0, err
		}
		i := bytes.Index(b, syncMagic[:])
		if i < 0 {
			if len(b) < searchWindow {
				return -1, nil
			}
			off += int64(len(b) - len(syncMagic) + 1)
			continue
		}
		off += int64(i)
		hb := b[i:]
		if len(hb) < headerLen {
			if hb, err = w.at(off, headerLen, searchWindow); err != nil {
				return 0, err
			}
		}
		if _, err := r.parse(hb); err == nil {
			return off, nil
		}
		off++
	}
	return -1, nil
}

// found adds a block, and says if there should be others before it.
func (r *Reader) found(off int64, h header) {
	var want uint32
	if n := len(r.blocks); n > 0 {
		want = r.blocks[n-1].number + 1
	}
	if missing := h.number - want; missing > 0 {
		if !r.lostJustBefore(off) {
			r.lost(off, 0, fmt.Sprintf("%d blocks are missing", missing))
		}
		last := &r.damage[len(r.damage)-1]
		last.first, last.missing = want, missing
	}
	r.blocks = append(r.blocks, block{offset: off, header: h})
	r.last = max(r.last, h.last)
}

func (r *Reader) lostJustBefore(off int64) bool {
	n := len(r.damage)
	return n > 0 && r.damage[n-1].Offset+r.damage[n-1].Length == off
}

// lost adds a part of the file without a block header.
func (r *Reader) lost(off, length int64, reason string) {
	r.damage = append(r.damage, span{
		Damage: event.Damage{Offset: off, Length: length, Time: r.last, Reason: reason, Records: -1},
		before: len(r.blocks),
	})
}

// rest is a file's last part, without a block header.
func (r *Reader) rest(off int64, bad error) {
	if n := len(r.blocks); n > 0 && r.blocks[n-1].kind == kindEnd {
		r.lost(off, r.size-off, "data after the end block")
		return
	}
	r.cut(off, fmt.Sprintf("the file has no end block, and its last part is unreadable: %v", bad))
}

// cut is the end of a file that has no end block.
func (r *Reader) cut(off int64, reason string) {
	r.tail = &event.Damage{Offset: off, Length: r.size - off, Truncated: true, Reason: reason, Records: -1}
	if off == r.size {
		r.tail.Records = 0
	}
}
