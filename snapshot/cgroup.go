// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"io"
	"os"
)

// maxCgroup bounds what is read of a /proc/PID/cgroup: a path in each of the
// dozen hierarchies there can be.
const maxCgroup = 64 << 10

// readCgroup returns the path in the text of /proc/PID/cgroup by which a
// container is known, "" if it can't be told.
func readCgroup(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxCgroup))
	if err != nil {
		return ""
	}
	return parseCgroup(text)
}

// parseCgroup returns the path in the v2 hierarchy (0::/path), or in that of
// systemd (1:name=systemd:/path) where that is the one in use (proc_cgroup_show
// in kernel/cgroup/cgroup.c).
func parseCgroup(text []byte) string {
	var v2, systemd string
	for line := range bytes.Lines(text) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		parts := bytes.SplitN(line, []byte(":"), 3)
		switch {
		case len(parts) != 3:
		case string(parts[0]) == "0" && len(parts[1]) == 0:
			v2 = string(parts[2])
		case string(parts[1]) == "name=systemd":
			systemd = string(parts[2])
		}
	}
	if systemd != "" && (v2 == "" || v2 == "/") {
		return systemd
	}
	return v2
}
