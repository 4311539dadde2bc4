// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// There are two ways to a kprobe. perf_event_open(2) makes one that ends with its
// descriptor. Writing to kprobe_events of tracefs makes a trace event with a name
// (Documentation/trace/kprobetrace.rst), for which one can say how many returns
// may be awaited at once, and of which the kernel tells, since long before it
// tells of the others, how often it was hit and missed. But a recorder that is
// killed leaves it behind, so the next one clears away.

// eventGroup has the trace events of all recorders, by which they are known.
const eventGroup = "nstrace"

// maxInstances is the most that kprobe_events takes (KRETPROBE_MAXACTIVE_MAX in
// kernel/trace/trace_kprobe.c).
const maxInstances = 4096

// traceEvents makes kprobes by way of tracefs. Its files stay open, since giving
// up privileges may take the right to open them.
type traceEvents struct {
	dir             string
	events, profile *os.File
}

// openTraceEvents looks where tracefs is mounted, and mounts nothing.
func openTraceEvents() (*traceEvents, error) {
	dirs := findTracefs()
	if len(dirs) == 0 {
		return nil, errors.New("tracefs isn't mounted")
	}
	var errs []error
	for _, dir := range dirs {
		t, err := openTraceEventsIn(dir)
		if err == nil {
			return t, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func openTraceEventsIn(dir string) (t *traceEvents, err error) {
	t = &traceEvents{dir: dir}
	// Without O_APPEND or with O_TRUNC, opening it removes all events.
	if t.events, err = os.OpenFile(filepath.Join(dir, "kprobe_events"), os.O_RDWR|os.O_APPEND, 0); err != nil {
		return nil, err
	}
	if t.profile, err = os.Open(filepath.Join(dir, "kprobe_profile")); err != nil {
		t.events.Close()
		return nil, err
	}
	return t, nil
}

func (t *traceEvents) close() {
	if t != nil {
		t.events.Close()
		t.profile.Close()
	}
}

// exclusively runs f while no other recorder makes an event or clears away.
func (t *traceEvents) exclusively(f func() error) error {
	fd := int(t.events.Fd())
	if err := unix.Flock(fd, unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", t.events.Name(), err)
	}
	defer unix.Flock(fd, unix.LOCK_UN)
	return f()
}

// command writes a line to kprobe_events.
func (t *traceEvents) command(line string) error {
	if _, err := t.events.WriteString(line); err != nil {
		return fmt.Errorf("write %q to kprobe_events: %w", line, errors.Unwrap(err))
	}
	return nil
}

// clear removes the events of dead recorders. Those that are in use the kernel
// doesn't let go (EBUSY), and in this lock there are no others.
func (t *traceEvents) clear() error {
	list, err := readFrom(t.events)
	if err != nil || len(eventNames(list)) == 0 {
		return err
	}
	return t.exclusively(func() error {
		list, err := readFrom(t.events)
		for _, name := range eventNames(list) {
			if e := t.command("-:" + name); !errors.Is(e, unix.EBUSY) && !errors.Is(e, unix.ENOENT) {
				err = errors.Join(err, e)
			}
		}
		return err
	})
}

// eventNames returns those of the group from lines such as
// "r4096:nstrace/setup_net_return_1f setup_net".
func eventNames(list string) (names []string) {
	for line := range strings.Lines(list) {
		_, rest, _ := strings.Cut(line, ":")
		name, _, _ := strings.Cut(rest, " ")
		group, _, _ := strings.Cut(name, "/")
		// The ebpf library gives each event a group of its own.
		if group == eventGroup || strings.HasPrefix(group, eventGroup+"_") {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return names
}

// readFrom reads a file of tracefs anew: the kernel makes its text when it is
// read from the beginning.
func readFrom(f *os.File) (string, error) {
	data, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", f.Name(), err)
	}
	return string(data), nil
}

// traceEvent is one kprobe or kretprobe with a program.
type traceEvent struct {
	events *traceEvents
	// name is its own, without the group's: kprobe_profile has no more.
	name string
	perf int
}

// attach puts a program on a function's entry, or with instances on its return,
// as many of which can be awaited at once.
func (t *traceEvents) attach(p *ebpf.Program, function string, instances int) (e *traceEvent, err error) {
	random := make([]byte, 4)
	rand.Read(random) // never fails
	kind, where := "p", "entry"
	if instances > 0 {
		kind, where = "r"+strconv.Itoa(instances), "return"
	}
	e = &traceEvent{events: t, perf: -1}
	e.name = fmt.Sprintf("%s_%s_%s", strings.ReplaceAll(function, ".", "_"), where, hex.EncodeToString(random))
	err = t.exclusively(func() error {
		if err := t.command(fmt.Sprintf("%s:%s/%s %s", kind, eventGroup, e.name, function)); err != nil {
			return err
		}
		if err := e.open(p); err != nil {
			return errors.Join(err, e.Close())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// open has a program run at the event, on all CPUs: the one that the perf event
// is for is where samples would be taken.
func (e *traceEvent) open(p *ebpf.Program) error {
	file := filepath.Join(e.events.dir, "events", eventGroup, e.name, "id")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	id, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	attr := &unix.PerfEventAttr{
		Type: unix.PERF_TYPE_TRACEPOINT, Size: unix.PERF_ATTR_SIZE_VER1, Config: id,
		Sample: 1, Wakeup: 1, Sample_type: unix.PERF_SAMPLE_RAW,
	}
	if e.perf, err = unix.PerfEventOpen(attr, -1, 0, -1, unix.PERF_FLAG_FD_CLOEXEC); err != nil {
		return fmt.Errorf("open the perf event of %s: %w", e.name, err)
	}
	if err := unix.IoctlSetInt(e.perf, unix.PERF_EVENT_IOC_SET_BPF, p.FD()); err != nil {
		return fmt.Errorf("attach the program to %s: %w", e.name, err)
	}
	if err := unix.IoctlSetInt(e.perf, unix.PERF_EVENT_IOC_ENABLE, 0); err != nil {
		return fmt.Errorf("enable %s: %w", e.name, err)
	}
	return nil
}

// Close detaches the program and removes the event.
func (e *traceEvent) Close() error {
	if e.perf >= 0 {
		if err := unix.Close(e.perf); err != nil {
			return fmt.Errorf("close the perf event of %s: %w", e.name, err)
		}
		e.perf = -1
	}
	err := e.events.command(fmt.Sprintf("-:%s/%s", eventGroup, e.name))
	if errors.Is(err, unix.ENOENT) {
		return nil // another recorder took it for a dead one's
	}
	return err
}

// eventCount is what the kernel counts of a trace event.
type eventCount struct{ hits, missed uint64 }

// counts reads the kernel's account of all trace events, by their names.
func (t *traceEvents) counts() (map[string]eventCount, error) {
	text, err := readFrom(t.profile)
	if err != nil {
		return nil, err
	}
	return parseProfile(text)
}

// parseProfile reads lines of a name, hits and misses. On a return, misses are
// those for want of an instance, too.
func parseProfile(text string) (map[string]eventCount, error) {
	counts := map[string]eventCount{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("kprobe_profile has a line %q", line)
		}
		hits, err := strconv.ParseUint(fields[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("kprobe_profile: %w", err)
		}
		missed, err := strconv.ParseUint(fields[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("kprobe_profile: %w", err)
		}
		counts[fields[0]] = eventCount{hits, missed}
	}
	return counts, nil
}
