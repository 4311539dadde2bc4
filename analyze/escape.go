// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Escape returns s in a form that is safe on a terminal, on one line, and can't
// be mistaken for the prose around it. Names that are ordinary (letters, digits
// and the punctuation of paths and interface names) stay as they are; anything
// else comes in double quotes, with control characters, quotes, backslashes,
// invalid UTF-8, and characters that are invisible or change the direction of
// text written as escapes. Everything a user program can choose is printed
// through here.
func Escape(s string) string {
	if ordinary(s) {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	escapeInto(&b, s, true)
	b.WriteByte('"')
	return b.String()
}

// EscapeText makes prose safe that may hold strings from the kernel or from
// other programs (an error message): as Escape, but it adds no quotes and leaves
// those within alone.
func EscapeText(s string) string {
	var b strings.Builder
	escapeInto(&b, s, false)
	return b.String()
}

func escapeInto(b *strings.Builder, s string, quotes bool) {
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			escapeByte(b, s[i])
		case quotes && (r == '"' || r == '\\'):
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == ' ' || visible(r):
			b.WriteRune(r)
		default:
			escapeRune(b, r)
		}
		i += size
	}
}

// ordinary reports whether s needs no quotes.
func ordinary(s string) bool {
	if s == "" {
		return false
	}
	for i, r := range s {
		if r == utf8.RuneError {
			return false
		}
		switch {
		case r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r)):
		case strings.ContainsRune("._-:/@%+=,~", r):
			if i == 0 && strings.ContainsRune(",=", r) {
				return false
			}
		case r >= utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r)) && visible(r):
		default:
			return false
		}
	}
	return true
}

// visible reports whether r can be printed as it is: it has a glyph and a width
// of its own and leaves its neighbours where they are.
func visible(r rune) bool {
	switch {
	case r < utf8.RuneSelf:
		return r > ' ' && r < 0x7f
	case r == 0x115f || r == 0x1160 || r == 0x3164 || r == 0xffa0: // Hangul fillers: letters without a glyph
		return false
	case r == 0x2800: // the empty Braille pattern
		return false
	case unicode.In(r, unicode.Hebrew, unicode.Arabic, unicode.Syriac, unicode.Thaana, unicode.Nko):
		return false // written from right to left: they would reorder the line around them
	case r >= 0x0800 && r <= 0x08ff, r >= 0xfb1d && r <= 0xfdff, r >= 0xfe70 && r <= 0xfeff,
		r >= 0x10800 && r <= 0x10fff, r >= 0x1e800 && r <= 0x1efff:
		return false // the other right-to-left blocks
	case unicode.In(r, unicode.M, unicode.Z, unicode.C):
		return false // marks stack up, spaces and format characters can't be seen
	}
	return unicode.IsGraphic(r)
}

const hexDigits = "0123456789abcdef"

func escapeByte(b *strings.Builder, c byte) {
	b.WriteString(`\x`)
	b.WriteByte(hexDigits[c>>4])
	b.WriteByte(hexDigits[c&15])
}

func escapeRune(b *strings.Builder, r rune) {
	switch {
	case r == '\n':
		b.WriteString(`\n`)
	case r == '\t':
		b.WriteString(`\t`)
	case r == '\r':
		b.WriteString(`\r`)
	case r < utf8.RuneSelf:
		escapeByte(b, byte(r))
	case r <= 0xffff:
		b.WriteString(`\u`)
		writeHex(b, r, 12)
	default:
		b.WriteString(`\U`)
		writeHex(b, r, 28)
	}
}

func writeHex(b *strings.Builder, r rune, shift int) {
	for ; shift >= 0; shift -= 4 {
		b.WriteByte(hexDigits[r>>uint(shift)&15])
	}
}

// shellWord quotes s as one word for a POSIX shell, so that a command which
// holds a hostile name can be pasted. Names that can't be typed plainly come in
// the $'...' form of bash.
func shellWord(s string) string {
	if s != "" && strings.IndexFunc(s, func(r rune) bool {
		return r >= utf8.RuneSelf || !(unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("._-:/@%+=,", r))
	}) < 0 {
		return s
	}
	plain := utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return r != ' ' && !visible(r) }) < 0
	if plain && !strings.ContainsAny(s, `'\`) {
		return "'" + s + "'"
	}
	var b strings.Builder
	b.WriteString("$'")
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '\'' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c >= 0x7f:
			escapeByte(&b, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('\'')
	return b.String()
}
