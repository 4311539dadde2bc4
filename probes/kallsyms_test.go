// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
)

func TestParseSymbol(t *testing.T) {
	for _, c := range []struct {
		line string
		want symbol
		bad  bool
	}{
		{line: "ffffffff81000000 T _text", want: symbol{0xffffffff81000000, "_text", ""}},
		{line: "ffffffff8ab2c010 t cleanup_net", want: symbol{0xffffffff8ab2c010, "cleanup_net", ""}},
		{line: "ffffffffc09c7010 t cfg80211_dev_free\t[cfg80211]", want: symbol{0xffffffffc09c7010, "cfg80211_dev_free", "cfg80211"}},
		{line: "0000000000000000 A fixed_percpu_data", want: symbol{0, "fixed_percpu_data", ""}},
		{line: "0000000000000000 t ieee80211_if_add\t[mac80211]", want: symbol{0, "ieee80211_if_add", "mac80211"}},
		{line: "c0008000 T stext", want: symbol{0xc0008000, "stext", ""}}, // 32 bits
		{line: "ffffffff81000010 t net_free.part.0", want: symbol{0xffffffff81000010, "net_free.part.0", ""}},
		{line: "ffffffffc0000000 t bpf_prog_6deef7357e7b4530\t[bpf]", want: symbol{0xffffffffc0000000, "bpf_prog_6deef7357e7b4530", "bpf"}},
		{line: "ffffffffa0000000 t a b\t[m]", want: symbol{0xffffffffa0000000, "a b", "m"}},
		{line: "ffffffffa0000000 t x\t", want: symbol{0xffffffffa0000000, "x", ""}},
		{line: "", bad: true},
		{line: " ", bad: true},
		{line: "ffffffff81000000", bad: true},
		{line: "ffffffff81000000 ", bad: true},
		{line: "ffffffff81000000 T", bad: true},
		{line: "ffffffff81000000 T ", bad: true},
		{line: "ffffffff81000000 T \t[m]", bad: true},
		{line: "ffffffff81000000 TT _text", bad: true},
		{line: " T _text", bad: true},
		{line: "not-a-number T _text", bad: true},
		{line: "-1 T _text", bad: true},
		{line: "0xffffffff81000000 T _text", bad: true},
		{line: "1ffffffff81000000 T _text", bad: true}, // more than 64 bits
		{line: "ffffffff81000000\tT\t_text", bad: true},
	} {
		addr, name, module, ok := parseSymbol([]byte(c.line))
		if got := (symbol{addr, string(name), string(module)}); got != c.want || ok == c.bad {
			t.Errorf("%q: got %+v, %v; want %+v, %v", c.line, got, ok, c.want, !c.bad)
		}
	}
}

func TestParseSymbols(t *testing.T) {
	const text = "ffffffff81000000 T a\n" +
		"garbage\n" +
		"\n" +
		"ffffffff81000010 t b\n" +
		"ffffffffc0000000 t b\t[m]\n" +
		"ffffffff81000020 t c" // and no end of line
	for _, c := range []struct {
		name string
		want func(addr uint64, name []byte) bool
		out  []symbol
	}{
		{"all", func(uint64, []byte) bool { return true }, []symbol{
			{0xffffffff81000000, "a", ""}, {0xffffffff81000010, "b", ""}, {0xffffffffc0000000, "b", "m"}, {0xffffffff81000020, "c", ""},
		}},
		{"by name", func(_ uint64, name []byte) bool { return string(name) == "b" }, []symbol{
			{0xffffffff81000010, "b", ""}, {0xffffffffc0000000, "b", "m"},
		}},
		{"by address", func(addr uint64, _ []byte) bool { return addr == 0xffffffff81000020 }, []symbol{{0xffffffff81000020, "c", ""}}},
		{"none", func(uint64, []byte) bool { return false }, nil},
	} {
		for _, r := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text))} {
			got, err := parseSymbols(r, c.want)
			if err != nil || !slices.Equal(got, c.out) {
				t.Errorf("%s: got %+v, %v; want %+v", c.name, got, err, c.out)
			}
		}
	}
}

func TestParseSymbolsFails(t *testing.T) {
	broken := errors.New("broken")
	r := io.MultiReader(strings.NewReader("ffffffff81000000 T a\n"), iotest.ErrReader(broken))
	if _, err := parseSymbols(r, func(uint64, []byte) bool { return true }); !errors.Is(err, broken) {
		t.Errorf("got %v: half of the symbols must not pass for all", err)
	}
}

// TestSymbolsByAddress: where addresses are hidden nothing is at 0, and of two
// names for one address the first counts.
func TestSymbolsByAddress(t *testing.T) {
	const text = "0000000000000000 t hidden\n" +
		"0000000000000000 t hidden_too\t[m]\n" +
		"ffffffff81000000 T first\n" +
		"ffffffff81000000 T alias\n" +
		"ffffffff81000001 t inside\n"
	const addr = 0xffffffff81000000
	found, err := parseSymbols(strings.NewReader(text), at([]uint64{0, addr, 5}))
	if err != nil {
		t.Fatal(err)
	}
	want := map[uint64]symbol{addr: {addr, "first", ""}}
	if got := byAddress(found); !maps.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestSymbolsAt finds a function of the running kernel by its name, and its name
// by its address.
func TestSymbolsAt(t *testing.T) {
	const function = "register_pernet_subsys"
	addr := addressOf(t, function)
	f, err := os.Open(kallsyms)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := symbolsAt(f, addr); err != nil { // not only the first time
		t.Fatal(err)
	}
	got, err := symbolsAt(f, 0, addr, addr+1)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[addr].addr != addr || got[addr].module != "" || got[addr].name == "" {
		t.Errorf("got %+v, want %s alone", got, function)
	}
}

// addressOf looks up a function of the running kernel.
func addressOf(t *testing.T, function string) uint64 {
	t.Helper()
	needRoot(t)
	found, err := findSymbols(func(_ uint64, name []byte) bool { return string(name) == function })
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || found[0].addr == 0 {
		t.Fatalf("got %+v for %s, even as root", found, function)
	}
	return found[0].addr
}

func FuzzParseSymbol(f *testing.F) {
	for _, line := range []string{
		"ffffffff81000000 T _text", "0 t x\t[m]", "ffffffffc09c7010 t a\tb\t[c]", "1  t x", "zz t x", "1 t \t[m]", "",
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		addr, name, module, ok := parseSymbol(line)
		if !ok {
			if addr != 0 || name != nil || module != nil {
				t.Errorf("%q: refused, yet %x %q %q", line, addr, name, module)
			}
			return
		}
		hex, rest, _ := bytes.Cut(line, []byte{' '})
		if want, err := strconv.ParseUint(string(hex), 16, 64); err != nil || addr != want {
			t.Errorf("%q: got address %x, want %x, %v", line, addr, want, err)
		}
		if len(name) == 0 || bytes.ContainsRune(name, '\t') || !bytes.HasPrefix(rest[2:], name) || !bytes.Contains(rest, module) {
			t.Errorf("%q: got %q in %q", line, name, module)
		}
	})
}

// symbolLines makes as much of /proc/kallsyms as is asked for.
func symbolLines(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, "%016x t some_function_of_%d", 0xffffffff81000000+uint64(i)*16, i)
		if i > n/2 {
			b.WriteString("\t[module]")
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func wantOne(_ uint64, name []byte) bool { return string(name) == "some_function_of_77" }

func TestParseSymbolsAllocations(t *testing.T) {
	allocs := func(lines int) float64 {
		text := symbolLines(lines)
		return testing.AllocsPerRun(5, func() {
			if found, err := parseSymbols(bytes.NewReader(text), wantOne); err != nil || len(found) != 1 {
				t.Fatalf("got %+v, %v", found, err)
			}
		})
	}
	if few, many := allocs(1000), allocs(20_000); many > few {
		t.Errorf("%v allocations for 1,000 symbols, %v for 20,000", few, many)
	}
}

func BenchmarkParseSymbols(b *testing.B) {
	const lines = 200_000
	text := symbolLines(lines)
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if found, err := parseSymbols(bytes.NewReader(text), wantOne); err != nil || len(found) != 1 {
			b.Fatalf("got %+v, %v", found, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/lines, "ns/symbol")
}
