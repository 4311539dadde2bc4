// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/analyze/story"
	"github.com/nstrace/nstrace/event"
)

// numbers writes those of a namespace in short: "7=red requested>gone".
func numbers(n *Netns) string {
	var out []string
	for _, x := range n.Nsids {
		how := "given"
		switch {
		case x.By == nil:
			how = "preexisting"
		case x.Requested:
			how = "requested"
		}
		text := fmt.Sprintf("%d=%s %s", x.ID, x.Peer.Label(), how)
		if x.Until != 0 {
			text += ">gone"
		}
		if x.EndInferred {
			text += "~"
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}

func TestNsids(t *testing.T) {
	for _, tt := range []struct {
		name string
		tell func(*tale)
		want string
	}{
		{"asked for", func(s *tale) { s.Nsid(event.NsidRequested, story.Initial, red, 7, 0) }, "7=red requested"},
		{"given", func(s *tale) { s.Nsid(event.NsidGiven, story.Initial, red, 0, 0) }, "0=red given"},
		{"refused", func(s *tale) { s.Nsid(event.NsidRequested, story.Initial, red, -1, 17) }, ""},
		{"taken away", func(s *tale) {
			s.Nsid(event.NsidGiven, story.Initial, red, 0, 0)
			s.Name(red, "red", false)
			s.Put(red)
			s.Nsid(event.NsidRemoved, story.Initial, event.NetRef{}, 0, 0)
		}, "0=red given>gone"},
		{"taken away unseen", func(s *tale) {
			s.Nsid(event.NsidGiven, story.Initial, red, 0, 0)
			s.Name(red, "red", false)
			s.Cleanup(red, nil)
		}, "0=red given>gone~"},
		{"given again", func(s *tale) {
			s.Nsid(event.NsidGiven, story.Initial, red, 0, 0)
			s.Nsid(event.NsidGiven, story.Initial, blue, 0, 0)
		}, "0=red given>gone~, 0=blue given"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := begin()
			s.Setup(red)
			s.Name(red, "red", true)
			s.Setup(blue)
			s.Name(blue, "blue", true)
			tt.tell(s)
			m := s.end()
			if got := numbers(m.Namespaces[0]); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if refused := len(m.NsidRefusals) != 0; refused != (tt.name == "refused") {
				t.Errorf("%d refusals", len(m.NsidRefusals))
			}
		})
	}
}

func TestNsidsOfTheOpeningSnapshot(t *testing.T) {
	s := blank()
	initial := story.State(story.Initial)
	initial.NSIDs = []event.NSID{{ID: 1, Inum: red.Inum, Cookie: red.Cookie}, {ID: 2, Inum: blue.Inum}, {ID: 3}}
	s.HandleSnapshot(&event.Snapshot{Begin: s.T, Finish: s.T + 100*story.MS, Namespaces: []event.NetnsState{initial, story.State(red), story.State(blue)}})
	s.Nsid(event.NsidGiven, story.Initial, blue, 2, 0)
	s.Nsid(event.NsidRemoved, story.Initial, event.NetRef{}, 3, 0)
	s.T += 200 * story.MS
	m := s.end()
	want := fmt.Sprintf("1=%s preexisting, 3=an unknown namespace preexisting>gone, 2=%s given", m.Namespaces[1].Label(), m.Namespaces[2].Label())
	if got := numbers(m.Namespaces[0]); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNsidsAreBounded(t *testing.T) {
	s := begin()
	s.Setup(red)
	for range 1000 {
		s.Nsid(event.NsidGiven, story.Initial, red, 0, 0)
		s.Nsid(event.NsidRemoved, story.Initial, event.NetRef{}, 0, 0)
		s.Nsid(event.NsidRequested, story.Initial, red, -1, 17)
	}
	m := s.end()
	if n := m.Namespaces[0]; len(n.Nsids) != maxNsids || n.NsidsOmitted != 1000-maxNsids {
		t.Errorf("%d kept, %d omitted", len(n.Nsids), n.NsidsOmitted)
	}
	if len(m.NsidRefusals) != maxAnswers {
		t.Errorf("%d refusals", len(m.NsidRefusals))
	}
}

func TestNsidsAudit(t *testing.T) {
	for _, tt := range []struct {
		name  string
		known []event.NSID
		want  string
	}{
		{name: "the same", known: []event.NSID{{ID: 7, Inum: red.Inum}}},
		{name: "for nobody that could be told", known: []event.NSID{{ID: 7}}},
		{name: "for another", known: []event.NSID{{ID: 7, Inum: blue.Inum}}, want: "number 7 in init: net:[4026532002], not net:[4026532001]"},
		{name: "none", want: "number 7 in init: absent, not there"},
		{name: "one more", known: []event.NSID{{ID: 7}, {ID: 8}}, want: "number 8 in init: there, not absent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := begin()
			s.Probes = story.Told()
			s.Setup(red)
			s.Nsid(event.NsidRequested, story.Initial, red, 7, 0)
			st := story.State(story.Initial)
			st.NSIDs = tt.known
			m := s.end(st, story.State(red))
			var got []string
			for _, d := range m.Audit.Differences {
				got = append(got, fmt.Sprintf("%s: %s, not %s", d.What, d.Expected, d.Reconstructed))
			}
			if s := strings.Join(got, "; "); s != tt.want {
				t.Errorf("got %q, want %q", s, tt.want)
			}
		})
	}
}

func TestSysctls(t *testing.T) {
	s := begin()
	s.Setup(red)
	for i := range 1000 {
		s.Sysctl(red, "net/ipv4/ip_forward", fmt.Sprint(i), fmt.Sprint(i+1))
	}
	s.Sysctl(red, "net/ipv4/ip_forward", "999", "1000") // begun anew
	w := s.end().Namespaces[1].Sysctls
	if len(w.Writes) != keptFirst+keptLast || w.Omitted != 1000-keptFirst-keptLast {
		t.Fatalf("%d kept, %d omitted", len(w.Writes), w.Omitted)
	}
	if x := w.Writes[keptFirst+keptLast-1]; x.Path != "net/ipv4/ip_forward" || x.Old != "999" || x.New != "1000" || x.Times != 2 || x.PID != 100 || x.Comm != "ip" {
		t.Errorf("%+v", x)
	}
}
