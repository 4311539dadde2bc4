// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/nstrace/nstrace/event"
)

var (
	// ErrNotTrace is for a file that is no trace; the error says what it looks
	// like.
	ErrNotTrace = errors.New("not an nstrace file")
	// ErrVersion is for a file that needs a newer nstrace.
	ErrVersion = errors.New("unsupported version of the trace file")
	// ErrHeader is for a trace whose beginning is cut or damaged so that nothing
	// of it can be told.
	ErrHeader = errors.New("the head of the trace file is unreadable")
)

// Reader reads a trace file. Its methods must not be called concurrently, but
// any number of Readers can read one file.
type Reader struct {
	r     io.ReaderAt
	size  int64
	close io.Closer

	id     fileID
	head   head
	blocks []block
	damage []span
	last   uint64 // the last time of all blocks
	end    *ending
	tail   *event.Damage // no end: what the file ends with
	maps   fieldMaps
	dec    *zstd.Decoder
	stored []byte   // the stored payload being read
	near   []byte   // the first bytes of the block at nearAt
	nearAt int64    // 0 if there is none
	free   [][]byte // raw payloads of closed blocks, the smallest first
	// idle has a closed table of each kind, to use again.
	idle [kindCount]records
}

// fieldMaps relate the columns of the file to this package's.
type fieldMaps struct {
	events, steps, tasks, counts, packets, flows, data, bytes, index fieldMap
}

// block is a block whose header is whole.
type block struct {
	offset int64
	header
	// unread says that only the index is known: see readHeader.
	unread bool
}

// span is a part of the file without a readable block header.
type span struct {
	event.Damage
	before int // position among blocks of the block that comes after it
	// first is the number of the first block that should be there, missing how
	// many should; 0 where that isn't known.
	first, missing uint32
}

// Open opens the trace file path. See NewReader.
func Open(path string) (*Reader, error) { return openFile(path, false) }

func openFile(path string, indexed bool) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open trace file: %w", err)
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file: copy the trace into one first", path)
	}
	var r *Reader
	if err == nil {
		r, err = newReader(f, st.Size(), indexed)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open trace file %s: %w", path, err), f.Close())
	}
	r.close = f
	return r, nil
}

// NewReader reads the head and finds the blocks of the trace in the first size
// bytes of r. Its errors are ErrNotTrace, ErrVersion, ErrHeader and those of r.
// Damage after the head is no error: Replay, Packets and Verify report it.
func NewReader(r io.ReaderAt, size int64) (*Reader, error) { return newReader(r, size, false) }

func newReader(r io.ReaderAt, size int64, indexed bool) (*Reader, error) {
	dec, err := newDecoder()
	if err != nil {
		return nil, err
	}
	tr := &Reader{r: r, size: size, dec: dec}
	if err := tr.open(indexed); err != nil {
		dec.Close()
		return nil, err
	}
	return tr, nil
}

// Close closes the file, if Open opened it.
func (r *Reader) Close() error {
	r.dec.Close()
	if r.close == nil {
		return nil
	}
	return r.close.Close()
}

// Recording is the head of the file.
func (r *Reader) Recording() event.Recording { return r.head.Recording }

// End is how the recording ended, false if it did not finish.
func (r *Reader) End() (event.End, bool) {
	if r.end == nil {
		return event.End{}, false
	}
	return r.end.End, true
}

func (r *Reader) open(indexed bool) error {
	pre := make([]byte, preambleLen+headerLen)
	n, err := r.readAt(pre, 0)
	if err != nil {
		return err
	}
	p, whole := parsePreamble(pre[:n])
	if !whole {
		// The head blocks repeat all of it, so a damaged preamble is no reason
		// not to read on.
		h, err := parseHeader(pre[min(n, preambleLen):n])
		if err != nil || h.kind != kindHead {
			return r.notTrace(pre[:n])
		}
		p = preamble{versionMajor, versionMinor, byteOrder, h.id}
		r.lost(0, preambleLen, "the preamble is damaged")
	}
	if p.order != byteOrder {
		return fmt.Errorf("%w: byte order %#x: use the nstrace that wrote the file", ErrVersion, p.order)
	}
	if err := checkVersion(formatVersion{p.major, p.minor}); err != nil {
		return err
	}
	r.id = p.id
	found := false
	if indexed {
		if found, err = r.scanIndex(); err != nil {
			return err
		}
	}
	if !found {
		if err := r.scan(preambleLen); err != nil {
			return err
		}
	}
	if err := r.readHead(); err != nil {
		return err
	}
	if err := r.readEnd(); err != nil {
		return err
	}
	return r.resolve()
}

func checkVersion(v formatVersion) error {
	if v.Major != versionMajor {
		return fmt.Errorf("%w: it is %d.%d, this nstrace reads %d.x: use a newer nstrace",
			ErrVersion, v.Major, v.Minor, versionMajor)
	}
	return nil
}

// notTrace says what is wrong with a file that has no preamble and no head.
func (r *Reader) notTrace(b []byte) error {
	if n := min(len(b), len(fileMagic)); n > 0 && bytes.Equal(b[:n], fileMagic[:n]) {
		if len(b) < preambleLen+headerLen {
			return fmt.Errorf("%w: the file ends inside it", ErrHeader)
		}
		return fmt.Errorf("%w: its checksum doesn't match", ErrHeader)
	}
	return fmt.Errorf("%w: it looks like %s", ErrNotTrace, looksLike(b))
}

// readAt reads as much of b as the file has at off.
func (r *Reader) readAt(b []byte, off int64) (int, error) {
	b = b[:max(0, min(int64(len(b)), r.size-off))]
	n, err := r.r.ReadAt(b, off)
	if n == len(b) || errors.Is(err, io.EOF) {
		return n, nil
	}
	return n, fmt.Errorf("read trace file at %d: %w", off, err)
}

// readHead takes the first of the heads that is whole.
func (r *Reader) readHead() error {
	heads := 0
	for i := range r.blocks {
		b := &r.blocks[i]
		if b.kind != kindHead {
			continue
		}
		heads++
		var hs []head
		_, err := r.readDocs(b, &hs)
		var ioErr *ioError
		if errors.As(err, &ioErr) {
			return err
		}
		if err != nil || len(hs) != 1 {
			continue // Replay reports it
		}
		r.head = hs[0]
		if err := checkVersion(r.head.Format); err != nil {
			return err
		}
		return r.mapAll()
	}
	if heads == 0 && r.tail != nil && r.tail.Offset <= preambleLen {
		return fmt.Errorf("%w: the file ends inside it", ErrHeader)
	}
	return fmt.Errorf("%w: both copies are damaged", ErrHeader)
}

func (r *Reader) mapAll() (err error) {
	t := r.head.Fields
	m := &r.maps
	if m.events, err = mapFields(t[kindLifecycle.String()], eventFields, ""); err != nil {
		return err
	}
	if m.steps, err = mapFields(t[kindSteps.String()], stepFields, ""); err != nil {
		return err
	}
	if m.tasks, err = mapFields(t[kindTasks.String()], taskFields, ""); err != nil {
		return err
	}
	if m.counts, err = mapFields(t[kindCounts.String()], countFields, ""); err != nil {
		return err
	}
	if m.packets, err = mapFields(t[kindPackets.String()], packetFields, ""); err != nil {
		return err
	}
	if m.flows, err = mapFields(t[kindPackets.String()], flowFields, ofFlow); err != nil {
		return err
	}
	if m.data, err = mapFields(t[kindData.String()], dataFields, ""); err != nil {
		return err
	}
	if m.bytes, err = mapFields(t[kindData.String()], bytesField, ""); err != nil {
		return err
	}
	m.index, err = mapFields(t[kindIndex.String()], indexFields, "")
	return err
}

// readEnd reads the end, which is the last block if there is one.
func (r *Reader) readEnd() error {
	n := len(r.blocks)
	if n == 0 || r.blocks[n-1].kind != kindEnd {
		return nil
	}
	b := &r.blocks[n-1]
	var es []ending
	if _, err := r.readDocs(b, &es); err != nil || len(es) != 1 {
		var ioErr *ioError
		if errors.As(err, &ioErr) {
			return err
		}
		if err == nil {
			err = errCut
		}
		r.blocks = r.blocks[:n-1]
		r.tail = &event.Damage{
			Offset: b.offset, Length: r.size - b.offset, Truncated: true, Records: 0,
			Reason: fmt.Sprintf("the end block is damaged: %v", err),
		}
		return nil
	}
	r.end = &es[0]
	r.tail = nil
	return nil
}
