// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
)

// hookOf is what check and report say of one probe.
type hookOf struct {
	Name     string
	Hook     *string
	Function *string
	Module   *string
}

// samehooks N CHECK REPORT compares the hooks that check announced with those of
// a recording. N of the probes must have one.
func sameHooks(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: samehooks N CHECK.json REPORT.json")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	var check struct{ Probes []hookOf }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &check))
	var report struct{ Recording struct{ Probes []hookOf } }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[2])), &report))
	announced, recorded := check.Probes, report.Recording.Probes
	if len(announced) != len(recorded) {
		ts.Fatalf("check has %d probes, the recording %d", len(announced), len(recorded))
	}
	n := 0
	for i := range announced {
		a, r := describeHook(announced[i]), describeHook(recorded[i])
		if a != r {
			ts.Fatalf("check announced %q, the recording had %q", a, r)
		}
		if announced[i].Hook != nil {
			n++
		}
	}
	if n != want {
		ts.Fatalf("%d probes have a hook, want %d", n, want)
	}
}

// describeHook leaves out a function that no hook was put on.
func describeHook(h hookOf) string {
	text := h.Name
	if h.Hook == nil {
		return text + " absent"
	}
	for _, s := range []*string{h.Hook, h.Function, h.Module} {
		if s == nil {
			text += " -"
		} else {
			text += " " + *s
		}
	}
	return text
}
