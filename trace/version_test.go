// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/event"
)

// makeVersion writes testdata/v1.0.nst anew. Files of a version that has been
// released are never written again.
var makeVersion = flag.Bool("make-version", false, "write the file of the current version into testdata")

// dump prints what isn't zero, so that a field that is added later changes
// nothing for an older file.
func dump(b *strings.Builder, at string, v reflect.Value) {
	switch {
	case v.IsZero():
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			dump(b, at+"."+v.Type().Field(i).Name, v.Field(i))
		}
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			dump(b, fmt.Sprintf("%s[%d]", at, i), v.Index(i))
		}
	case v.Kind() == reflect.Pointer:
		dump(b, at, v.Elem())
	case v.Kind() == reflect.String:
		fmt.Fprintf(b, "%s %q\n", at, v.String())
	default:
		fmt.Fprintf(b, "%s %d\n", at, v.Interface())
	}
}

func (c *content) dump() string {
	var b strings.Builder
	for _, v := range []any{c.rec, c.events, c.counts, c.packets, c.names, c.symbols, c.snapshots, c.losses, c.ledgers, c.damage, c.end} {
		rv := reflect.ValueOf(v)
		dump(&b, rv.Type().String(), rv)
	}
	return b.String()
}

// Files of every version that was released stay readable.
func TestOldVersions(t *testing.T) {
	if *makeVersion {
		name := fmt.Sprintf("testdata/v%d.%d", versionMajor, versionMinor)
		file := sampleFile(t, 40, 10)
		r, err := open(file)
		check(t, err)
		check(t, os.WriteFile(name+".nst", file, 0o644))
		check(t, os.WriteFile(name+".golden", []byte(readAll(t, r).dump()), 0o644))
	}
	files, err := filepath.Glob("testdata/v*.nst")
	check(t, err)
	if len(files) == 0 {
		t.Fatal("no files of older versions")
	}
	for _, file := range files {
		r, err := Open(file)
		check(t, err)
		want, err := os.ReadFile(strings.TrimSuffix(file, ".nst") + ".golden")
		check(t, err)
		if got := readAll(t, r).dump(); got != string(want) {
			t.Errorf("%s reads differently now", file)
		}
		s, err := r.Verify()
		check(t, err)
		if !s.Whole() {
			t.Errorf("%s: %+v", file, s)
		}
		check(t, r.Close())
	}
}

// A file of a newer minor version has columns and blocks that this reader
// doesn't know, ids of its own, and lacks a column.
func TestNewerMinorVersion(t *testing.T) {
	fields := slices.Clone(eventFields)
	fields = slices.DeleteFunc(fields, func(f field[event.Event]) bool { return f.name == "comm" })
	fields = slices.Insert(fields, 3,
		number("flavour", 8, func(e *event.Event) *uint64 { return &e.Time }),
		text("colour", func(e *event.Event) *string { return &e.Comm }))
	table := ownFields()
	table[kindLifecycle.String()] = describe(fields, 100, "")
	table["weather"] = []fieldInfo{{ID: 1, Name: "rain", Type: "decimal128", Width: 16}}

	var out bytes.Buffer
	w, err := newWriter(&out, head{formatVersion{versionMajor, versionMinor + 7}, sampleRecording, table})
	check(t, err)
	var want []event.Event
	for i := range 10 {
		e := sampleEvent(i)
		w.events = append(w.events, e)
		e.Comm = ""
		want = append(want, e)
	}
	w.order = sortOrder(w.order, w.events, eventTime)
	w.p.reset()
	addFields(&w.p, fields, 100, w.events, w.order)
	w.p.finish(0)
	check(t, w.putColumns(kindLifecycle, 10))
	w.written[kindLifecycle], w.given[kindLifecycle] = 10, 10
	w.events = w.events[:0]
	const kindWeather = 200
	h := header{kind: kindWeather, count: 1 << 30, first: 1, last: 2}
	w.assemble(&h, []seqRange{{cpu: 1, count: 1}}, []byte("it rains"), nil)
	check(t, w.out.write(w.block))
	check(t, w.Close(sampleEnd))

	r, err := open(out.Bytes())
	check(t, err)
	got := readAll(t, r)
	if !slices.Equal(got.events, want) {
		t.Errorf("got  %+v\nwant %+v", got.events, want)
	}
	if len(got.damage) != 0 || got.end == nil {
		t.Errorf("damage: %+v", got.damage)
	}
	s, err := r.Verify()
	check(t, err)
	if !s.Whole() || s.UnknownBlocks != 1 {
		t.Errorf("%+v", s)
	}
}

func TestNotATrace(t *testing.T) {
	newer := preamble{major: versionMajor + 1, order: byteOrder}
	bigEndian := preamble{major: versionMajor, order: 0x0d0c0b0a}
	tests := map[string]struct {
		file string
		err  error
		says string
	}{
		"empty":      {"", ErrNotTrace, "empty"},
		"perf":       {"PERFILE2" + strings.Repeat("x", 200), ErrNotTrace, "perf.data"},
		"pcap":       {"\xd4\xc3\xb2\xa1\x02\x00", ErrNotTrace, "pcap"},
		"gzip":       {"\x1f\x8b\x08", ErrNotTrace, "gunzip"},
		"text":       {"hello\n", ErrNotTrace, "text"},
		"zeros":      {strings.Repeat("\x00", 4096), ErrNotTrace, "zeros"},
		"noise":      {"\x01\x02\xff\xfe\x00", ErrNotTrace, "binary"},
		"as text":    {"\x89NST\n\x1a\n\x01\x00", ErrNotTrace, "binary"},
		"newer":      {string(newer.append(nil)) + "whatever", ErrVersion, "newer nstrace"},
		"big endian": {string(bigEndian.append(nil)) + "whatever", ErrVersion, "byte order"},
		"cut":        {string(fileMagic[:]), ErrHeader, "ends inside"},
	}
	for name, test := range tests {
		_, err := open([]byte(test.file))
		if !errors.Is(err, test.err) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("a directory is opened")
	}
}
