// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/event"
)

// forge writes a file with one block of the author's choice, whose checksums
// are right.
func forge(t testing.TB, h header, rs []seqRange, raw []byte, change func(*header)) []byte {
	var out bytes.Buffer
	w, err := NewWriter(&out, sampleRecording)
	check(t, err)
	w.assemble(&h, rs, raw, nil)
	if change != nil {
		change(&h)
		h.put(w.block)
	}
	check(t, w.out.write(w.block))
	check(t, w.Close(sampleEnd))
	return out.Bytes()
}

// forgeBehindPackets writes one with the block behind a block of two packets.
func forgeBehindPackets(t testing.TB, h header, raw []byte) []byte {
	var out bytes.Buffer
	w, err := NewWriter(&out, sampleRecording)
	check(t, err)
	for i := range 2 {
		p := samplePacket(i)
		p.Data = nil
		check(t, w.Packet(&p))
	}
	check(t, w.Flush())
	w.assemble(&h, nil, raw, nil)
	check(t, w.out.write(w.block))
	check(t, w.Close(sampleEnd))
	return out.Bytes()
}

// No file makes the reader allocate much, fail, or report nothing.
func TestHostile(t *testing.T) {
	zeros := make([]byte, 16<<20)
	tests := map[string]struct {
		h      header
		rs     []seqRange
		raw    []byte
		change func(*header)
	}{
		"bomb: claims little, unpacks to much":   {h: header{kind: kindLifecycle, count: 1}, raw: zeros, change: func(h *header) { h.raw = 4096 }},
		"bomb: empty objects":                    {h: header{kind: kindSnapshot, count: 1}, raw: []byte(`[{"namespaces":[` + strings.Repeat("{},", 4<<20) + "{}]}]")},
		"raw length beyond the limit":            {h: header{kind: kindNames, count: 1}, raw: []byte("[{}]"), change: func(h *header) { h.raw = 1<<32 - 1 }},
		"stored length beyond the file":          {h: header{kind: kindNames, count: 1}, raw: []byte("[{}]"), change: func(h *header) { h.raw, h.stored = 1<<20, 1<<20 }},
		"many records of nothing":                {h: header{kind: kindLifecycle, count: 1<<32 - 1}, raw: []byte{0, 0}},
		"ranges beyond the limit":                {h: header{kind: kindLifecycle, count: 1}, raw: []byte{0, 0}, change: func(h *header) { h.ranges = 1<<32 - 1 }},
		"many strings":                           {h: header{kind: kindLifecycle, count: 1}, raw: []byte{0, 0xff, 0xff, 0xff, 0xff, 0x0f}},
		"a long string":                          {h: header{kind: kindLifecycle, count: 1}, raw: []byte{0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f}},
		"a large dictionary":                     {h: header{kind: kindPackets, count: 1}, raw: []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0}},
		"no flow":                                {h: header{kind: kindPackets, count: 1}, raw: []byte{0, 0}},
		"a string that isn't there":              {h: header{kind: kindLifecycle, count: 1}, raw: []byte{0, 0, 11, encConst, 1, 5}},
		"a flow that isn't there":                {h: header{kind: kindPackets, count: 1}, raw: []byte{1, 0, 4, encConst, 1, 5}},
		"a CPU that isn't there":                 {h: header{kind: kindLifecycle, count: 1}, rs: []seqRange{{count: 1}}, raw: []byte{0, 0, 2, encCPU, 2, 1, 9}},
		"CPUs in another column":                 {h: header{kind: kindLifecycle, count: 1}, rs: []seqRange{{cpu: 70, count: 1}}, raw: []byte{0, 0, 8, encCPU, 2, 1, 0, 3, encSeq, 2, 1, 0}},
		"a value too large":                      {h: header{kind: kindLifecycle, count: 1}, raw: []byte{0, 0, 5, encConst, 3, 0xff, 0xff, 0x7f}},
		"a column twice":                         {h: header{kind: kindLifecycle, count: 1}, raw: []byte{0, 0, 5, encConst, 1, 1, 5, encConst, 1, 1}},
		"an unknown encoding":                    {h: header{kind: kindLifecycle, count: 1}, raw: []byte{0, 0, 5, 77, 1, 1}},
		"an unknown codec":                       {h: header{kind: kindLifecycle, count: 1}, raw: []byte{0, 0}, change: func(h *header) { h.codec = 9 }},
		"a time before the first":                {h: header{kind: kindLifecycle, count: 1, first: 10, last: 20}, raw: []byte{0, 0, 1, encConst, 1, 9}},
		"a time after the last":                  {h: header{kind: kindLifecycle, count: 1, first: 10, last: 20}, raw: []byte{0, 0, 1, encConst, 1, 21}},
		"no JSON":                                {h: header{kind: kindNames, count: 1}, raw: []byte("[[[[")},
		"more records than it says":              {h: header{kind: kindNames, count: 1}, raw: []byte("[{},{}]")},
		"a document's time outside":              {h: header{kind: kindNames, count: 1}, raw: []byte(`[{"time_ns":5}]`)},
		"ends inside a column":                   {h: header{kind: kindLifecycle, count: 1}, raw: []byte{0, 0, 5, encConst, 9, 1}},
		"planes shorter than the count":          {h: header{kind: kindLifecycle, count: 3}, raw: []byte{0, 0, 5, encPlain, 3, 0, 1, 1}},
		"a dictionary larger than what it is in": {h: header{kind: kindLifecycle, count: 1}, raw: []byte{0, 0, 5, encDict, 5, 0xff, 0xff, 0xff, 0xff, 0x0f}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			file := forge(t, test.h, test.rs, test.raw, test.change)
			before := allocated()
			r, err := open(file)
			check(t, err)
			c := readAll(t, r)
			if got := (allocated() - before) >> 20; got > 64 {
				t.Errorf("%d MiB allocated", got)
			}
			if len(c.damage)+len(c.pdamage) == 0 {
				t.Error("nothing is reported")
			}
			if n := c.count(); n != [kindCount]int{} {
				t.Errorf("records of nowhere: %v", n)
			}
		})
	}
}

// What is said to be packets' bytes and isn't costs no packet, and is reported.
func TestHostileData(t *testing.T) {
	const block = 2 // of the packets: the head is 0 and 1
	row := func(number, packet, length byte) []byte {
		return []byte{0, 0, 1, encConst, 1, number, 2, encConst, 1, packet, 3, encConst, 1, length}
	}
	data := func(b ...byte) []byte { return append([]byte{bytesID, encBytes, byte(len(b))}, b...) }
	two := []byte{0, 0, 1, encConst, 1, block, 2, encPlain, 4, 0, 1, 0, 0, 3, encConst, 1, 1}
	tests := map[string]struct {
		count uint32
		raw   []byte
	}{
		"of another block":               {1, slices.Concat(row(block+1, 0, 1), data(7))},
		"of a packet that isn't there":   {1, slices.Concat(row(block, 2, 1), data(7))},
		"of one packet twice":            {2, slices.Concat(two, data(7, 8))},
		"none of a packet":               {1, slices.Concat(row(block, 0, 0), data())},
		"longer than they are":           {1, slices.Concat(row(block, 0, 2), data(7))},
		"more than belong to a packet":   {1, slices.Concat(row(block, 0, 1), data(7, 8))},
		"not there":                      {1, row(block, 0, 1)},
		"there twice":                    {1, slices.Concat(row(block, 0, 1), data(7), data(7))},
		"in another encoding":            {1, slices.Concat(row(block, 0, 1), []byte{bytesID, encConst, 1, 7})},
		"in a column of numbers":         {1, []byte{0, 0, 1, encBytes, 1, 2}},
		"cut":                            {1, slices.Concat(row(block, 0, 1), data(7)[:2])},
		"of more packets than fit":       {maxRecords, []byte{0, 0, 1, encConst, 1, block}},
		"longer than any payload can be": {1, []byte{0, 0, 1, encConst, 1, block, 3, encConst, 5, 0xff, 0xff, 0xff, 0xff, 0x0f, bytesID, encBytes, 1, 7}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			file := forgeBehindPackets(t, header{kind: kindData, count: test.count, first: 1, last: 1 << 40}, test.raw)
			before := allocated()
			r, err := open(file)
			check(t, err)
			c := readAll(t, r)
			if got := (allocated() - before) >> 20; got > 64 {
				t.Errorf("%d MiB allocated", got)
			}
			if n := c.count(); n[kindPackets] != 2 || n[kindData] != 0 || len(c.damage) != 0 || len(c.pdamage) != 1 {
				t.Errorf("%v, damage %+v", n, c.pdamage)
			}
			if s, err := r.Verify(); err != nil || s.Whole() || len(s.Damage) != 1 {
				t.Errorf("%+v %v", s, err)
			}
		})
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// The bytes of a block in a name of a device don't make a block.
func TestBlockInAName(t *testing.T) {
	other := sampleFile(t, 4, 2)
	var out bytes.Buffer
	w, err := NewWriter(&out, sampleRecording)
	check(t, err)
	e := event.Event{Kind: event.KindPutNet, Time: 5, Name: string(other)}
	check(t, w.Event(&e))
	check(t, w.Close(sampleEnd))
	r, err := open(out.Bytes())
	check(t, err)
	var damaged []byte
	for _, b := range r.blocks {
		if b.kind == kindLifecycle {
			damaged = bytes.Clone(out.Bytes())
			damaged[b.offset] ^= 1 // search begins inside the block
		}
	}
	r, err = open(damaged)
	check(t, err)
	c := readAll(t, r)
	if len(c.events) != 0 || len(c.symbols) != 0 || len(c.damage) != 1 {
		t.Errorf("%d events, %d symbols, damage %+v", len(c.events), len(c.symbols), c.damage)
	}
}

// brokenWriter fails in the middle of a write once it has limit bytes.
type brokenWriter struct {
	bytes.Buffer
	limit int
}

var errBroken = errors.New("input/output error")

func (w *brokenWriter) Write(b []byte) (int, error) {
	if w.Len()+len(b) > w.limit {
		n, _ := w.Buffer.Write(b[:max(0, w.limit-w.Len())])
		return n, errBroken
	}
	return w.Buffer.Write(b)
}

// A device that breaks leaves what was written, and the error stays.
func TestBrokenWriter(t *testing.T) {
	out := &brokenWriter{limit: 8000}
	w, err := NewWriter(out, sampleRecording)
	check(t, err)
	given := 0
	for err == nil {
		e := sampleEvent(given)
		given++
		if err = w.Event(&e); err == nil && given%10 == 0 {
			err = w.Flush()
		}
	}
	for _, err := range []error{err, w.Flush(), w.Err(), w.Close(sampleEnd)} {
		if !errors.Is(err, errBroken) {
			t.Errorf("error is %v", err)
		}
	}
	r, err := open(out.Bytes())
	check(t, err)
	c := readAll(t, r)
	if len(c.events) == 0 || uint64(given) != uint64(len(c.events))+w.Unwritten() {
		t.Errorf("given %d, read %d, unwritten %d", given, len(c.events), w.Unwritten())
	}
	if len(c.damage) != 1 || !c.damage[0].Truncated {
		t.Errorf("damage: %+v", c.damage)
	}
}

var _ io.Writer = (*brokenWriter)(nil)

func FuzzReader(f *testing.F) {
	file := sampleFile(f, 8, 4)
	f.Add(file)
	f.Add(file[:len(file)/2])
	f.Add(file[:len(file)-1])
	for i := 100; i < len(file); i += len(file) / 7 {
		b := bytes.Clone(file)
		b[i] ^= 4
		f.Add(b)
	}
	r, err := open(file)
	check(f, err)
	// Fuzzing gets nowhere when checksums must be right, so it also makes
	// payloads, which are then framed.
	for _, b := range r.blocks {
		raw, err := r.payload(&b)
		check(f, err)
		f.Add(append([]byte{byte(b.kind), byte(b.count)}, raw...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzOne(t, b)
		if len(b) > 2 {
			h := header{kind: kind(b[0]), count: uint32(b[1]), last: 1<<64 - 1}
			fuzzOne(t, forge(t, h, []seqRange{{cpu: 0, count: 4}, {cpu: 1, count: 4}}, b[2:], nil))
			fuzzOne(t, forgeBehindPackets(t, h, b[2:]))
		}
	})
}

func fuzzOne(t *testing.T, b []byte) {
	r, err := open(b)
	if err != nil {
		if !errors.Is(err, ErrNotTrace) && !errors.Is(err, ErrVersion) && !errors.Is(err, ErrHeader) {
			t.Fatal(err)
		}
		return
	}
	defer r.Close()
	_ = readAll(t, r)
	s, err := r.Verify()
	check(t, err)
	if s.Whole() && s.Damage != nil {
		t.Fatal("whole and damaged")
	}
}
