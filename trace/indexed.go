// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"errors"
	"math"
	"slices"
)

// OpenIndexed is Open for who wants few of the blocks of a long file, such as Replay
// in a recording of many packets. It goes by the index instead of looking at each
// block's header, so nothing is known of damage in blocks that aren't read. Of a file
// without an end, or with an index that isn't whole, it is Open.
func OpenIndexed(path string) (*Reader, error) { return openFile(path, true) }

const (
	// tailWindow is where the last index block is looked for: it and the end are
	// smaller.
	tailWindow = 256 << 10
	// nearWindow is how much is read of a block with its header: most of those that
	// aren't of packets are smaller.
	nearWindow = 4 << 10
)

// scanIndex finds the blocks by the index; false if that doesn't account for each
// byte of the file.
func (r *Reader) scanIndex() (found bool, err error) {
	defer func() {
		if !found {
			r.blocks, r.last = nil, 0
		}
	}()
	tail := make([]byte, max(0, min(r.size-preambleLen, tailWindow)))
	if _, err := r.readAt(tail, r.size-int64(len(tail))); err != nil {
		return false, err
	}
	end, ok := r.blockBefore(tail, r.size)
	if !ok || end.kind != kindEnd {
		return false, nil
	}
	last, ok := r.blockBefore(tail, end.offset)
	if !ok || last.kind != kindIndex {
		return false, nil
	}
	if ok, err := r.firstHead(); err != nil || !ok {
		return false, err
	}
	parts, err := r.wholeIndex(last)
	if err != nil {
		return false, err
	}
	r.blocks = make([]block, 0, end.number+1)
	at := int64(preambleLen)
	for _, part := range parts {
		for i := range part {
			b, ok := part[i].block(r.id)
			if !ok || b.kind == kindEnd || !r.add(&b, &at) {
				return false, nil
			}
		}
	}
	return r.add(&last, &at) && r.add(&end, &at), nil
}

// add adds a block if it is the next one, and where that should be.
func (r *Reader) add(b *block, at *int64) bool {
	if b.offset != *at || int(b.number) != len(r.blocks) {
		return false
	}
	*at += b.length()
	r.blocks = append(r.blocks, *b)
	r.last = max(r.last, b.last)
	return true
}

// blockBefore finds the block that ends at an offset, by its header in tail, the
// file's last bytes.
func (r *Reader) blockBefore(tail []byte, end int64) (block, bool) {
	from := r.size - int64(len(tail))
	for tail = tail[:max(0, end-from)]; ; {
		i := bytes.LastIndex(tail, syncMagic[:])
		if i < 0 {
			return block{}, false
		}
		h, err := parseHeader(tail[i:])
		if at := from + int64(i); err == nil && h.id == r.id && at+h.length() == end {
			return block{offset: at, header: h}, true
		}
		tail = tail[:i]
	}
}

// firstHead reads the file's first block: an index can't be read without.
func (r *Reader) firstHead() (bool, error) {
	b := make([]byte, headerLen)
	n, err := r.readAt(b, preambleLen)
	if err != nil {
		return false, err
	}
	h, err := parseHeader(b[:n])
	if err != nil || h.id != r.id || h.kind != kindHead {
		return false, nil
	}
	r.blocks = []block{{offset: preambleLen, header: h}}
	err = r.readHead()
	if errors.Is(err, ErrHeader) {
		return false, nil // there is another one
	}
	return err == nil, err
}

// wholeIndex reads all index blocks, of which the first entry is the one before. Of
// one that is damaged there are too few entries.
func (r *Reader) wholeIndex(last block) (parts [][]blockInfo, err error) {
	for b := last; ; {
		part, err := r.readIndex(&b, nil)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
		if len(part) == 0 || part[0].kind != kindIndex {
			break
		}
		before, ok := part[0].block(r.id)
		if !ok || before.offset >= b.offset {
			break
		}
		b = before
	}
	slices.Reverse(parts)
	return parts, nil
}

// block is what an entry says of a block; its header is still to be read.
func (i *blockInfo) block(id fileID) (block, bool) {
	if i.length < headerLen || i.length > math.MaxUint32 || i.offset > math.MaxInt64-i.length || i.first > i.last || i.count > maxRecords {
		return block{}, false
	}
	// How the length is divided nobody asks before.
	h := header{id: id, number: i.number, kind: i.kind, count: i.count, first: i.first, last: i.last, stored: uint32(i.length - headerLen)}
	return block{offset: int64(i.offset), header: h, unread: true}, true
}

var errIndex = errors.New("block header isn't what the index says")

// readHeader reads the header of a block that is known by the index, and what comes
// after it.
func (r *Reader) readHeader(b *block) error {
	if !b.unread {
		return nil
	}
	r.near = grow(r.near, int(min(b.length(), nearWindow)))
	r.nearAt = b.offset
	n, err := r.readAt(r.near, b.offset)
	r.near = r.near[:n]
	if err != nil {
		return &ioError{err}
	}
	h, err := parseHeader(r.near)
	if err != nil {
		return err
	}
	if h.id != b.id || h.number != b.number || h.kind != b.kind || h.count != b.count || h.first != b.first || h.last != b.last || h.length() != b.length() {
		return errIndex
	}
	b.header, b.unread = h, false
	return nil
}

// part reads n bytes of b, which are valid until something else is read.
func (r *Reader) part(b *block, at, n int64) ([]byte, error) {
	if r.nearAt == b.offset && at+n <= int64(len(r.near)) {
		return r.near[at : at+n], nil
	}
	r.stored = grow(r.stored, int(n))
	got, err := r.readAt(r.stored, b.offset+at)
	if err != nil {
		return nil, &ioError{err}
	}
	return r.stored[:got], nil
}
