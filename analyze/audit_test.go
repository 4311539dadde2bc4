// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/analyze/story"
	"github.com/nstrace/nstrace/event"
)

func TestAudit(t *testing.T) {
	named := func(n event.NetRef, names ...string) event.NetnsState {
		st := story.State(n)
		st.Names = names
		return st
	}
	home := func(links ...event.Link) event.NetnsState {
		st := story.State(story.Initial, append(links, story.Link(wlan0))...)
		st.Wiphys = []event.Wiphy{{Index: 0, Name: "phy0"}}
		return st
	}
	listed := func(st event.NetnsState, n event.NetRef) event.NetnsState {
		st.Ptr = n.Ptr
		return st
	}
	tests := []struct {
		name       string
		tell       func(*tale) *Model
		compared   int
		differ     string
		unverified int
		note       string
	}{
		{"agreed", func(s *tale) *Model { return s.end(home(), named(red, "red")) }, 7, "", 0, ""},
		{"not compared", func(s *tale) *Model { return s.end() }, 0, "", 0, "no closing snapshot"},
		{
			"a namespace unheard of", func(s *tale) *Model { return s.end(home(), named(red, "red"), named(blue)) }, 8,
			"namespace net:[4026532002]: there, not never seen", 0, "",
		},
		{"a namespace thought gone", func(s *tale) *Model {
			s.Cleanup(red, nil)
			return s.end(home(), named(red))
		}, 5, "namespace red: there, not gone at +0.014 s", 0, ""},
		{"a namespace no task or mount shows", func(s *tale) *Model { return s.end(home()) }, 4, "", 1, ""},
		{
			"a namespace that the kernel hasn't listed", func(s *tale) *Model { return s.end(listed(home(), story.Initial)) }, 5,
			"namespace red: absent, not there", 0, "",
		},
		{
			"a namespace with another's address", func(s *tale) *Model {
				return s.end(listed(home(), story.Initial), listed(named(event.NetRef{Inum: red.Inum}, "red"), blue))
			}, 6,
			"namespace net:[4026532001]: there, not never seen; namespace red: absent, not there", 0, "",
		},
		{"a name unheard of", func(s *tale) *Model {
			s.Setup(blue)
			return s.end(home(), named(red, "red"), named(blue, "blue"))
		}, 10, "name blue of blue: there, not absent", 0, ""},
		{
			"a name that should be there", func(s *tale) *Model { return s.end(home(), named(red)) }, 7,
			"name red of red: absent, not there", 0, "",
		},
		{"an interface that its radio left behind", func(s *tale) *Model {
			s.Switch(phy0, story.Initial, red, story.Outcome{Stayed: true}, func() { s.Move(wlan0, red, story.Outcome{}) })
			there, gone := named(red, "red"), home()
			there.Links = append(there.Links, story.Link(wlan0))
			there.Links[len(there.Links)-1].Wiphy = -1 // nl80211 doesn't list it there
			gone.Links = gone.Links[:len(gone.Links)-1]
			return s.end(gone, there)
		}, 7, "", 0, ""},
		{"an interface unheard of, after a loss", func(s *tale) *Model {
			s.HandleLoss(&event.Loss{Ring: "lifecycle", To: s.Tick(), Count: 1})
			s.HandleLedger(&event.Ledger{Rings: []event.RingLedger{{Name: "lifecycle", Lost: 1}}})
			s.Snapshot(true, home(story.Link(eth0)), named(red, "red"))
			return s.a.Model()
		}, 8, "interface 4 in init: eth0, not absent", 0, "events are missing"},
		{"an interface under another name", func(s *tale) *Model {
			st := home()
			st.Links[1].Name = "wlan9"
			return s.end(st, named(red, "red"))
		}, 7, "interface 3 in init: wlan9, not wlan0", 0, ""},
		{"an interface of another kind", func(s *tale) *Model {
			st := home()
			st.Links[1].Kind = "veth"
			return s.end(st, named(red, "red"))
		}, 7, "kind of interface 3 in init: veth, not none", 0, ""},
		{"an interface of no radio", func(s *tale) *Model {
			st := home()
			st.Links[1].Wiphy = -1
			return s.end(st, named(red, "red"))
		}, 7, "radio of interface 3 in init: none, not radio 0", 0, ""},
		{"a radio elsewhere", func(s *tale) *Model {
			s.Switch(phy0, story.Initial, red, story.Outcome{}, nil)
			return s.end(home(), named(red, "red"))
		}, 8, "radio 0 in init: phy0, not in red; radio 0 in red: absent, not phy0", 0, ""},
		{"a namespace that couldn't be entered", func(s *tale) *Model {
			st := named(red, "red")
			st.Links = nil
			return s.end(home(), st)
		}, 6, "", 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			au := tt.tell(stand()).Audit
			var differ []string
			for _, d := range au.Differences {
				differ = append(differ, fmt.Sprintf("%s: %s, not %s", d.What, d.Expected, d.Reconstructed))
			}
			if got := strings.Join(differ, "; "); got != tt.differ {
				t.Errorf("differences\ngot  %s\nwant %s", got, tt.differ)
			}
			if au.Compared != tt.compared || len(au.Unverified) != tt.unverified {
				t.Errorf("compared %d, unverified %d; want %d, %d", au.Compared, len(au.Unverified), tt.compared, tt.unverified)
			}
			if !strings.Contains(au.Note, tt.note) || (au.Note == "") != (tt.note == "") {
				t.Errorf("note %q, want %q", au.Note, tt.note)
			}
		})
	}
}
