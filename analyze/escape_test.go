// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestEscape(t *testing.T) {
	tests := []struct{ in, want string }{
		{"wlan0", "wlan0"},
		{"kworker/u4:0", "kworker/u4:0"},
		{"eth0.100@if2", "eth0.100@if2"},
		{"büro", "büro"},
		{"無線", "無線"},
		{"", `""`},
		{"tmux: server", `"tmux: server"`},
		{"(sd-pam)", `"(sd-pam)"`},
		{"iw[1] moved phy0", `"iw[1] moved phy0"`},
		{`a"b\c`, `"a\"b\\c"`},
		{"a\nb\tc\rd", `"a\nb\tc\rd"`},
		{"\x1b[31mred\x1b[0m", `"\x1b[31mred\x1b[0m"`},
		{"\x00\x7f", `"\x00\x7f"`},
		{"\u009b31m", `"\u009b31m"`}, // a one-byte escape sequence on some terminals
		{"\xff\xfe", `"\xff\xfe"`},
		{"a\xc3", `"a\xc3"`},
		{"\u202eevil", `"\u202eevil"`},
		{"a\u2066b\u2069", `"a\u2066b\u2069"`},
		{"a\u200bb\ufeff", `"a\u200bb\ufeff"`},
		{"a\u00adb", `"a\u00adb"`},
		{"a\u00a0b", `"a\u00a0b"`},
		{"e\u0301", `"e\u0301"`},
		{"\u3164", `"\u3164"`},
		{"שלום", `"\u05e9\u05dc\u05d5\u05dd"`},
		{"\U000e0041", `"\U000e0041"`},
		{"<script>", `"<script>"`},
		{"a\u2028b", `"a\u2028b"`},
		{"\ufffd", "\"\ufffd\""},
		{"$(reboot)", `"$(reboot)"`},
	}
	for _, tt := range tests {
		if got := Escape(tt.in); got != tt.want {
			t.Errorf("Escape(%q) = %s, want %s", tt.in, got, tt.want)
		}
	}
}

func TestEscapeText(t *testing.T) {
	if got, want := EscapeText("open \"x\": no\x1b[2J such\nfile"), `open "x": no\x1b[2J such\nfile`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestShellWord(t *testing.T) {
	tests := []struct{ in, want string }{
		{"wlan0", "wlan0"},
		{"", "''"},
		{"a b", "'a b'"},
		{"$(reboot)", "'$(reboot)'"},
		{"it's", `$'it\'s'`},
		{"a\nb", `$'a\x0ab'`},
		{"\u202e", `$'\xe2\x80\xae'`},
		{"büro", "'büro'"},
	}
	for _, tt := range tests {
		if got := shellWord(tt.in); got != tt.want {
			t.Errorf("shellWord(%q) = %s, want %s", tt.in, got, tt.want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("wlan0")
	f.Add("\x1b[0m\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		for _, out := range []string{Escape(s), EscapeText(s), shellWord(s)} {
			if !utf8.ValidString(out) {
				t.Errorf("%q became invalid UTF-8: %q", s, out)
			}
			if i := strings.IndexFunc(out, func(r rune) bool {
				return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Mn, r)
			}); i >= 0 {
				t.Errorf("%q kept something invisible: %q", s, out)
			}
		}
	})
}
