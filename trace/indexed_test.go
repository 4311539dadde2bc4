// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// indexedFile has several index blocks, and packets.
func indexedFile(t *testing.T, perBlock, n int) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, sampleRecording)
	check(t, err)
	for i := range n {
		e := sampleEvent(i)
		check(t, w.Event(&e))
		p := samplePacket(i)
		check(t, w.Packet(&p))
		if i%perBlock == 0 {
			check(t, w.Flush())
		}
	}
	check(t, w.Close(sampleEnd))
	return out.Bytes()
}

// openIndexed also says whether the index was all that was read.
func openIndexed(t testing.TB, file []byte) (r *Reader, byIndex bool) {
	t.Helper()
	r, err := newReader(bytes.NewReader(file), int64(len(file)), true)
	check(t, err)
	for i := range r.blocks {
		byIndex = byIndex || r.blocks[i].unread
	}
	return r, byIndex
}

// With its index a file is the same as without.
func TestIndexed(t *testing.T) {
	for name, file := range map[string][]byte{
		"one index block": indexedFile(t, 10, 100),
		"several":         indexedFile(t, 1, 2*indexPerBlock),
	} {
		r, byIndex := openIndexed(t, file)
		if !byIndex {
			t.Errorf("%s: the index wasn't used", name)
		}
		scanned, err := open(file)
		check(t, err)
		same(t, *readAll(t, r), *readAll(t, scanned))
		for i, b := range r.blocks {
			if b.kind.records() && b != scanned.blocks[i] {
				t.Errorf("%s: block %d is %+v, want %+v", name, i, b, scanned.blocks[i])
			}
		}
		r, _ = openIndexed(t, file)
		got, err := r.Verify()
		check(t, err)
		want, err := scanned.Verify()
		check(t, err)
		same(t, *got, *want)
	}
}

// Real recordings, those without an end too, are the same both ways.
func TestIndexedRecordings(t *testing.T) {
	paths, err := filepath.Glob("../testdata/*.nst")
	check(t, err)
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			file, err := os.ReadFile(path)
			check(t, err)
			scanned, err := open(file)
			if errors.Is(err, ErrVersion) {
				t.Skip(err)
			}
			check(t, err)
			r, byIndex := openIndexed(t, file)
			if _, ended := scanned.End(); byIndex != ended {
				t.Errorf("the index was used: %v, and is there: %v", byIndex, ended)
			}
			same(t, *readAll(t, r), *readAll(t, scanned))
		})
	}
}

// Wherever a byte is damaged, what is read is told as damaged, and everything else
// is there: as without the index.
func TestIndexedDamage(t *testing.T) {
	file := sampleFile(t, 8, 4)
	for i := preambleLen; i < len(file); i++ {
		bad := bytes.Clone(file)
		bad[i] ^= 0x10
		r, _ := openIndexed(t, bad)
		got := readAll(t, r)
		if len(got.damage)+len(got.pdamage) == 0 {
			t.Fatalf("byte %d of %d: no damage is told", i, len(file))
		}
		scanned, err := open(bad)
		check(t, err)
		if want := readAll(t, scanned); got.count() != want.count() {
			t.Fatalf("byte %d of %d: %v records are read, %v without the index", i, len(file), got.count(), want.count())
		}
	}
	for n := range len(file) {
		r, err := newReader(bytes.NewReader(file[:n]), int64(n), true)
		if err != nil {
			continue
		}
		if _, ended := r.End(); ended {
			t.Fatalf("cut at %d of %d, it has an end", n, len(file))
		}
	}
}
