// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"cmp"
	"fmt"
	"slices"
)

// contention is how close together, in nanoseconds, two programs' deeds must be
// to be a fight.
const contention = 2_000_000_000

// act is something a program wanted of an interface.
type act struct {
	Deed
	text  string
	netns *Netns
}

// findContended: two programs that rename or move the same interface one right
// after the other, as a script does and the udev or network manager it forgot.
func (a *Analyzer) findContended() {
	acts := make(map[*Device][]act)
	for _, r := range a.m.Renames {
		if r.Device != nil {
			acts[r.Device] = append(acts[r.Device], act{r.Deed, "renamed it from " + Escape(r.Old) + " to " + Escape(r.New) + failure(r.Errno), r.Netns})
		}
	}
	for _, m := range a.m.Moves {
		if m.Device != nil && m.Cause == CauseRequest {
			acts[m.Device] = append(acts[m.Device], act{m.Deed, "moved it to " + m.To.Label() + failure(m.Errno), m.From})
		}
	}
	for _, d := range a.m.Devices {
		list := acts[d]
		slices.SortStableFunc(list, func(x, y act) int { return cmp.Compare(x.At, y.At) })
		for i := 1; i < len(list); i++ {
			if list[i].Comm != list[i-1].Comm && list[i].At-list[i-1].At < contention {
				a.fight(d, list[i-1:])
				break
			}
		}
	}
}

func failure(errno uint32) string {
	if errno == 0 {
		return ""
	}
	return " (" + ErrnoName(errno) + ")"
}

// maxActs is how many of a fight's acts are told.
const maxActs = 6

func (a *Analyzer) fight(d *Device, list []act) {
	text := fmt.Sprintf("more than one program changed %s: ", d.Label())
	var about []*Netns
	for i, x := range list[:min(len(list), maxActs)] {
		if i > 0 {
			text += "; "
		}
		text += fmt.Sprintf("%s %s at %s", x.Who(), x.text, a.m.Since(x.At))
		about = append(about, x.netns)
	}
	a.find(Finding{
		Rule: "interface-contended", Severity: Warning, Subject: d.Label(), At: list[0].At, About: about,
		Text: text + ".",
	})
}
