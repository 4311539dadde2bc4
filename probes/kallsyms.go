// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
)

// symbol is one line of /proc/kallsyms.
type symbol struct {
	addr   uint64
	name   string
	module string // "" for the kernel itself
}

const kallsyms = "/proc/kallsyms"

// findSymbols returns all symbols that want accepts; the byte slices it is
// given are valid during the call only. Addresses are 0 where
// kernel.kptr_restrict hides them from this process.
func findSymbols(want func(addr uint64, name []byte) bool) ([]symbol, error) {
	f, err := os.Open(kallsyms)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's symbols: %w", err)
	}
	defer f.Close()
	return parseSymbols(f, want)
}

func parseSymbols(r io.Reader, want func(addr uint64, name []byte) bool) ([]symbol, error) {
	var found []symbol
	lines := bufio.NewScanner(bufio.NewReaderSize(r, 1<<16))
	for lines.Scan() {
		addr, name, module, ok := parseSymbol(lines.Bytes())
		if ok && want(addr, name) {
			found = append(found, symbol{addr, string(name), string(module)})
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the kernel's symbols: %w", err)
	}
	return found, nil
}

// parseSymbol takes a line such as "ffffffffc09c7010 t cfg80211_dev_free	[cfg80211]".
func parseSymbol(line []byte) (addr uint64, name, module []byte, ok bool) {
	hex, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok || len(rest) < 3 || rest[1] != ' ' {
		return 0, nil, nil, false
	}
	// No allocation: the compiler keeps this conversion on the stack.
	addr, err := strconv.ParseUint(string(hex), 16, 64)
	if err != nil {
		return 0, nil, nil, false
	}
	if name, module, _ = bytes.Cut(rest[2:], []byte{'\t'}); len(name) == 0 {
		return 0, nil, nil, false
	}
	return addr, name, bytes.Trim(module, "[]"), true
}

// symbolsAt finds the names of addresses: of the symbol that begins exactly
// there, since what is looked up are functions and variables, not places in them.
// f is /proc/kallsyms: whoever opened it has decided whether it shows addresses
// (kallsyms_show_value of the file's own credentials, since 5.9).
func symbolsAt(f *os.File, addrs ...uint64) (map[uint64]symbol, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read the kernel's symbols: %w", err)
	}
	found, err := parseSymbols(f, at(addrs))
	if err != nil {
		return nil, err
	}
	return byAddress(found), nil
}

// functionsAround finds the names of the functions that places are in: of the
// symbols before them. They are told as if they were the places'.
func functionsAround(f *os.File, places ...uint64) (map[uint64]symbol, error) {
	begins := make(map[uint64]uint64, len(places))
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read the kernel's symbols: %w", err)
	}
	_, err := parseSymbols(f, func(addr uint64, _ []byte) bool {
		for _, place := range places {
			if addr <= place && addr > begins[place] {
				begins[place] = addr
			}
		}
		return false
	})
	if err != nil {
		return nil, err
	}
	found, err := symbolsAt(f, slices.Collect(maps.Values(begins))...)
	if err != nil {
		return nil, err
	}
	around := make(map[uint64]symbol, len(places))
	for place, begin := range begins {
		if sym, ok := found[begin]; ok && place-begin < longestFunction {
			around[place] = sym
		}
	}
	return around, nil
}

// longestFunction is more bytes than any function has; what is farther from the
// symbol before it isn't part of that.
const longestFunction = 1 << 17

// at wants the symbols at addrs; at 0 are those that are hidden.
func at(addrs []uint64) func(uint64, []byte) bool {
	wanted := make(map[uint64]bool, len(addrs))
	for _, addr := range addrs {
		wanted[addr] = addr != 0
	}
	return func(addr uint64, _ []byte) bool { return wanted[addr] }
}

// byAddress keeps the first of several names for one address.
func byAddress(found []symbol) map[uint64]symbol {
	named := make(map[uint64]symbol, len(found))
	for _, s := range found {
		if _, dup := named[s.addr]; !dup {
			named[s.addr] = s
		}
	}
	return named
}
