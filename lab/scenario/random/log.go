// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// attempt is one operation and the kernel's answer: a line of log.jsonl.
type attempt struct {
	N int `json:"n"`
	// Op is the kind of operation, Case a variation of it.
	Op   string `json:"op"`
	Case string `json:"case"`
	Args args   `json:"args,omitempty"`
	// Errno is 0 for success.
	Errno int    `json:"errno"`
	Error string `json:"error,omitempty"`
	// From and To are CLOCK_BOOTTIME.
	From uint64 `json:"from_ns"`
	To   uint64 `json:"to_ns"`
}

// args are what an operation was done with, and what came of it.
type args map[string]any

// tally is how often something was tried, by outcome.
type tally struct {
	Succeeded int `json:"succeeded"`
	// Failed is by the errno's name.
	Failed map[string]int `json:"failed,omitempty"`
	// Time is how long it took in all, in nanoseconds.
	Time uint64 `json:"time_ns"`
}

// summary is what summary.json has.
type summary struct {
	Seed       uint64 `json:"seed"`
	Operations int    `json:"operations"`
	// PID is the process whose threads did it all, but for what its agents did.
	PID int `json:"pid"`
	// Cases is by operation and case, "link.move lo".
	Cases map[string]*tally `json:"cases"`
	From  uint64            `json:"from_ns"`
	To    uint64            `json:"to_ns"`
}

// journal writes log.jsonl and counts.
type journal struct {
	dir     string
	file    *os.File
	buffer  *bufio.Writer // the file may be far away
	encoder *json.Encoder
	summary
}

func newJournal(dir string, seed uint64) (*journal, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	file, err := os.Create(filepath.Join(dir, "log.jsonl"))
	if err != nil {
		return nil, err
	}
	buffer := bufio.NewWriterSize(file, 64<<10)
	return &journal{
		dir: dir, file: file, buffer: buffer, encoder: json.NewEncoder(buffer),
		summary: summary{Seed: seed, PID: os.Getpid(), Cases: map[string]*tally{}, From: now()},
	}, nil
}

func (j *journal) add(a *attempt) error {
	key := a.Op + " " + a.Case
	t := j.Cases[key]
	if t == nil {
		t = &tally{Failed: map[string]int{}}
		j.Cases[key] = t
	}
	if a.Errno == 0 {
		t.Succeeded++
	} else {
		t.Failed[errnoName(a.Errno)]++
	}
	t.Time += a.To - a.From
	a.N = j.Operations
	j.Operations++
	return j.encoder.Encode(a)
}

func (j *journal) close() error {
	j.To = now()
	return errors.Join(j.buffer.Flush(), j.file.Close(), j.write("summary.json", j.summary))
}

func (j *journal) write(name string, what any) error {
	text, err := json.MarshalIndent(what, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(j.dir, name), append(text, '\n'), 0o644)
}

func errnoName(errno int) string {
	if name := unix.ErrnoName(syscall.Errno(errno)); name != "" {
		return name
	}
	return fmt.Sprint("errno ", errno)
}

// now is CLOCK_BOOTTIME in nanoseconds.
func now() uint64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	return uint64(t.Nano())
}
