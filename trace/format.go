// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
)

// The file, version 1. Every integer is little-endian, "uvarint" is that of
// encoding/binary, every checksum is CRC-32C.
//
//	┌──────────┬──────┬──────┬────────┬────────┬─ ─ ─┬───────┬─────┐
//	│ preamble │ head │ head │ block  │ block  │     │ index │ end │
//	└──────────┴──────┴──────┴────────┴────────┴─ ─ ─┴───────┴─────┘
//	  32 bytes   0      1      2        3               n-2    n-1
//
// The preamble never changes its layout, whatever the version:
//
//	 0  8  magic "\x89NST\r\n\x1a\n": broken by what breaks binary files
//	 8  2  major version: a reader refuses a newer one
//	10  2  minor version: a reader skips what it doesn't know
//	12  4  byte order mark 0x0a0b0c0d
//	16  8  file id, random: blocks of another file are no blocks of this one,
//	       not even where its bytes turn up inside this file
//	24  4  0
//	28  4  checksum of the 28 bytes before
//
// A block is a header, then what its ranges and its payload need:
//
//	 0  8  sync magic, where a reader resumes after damage
//	 8  8  file id
//	16  4  number: 0 for the first block, then up by one, so that a missing
//	       block shows
//	20  1  kind
//	21  1  codec: 0 none, 1 zstd (one or more frames)
//	22  2  0
//	24  4  count of records
//	28  4  raw length of the payload
//	32  4  stored length of the payload
//	36  4  length of the ranges
//	40  8  first time
//	48  8  last time
//	56  4  checksum of the ranges
//	60  4  checksum of the stored payload
//	64  4  0
//	68  4  checksum of the 68 bytes before
//	72  …  ranges, then the stored payload
//
// The ranges of a lifecycle, packets or tasks block say which sequence numbers it
// holds, so a reader knows what is missing when the payload is damaged. They
// are ordered by CPU, each as four uvarints: CPU minus the one before, count,
// first sequence number, last minus first.
//
// The head is written twice, so no single fault makes a file unreadable. It is
// JSON like every kind of which there are few: an array with one object per
// record, ordered by time. Strings a user can choose need not be UTF-8: a byte
// that isn't is the character U+10FF00 plus the byte (and so is each byte of
// a character from there to U+10FFFF).
//
// The head has the recording and the field table. The other kinds are
// columnar; the field table names their columns:
//
//	payload:  uvarint rows of the dictionary (packets: flows; else 0)
//	          strings: uvarint how many, their lengths, their bytes;
//	          string 0 is "" and isn't stored
//	          columns until the end
//	column:   uvarint id (of the field table), 1 byte encoding,
//	          uvarint length, data
//
// A column that is zero in every row is left out, so a missing column reads as
// zero. A reader skips a column whose name it doesn't know. Signed integers are
// stored zigzag, strings as numbers of the block's strings. A column's data:
//
//	const   uvarint value: of every row
//	plain   uvarint base, planes: base + value
//	delta   uvarint start, uvarint base, planes: the value before + base + delta
//	dict    uvarint how many, zigzag uvarint differences, planes: which of them
//	before  uvarint base, planes: 0 for 0, else the row's time + 1 - value
//	cpu     planes: which of the block's ranges
//	seq     planes: zigzag difference from what is next in the row's range
//	bytes   what packets had in them, one after the other
//
// Planes are a byte w, then w times as many bytes as there are rows: all lowest
// bytes, then all second bytes and so on. Sums are modulo 2⁶⁴.
//
// What packets had in them is in blocks of their own, packetdata, so that who
// wants to know only which packets there were doesn't read it. Each is about the
// packets block before it (only index blocks may be in between) and has a row for
// each packet of that which has bytes: the number of the block, which of its
// packets it is (they are in this order), and how many bytes it has.
//
// The end has totals. Index blocks come before it, and in a long recording in
// between; they repeat for every block what its header says. A file without an
// end is one whose recording didn't finish.
const (
	versionMajor = 1
	versionMinor = 1

	preambleLen = 32
	headerLen   = 72
	byteOrder   = 0x0a0b0c0d
)

var (
	fileMagic = [8]byte{0x89, 'N', 'S', 'T', '\r', '\n', 0x1a, '\n'}
	syncMagic = [8]byte{0xf3, 'n', 's', 0xb1, 0x0c, 0xe8, 0x5a, 0x97}
)

// kind is what a block holds. The numbers are part of the file.
type kind uint8

const (
	kindHead      kind = 1
	kindLifecycle kind = 2
	kindCounts    kind = 3
	kindPackets   kind = 4
	kindNames     kind = 5
	kindSymbols   kind = 6
	kindSnapshot  kind = 7
	kindLedger    kind = 8
	kindLoss      kind = 9
	kindIndex     kind = 10
	kindEnd       kind = 11
	kindSteps     kind = 12 // from version 1.1 on, as those after it
	kindTasks     kind = 13
	kindCgroups   kind = 14
	kindData      kind = 15
	kindCount     kind = 16
)

var kindTexts = [kindCount]string{
	"", "head", "lifecycle", "counts", "packets", "names", "symbols", "snapshot", "ledger", "loss", "index", "end",
	"steps", "tasks", "cgroups", "packetdata",
}

// recordKinds are the kinds that have records of the recording. Packets' bytes
// are no records of their own.
var recordKinds = []kind{
	kindLifecycle, kindCounts, kindPackets, kindNames, kindSymbols, kindSnapshot, kindLedger, kindLoss,
	kindSteps, kindTasks, kindCgroups,
}

// totalKinds are those of which the end has totals.
var totalKinds = append(slices.Clip(recordKinds), kindData)

func (k kind) known() bool { return k > 0 && k < kindCount }

func (k kind) String() string {
	if k.known() {
		return kindTexts[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

func (k kind) columnar() bool {
	switch k {
	case kindLifecycle, kindCounts, kindPackets, kindIndex, kindSteps, kindTasks, kindData:
		return true
	}
	return false
}

// records reports whether blocks of kind k have records of the recording.
func (k kind) records() bool { return slices.Contains(recordKinds, k) }

// account reports whether records of kind k tell of others that are missing.
func (k kind) account() bool { return k == kindLedger || k == kindLoss }

// sequenced reports whether records of kind k have sequence numbers.
func (k kind) sequenced() bool { return k == kindLifecycle || k == kindPackets || k == kindTasks }

const (
	codecNone = 0
	codecZstd = 1
)

// What a reader accepts, so that no file makes it allocate much.
const (
	maxRecords     = 1 << 17
	maxRawColumns  = 32 << 20
	maxRawSnapshot = 128 << 20
	maxRawDocs     = 16 << 20
	maxRanges      = 1 << 20
)

// maxRaw is the largest raw payload of a block of kind k.
func (k kind) maxRaw() uint32 {
	switch {
	case k.columnar():
		return maxRawColumns
	case k == kindSnapshot:
		return maxRawSnapshot
	}
	return maxRawDocs
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

type fileID [8]byte

// preamble is the file's first bytes.
type preamble struct {
	major, minor uint16
	order        uint32
	id           fileID
}

func (p *preamble) append(b []byte) []byte {
	n := len(b)
	b = append(b, fileMagic[:]...)
	b = binary.LittleEndian.AppendUint16(b, p.major)
	b = binary.LittleEndian.AppendUint16(b, p.minor)
	b = binary.LittleEndian.AppendUint32(b, p.order)
	b = append(b, p.id[:]...)
	b = binary.LittleEndian.AppendUint32(b, 0)
	return binary.LittleEndian.AppendUint32(b, checksum(b[n:]))
}

// parsePreamble reports false if b isn't an undamaged preamble.
func parsePreamble(b []byte) (p preamble, ok bool) {
	if len(b) < preambleLen || !bytes.Equal(b[:8], fileMagic[:]) ||
		checksum(b[:28]) != binary.LittleEndian.Uint32(b[28:]) {
		return p, false
	}
	p.major = binary.LittleEndian.Uint16(b[8:])
	p.minor = binary.LittleEndian.Uint16(b[10:])
	p.order = binary.LittleEndian.Uint32(b[12:])
	copy(p.id[:], b[16:])
	return p, true
}

// header is a block's header without its sync magic and its own checksum.
type header struct {
	id          fileID
	number      uint32
	kind        kind
	codec       uint8
	count       uint32
	raw, stored uint32
	ranges      uint32
	first, last uint64
	rangesSum   uint32
	payloadSum  uint32
}

// length is that of the whole block.
func (h *header) length() int64 {
	return headerLen + int64(h.ranges) + int64(h.stored)
}

func (h *header) put(b []byte) {
	_ = b[headerLen-1]
	copy(b, syncMagic[:])
	copy(b[8:], h.id[:])
	le := binary.LittleEndian
	le.PutUint32(b[16:], h.number)
	b[20] = byte(h.kind)
	b[21] = h.codec
	le.PutUint16(b[22:], 0)
	le.PutUint32(b[24:], h.count)
	le.PutUint32(b[28:], h.raw)
	le.PutUint32(b[32:], h.stored)
	le.PutUint32(b[36:], h.ranges)
	le.PutUint64(b[40:], h.first)
	le.PutUint64(b[48:], h.last)
	le.PutUint32(b[56:], h.rangesSum)
	le.PutUint32(b[60:], h.payloadSum)
	le.PutUint32(b[64:], 0)
	le.PutUint32(b[68:], checksum(b[:68]))
}

var (
	errNoHeader  = errors.New("no block header")
	errHeaderSum = errors.New("block header's checksum doesn't match")
	errBounds    = errors.New("block header is out of bounds")
)

// parseHeader checks all that a header can be checked for by itself.
func parseHeader(b []byte) (h header, err error) {
	if len(b) < headerLen || !bytes.Equal(b[:8], syncMagic[:]) {
		return h, errNoHeader
	}
	le := binary.LittleEndian
	if checksum(b[:68]) != le.Uint32(b[68:]) {
		return h, errHeaderSum
	}
	copy(h.id[:], b[8:])
	h.number = le.Uint32(b[16:])
	h.kind = kind(b[20])
	h.codec = b[21]
	h.count = le.Uint32(b[24:])
	h.raw = le.Uint32(b[28:])
	h.stored = le.Uint32(b[32:])
	h.ranges = le.Uint32(b[36:])
	h.first = le.Uint64(b[40:])
	h.last = le.Uint64(b[48:])
	h.rangesSum = le.Uint32(b[56:])
	h.payloadSum = le.Uint32(b[60:])
	if h.first > h.last || h.ranges > maxRanges {
		return h, errBounds
	}
	if h.kind.known() && (h.raw > h.kind.maxRaw() || h.stored > h.raw || h.count > maxRecords) {
		return h, errBounds
	}
	return h, nil
}

// seqRange is what a block holds of one CPU's records.
type seqRange struct {
	cpu         uint32
	count       uint32
	first, last uint64
}

func appendRanges(b []byte, rs []seqRange) []byte {
	var cpu uint32
	for _, r := range rs {
		b = binary.AppendUvarint(b, uint64(r.cpu-cpu))
		b = binary.AppendUvarint(b, uint64(r.count))
		b = binary.AppendUvarint(b, r.first)
		b = binary.AppendUvarint(b, r.last-r.first)
		cpu = r.cpu
	}
	return b
}

// parseRanges appends to rs what b has.
func parseRanges(b []byte, rs []seqRange) ([]seqRange, error) {
	var cpu uint64
	for i := 0; len(b) > 0; i++ {
		var v [4]uint64
		for j := range v {
			x, n := binary.Uvarint(b)
			if n <= 0 {
				return rs, fmt.Errorf("sequence range %d is cut", i)
			}
			v[j], b = x, b[n:]
		}
		if (i > 0 && v[0] == 0) || v[0] > 1<<32-1-cpu || v[1] > maxRecords || v[2]+v[3] < v[2] {
			return rs, fmt.Errorf("sequence range %d makes no sense", i)
		}
		cpu += v[0]
		rs = append(rs, seqRange{cpu: uint32(cpu), count: uint32(v[1]), first: v[2], last: v[2] + v[3]})
	}
	return rs, nil
}
