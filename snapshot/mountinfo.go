// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"iter"
	"path"
	"sort"
	"strconv"
	"strings"
)

// nsMount is a mount of a network namespace.
type nsMount struct {
	// id is the mount's id, reused by the kernel.
	id int
	// inum is of the namespace that is mounted.
	inum uint32
	// path is the mount point, as the user wrote it: hostile.
	path string
}

// name returns what `ip netns` calls the namespace, or for a mount that isn't
// one of its the path.
func (m nsMount) name() string {
	dir, name := path.Split(m.path)
	if dir == "/run/netns/" || dir == "/var/run/netns/" {
		return name
	}
	return m.path
}

// parseMountinfo returns the mounts of network namespaces in the text of
// /proc/*/mountinfo (show_mountinfo in fs/proc_namespace.c), sorted by path, and
// those of the same path in the kernel's order, which is that in which they were
// mounted. Lines that make no sense are passed over: they can't be mounts of
// namespaces.
func parseMountinfo(text []byte) []nsMount {
	var mounts []nsMount
	for line := range bytes.Lines(text) {
		if !bytes.Contains(line, []byte(" - nsfs ")) {
			continue // the common case, cheaply
		}
		if m, ok := parseMount(bytes.TrimSuffix(line, []byte("\n"))); ok {
			mounts = append(mounts, m)
		}
	}
	sort.SliceStable(mounts, func(i, j int) bool { return mounts[i].path < mounts[j].path })
	return mounts
}

// parseMount takes one line apart:
//
//	36 35 0:4 net:[4026532281] /run/netns/blue rw shared:1 - nsfs nsfs rw
func parseMount(line []byte) (nsMount, bool) {
	fields := strings.Split(string(line), " ")
	if len(fields) < 9 {
		return nsMount{}, false
	}
	// After six fixed fields come any number of optional ones, up to a "-".
	end := 6
	for end < len(fields) && fields[end] != "-" {
		end++
	}
	if end+1 >= len(fields) || fields[end+1] != "nsfs" {
		return nsMount{}, false
	}
	id, err := strconv.Atoi(fields[0])
	if err != nil {
		return nsMount{}, false
	}
	inum, ok := parseNetLink(unescapeMount(fields[3]))
	if !ok {
		return nsMount{}, false
	}
	return nsMount{id: id, inum: inum, path: unescapeMount(fields[4])}, true
}

// parseNetLink takes the inum out of what nsfs shows for a network namespace,
// net:[4026532281] (ns_get_name in fs/nsfs.c).
func parseNetLink(s string) (uint32, bool) { return parseNsLink(s, "net") }

func parseNsLink(s, kind string) (uint32, bool) {
	s, ok := strings.CutPrefix(s, kind+":[")
	if !ok {
		return 0, false
	}
	s, ok = strings.CutSuffix(s, "]")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n != 0
}

// unescapeMount undoes mangle_path (fs/seq_file.c), which writes blank, tab,
// newline, backslash (and # in newer kernels) as a backslash and three octal
// digits.
func unescapeMount(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

// byPath goes over sorted mounts in runs of the same path. One path has several
// when its directory was bind-mounted onto itself, as `ip netns add` does, or
// when something is mounted over something.
func byPath(mounts []nsMount) iter.Seq[[]nsMount] {
	return func(yield func([]nsMount) bool) {
		for len(mounts) > 0 {
			n := 1
			for n < len(mounts) && mounts[n].path == mounts[0].path {
				n++
			}
			if !yield(mounts[:n]) {
				return
			}
			mounts = mounts[n:]
		}
	}
}
