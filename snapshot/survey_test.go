// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"

	"golang.org/x/sys/unix"
)

// parts answers one element per read: bytes or an error.
type parts []any

func (p *parts) Read(to []byte) (int, error) {
	if len(*p) == 0 {
		return 0, io.EOF
	}
	next := (*p)[0]
	*p = (*p)[1:]
	if err, ok := next.(error); ok {
		return 0, err
	}
	return copy(to, next.([]byte)), nil
}

func TestReadRows(t *testing.T) {
	var text []byte
	for _, tid := range []uint32{1, 2, 3} {
		text, _ = binary.Append(text, binary.NativeEndian, row{Tid: tid, Comm: [16]int8{'a'}})
	}
	cut := rowSize + 5
	for _, test := range []struct {
		name string
		from io.Reader
		want []uint32
		err  error
	}{
		{"at once", bytes.NewReader(text), []uint32{1, 2, 3}, nil},
		{"byte by byte", iotest.OneByteReader(bytes.NewReader(text)), []uint32{1, 2, 3}, nil},
		{"nothing", bytes.NewReader(nil), nil, nil},
		{"asked to ask again", &parts{unix.EAGAIN, text[:cut], unix.EAGAIN, text[cut:]}, []uint32{1, 2, 3}, nil},
		{"cut", bytes.NewReader(text[:cut]), []uint32{1}, io.ErrUnexpectedEOF},
		{"failed", &parts{text[:cut], unix.ENOMEM}, []uint32{1}, unix.ENOMEM},
	} {
		var got []uint32
		err := readRows(test.from, func(r *row) {
			if comm(r) != "a" {
				t.Errorf("%s: comm %q", test.name, comm(r))
			}
			got = append(got, r.Tid)
		})
		if !slices.Equal(got, test.want) || !errors.Is(err, test.err) {
			t.Errorf("%s: %d, %v", test.name, got, err)
		}
	}
}

// A task's name need not end.
func TestComm(t *testing.T) {
	r := row{}
	for i := range r.Comm {
		r.Comm[i] = -1
	}
	if got := comm(&r); got != string(bytes.Repeat([]byte{0xff}, 16)) {
		t.Errorf("got %q", got)
	}
}
