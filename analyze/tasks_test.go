// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/analyze/story"
	"github.com/nstrace/nstrace/event"
)

// stays writes who was in a namespace in short: "7 sh unshare>exit" for process
// 7, "7/9" for its thread 9; "~" marks what is inferred, "+" that only threads
// were left.
func stays(m *Model, r event.NetRef) string {
	var out []string
	for _, n := range m.Namespaces {
		if n.Inum != r.Inum {
			continue
		}
		for _, s := range n.TaskStays {
			who := fmt.Sprint(s.PID)
			if s.TID != 0 {
				who += fmt.Sprintf("/%d", s.TID)
			}
			text := fmt.Sprintf("%s %s %s>%s", who, s.Comm, s.Arrived, s.Left)
			if s.Inferred {
				text = "~" + text
			}
			if s.EndInferred {
				text += "~"
			}
			if s.ThreadsSince != 0 {
				text += "+"
			}
			out = append(out, text)
		}
	}
	return strings.Join(out, ", ")
}

func TestTasks(t *testing.T) {
	sh := story.Thread{PID: 7, Comm: "sh"}
	initial := story.Initial
	for _, tt := range []struct {
		name string
		tell func(*tale)
		red  string
		blue string
	}{
		{"unshare and end", func(s *tale) {
			s.Unshare(sh, initial, red)
			s.Exit(sh, red)
		}, "7 sh unshare>exit", ""},
		{"ip netns exec", func(s *tale) {
			s.Setup(red)
			s.Go(story.Thread{PID: 7, Comm: "ip"}, initial, red)
			s.Go(story.Thread{PID: 7, Comm: "ip"}, red, red) // the mounts
			s.Exec(sh, red)
		}, "7 sh setns>", ""},
		{"from one to the other and home", func(s *tale) {
			s.Unshare(sh, initial, red)
			s.Unshare(sh, red, blue)
			s.Go(sh, blue, initial)
		}, "7 sh unshare>unshare", "7 sh unshare>setns"},
		{"back where it made it", func(s *tale) {
			s.Unshare(sh, initial, red)
			s.Go(sh, red, initial)
			s.Go(sh, initial, red)
		}, "7 sh unshare>setns, 7 sh setns>", ""},
		{"children", func(s *tale) {
			s.Unshare(sh, initial, red)
			s.Fork(story.Thread{PID: 8, Comm: "sh"}, red, red)
			s.Exec(story.Thread{PID: 8, Comm: "sleep"}, red)
			s.Exit(sh, red)
		}, "7 sh unshare>exit, 8 sleep fork>", ""},
		{"born with it", func(s *tale) {
			s.Setup(red)
			s.Fork(sh, red, initial)
		}, "7 sh fork>", ""},
		{"a number used again, the end missing", func(s *tale) {
			s.Unshare(sh, initial, red)
			s.Fork(story.Thread{PID: 7, Comm: "other"}, red, red)
			s.Exit(story.Thread{PID: 7, Comm: "other"}, red)
		}, "7 sh unshare>exit~, 7 other fork>exit", ""},
		{"a number used again elsewhere", func(s *tale) {
			s.Unshare(sh, initial, red)
			s.Exit(sh, red)
			s.Setup(blue)
			s.Go(story.Thread{PID: 7, Comm: "other"}, initial, blue)
		}, "7 sh unshare>exit", "7 other setns>"},
		{"there before", func(s *tale) {
			s.Setup(red)
			s.Exec(sh, red)
			s.Exit(story.Thread{PID: 8, Comm: "daemon"}, red)
			s.Go(story.Thread{PID: 9, Comm: "visitor"}, red, initial)
		}, "~7 sh preexisting>, ~8 daemon preexisting>exit, ~9 visitor preexisting>setns", ""},
		{"the last reference went, the ends are missing", func(s *tale) {
			s.Unshare(sh, initial, red)
			s.Put(red)
		}, "7 sh unshare>exit~", ""},
		{"a thread goes alone", func(s *tale) {
			s.Setup(red)
			s.Go(story.Thread{PID: 7, TID: 9, Comm: "java", Others: 3}, initial, red)
			s.Exit(story.Thread{PID: 7, TID: 9, Comm: "java", Others: 3}, red)
		}, "7/9 java setns>exit", ""},
		{"a thread comes home", func(s *tale) {
			s.Setup(red)
			s.Go(story.Thread{PID: 7, TID: 9, Comm: "java", Others: 3}, initial, red)
			s.Go(story.Thread{PID: 7, TID: 9, Comm: "java", Others: 3}, red, initial)
		}, "7/9 java setns>setns", ""},
		{"a thread is born where its process isn't", func(s *tale) {
			s.Setup(red)
			s.Go(story.Thread{PID: 7, TID: 9, Comm: "java", Others: 3}, initial, red)
			s.Fork(story.Thread{PID: 7, TID: 10, Comm: "java", Others: 4}, red, red)
		}, "7/9 java setns>, 7/10 java fork>", ""},
		{"its process comes after it", func(s *tale) {
			s.Setup(red)
			s.Go(story.Thread{PID: 7, TID: 9, Comm: "java", Others: 1}, initial, red)
			s.Go(story.Thread{PID: 7, Comm: "java", Others: 1}, initial, red)
		}, "7/9 java setns>joined, 7 java setns>", ""},
		{"a thread leaves its process and comes back", func(s *tale) {
			s.Unshare(sh, initial, red)
			s.Setup(blue)
			s.Go(story.Thread{PID: 7, TID: 9, Comm: "sh", Others: 1}, red, blue)
			s.Go(story.Thread{PID: 7, TID: 9, Comm: "sh", Others: 1}, blue, red)
		}, "7 sh unshare>", "7/9 sh setns>setns"},
		{"a thread leaves to the initial one", func(s *tale) {
			s.Unshare(sh, initial, red)
			s.Go(story.Thread{PID: 7, TID: 9, Comm: "sh", Others: 1}, red, initial)
			// So nobody is left with the first one.
			s.Exit(story.Thread{PID: 7, Comm: "sh", Others: 1}, red)
		}, "7 sh unshare>exit", ""},
		{"the first thread ends first", func(s *tale) {
			s.Unshare(sh, initial, red)
			s.Exit(story.Thread{PID: 7, Comm: "sh", Others: 2}, red)
		}, "7 sh unshare>+", ""},
		{"and then the others", func(s *tale) {
			s.Unshare(sh, initial, red)
			s.Exit(story.Thread{PID: 7, Comm: "sh", Others: 2}, red)
			s.Exit(story.Thread{PID: 7, TID: 9, Comm: "sh", Others: 1}, red)
			s.Exit(story.Thread{PID: 7, TID: 10, Comm: "sh", Others: 0}, red)
		}, "7 sh unshare>exit+", ""},
		{"one was on its way out when the first one ended", func(s *tale) {
			s.Unshare(sh, initial, red)
			s.Exit(story.Thread{PID: 7, Comm: "sh", Others: 1}, red)
			s.Exit(story.Thread{PID: 7, TID: 9, Comm: "sh", Others: 1}, red)
		}, "7 sh unshare>+", ""},
		{"the first thread goes and leaves others behind", func(s *tale) {
			s.Unshare(sh, initial, red)
			s.Setup(blue)
			s.Go(story.Thread{PID: 7, Comm: "sh", Others: 2}, red, blue)
			s.Exit(story.Thread{PID: 7, TID: 9, Comm: "sh", Others: 2}, red)
		}, "7 sh unshare>+", "7 sh setns>"},
		{"and they end", func(s *tale) {
			s.Unshare(sh, initial, red)
			s.Setup(blue)
			s.Go(story.Thread{PID: 7, Comm: "sh", Others: 1}, red, blue)
			s.Exit(story.Thread{PID: 7, TID: 9, Comm: "sh", Others: 1}, red)
		}, "7 sh unshare>exit+", "7 sh setns>"},
		{"or it comes back to them", func(s *tale) {
			s.Unshare(sh, initial, red)
			s.Setup(blue)
			s.Go(story.Thread{PID: 7, Comm: "sh", Others: 1}, red, blue)
			s.Go(story.Thread{PID: 7, Comm: "sh", Others: 1}, blue, red)
		}, "7 sh unshare>", "7 sh setns>setns"},
		{"one comes to those that stayed behind", func(s *tale) {
			s.Unshare(sh, initial, red)
			s.Setup(blue)
			s.Go(story.Thread{PID: 7, Comm: "sh", Others: 1}, red, blue)
			s.Go(story.Thread{PID: 7, TID: 10, Comm: "sh", Others: 2}, blue, red)
			s.Exit(story.Thread{PID: 7, TID: 9, Comm: "sh", Others: 2}, red)
		}, "7 sh unshare>exit+, 7/10 sh setns>", "7 sh setns>"},
		{"it goes home and leaves others behind", func(s *tale) {
			s.Unshare(sh, initial, red)
			s.Go(story.Thread{PID: 7, Comm: "sh", Others: 1}, red, initial)
			s.Exit(story.Thread{PID: 7, TID: 9, Comm: "sh", Others: 1}, red)
		}, "7 sh unshare>exit+", ""},
		{"it comes home to its threads", func(s *tale) {
			s.Setup(red)
			s.Go(story.Thread{PID: 7, Comm: "java", Others: 3}, initial, red)
			s.Go(story.Thread{PID: 7, Comm: "java", Others: 3}, red, initial)
		}, "7 java setns>setns", ""},
		{"some of which ended meanwhile, and one was born", func(s *tale) {
			s.Setup(red)
			s.Go(story.Thread{PID: 7, Comm: "java", Others: 3}, initial, red)
			s.Exit(story.Thread{PID: 7, TID: 9, Comm: "java", Others: 3}, initial)
			s.Exit(story.Thread{PID: 7, TID: 10, Comm: "java", Others: 2}, initial)
			s.Fork(story.Thread{PID: 7, TID: 12, Comm: "java", Others: 2}, initial, initial)
			s.Go(story.Thread{PID: 7, Comm: "java", Others: 2}, red, initial)
		}, "7 java setns>setns", ""},
		{"it goes further from its threads", func(s *tale) {
			s.Setup(red)
			s.Setup(blue)
			s.Go(story.Thread{PID: 7, Comm: "java", Others: 2}, initial, red)
			s.Go(story.Thread{PID: 7, Comm: "java", Others: 2}, red, blue)
			s.Go(story.Thread{PID: 7, Comm: "java", Others: 2}, blue, red)
		}, "7 java setns>setns, 7 java setns>", "7 java setns>setns"},
		{"one of its threads follows it and stays", func(s *tale) {
			s.Setup(red)
			s.Setup(blue)
			s.Go(story.Thread{PID: 7, Comm: "java", Others: 2}, initial, red)
			s.Go(story.Thread{PID: 7, TID: 9, Comm: "java", Others: 2}, initial, red)
			s.Go(story.Thread{PID: 7, Comm: "java", Others: 2}, red, blue)
		}, "7 java setns>+", "7 java setns>"},
		{"one of its threads goes home, and it follows", func(s *tale) {
			s.Unshare(sh, initial, red)
			s.Go(story.Thread{PID: 7, TID: 9, Comm: "sh", Others: 2}, red, initial)
			s.Go(story.Thread{PID: 7, Comm: "sh", Others: 2}, red, initial)
			s.Exit(story.Thread{PID: 7, TID: 10, Comm: "sh", Others: 2}, red)
		}, "7 sh unshare>exit+", ""},
		{"it ends far from its threads", func(s *tale) {
			s.Setup(red)
			s.Go(story.Thread{PID: 7, Comm: "java", Others: 2}, initial, red)
			s.Exit(story.Thread{PID: 7, Comm: "java", Others: 2}, red)
		}, "7 java setns>exit", ""},
		{"a thread runs another program", func(s *tale) {
			s.Unshare(sh, initial, red)
			s.Setup(blue)
			s.Go(story.Thread{PID: 7, TID: 9, Comm: "sh", Others: 1}, red, blue)
			s.Exit(story.Thread{PID: 7, Comm: "sh", Others: 1}, red)
			s.Exec(story.Thread{PID: 7, Comm: "sleep"}, blue)
			s.Exit(story.Thread{PID: 7, Comm: "sleep"}, blue)
		}, "7 sh unshare>exit", "7 sleep setns>exit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := begin()
			tt.tell(s)
			s.End()
			m := s.a.Model()
			if got := stays(m, red); got != tt.red {
				t.Errorf("red: %s; want %s", got, tt.red)
			}
			if got := stays(m, blue); got != tt.blue {
				t.Errorf("blue: %s; want %s", got, tt.blue)
			}
		})
	}
}

// TestTasksOfTheOpeningSnapshot: it looked at a moment nobody knows, and where it
// disagrees with what was told meanwhile, that is right.
func TestTasksOfTheOpeningSnapshot(t *testing.T) {
	sh := story.Thread{PID: 7, Comm: "sh"}
	other := story.Thread{PID: 8, Comm: "other"}
	for _, tt := range []struct {
		name      string
		meanwhile func(s *tale)
		holders   []story.Thread
		after     func(s *tale)
		red       string
	}{
		{name: "nothing happens", holders: []story.Thread{sh, other}, red: "7 sh preexisting>, 8 other preexisting>"},
		{
			name: "it left after it was seen", holders: []story.Thread{sh},
			meanwhile: func(s *tale) { s.Exit(sh, red) }, red: "7 sh preexisting>exit",
		},
		{
			name: "it left before it could be seen", holders: []story.Thread{other},
			meanwhile: func(s *tale) { s.Exit(sh, red) }, red: "~7 sh preexisting>exit, 8 other preexisting>",
		},
		{
			name: "it came before it was seen", holders: []story.Thread{sh},
			meanwhile: func(s *tale) { s.Go(sh, story.Initial, red) }, red: "7 sh setns>",
		},
		{
			name: "it came, was seen and left", holders: []story.Thread{sh},
			meanwhile: func(s *tale) { s.Go(sh, story.Initial, red); s.Exit(sh, red) }, red: "7 sh setns>exit",
		},
		{
			name: "it was seen and went elsewhere", holders: []story.Thread{sh},
			meanwhile: func(s *tale) { s.Go(sh, red, blue) }, red: "7 sh preexisting>setns",
		},
		{
			name: "told of before it was seen", holders: []story.Thread{sh},
			meanwhile: func(s *tale) { s.Exec(sh, red) }, red: "7 sh preexisting>",
		},
		{
			name: "its number is another's, who came", holders: []story.Thread{sh},
			meanwhile: func(s *tale) { s.Exit(sh, red); s.Fork(story.Thread{PID: 7, Comm: "new"}, red, red) },
			red:       "~7 sh preexisting>exit, 7 new fork>",
		},
		{
			name: "a thread", holders: []story.Thread{{PID: 7, TID: 9, Comm: "java"}},
			after: func(s *tale) { s.Exit(story.Thread{PID: 7, TID: 9, Comm: "java", Others: 1}, red) },
			red:   "7/9 java preexisting>exit",
		},
		{
			name: "it leaves afterwards", holders: []story.Thread{sh},
			after: func(s *tale) { s.Exit(sh, red) }, red: "7 sh preexisting>exit",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := blank()
			snapshot := event.Snapshot{
				Begin: s.T, Namespaces: []event.NetnsState{story.State(story.Initial), story.Held(story.State(red), tt.holders...), story.State(blue)},
			}
			if tt.meanwhile != nil {
				// Delivered in order of its beginning.
				snapshot.Finish = s.T + 1000*story.MS
			}
			s.HandleSnapshot(&snapshot)
			if tt.meanwhile != nil {
				tt.meanwhile(s)
			}
			s.T += 2000 * story.MS
			if tt.after != nil {
				tt.after(s)
			}
			m := s.end()
			if got := stays(m, red); got != tt.red {
				t.Errorf("got %s; want %s", got, tt.red)
			}
		})
	}
}

// TestStraysOfTheOpeningSnapshot: threads that stayed in the initial namespace
// aren't thought to be with their process, and those of which that is known from
// elsewhere are no others.
func TestStraysOfTheOpeningSnapshot(t *testing.T) {
	java := story.Thread{PID: 7, Comm: "java", Others: 2}
	strays := []story.Thread{{PID: 7, TID: 8, Comm: "java"}, {PID: 7, TID: 9, Comm: "java"}}
	for _, tt := range []struct {
		name      string
		strays    []story.Thread
		meanwhile func(s *tale)
		after     func(s *tale)
		red       string
	}{
		{name: "all stayed at home", strays: strays, red: "7 java preexisting>setns"},
		{name: "one stayed at home, one is with it", strays: strays[1:], after: func(s *tale) { s.Exit(story.Thread{PID: 7, TID: 8, Comm: "java", Others: 2}, red) }, red: "7 java preexisting>exit+"},
		{
			name: "it left while they were seen", strays: strays,
			meanwhile: func(s *tale) { s.Go(java, story.Initial, red) }, red: "7 java setns>setns",
		},
		{
			name: "it left and came back while they were seen", strays: strays,
			meanwhile: func(s *tale) {
				s.Go(java, story.Initial, red)
				s.Go(java, red, story.Initial)
				s.Go(java, story.Initial, red)
			}, red: "7 java setns>setns, 7 java setns>setns",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := blank()
			here := story.State(red)
			if tt.meanwhile == nil {
				here = story.Held(here, story.Thread{PID: 7, Comm: "java"})
			}
			s.HandleSnapshot(&event.Snapshot{
				Begin: s.T, Finish: s.T + 1000*story.MS,
				Namespaces: []event.NetnsState{story.Held(story.State(story.Initial), tt.strays...), here},
			})
			if tt.meanwhile != nil {
				tt.meanwhile(s)
			}
			s.T += 2000 * story.MS
			s.Go(java, red, story.Initial)
			if tt.after != nil {
				tt.after(s)
			}
			m := s.end()
			if got := stays(m, red); got != tt.red {
				t.Errorf("got %s; want %s", got, tt.red)
			}
			if len(s.a.tasks.processes) != 0 {
				t.Errorf("%d processes are remembered", len(s.a.tasks.processes))
			}
		})
	}
}

// TestThreadOfAVisitor: that a process was seen to leave says nothing of a thread
// of its that stays where the opening snapshot finds it.
func TestThreadOfAVisitor(t *testing.T) {
	java := story.Thread{PID: 7, Comm: "java", Others: 2}
	s := blank()
	s.HandleSnapshot(&event.Snapshot{
		Begin: s.T, Finish: s.T + 1000*story.MS,
		Namespaces: []event.NetnsState{story.State(story.Initial), story.Held(story.State(red), story.Thread{PID: 7, TID: 9, Comm: "java"}), story.State(blue)},
	})
	for _, n := range []event.NetRef{blue, red} {
		s.Go(java, story.Initial, n)
		s.Go(java, n, story.Initial)
	}
	s.Go(java, story.Initial, blue)
	s.T += 2000 * story.MS
	s.Go(java, blue, red)
	s.Go(java, red, story.Initial)
	s.Exit(story.Thread{PID: 7, TID: 10, Comm: "java", Others: 1}, blue)
	m := s.end()
	if got, want := stays(m, red), "7/9 java preexisting>joined, 7 java setns>setns, 7 java setns>+"; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
}

// TestTasksAreBounded: whoever forks endlessly in a namespace is counted.
func TestTasksAreBounded(t *testing.T) {
	s := begin()
	s.Unshare(story.Thread{PID: 7, Comm: "sh"}, story.Initial, red)
	const children = 1000
	for i := range uint32(children) {
		x := story.Thread{PID: 100 + i, Comm: "true"}
		s.Fork(x, red, red)
		s.Exit(x, red)
	}
	m := s.end()
	n := m.Namespaces[1]
	if len(n.TaskStays) != keptFirst+keptLast+1 || n.TasksGone.Omitted != children-keptFirst-keptLast {
		t.Errorf("%d stays kept, %d omitted", len(n.TaskStays), n.TasksGone.Omitted)
	}
	first, last := n.TaskStays[1], n.TaskStays[len(n.TaskStays)-1]
	if first.PID != 100 || last.PID != 100+children-1 {
		t.Errorf("kept from %d to %d", first.PID, last.PID)
	}
	if len(s.a.tasks.processes) != 1 {
		t.Errorf("%d processes are remembered", len(s.a.tasks.processes))
	}
}

func TestTasksAudit(t *testing.T) {
	sh, child := story.Thread{PID: 7, Comm: "sh"}, story.Thread{PID: 8, Comm: "sleep"}
	for _, tt := range []struct {
		name  string
		there []story.Thread
		held  uint32 // more than are listed
		want  string
	}{
		{name: "the same", there: []story.Thread{sh, child}},
		{name: "one that wasn't told of", there: []story.Thread{sh, child, {PID: 9, Comm: "ghost"}}, want: "ghost[9] in red: there, not absent"},
		{name: "one that is gone", there: []story.Thread{sh}, want: "sleep[8] in red: absent, not there"},
		{name: "one of them isn't listed", there: []story.Thread{sh}, held: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := begin()
			s.Probes = story.Told()
			s.Unshare(sh, story.Initial, red)
			s.Name(red, "red", true)
			s.Fork(child, red, red)
			st := story.Held(story.State(red), tt.there...)
			st.Names = []string{"red"}
			st.Held.Tasks += tt.held
			m := s.end(story.State(story.Initial), st)
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

// TestTasksAuditMeanwhile: who comes or goes while the closing snapshot is taken
// may be in it or not; the report tells of the time before.
func TestTasksAuditMeanwhile(t *testing.T) {
	sh := story.Thread{PID: 7, Comm: "sh"}
	comes, goes := story.Thread{PID: 8, Comm: "comes"}, story.Thread{PID: 9, Comm: "goes"}
	for _, seen := range [][]story.Thread{{sh}, {sh, comes}, {sh, goes}, {sh, comes, goes}} {
		s := begin()
		s.Probes = story.Told()
		s.Unshare(sh, story.Initial, red)
		s.Fork(goes, red, red)
		end := s.Tick()
		s.HandleSnapshot(&event.Snapshot{
			Begin: s.Tick(), Finish: s.T + 1000*story.MS, Closing: true,
			Namespaces: []event.NetnsState{story.State(story.Initial), story.Held(story.State(red), seen...)},
		})
		s.Fork(comes, red, red)
		s.Exit(goes, red)
		s.T += 2000 * story.MS
		s.HandleLedger(&event.Ledger{Time: s.Tick(), Probes: story.Told()})
		s.HandleEnd(&event.End{Time: end, Reason: "command"})
		m := s.a.Model()
		if len(m.Audit.Differences) != 0 {
			t.Errorf("%v: %+v", seen, m.Audit.Differences)
		}
		if got := stays(m, red); got != "7 sh unshare>, 9 goes fork>" {
			t.Errorf("%v: %s", seen, got)
		}
	}
}

// TestTasksAuditWithoutProbes: nothing is compared that can't be known.
func TestTasksAuditWithoutProbes(t *testing.T) {
	s := begin()
	s.Setup(red)
	m := s.end(story.State(story.Initial), story.Held(story.State(red), story.Thread{PID: 7, Comm: "sh"}))
	if len(m.Audit.Differences) != 0 {
		t.Errorf("%+v", m.Audit.Differences)
	}
}

func TestTasksContainer(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	s := begin()
	s.Unshare(story.Thread{PID: 7, Comm: "runc", Cgroup: 1}, story.Initial, red)
	s.Exec(story.Thread{PID: 7, Comm: "web", Cgroup: 2}, red)
	s.HandleCgroup(&event.CgroupPath{Time: s.Tick(), ID: 1, Path: "/system.slice/docker.service"})
	s.Exit(story.Thread{PID: 7, Comm: "web", Cgroup: 2}, red)
	// Who is looked for late may be gone by then.
	s.HandleCgroup(&event.CgroupPath{Time: s.Tick(), ID: 2, Path: "/docker/" + id})
	m := s.end()
	x := m.Namespaces[1].TaskStays[0]
	if x.Container == nil || x.Container.ID != id || x.Cgroup != "/docker/"+id {
		t.Errorf("%+v in %+v", x, x.Container)
	}
	if x.Others.Mnt == 0 || x.Parent != 100 {
		t.Errorf("%+v", x)
	}
}

// TestTasksOfTheUnknownInitial: a recording in a container may learn late which
// namespace is the initial one.
func TestTasksOfTheUnknownInitial(t *testing.T) {
	a := New()
	s := &story.Story{Handler: a, T: 1000 * story.MS, PID: 100, Comm: "ip"}
	s.HandleRecording(&event.Recording{Began: s.T})
	sh := story.Thread{PID: 7, Comm: "sh"}
	begin := s.Tick()
	s.HandleSnapshot(&event.Snapshot{Begin: begin, Finish: begin + 100*story.MS, Namespaces: []event.NetnsState{story.State(story.Initial)}})
	s.Unshare(sh, story.Initial, red)
	s.Go(sh, red, story.Initial)
	s.T += 200 * story.MS
	s.Exec(story.Thread{PID: 8, Comm: "x"}, red)
	s.End()
	m := a.Model()
	for _, n := range m.Namespaces {
		if n.Initial && len(n.TaskStays) != 0 {
			t.Errorf("the initial namespace has %d", len(n.TaskStays))
		}
	}
	if len(a.tasks.processes) != 1 {
		t.Errorf("%d processes", len(a.tasks.processes))
	}
}

// BenchmarkTasks is a process that comes into a namespace and ends there.
func BenchmarkTasks(b *testing.B) {
	s := begin()
	s.Unshare(story.Thread{PID: 7, Comm: "sh"}, story.Initial, red)
	b.ReportAllocs()
	for i := range b.N {
		x := story.Thread{PID: 100 + uint32(i%30000), Comm: "true"}
		s.Fork(x, red, red)
		s.Exit(x, red)
	}
	if n := len(s.a.tasks.processes); n != 1 {
		b.Errorf("%d processes are remembered", n)
	}
}
