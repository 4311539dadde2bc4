// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// peer is another tool's way to read a recording of its own through.
type peer struct {
	command []string
	file    string
	events  uint64
}

// systemCalls is what the peers record about n of: dd reads a byte and writes a byte.
func systemCalls(n uint64) []string {
	return []string{"dd", "if=/dev/zero", "of=/dev/null", "bs=1", "status=none", fmt.Sprintf("count=%d", n/2)}
}

// peers records about n events with each of the tools that are there, and says of
// the others why not.
func peers(b *testing.B, dir string, n uint64) []peer {
	var all []peer
	for _, p := range []struct {
		tool   string
		record func(file string, n uint64) (uint64, error)
		read   [][]string
	}{
		{"perf", recordPerf, [][]string{{"perf", "script", "-i"}, {"perf", "report", "--stdio", "-i"}}},
		{"trace-cmd", recordTraceCmd, [][]string{{"trace-cmd", "report"}}},
	} {
		file := filepath.Join(dir, p.tool+".data")
		_, err := exec.LookPath(p.tool)
		var events uint64
		if err == nil {
			events, err = p.record(file, n)
		}
		if err != nil {
			b.Logf("without %s: %v", p.tool, err)
			continue
		}
		for _, c := range p.read {
			all = append(all, peer{command: append(c, file), file: file, events: events})
		}
	}
	return all
}

// runTool runs a command and returns its output; an error has what it said.
func runTool(name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", cmd, err, strings.TrimSpace(complaint.String()))
	}
	return out, nil
}

var (
	perfSamples = regexp.MustCompile(`SAMPLE events: +(\d+)`)
	perfLost    = regexp.MustCompile(`LOST(?:_SAMPLES)? events: +(\d+)`)
)

func recordPerf(file string, n uint64) (uint64, error) {
	// 8192 pages of 4 KiB for each CPU.
	args := []string{"record", "--quiet", "--mmap-pages", "8192", "-e", "raw_syscalls:sys_enter", "-o", file, "--"}
	if _, err := runTool("perf", append(args, systemCalls(n)...)...); err != nil {
		return 0, err
	}
	stats, err := runTool("perf", "report", "--stats", "-i", file)
	if err != nil {
		return 0, err
	}
	if m := perfLost.FindSubmatch(stats); m != nil {
		return 0, fmt.Errorf("perf lost events: %s", m[0])
	}
	m := perfSamples.FindSubmatch(stats)
	if m == nil {
		return 0, fmt.Errorf("perf doesn't say how many events it has: %s", stats)
	}
	return enough(string(m[1]), n)
}

// recordTraceCmd has a buffer of its own that takes all events, and trace-cmd make a
// file of it: `trace-cmd record` wants to set the function tracer as well, which may
// not be allowed.
func recordTraceCmd(file string, n uint64) (events uint64, err error) {
	const instance, tracefs = "nstrace-bench", "/sys/kernel/tracing"
	buffer := filepath.Join(tracefs, "instances", instance)
	if err := os.Mkdir(buffer, 0o700); err != nil {
		return 0, fmt.Errorf("make a trace buffer (as root, with tracefs mounted at %s): %w", tracefs, err)
	}
	defer os.Remove(buffer) // trace-cmd may have done so
	// An event takes 68 bytes, and all may come on one CPU.
	if err := os.WriteFile(filepath.Join(buffer, "buffer_size_kb"), fmt.Append(nil, n*72/1024+4096), 0); err != nil {
		return 0, fmt.Errorf("make a trace buffer large enough: %w", err)
	}
	const script = `echo $$ >set_event_pid && echo 1 >events/raw_syscalls/sys_enter/enable && exec "$@"`
	cmd := exec.Command("sh", append([]string{"-c", script, "sh"}, systemCalls(n)...)...)
	cmd.Dir = buffer
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%s: %w: %s", cmd, err, out)
	}
	stats, err := filepath.Glob(filepath.Join(buffer, "per_cpu/cpu*/stats"))
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(buffer, "events/raw_syscalls/sys_enter/enable"), []byte("0"), 0); err != nil {
		return 0, err
	}
	for _, path := range stats {
		n, err := ringEntries(path)
		if err != nil {
			return 0, err
		}
		events += n
	}
	if _, err := runTool("trace-cmd", "extract", "-B", instance, "-o", file); err != nil {
		return 0, err
	}
	return enough(strconv.FormatUint(events, 10), n)
}

// ringEntries is how many events a CPU's trace buffer has; an error if it lost any.
func ringEntries(path string) (entries uint64, err error) {
	stats, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(stats)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		n, err := strconv.ParseUint(value, 10, 64)
		switch {
		case name == "entries" && err == nil:
			entries = n
		case strings.Contains(name, "overrun") || strings.Contains(name, "dropped"):
			if n != 0 || err != nil {
				return 0, fmt.Errorf("%s: %s", path, lines.Text())
			}
		}
	}
	return entries, nil
}

// enough parses a number of events, which is to be at least nearly n.
func enough(text string, n uint64) (uint64, error) {
	events, err := strconv.ParseUint(text, 10, 64)
	if err == nil && events < n*99/100 {
		err = fmt.Errorf("only %d of %d events were recorded", events, n)
	}
	return events, err
}
