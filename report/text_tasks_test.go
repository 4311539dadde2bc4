// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/analyze"
	"github.com/nstrace/nstrace/analyze/story"
	"github.com/nstrace/nstrace/report"
)

// life is the text of the life of story.Web, and tell what happens in it.
func life(t *testing.T, tell func(*story.Story), o report.Options) string {
	t.Helper()
	a := analyze.New()
	s := story.New(a)
	s.Probes = story.Told()
	s.Setup(story.Web)
	tell(s)
	s.End()
	m := a.Model()
	var err error
	if o.Netns, err = report.Select(m, "cookie:0x5001"); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := report.Text(&b, m, o); err != nil {
		t.Fatal(err)
	}
	// As if lines weren't broken.
	return strings.ReplaceAll(b.String(), "\n                 ", " ")
}

func TestTasksText(t *testing.T) {
	at := func(i int) uint32 { return 1000 + uint32(i) }
	pass := func(s *story.Story, n int, comms ...string) {
		for i := range n {
			x := story.Thread{PID: at(i), Comm: comms[i%len(comms)]}
			s.Fork(x, story.Web, story.Web)
			s.Exit(x, story.Web)
		}
	}
	enter := func(s *story.Story, n int) {
		for i := range n {
			s.Go(story.Thread{PID: at(i), Comm: "sh"}, story.Initial, story.Web)
		}
	}
	for _, tt := range []struct {
		name string
		tell func(*story.Story)
		o    report.Options
		want []string
		not  string
	}{
		{
			name: "few", tell: func(s *story.Story) { pass(s, 4, "sh") },
			want: []string{"sh[1003] was forked by process 100 and ended 1.00 ms later"}, not: "tasks of sh",
		},
		{
			name: "many", tell: func(s *story.Story) { pass(s, 5, "sh") },
			want: []string{"+0.006 s  5 tasks of sh came and went until +0.015 s"}, not: "sh[1003] was forked by process 100 and",
		},
		{
			name: "of several programs", tell: func(s *story.Story) { pass(s, 12, "sh", "ip", "sh", "ls") },
			want: []string{"12 tasks came and went until +0.029 s: 6 of sh, 3 of ip, 3 of ls"},
		},
		{
			name: "of many programs", tell: func(s *story.Story) { pass(s, 14, "a", "b", "c", "d", "e", "f", "a") },
			want: []string{"4 of a, 2 of b, 2 of c, 2 of d, 4 of 2 others"},
		},
		{
			name: "something else in between", tell: func(s *story.Story) {
				pass(s, 3, "sh")
				s.Name(story.Web, "web", true)
				pass(s, 3, "sh")
			},
			want: []string{"sh[1002] was forked by process 100 and ended"}, not: "tasks of sh",
		},
		{
			name: "more than are kept", tell: func(s *story.Story) { pass(s, 100, "sh") },
			want: []string{"64 tasks of sh came and went", "and 52 others, none of them for longer than 1.00 ms", "(36 tasks that came, and were gone by +0.111 s, are not listed)"},
		},
		{
			name: "in and out", tell: func(s *story.Story) {
				enter(s, 20)
				s.Name(story.Web, "web", true)
				for i := range 6 {
					s.Exit(story.Thread{PID: at(i), Comm: "sh"}, story.Web)
				}
			},
			want: []string{
				"20 tasks of sh came in until +0.025 s", "6 tasks of sh left until +0.032 s",
				"sh[1006] +0.012 s the end came in from init (setns)", "and 8 others, 2 of them until the end, and of the rest none for longer than",
			},
		},
		{
			name: "all stay", tell: func(s *story.Story) { enter(s, 20) },
			want: []string{"and 8 others, all until the end"},
		},
		{
			name: "all asked for", tell: func(s *story.Story) { enter(s, 20) }, o: report.Options{All: true},
			want: []string{"sh[1019] +0.025 s the end came in from init (setns)"}, not: "others",
		},
		{
			name: "threads", tell: func(s *story.Story) {
				s.Go(story.Thread{PID: 7, TID: 8, Comm: "tool", Others: 1}, story.Initial, story.Web)
				s.Fork(story.Thread{PID: 9, Comm: "pair"}, story.Web, story.Initial)
				s.Name(story.Web, "web", true)
				s.Exit(story.Thread{PID: 9, Comm: "pair", Others: 1}, story.Web)
			},
			want: []string{
				"thread 8 of tool[7] came in from init (setns)", "pair[9] was forked by ip[100] in init",
				"the first thread of pair[9] left, others stayed", "from +0.009 s on only threads of it",
			},
		},
		{
			name: "unseen", tell: func(s *story.Story) {
				x := story.Thread{PID: 9, Comm: "sh"}
				s.Fork(x, story.Web, story.Web)
				s.Name(story.Web, "web", true)
				s.Fork(x, story.Initial, story.Initial)
			},
			want: []string{"sh[9] was not there any more (not seen leaving)"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := life(t, tt.tell, tt.o)
			flat := strings.Join(strings.Fields(got), " ")
			for _, want := range tt.want {
				if !strings.Contains(flat, strings.Join(strings.Fields(want), " ")) {
					t.Errorf("no %q in\n%s", want, got)
				}
			}
			if tt.not != "" && strings.Contains(flat, tt.not) {
				t.Errorf("%q in\n%s", tt.not, got)
			}
		})
	}
}

// A terminal gets nothing raw that a program could choose.
func TestTasksHostile(t *testing.T) {
	got := life(t, func(s *story.Story) {
		evil := "\x1b[2J\n"
		s.By(5, evil)
		for i := range 6 {
			x := story.Thread{PID: 10 + uint32(i), Comm: evil}
			s.Fork(x, story.Web, story.Web)
			s.Exit(x, story.Web)
		}
		s.Sysctl(story.Web, "net/"+evil, "a\x1b[2Jb", "c\x1b[2Jd")
	}, report.Options{})
	if strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
}
