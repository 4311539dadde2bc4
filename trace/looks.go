// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"unicode/utf8"
)

// What people are likely to mistake for a trace, by how it begins.
var looks = []struct{ begin, what string }{
	{"PERFILE2", "a perf.data file (use perf report)"},
	{"2ELIFREP", "a perf.data file (use perf report)"},
	{"\x17\x08\x44tracing", "a trace-cmd file (use trace-cmd report)"},
	{"\xa1\xb2\xc3\xd4", "a pcap file (use tcpdump -r)"},
	{"\xd4\xc3\xb2\xa1", "a pcap file (use tcpdump -r)"},
	{"\xa1\xb2\x3c\x4d", "a pcap file (use tcpdump -r)"},
	{"\x4d\x3c\xb2\xa1", "a pcap file (use tcpdump -r)"},
	{"\x0a\x0d\x0d\x0a", "a pcapng file (use tcpdump -r)"},
	{"\x1f\x8b", "a gzip file (unpack it with gunzip first)"},
	{"\x28\xb5\x2f\xfd", "a zstd file (unpack it with unzstd first)"},
	{"\xfd7zXZ\x00", "an xz file (unpack it with unxz first)"},
	{"BZh", "a bzip2 file (unpack it with bunzip2 first)"},
	{"PK\x03\x04", "a zip file (unpack it with unzip first)"},
	{"\x7fELF", "an ELF file"},
	{"\x89NST", "a trace file damaged by a transfer as text (transfer it as binary)"},
	{"{", "JSON"},
}

// looksLike says what a file that begins with b could be.
func looksLike(b []byte) string {
	if len(b) == 0 {
		return "an empty file"
	}
	for _, l := range looks {
		if bytes.HasPrefix(b, []byte(l.begin)) {
			return l.what
		}
	}
	if len(bytes.Trim(b, "\x00")) == 0 {
		return "a file of zeros"
	}
	if utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 {
		return "text"
	}
	return "binary data of another kind"
}
