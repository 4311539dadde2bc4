// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"encoding/binary"
	"math/bits"

	"github.com/klauspost/compress/zstd"
)

// The encodings of a column. The numbers are part of the file; format.go says
// what each is.
const (
	encConst  = 0
	encPlain  = 1
	encDelta  = 2
	encDict   = 3
	encBefore = 4
	encCPU    = 5
	encSeq    = 6
	encBytes  = 7
)

func zigzag(v uint64) uint64   { return v<<1 ^ uint64(int64(v)>>63) }
func unzigzag(v uint64) uint64 { return v>>1 ^ -(v & 1) }

// width is how many bytes it takes to store values up to v.
func width(v uint64) int { return (bits.Len64(v) + 7) / 8 }

// payload builds the payload of one columnar block. All its memory is reused
// from block to block.
type payload struct {
	buf []byte
	// cuts are where one kind of data ends and the next begins: compressing
	// them apart makes large blocks smaller.
	cuts []int

	col  []byte // the column being built
	vals []uint64
	tmp  []uint64

	times []uint64
	cpus  []uint32 // per row, its range
	rs    []seqRange
	// ranges has the number of the range of each CPU below fewCPUs.
	ranges [fewCPUs]uint32

	dict     map[uint64]uint32
	dictVals []uint64

	strs    map[string]uint32
	strList []string
	colBuf  []byte // columns wait here until all strings are known
	colCuts []int
}

func (p *payload) reset() {
	p.buf, p.cuts = p.buf[:0], p.cuts[:0]
	p.colBuf, p.colCuts = p.colBuf[:0], p.colCuts[:0]
	p.times, p.rs = nil, p.rs[:0]
	if p.strs == nil {
		p.strs = make(map[string]uint32)
		p.dict = make(map[uint64]uint32)
	}
	clear(p.strs)
	clear(p.strList)
	p.strList = p.strList[:0]
}

// finish puts the parts together.
func (p *payload) finish(dictRows int) {
	p.buf = binary.AppendUvarint(p.buf, uint64(dictRows))
	p.buf = binary.AppendUvarint(p.buf, uint64(len(p.strList)))
	for _, s := range p.strList {
		p.buf = binary.AppendUvarint(p.buf, uint64(len(s)))
	}
	for _, s := range p.strList {
		p.buf = append(p.buf, s...)
	}
	n := len(p.buf)
	p.cuts = append(p.cuts, n)
	for _, c := range p.colCuts {
		p.cuts = append(p.cuts, n+c)
	}
	p.buf = append(p.buf, p.colBuf...)
}

func (p *payload) intern(s string) uint64 {
	if s == "" {
		return 0
	}
	i, ok := p.strs[s]
	if !ok {
		p.strList = append(p.strList, s)
		i = uint32(len(p.strList))
		p.strs[s] = i
	}
	return uint64(i)
}

// addFields adds a column for each field of rows, which order sorts by time.
func addFields[T any](p *payload, fields []field[T], firstID int, rows []T, order []uint32) {
	p.vals = grow(p.vals, len(order))
	for i := range fields {
		f := &fields[i]
		if f.str != nil {
			for j, k := range order {
				p.vals[j] = p.intern(*f.str(&rows[k]))
			}
		} else {
			f.get(rows, order, p.vals)
		}
		p.add(uint64(firstID+i), f.name, f.before)
	}
}

// add adds p.vals as a column, unless it is all zero. The columns time, cpu and
// seq must come in this order, and time before any other.
func (p *payload) add(id uint64, name string, before bool) {
	switch {
	case name == nameTime:
		p.times = append(p.tmp[:0], p.vals...)
		p.tmp = p.times
	case name == nameCPU:
		p.addCPU(id)
		return
	case name == nameSeq && len(p.rs) > 0:
		p.addSeq(id)
		return
	}
	p.addInts(id, before && p.times != nil)
}

// column adds p.col as column id.
func (p *payload) column(id uint64, enc byte) {
	p.colBuf = binary.AppendUvarint(p.colBuf, id)
	p.colBuf = append(p.colBuf, enc)
	p.colBuf = binary.AppendUvarint(p.colBuf, uint64(len(p.col)))
	n := len(p.colBuf)
	p.colBuf = append(p.colBuf, p.col...)
	// Planes are at the end of a column and each as long as the block has rows.
	if w := len(p.col) / len(p.vals); w > 0 && enc != encConst {
		for i := len(p.col) - w*len(p.vals); i < len(p.col); i += len(p.vals) {
			p.colCuts = append(p.colCuts, n+i)
		}
	}
	p.colCuts = append(p.colCuts, len(p.colBuf))
}

// addBytes adds a column that is as it is.
func (p *payload) addBytes(id uint64, raw []byte) {
	p.colBuf = binary.AppendUvarint(p.colBuf, id)
	p.colBuf = append(p.colBuf, encBytes)
	p.colBuf = binary.AppendUvarint(p.colBuf, uint64(len(raw)))
	p.colCuts = append(p.colCuts, len(p.colBuf))
	p.colBuf = append(p.colBuf, raw...)
	p.colCuts = append(p.colCuts, len(p.colBuf))
}

// addInts chooses the encoding that is smallest before compression.
func (p *payload) addInts(id uint64, before bool) {
	v := p.vals
	lo, hi := v[0], v[0]
	dlo, dhi := int64(1<<63-1), int64(-1<<63)
	prev, changes := v[0], 0
	for _, x := range v {
		lo, hi = min(lo, x), max(hi, x)
		d := int64(x - prev)
		dlo, dhi = min(dlo, d), max(dhi, d)
		if d != 0 {
			changes++
		}
		prev = x
	}
	if hi == 0 {
		return
	}
	p.col = p.col[:0]
	if lo == hi {
		p.col = binary.AppendUvarint(p.col, lo)
		p.column(id, encConst)
		return
	}
	n := len(v)
	enc, cost := byte(encPlain), n*width(hi-lo)
	if c := n * width(uint64(dhi)-uint64(dlo)); c < cost {
		enc, cost = encDelta, c
	}
	var blo, bhi uint64
	if before && cost > n {
		var ok bool
		blo, bhi, ok = p.beforeRange()
		if c := n * width(bhi-blo); ok && c < cost {
			enc, cost = encBefore, c
		}
	}
	if cost > n && (dlo < 0 || changes < mostValues(cost, n)) && p.dictionary(mostValues(cost, n)) {
		m := len(p.dictVals)
		if c := n*width(uint64(m-1)) + 4*m; c < cost {
			enc = encDict
		}
	}
	switch enc {
	case encPlain:
		p.plain(lo, hi)
	case encDelta:
		p.delta(uint64(dlo), uint64(dhi))
	case encBefore:
		p.before(blo, bhi)
	case encDict:
		p.dicts()
	}
	p.column(id, enc)
}

// mostValues is how many different values of n a dictionary pays for where another
// encoding takes cost bytes, more than n: no more than numbers of a byte less can tell
// apart. Values that never fall are as many as their changes.
func mostValues(cost, n int) int { return min(cost/8, 1<<(8*(cost/n-1))) }

func (p *payload) plain(lo, hi uint64) {
	p.col = binary.AppendUvarint(p.col, lo)
	for i := range p.vals {
		p.vals[i] -= lo
	}
	p.planes(width(hi - lo))
}

func (p *payload) delta(lo, hi uint64) {
	// The first delta is 0 by definition, so it is within lo and hi.
	p.col = binary.AppendUvarint(p.col, p.vals[0])
	p.col = binary.AppendUvarint(p.col, zigzag(lo))
	prev := p.vals[0]
	for i, x := range p.vals {
		p.vals[i] = x - prev - lo
		prev = x
	}
	p.planes(width(hi - lo))
}

// beforeRange is the range of the values of encBefore; false if it can't
// express them.
func (p *payload) beforeRange() (lo, hi uint64, ok bool) {
	lo = 1<<64 - 1
	for i, x := range p.vals {
		var b uint64
		if x != 0 {
			if x > p.times[i] {
				return 0, 0, false
			}
			b = p.times[i] - x + 1
		}
		lo, hi = min(lo, b), max(hi, b)
	}
	return lo, hi, true
}

func (p *payload) before(lo, hi uint64) {
	p.col = binary.AppendUvarint(p.col, lo)
	for i, x := range p.vals {
		var b uint64
		if x != 0 {
			b = p.times[i] - x + 1
		}
		p.vals[i] = b - lo
	}
	p.planes(width(hi - lo))
}

// dictionary collects the distinct values; false if there are more than limit.
func (p *payload) dictionary(limit int) bool {
	clear(p.dict)
	p.dictVals = p.dictVals[:0]
	var prev uint64
	for i, x := range p.vals {
		if x == prev && i > 0 {
			continue
		}
		prev = x
		if _, ok := p.dict[x]; !ok {
			if len(p.dictVals) >= limit {
				return false
			}
			p.dict[x] = uint32(len(p.dictVals))
			p.dictVals = append(p.dictVals, x)
		}
	}
	return true
}

func (p *payload) dicts() {
	p.col = binary.AppendUvarint(p.col, uint64(len(p.dictVals)))
	var prev uint64
	for _, x := range p.dictVals {
		p.col = binary.AppendUvarint(p.col, zigzag(x-prev))
		prev = x
	}
	last, at := p.vals[0], p.dict[p.vals[0]]
	for i, x := range p.vals {
		if x != last {
			last, at = x, p.dict[x]
		}
		p.vals[i] = uint64(at)
	}
	p.planes(width(uint64(len(p.dictVals) - 1)))
}

// addCPU adds p.vals, which are CPUs, as numbers of ranges, and makes the
// ranges. addSeq fills in their sequence numbers.
func (p *payload) addCPU(id uint64) {
	p.findRanges()
	p.cpus = grow(p.cpus, len(p.vals))
	for i, x := range p.vals {
		at := p.rangeOf(x)
		p.cpus[i] = at
		p.vals[i] = uint64(at)
	}
	if len(p.rs) == 1 {
		return // number 0 in every row
	}
	p.col = p.col[:0]
	p.planes(width(uint64(len(p.rs) - 1)))
	p.column(id, encCPU)
}

// fewCPUs is up to which number CPUs are looked up in a table, not in the map.
const fewCPUs = 256

// findRanges makes a range for each CPU in p.vals.
func (p *payload) findRanges() {
	p.rs = p.rs[:0]
	clear(p.dict)
	var seen [fewCPUs]bool
	for _, x := range p.vals {
		if x < fewCPUs {
			if seen[x] {
				continue
			}
			seen[x] = true
		} else if _, ok := p.dict[x]; ok {
			continue
		} else {
			p.dict[x] = 0
		}
		p.rs = append(p.rs, seqRange{cpu: uint32(x)})
	}
	sortRanges(p.rs)
	for i, r := range p.rs {
		if r.cpu < fewCPUs {
			p.ranges[r.cpu] = uint32(i)
		} else {
			p.dict[uint64(r.cpu)] = uint32(i)
		}
	}
}

// rangeOf is the number of a CPU's range.
func (p *payload) rangeOf(cpu uint64) uint32 {
	if cpu < fewCPUs {
		return p.ranges[cpu]
	}
	return p.dict[cpu]
}

// addSeq adds p.vals, which are sequence numbers, and completes the ranges.
func (p *payload) addSeq(id uint64) {
	for i, x := range p.vals {
		r := &p.rs[p.cpus[i]]
		if r.count == 0 {
			r.first, r.last = x, x
		}
		r.first, r.last = min(r.first, x), max(r.last, x)
		r.count++
	}
	next := grow(p.dictVals, len(p.rs))
	p.dictVals = next
	for i, r := range p.rs {
		next[i] = r.first
	}
	var hi uint64
	for i, x := range p.vals {
		z := zigzag(x - next[p.cpus[i]])
		next[p.cpus[i]] = x + 1
		p.vals[i] = z
		hi = max(hi, z)
	}
	p.col = p.col[:0]
	p.planes(width(hi))
	p.column(id, encSeq)
}

// planes appends p.vals to p.col as w planes of bytes.
func (p *payload) planes(w int) {
	p.col = append(p.col, byte(w))
	n := len(p.vals)
	at := len(p.col)
	p.col = grow(p.col, at+w*n)
	for k := range w {
		plane := p.col[at+k*n : at+(k+1)*n]
		shift := 8 * k
		for i, x := range p.vals {
			plane[i] = byte(x >> shift)
		}
	}
}

// grow returns s with length n and its content up to there.
func grow[E any](s []E, n int) []E {
	if n > cap(s) {
		s = append(s[:cap(s)], make([]E, n-cap(s))...)
	}
	return s[:n]
}

// minFrame is the least that is worth a zstd frame of its own.
const minFrame = 4 << 10

// compress appends the payload to dst in as many frames as pay off.
func compress(enc *zstd.Encoder, dst, raw []byte, cuts []int) []byte {
	from := 0
	for _, c := range cuts {
		if c-from >= minFrame && len(raw)-c >= minFrame {
			dst = enc.EncodeAll(raw[from:c], dst)
			from = c
		}
	}
	return enc.EncodeAll(raw[from:], dst)
}
