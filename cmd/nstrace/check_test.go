// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/nstrace/nstrace/probes"
)

// hookOf is what check and report say of one probe.
type hookOf struct {
	Name     string
	Hook     *string
	Function *string
	Module   *string
	Reason   *string
}

// samehooks CHECK REPORT compares the hooks that check announced, and its
// reasons, with those of a recording. Some of the probes must have a hook, and
// some must not.
func sameHooks(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: samehooks CHECK.json REPORT.json")
	}
	var check struct{ Probes []hookOf }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &check))
	var report struct{ Recording struct{ Probes []hookOf } }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &report))
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
	if n == 0 || n == len(announced) {
		ts.Fatalf("%d of %d probes have a hook: this compares nothing", n, len(announced))
	}
}

// describeHook leaves out a function that no hook was put on.
func describeHook(h hookOf) string {
	text := h.Name
	if h.Hook == nil {
		h.Function, h.Module = nil, nil
	}
	for _, s := range []*string{h.Hook, h.Function, h.Module, h.Reason} {
		if s == nil {
			text += " -"
		} else {
			text += " " + *s
		}
	}
	return text
}

// TestWriteCheck: the reasons are told once each, with what they mean.
func TestWriteCheck(t *testing.T) {
	yes := true
	o := &probes.Outlook{
		Release: "6.1.0", Arch: "amd64", Types: true,
		Modules: []probes.ModuleOutlook{{Name: "cfg80211", State: probes.ModuleLoaded, Types: &yes}, {Name: "mac80211", State: probes.ModuleNotLoaded}},
		Probes: []probes.ProbeOutlook{
			{Name: "setup_net", Status: probes.ProbeAvailable, Hook: "fentry", Function: "setup_net", Loses: "births"},
			{Name: "free_net", Status: probes.ProbeAbsent, Reason: "there is no such thing", Loses: "ends"},
			{Name: "wiphy_free", Status: probes.ProbeUnknown, Hook: "kprobe", Function: "cfg80211_dev_free", Module: "cfg80211", Reason: "no fentry", Loses: "frees"},
			{Name: "ieee80211_if_add", Status: probes.ProbeAbsent, Reason: "there is no such thing", Loses: "additions"},
		},
	}
	want := `Linux 6.1.0 amd64

Recording works here, but for 2 of 4 probes.

type information  there
privileges        all that are of use
kept to the end   CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH, CAP_NET_ADMIN, CAP_KILL (with a COMMAND)
lockdown          unknown
module cfg80211   loaded, with type information
module mac80211   not loaded

PROBES
  probe             hook     function           module
  setup_net         fentry   setup_net          -
  free_net          absent   -                  -
  wiphy_free        kprobe?  cfg80211_dev_free  cfg80211
  ieee80211_if_add  absent   -                  -

WHY NOT, AND WHAT A REPORT LACKS WITHOUT
  there is no such thing
      no free_net: ends
      no ieee80211_if_add: additions
  no fentry
      wiphy_free by kprobe
`
	var got strings.Builder
	if err := writeCheck(&got, o); err != nil || got.String() != want {
		t.Errorf("%v:\n%s\nwant:\n%s", err, got.String(), want)
	}
	o.Problems = []probes.Problem{{What: "too little", Remedy: "get more"}, {Fatal: true, What: "nothing", Remedy: "get some"}}
	got.Reset()
	if err := writeCheck(&got, o); err != nil || !strings.Contains(got.String(), `
Recording does NOT work here and now:
  warning   too little
            to do: get more
  error     nothing
            to do: get some

`) {
		t.Errorf("%v:\n%s", err, got.String())
	}
}
