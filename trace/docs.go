// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"
)

// A name that a user chose need not be UTF-8, but JSON must be. Where
// encoding/json would replace a byte, losing it, it becomes a character of the
// last private use area; so does each byte of such a character, to be able to
// tell. The reader turns them back.
const (
	escapeFirst = 0x10ff00
	escapeLast  = 0x10ffff
)

func needsEscape(s string) bool {
	return !utf8.ValidString(s) || strings.Contains(s, "\xf4\x8f")
}

func escape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if (r == utf8.RuneError && n == 1) || r >= escapeFirst {
			for _, c := range []byte(s[i : i+n]) {
				b.WriteRune(escapeFirst + rune(c))
			}
		} else {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

func unescape(s string) string {
	if !strings.Contains(s, "\xf4\x8f") {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if r >= escapeFirst {
			b.WriteByte(byte(r - escapeFirst))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// marshal is json.Marshal that loses no byte of a string.
func marshal(v any) ([]byte, error) {
	rv := reflect.ValueOf(v)
	found := false
	eachString(rv, func(s string) { found = found || needsEscape(s) })
	if found {
		rv = mapStrings(rv, escape)
	}
	return json.Marshal(rv.Interface())
}

// unmarshal is its opposite. v is a pointer.
func unmarshal(b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return err
	}
	// Another writer may have written the character as an escape sequence.
	if bytes.Contains(b, []byte("\xf4\x8f")) || bytes.Contains(b, []byte(`\u`)) {
		rv := reflect.ValueOf(v).Elem()
		rv.Set(mapStrings(rv, unescape))
	}
	return nil
}

// errAmplified is for a hostile payload.
var errAmplified = errors.New("payload would need too much memory")

// maxCost is how much memory the records of one JSON payload may take, unless
// the payload itself is that large.
const maxCost = 256 << 20

// checkCost estimates the memory that JSON takes when decoded. It refuses what
// is small and becomes large: "{}," makes a whole struct of three bytes.
func checkCost(b []byte) (int, error) {
	cost := 200*bytes.Count(b, []byte{'{'}) + 32*bytes.Count(b, []byte{','}) + len(b)
	if cost > max(maxCost, 3*len(b)) {
		return 0, fmt.Errorf("%w: %d MiB", errAmplified, cost>>20)
	}
	return cost, nil
}

func eachString(v reflect.Value, fn func(string)) {
	switch v.Kind() {
	case reflect.String:
		fn(v.String())
	case reflect.Pointer:
		if !v.IsNil() {
			eachString(v.Elem(), fn)
		}
	case reflect.Slice, reflect.Array:
		if leaf(v.Type().Elem().Kind()) {
			return
		}
		for i := range v.Len() {
			eachString(v.Index(i), fn)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			eachString(v.Field(i), fn)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			eachString(it.Key(), fn)
			eachString(it.Value(), fn)
		}
	}
}

func leaf(k reflect.Kind) bool { return k >= reflect.Bool && k <= reflect.Complex128 }

// mapStrings returns a deep copy of v with fn applied to every string.
func mapStrings(v reflect.Value, fn func(string) string) reflect.Value {
	c := reflect.New(v.Type()).Elem()
	c.Set(v)
	switch v.Kind() {
	case reflect.String:
		c.SetString(fn(v.String()))
	case reflect.Pointer:
		if !v.IsNil() {
			p := reflect.New(v.Type().Elem())
			p.Elem().Set(mapStrings(v.Elem(), fn))
			c.Set(p)
		}
	case reflect.Slice:
		if v.IsNil() {
			break
		}
		c.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
		for i := range v.Len() {
			c.Index(i).Set(mapStrings(v.Index(i), fn))
		}
	case reflect.Array:
		for i := range v.Len() {
			c.Index(i).Set(mapStrings(v.Index(i), fn))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			c.Field(i).Set(mapStrings(v.Field(i), fn))
		}
	case reflect.Map:
		if v.IsNil() {
			break
		}
		c.Set(reflect.MakeMapWithSize(v.Type(), v.Len()))
		for it := v.MapRange(); it.Next(); {
			c.SetMapIndex(mapStrings(it.Key(), fn), mapStrings(it.Value(), fn))
		}
	}
	return c
}
