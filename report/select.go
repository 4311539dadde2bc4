// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nstrace/nstrace/analyze"
)

// SelectError says that a selector means no namespace, or not one alone. Its
// text lists what there is.
type SelectError struct {
	Selector string
	// Ambiguous are the namespaces it could mean, empty if there is none.
	Ambiguous []*analyze.Netns
	model     *analyze.Model
	note      string
}

// maxListed is how many namespaces an error lists.
const maxListed = 20

// Error lists what there is.
func (e *SelectError) Error() string {
	var b strings.Builder
	list := e.Ambiguous
	if len(list) != 0 {
		choose := "choose one by its id"
		if e.note != "" {
			choose = e.note
		}
		fmt.Fprintf(&b, "%s could be any of %d namespaces; %s:", escape(e.Selector), len(list), choose)
	} else {
		fmt.Fprintf(&b, "no namespace matches %s", escape(e.Selector))
		if e.note != "" {
			b.WriteString(" (" + e.note + ")")
		}
		list = e.model.Namespaces
		if len(list) == 0 {
			b.WriteString("; the recording has none")
			return b.String()
		}
		b.WriteString("; the recording has:")
	}
	for i, n := range list {
		if i == maxListed {
			fmt.Fprintf(&b, "\n  and %d more", len(list)-i)
			break
		}
		inum := ""
		if n.Inum != 0 {
			inum = fmt.Sprintf(" net:[%d]", n.Inum)
		}
		fmt.Fprintf(&b, "\n  %-5s %s%s", n.ID, n.Label(), lifespan(e.model, n, inum))
	}
	return b.String()
}

// lifespan says when a namespace lived, after its inum unless the label has it.
func lifespan(m *analyze.Model, n *analyze.Netns, inum string) string {
	if strings.Contains(n.Label(), strings.TrimSpace(inum)) {
		inum = ""
	}
	from, until := "before the recording", "its end"
	if n.Birth != nil {
		from = m.Since(n.Birth.At)
	}
	if n.Ended != 0 {
		until = m.Since(n.Ended)
	}
	return fmt.Sprintf("%s from %s to %s", inum, from, until)
}

// Select returns the namespaces a selector means: an id of the report (ns3), a
// name, an inum (4026532281 or net:[4026532281]), init, cookie:4097, pid:1234
// (those a process made or was seen in), a path (/run/netns/blue,
// /proc/1234/ns/net), a device or radio (wlan0, phy0: every namespace it was
// in), or a container by its name or the first 12 digits of its ID (those its
// processes were in). A word that could be more than one of the id, a name and a
// device, and not mean the same, must say which it is: id:ns3, name:ns3, dev:ns3.
// Only init is always the initial one. Its error is a [*SelectError].
//
// A name or inum that several lives had in turn is ambiguous; a PID or a device
// means all its namespaces.
func Select(m *analyze.Model, selector string) ([]*analyze.Netns, error) {
	s := selection{m: m, text: selector}
	switch {
	case selector == "":
		return nil, s.none("an empty selector")
	case strings.HasPrefix(selector, "cookie:"):
		return s.cookie(strings.TrimPrefix(selector, "cookie:"))
	case strings.HasPrefix(selector, "pid:"):
		return s.pid(strings.TrimPrefix(selector, "pid:"))
	case strings.HasPrefix(selector, "id:"):
		return s.one(s.id(strings.TrimPrefix(selector, "id:")), "")
	case strings.HasPrefix(selector, "name:"):
		return s.one(s.named(strings.TrimPrefix(selector, "name:")), "no namespace had that name")
	case strings.HasPrefix(selector, "dev:"):
		return s.all(s.device(strings.TrimPrefix(selector, "dev:")), "no interface or radio had that name")
	case strings.HasPrefix(selector, "net:["):
		return s.inum(strings.TrimSuffix(strings.TrimPrefix(selector, "net:["), "]"))
	case strings.HasPrefix(selector, "/"):
		return s.path(selector)
	}
	return s.word(selector)
}

// Wanted returns what [analyze.Analyzer.Keep] needs so that the namespaces that
// selectors mean by an inum, a cookie, a PID or a path are in the model however
// ordinary they are, nil for no selectors. complete is false if there are others,
// which only a model of everything can answer: a word may be a name, an id, or a
// device that is no radio's.
func Wanted(selectors []string) (wanted func(*analyze.Netns) bool, complete bool) {
	if len(selectors) == 0 {
		return nil, true
	}
	for _, s := range selectors {
		if _, err := strconv.ParseUint(s, 10, 32); err != nil && s != "init" && !strings.ContainsAny(s, ":/") {
			return nil, false
		}
		if strings.HasPrefix(s, "id:") || strings.HasPrefix(s, "dev:") {
			return nil, false
		}
	}
	return func(n *analyze.Netns) bool {
		one := &analyze.Model{Namespaces: []*analyze.Netns{n}}
		return slices.ContainsFunc(selectors, func(s string) bool {
			found, _ := Select(one, s)
			return len(found) != 0
		})
	}, true
}

type selection struct {
	m    *analyze.Model
	text string
}

func (s selection) none(note string) error {
	return &SelectError{Selector: s.text, model: s.m, note: note}
}

// one returns the only match.
func (s selection) one(found []*analyze.Netns, note string) ([]*analyze.Netns, error) {
	switch len(found) {
	case 0:
		return nil, s.none(note)
	case 1:
		return found, nil
	}
	return nil, &SelectError{Selector: s.text, Ambiguous: found, model: s.m}
}

// all returns every match.
func (s selection) all(found []*analyze.Netns, note string) ([]*analyze.Netns, error) {
	if len(found) == 0 {
		return nil, s.none(note)
	}
	return found, nil
}

func (s selection) filter(keep func(*analyze.Netns) bool) []*analyze.Netns {
	var out []*analyze.Netns
	for _, n := range s.m.Namespaces {
		if keep(n) {
			out = append(out, n)
		}
	}
	return out
}

func (s selection) cookie(text string) ([]*analyze.Netns, error) {
	c, err := strconv.ParseUint(text, 0, 64)
	if err != nil || c == 0 {
		return nil, s.none("cookie: wants a number, as SO_NETNS_COOKIE gives it")
	}
	return s.one(s.filter(func(n *analyze.Netns) bool { return n.Cookie == c }), "")
}

func (s selection) inum(text string) ([]*analyze.Netns, error) {
	i, err := strconv.ParseUint(text, 10, 32)
	if err != nil || i == 0 {
		return nil, s.none("an inum is a number, as in net:[4026531840]")
	}
	return s.one(s.filter(func(n *analyze.Netns) bool { return n.Inum == uint32(i) }), "")
}

func (s selection) pid(text string) ([]*analyze.Netns, error) {
	p, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return nil, s.none("pid: wants a process id")
	}
	return s.all(s.filter(func(n *analyze.Netns) bool {
		_, seen := n.Tasks()[uint32(p)]
		return seen || n.Birth != nil && n.Birth.PID == uint32(p)
	}), "no process of that id made a namespace or was seen in one")
}

func (s selection) path(path string) ([]*analyze.Netns, error) {
	if rest, ok := strings.CutPrefix(path, "/proc/"); ok {
		if pid, ok := strings.CutSuffix(rest, "/ns/net"); ok {
			return s.pid(pid)
		}
	}
	if rest, ok := strings.CutPrefix(path, "/var/run/"); ok {
		path = "/run/" + rest
	}
	return s.one(s.filter(func(n *analyze.Netns) bool {
		return slices.ContainsFunc(n.Names, func(x analyze.Name) bool { return x.Path == path })
	}), "no namespace had that name")
}

func (s selection) id(id string) []*analyze.Netns {
	return s.filter(func(n *analyze.Netns) bool { return n.ID == id })
}

func (s selection) named(name string) []*analyze.Netns {
	return s.filter(func(n *analyze.Netns) bool { return slices.Contains(n.AllNames(), name) })
}

// word is init, an id, a name, a device, a container, or an inum. If it could be several of
// the first four, nobody can know which is meant; only init always is the initial one.
func (s selection) word(word string) ([]*analyze.Netns, error) {
	if first := s.filter(func(n *analyze.Netns) bool { return n.Initial }); word == "init" && len(first) != 0 {
		return first, nil
	}
	named := s.named(word)
	var found []*analyze.Netns
	var as []string
	for _, x := range []struct {
		prefix string
		found  []*analyze.Netns
	}{{"id:", s.id(word)}, {"name:", named}, {"dev:", s.device(word)}} {
		if len(x.found) != 0 && !slices.Equal(found, x.found) {
			as = append(as, x.prefix+word)
			found = append(found, x.found...)
		}
	}
	switch {
	case len(as) > 1:
		return nil, s.ambiguous(found, as)
	case len(found) != 0 && slices.Equal(found, named):
		return s.one(found, "") // or several had the name, one after the other
	case len(found) != 0:
		return found, nil
	}
	if by := s.container(word); len(by) != 0 {
		return by, nil
	}
	if _, err := strconv.ParseUint(word, 10, 32); err == nil {
		return s.inum(word)
	}
	return nil, s.none("")
}

// ambiguous lists what a word could mean, and how to say which.
func (s selection) ambiguous(found []*analyze.Netns, ways []string) error {
	slices.SortStableFunc(found, func(x, y *analyze.Netns) int {
		return cmp.Compare(slices.Index(s.m.Namespaces, x), slices.Index(s.m.Namespaces, y))
	})
	return &SelectError{Selector: s.text, Ambiguous: slices.Compact(found), model: s.m, note: "say " + escapeAll(ways, " or ")}
}

// device returns every namespace a netdev, radio or wdev of that name was in.
func (s selection) device(name string) []*analyze.Netns {
	wdevs := make(map[*analyze.Netns]bool)
	for _, d := range s.m.Wdevs {
		for _, x := range d.Stays() {
			wdevs[x.Netns] = wdevs[x.Netns] || d.Name == name
		}
	}
	return s.filter(func(n *analyze.Netns) bool {
		return slices.ContainsFunc(n.Stays, func(x *analyze.Stay) bool {
			return slices.ContainsFunc(x.Device.Stays, func(y *analyze.Stay) bool { return slices.Contains(y.Names, name) })
		}) || slices.ContainsFunc(n.WiphyStays, func(x *analyze.WiphyStay) bool { return slices.Contains(x.Wiphy.Names, name) }) ||
			wdevs[n]
	})
}

// shortID is how many digits of a container's ID its runtime shows.
const shortID = 12

// container returns every namespace that processes of a container were in.
func (s selection) container(id string) []*analyze.Netns {
	return s.filter(func(n *analyze.Netns) bool {
		return slices.ContainsFunc(n.TaskStays, func(x *analyze.TaskStay) bool {
			c := x.Container
			return c != nil && (c.ID == id && id != "" || len(id) >= shortID && strings.HasPrefix(c.ID, id))
		})
	})
}

// ParseTime returns the boot time (nanoseconds) that a user's time means in the
// recording: a duration since it began ("1.5s", "+200ms") or a wall time in RFC
// 3339.
func ParseTime(m *analyze.Model, text string) (uint64, error) {
	if d, err := time.ParseDuration(strings.TrimPrefix(text, "+")); err == nil {
		return shift(m.Began, int64(d)), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return 0, fmt.Errorf("%s is neither a duration since the recording began (1.5s) nor a time (2006-01-02T15:04:05Z)", escape(text))
	}
	begun := started(m)
	if begun.IsZero() {
		return 0, fmt.Errorf("the recording doesn't say when it began, so %s has no place in it: give a duration", escape(text))
	}
	return shift(m.Began, t.UnixNano()-begun.UnixNano()), nil
}

// shift is t+d, at least 1: 0 would mean no time at all.
func shift(t uint64, d int64) uint64 {
	if d < 0 && uint64(-d) >= t {
		return 1
	}
	return t + uint64(d)
}
