// SPDX-License-Identifier: Apache-2.0

// Package report writes what package analyze found out: for a person (text) and
// for programs (JSON, schema nstrace.report/1).
//
// Whatever a user program could choose (names, comms, command lines, paths) is
// hostile. The text has all of it through [analyze.Escape], and columns are
// measured after escaping; JSON has it as it was, with encoding/json's escapes,
// except in prose (text, subject and advice of findings), which is the text's.
package report

import (
	"errors"
	"fmt"
	"io"

	"github.com/nstrace/nstrace/analyze"
)

// Options restrict a report.
type Options struct {
	// Netns are the namespaces to tell of, all if empty. See [Select].
	Netns []*analyze.Netns
	// Since and Until are the boot times (nanoseconds) between which events are
	// listed, 0 for no limit. See [ParseTime].
	Since, Until uint64
	// All lists every namespace in the text, however ordinary.
	All bool
}

// Format is a report's form.
type Format string

// The formats.
const (
	FormatText Format = "text"
	FormatJSON Format = "json"
)

// ErrFormat is returned for a format that isn't there.
var ErrFormat = errors.New("no such report format")

// Write writes the report of m to w in the given format.
func Write(w io.Writer, m *analyze.Model, f Format, o Options) error {
	switch f {
	case FormatText:
		return Text(w, m, o)
	case FormatJSON:
		return JSON(w, m, o)
	}
	return fmt.Errorf("%w: %q: there are text and json", ErrFormat, string(f))
}

// chosen reports whether the options let namespace n through.
func (o Options) chosen(n *analyze.Netns) bool {
	if len(o.Netns) == 0 {
		return true
	}
	for _, x := range o.Netns {
		if x == n {
			return true
		}
	}
	return false
}

// any reports whether one of the namespaces is chosen.
func (o Options) any(ns ...*analyze.Netns) bool {
	if len(o.Netns) == 0 {
		return true
	}
	for _, n := range ns {
		if n != nil && o.chosen(n) {
			return true
		}
	}
	return false
}

// when reports whether something that happened at t is to be listed.
func (o Options) when(t uint64) bool { return o.during(t, t) }

// during reports whether something that went on from one time to another (0: to
// the end) overlaps what is to be listed.
func (o Options) during(from, until uint64) bool {
	return (o.Since == 0 || until == 0 || until >= o.Since) && (o.Until == 0 || from <= o.Until)
}
