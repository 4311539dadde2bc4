// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/nstrace/nstrace/event"
)

// A file cut anywhere gives every whole block before the cut, invents nothing,
// and says that it is cut and nothing else.
func TestCutAtEveryByte(t *testing.T) {
	var out bytes.Buffer
	type mark struct {
		size   int64
		events int
	}
	var marks []mark
	const step = 12
	writeSample(t, &out, 5*step, step, func(w *Writer) {
		marks = append(marks, mark{w.Size(), (len(marks) + 1) * step})
	})
	file := out.Bytes()
	full, err := open(file)
	check(t, err)
	whole := readAll(t, full)
	for cut := range len(file) {
		r, err := open(file[:cut])
		if cut < int(full.blocks[1].offset) {
			want := ErrHeader
			if cut == 0 {
				want = ErrNotTrace
			}
			if !errors.Is(err, want) {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		got := readAll(t, r)
		if bad := got.within(whole); bad != "" {
			t.Fatalf("cut at %d: %s", cut, bad)
		}
		var want [kindCount]int
		end := int64(preambleLen)
		var last uint64
		for _, b := range full.blocks {
			if b.offset+b.length() <= int64(cut) {
				end = b.offset + b.length()
				if slices.Contains(totalKinds, b.kind) {
					want[b.kind] += int(b.count)
				}
				if b.kind != kindPackets && b.kind != kindData && b.kind != kindHead {
					last = max(last, b.last)
				}
			}
		}
		if n := got.count(); n != want {
			t.Fatalf("cut at %d: %v records instead of %v", cut, n, want)
		}
		for _, m := range marks {
			if m.size <= int64(cut) && len(got.events) < m.events {
				t.Fatalf("cut at %d: %d events, %d had been flushed", cut, len(got.events), m.events)
			}
		}
		if len(got.damage) != 1 || len(got.pdamage) != 0 || got.end != nil {
			t.Fatalf("cut at %d: damage %+v %+v", cut, got.damage, got.pdamage)
		}
		d := got.damage[0]
		if !d.Truncated || d.Offset != end || d.Length != int64(cut)-end || d.Time != last || d.Reason == "" {
			t.Fatalf("cut at %d: %+v instead of offset %d, time %d", cut, d, end, last)
		}
	}
}

// Any flipped bit is noticed, costs no more than its block, and nothing is read
// that wasn't written. Each byte has one flipped, or two.
func TestFlipBits(t *testing.T) {
	file := sampleFile(t, 8, 4)
	full, err := open(file)
	check(t, err)
	whole := readAll(t, full)
	kinds := map[kind]bool{}
	for _, b := range full.blocks {
		kinds[b.kind] = true
	}
	for k := kindHead; k < kindCount; k++ {
		if !kinds[k] {
			t.Fatalf("the sample has no %v block", k)
		}
	}
	bits := 8 * len(file)
	workers := runtime.GOMAXPROCS(0)
	skip := 5 // not a divisor of a byte: every bit of a byte has its turn
	if testing.Short() {
		skip = 11
	}
	var wg sync.WaitGroup
	for n := range workers {
		wg.Go(func() {
			b := bytes.Clone(file)
			for bit := n * skip; bit < bits && !t.Failed(); bit += workers * skip {
				b[bit/8] ^= 1 << (bit % 8)
				flipped(t, b, bit, full, whole)
				b[bit/8] ^= 1 << (bit % 8)
			}
		})
	}
	wg.Wait()
}

func flipped(t *testing.T, b []byte, bit int, full *Reader, whole *content) {
	r, err := open(b)
	if err != nil {
		t.Errorf("bit %d: %v", bit, err) // one flip makes no file unreadable
		return
	}
	defer r.Close()
	var got content
	if err := r.Replay(&got, ReplayOptions{}); err != nil {
		t.Errorf("bit %d: %v", bit, err)
		return
	}
	got.orderedPackets(t, r)
	if len(got.damage)+len(got.pdamage) == 0 {
		t.Errorf("bit %d of byte %d isn't noticed", bit%8, bit/8)
	}
	if bad := got.within(whole); bad != "" {
		t.Errorf("bit %d: %s", bit, bad)
	}
	want := whole.count()
	for i, bl := range full.blocks {
		if off := int64(bit / 8); off < bl.offset || off >= bl.offset+bl.length() || !slices.Contains(totalKinds, bl.kind) {
			continue
		}
		want[bl.kind] -= int(bl.count)
		if bl.kind == kindPackets { // and what was in them
			want[kindData] -= int(full.blocks[i+1].count)
		}
	}
	if n := got.count(); n != want {
		t.Errorf("bit %d: %v records instead of %v", bit, n, want)
	}
	s, err := r.Verify()
	if err != nil || s.Whole() || len(s.Damage) == 0 {
		t.Errorf("bit %d: Verify finds the file whole (%v)", bit, err)
		return
	}
	balanced(t, s)
}

// balanced checks that written = read + skipped + lost.
func balanced(t *testing.T, s *Summary) {
	t.Helper()
	for _, k := range s.Kinds {
		if k.Written != k.Read+k.Skipped+k.Lost {
			t.Errorf("%+v doesn't add up", k)
		}
	}
}

func kindOf(s *Summary, k kind) KindSummary {
	for _, ks := range s.Kinds {
		if ks.Kind == k.String() {
			return ks
		}
	}
	return KindSummary{}
}

// written = read + skipped + lost, whether a block's payload is damaged, its
// header, or nothing.
func TestAccount(t *testing.T) {
	file := sampleFile(t, 40, 10)
	full, err := open(file)
	check(t, err)
	s, err := full.Verify()
	check(t, err)
	if !s.Whole() || kindOf(s, kindLifecycle).Read != 40 || kindOf(s, kindPackets).Read != 40 {
		t.Fatalf("whole file: %+v", s)
	}
	if len(s.Sequences) != 5 || s.Sequences[0].Missing != 0 || s.Sequences[0].Next != 20 {
		t.Fatalf("whole file: %+v", s.Sequences)
	}
	i := slices.IndexFunc(full.blocks, func(b block) bool { return b.kind == kindLifecycle })
	b := full.blocks[i]

	payload := bytes.Clone(file)
	payload[b.offset+b.length()-1] ^= 1
	s = verify(t, payload)
	if k := kindOf(s, kindLifecycle); k.Written != 40 || k.Read != 30 || k.Skipped != 10 || k.Lost != 0 {
		t.Errorf("payload: %+v", k)
	}
	if len(s.Damage) != 1 || s.Damage[0].Records != 10 {
		t.Errorf("payload: %+v", s.Damage)
	}
	if s.Sequences[0].Missing != 0 { // the header says what it had
		t.Errorf("payload: %+v", s.Sequences)
	}

	header := bytes.Clone(file)
	header[b.offset+30] ^= 1
	s = verify(t, header)
	if k := kindOf(s, kindLifecycle); k.Written != 40 || k.Read != 30 || k.Skipped != 0 || k.Lost != 10 {
		t.Errorf("header: %+v", k)
	}
	// The index knows what the block had.
	if len(s.Damage) != 1 || s.Damage[0].Records != 10 || s.Damage[0].Length != b.length() {
		t.Errorf("header: %+v", s.Damage)
	}
	if s.Sequences[0].Missing != 5 || s.Sequences[1].Missing != 5 {
		t.Errorf("header: %+v", s.Sequences)
	}

	// A block cut out so that nothing else looks wrong.
	s = verify(t, slices.Concat(file[:b.offset], file[b.offset+b.length():]))
	if k := kindOf(s, kindLifecycle); k.Lost != 10 || len(s.Damage) != 1 || s.Whole() {
		t.Errorf("cut out: %+v %+v", k, s.Damage)
	}
	if d := s.Damage[0]; d.Records != 10 || d.Length != 0 || d.Reason != "1 blocks are missing; there were 10 lifecycle" {
		t.Errorf("cut out: %+v", d)
	}
	// The same block once more.
	s = verify(t, slices.Concat(file[:b.offset], file[b.offset:b.offset+b.length()], file[b.offset:]))
	if k := kindOf(s, kindLifecycle); k.Read != 40 || len(s.Damage) != 1 || s.Whole() {
		t.Errorf("doubled: %+v %+v", k, s.Damage)
	}
	// Another trace behind this one.
	s = verify(t, slices.Concat(file, sampleFile(t, 4, 2)))
	if k := kindOf(s, kindLifecycle); k.Read != 40 || len(s.Damage) != 1 || s.Whole() {
		t.Errorf("appended: %+v %+v", k, s.Damage)
	}
	// The end of a file system that was shut down hard.
	s = verify(t, slices.Concat(file[:b.offset], make([]byte, 5000)))
	if len(s.Damage) != 1 || !s.Damage[0].Truncated || s.Damage[0].Length != 5000 || s.Complete {
		t.Errorf("zeros: %+v", s.Damage)
	}
}

func verify(t *testing.T, b []byte) *Summary {
	t.Helper()
	r, err := open(b)
	check(t, err)
	s, err := r.Verify()
	check(t, err)
	balanced(t, s)
	return s
}

// Events that were written late, in another block, are delivered in time.
func TestOrderAcrossBlocks(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, sampleRecording)
	check(t, err)
	// Times of blocks that overlap, contain each other, and touch.
	blocks := [][]uint64{{50, 10, 90}, {20, 30}, {90, 90, 91}, {5, 200}, {91, 60}, {200, 1}}
	var want []uint64
	seq := uint64(0)
	for _, b := range blocks {
		for _, at := range b {
			check(t, w.Event(&event.Event{Time: at, Seq: seq, Kind: event.KindPutNet}))
			want = append(want, at)
			seq++
		}
		check(t, w.Name(&event.NameChange{Time: b[0], Name: "n"}))
		want = append(want, b[0])
		check(t, w.Flush())
	}
	check(t, w.Close(sampleEnd))
	r, err := open(out.Bytes())
	check(t, err)
	got := readAll(t, r)
	slices.Sort(want)
	if !slices.Equal(got.order, want) {
		t.Errorf("got  %v\nwant %v", got.order, want)
	}
	// Ties are in the order of the file.
	var ties []uint64
	for _, e := range got.events {
		if e.Time == 90 {
			ties = append(ties, e.Seq)
		}
	}
	if !slices.Equal(ties, []uint64{2, 5, 6}) {
		t.Errorf("events at the same time: %v", ties)
	}
}

// Replay holds the blocks that overlap, and not more the longer the file.
func TestReplayMemory(t *testing.T) {
	r, err := open(sampleFile(t, 20000, 50))
	check(t, err)
	m := &merger{r: r, todo: r.plan()}
	most := 0
	m.h = &watcher{fn: func() { most = max(most, len(m.open)) }}
	check(t, m.run())
	if most == 0 || most > 8 {
		t.Errorf("%d of %d blocks open at once", most, len(r.blocks))
	}
}

type watcher struct {
	ignore
	fn func()
}

func (w *watcher) HandleEvent(*event.Event) { w.fn() }
