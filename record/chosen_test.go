// SPDX-License-Identifier: Apache-2.0

package record

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/nstrace/nstrace/event"
)

func TestParseNetns(t *testing.T) {
	for text, want := range map[string]NetnsSelector{
		"blue":               {name: "blue"},
		"name:4026532281":    {name: "4026532281"},
		"4026532281":         {inum: 4026532281},
		"net:[4026532281]":   {inum: 4026532281},
		"/run/netns/blue":    {path: "/run/netns/blue"},
		"/var/run/netns//x/": {path: "/run/netns/x"},
	} {
		want.text = text
		if got, err := ParseNetns(text); err != nil || *got != want {
			t.Errorf("%q: got %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "a/b", "cookie:7", "pid:1", "name:", "/proc/self/nothing", "/proc/self/status"} {
		if got, err := ParseNetns(text); err == nil {
			t.Errorf("%q: got %+v", text, got)
		}
	}
	own, err := ParseNetns("/proc/self/ns/net")
	if err != nil || own.inum == 0 {
		t.Errorf("this process's: %+v, %v", own, err)
	}
}

// selected stands for the probes: it has what is chosen.
type selected map[uint32]bool

func (s selected) tell(inum uint32, on bool) error {
	if inum == 13 {
		return errors.New("no space")
	}
	if on {
		s[inum] = true
	} else {
		delete(s, inum)
	}
	return nil
}

func TestChosen(t *testing.T) {
	var selectors []*NetnsSelector
	for _, text := range []string{"7", "blue", "/run/docker/netns/a", "never"} {
		s, err := ParseNetns(text)
		if err != nil {
			t.Fatal(err)
		}
		selectors = append(selectors, s)
	}
	now := selected{}
	c := chosen{selectors: selectors, tell: now.tell}
	change := func(path string, inum uint32, added bool) event.NameChange {
		n := event.NameChange{Path: path, Name: path, Inum: inum, Added: added}
		if len(path) > 11 && path[:11] == "/run/netns/" {
			n.Name = path[11:]
		}
		return n
	}
	c.begin([]event.NameChange{change("/run/netns/blue", 20, true), change("/run/netns/red", 30, true)})
	for _, step := range []struct {
		what   string
		change event.NameChange
		want   []uint32
	}{
		{"one of another name", change("/run/netns/green", 40, true), []uint32{7, 20}},
		{"a path that wasn't there", change("/run/docker/netns/a", 50, true), []uint32{7, 20, 50}},
		{"a second name of one", change("/run/docker/netns/a", 20, true), []uint32{7, 20}},
		{"the name is gone, the path isn't", change("/run/netns/blue", 20, false), []uint32{7, 20}},
		{"the path is gone as well", change("/run/docker/netns/a", 20, false), []uint32{7}},
		{"the name comes to another", change("/run/netns/blue", 60, true), []uint32{7, 60}},
		{"and to what is chosen anyway", change("/run/netns/blue", 7, true), []uint32{7}},
		{"which stays chosen", change("/run/netns/blue", 7, false), []uint32{7}},
		{"the path by the link to its folder", change("/var/run/docker/netns/a", 8, true), []uint32{7, 8}},
	} {
		c.follow(step.change)
		if got := slices.Sorted(maps.Keys(now)); !slices.Equal(got, step.want) {
			t.Errorf("%s: got %v, want %v", step.what, got, step.want)
		}
	}
	want := []string{"no namespace was called never, so no packets were recorded for it"}
	if got := c.problems(); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	c.follow(change("/run/netns/blue", 13, true))
	if got := c.problems(); len(got) != 2 || got[0] != "no space" {
		t.Errorf("got %q", got)
	}
}
