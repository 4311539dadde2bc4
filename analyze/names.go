// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"slices"
	"strings"

	"github.com/nstrace/nstrace/event"
)

// heldName is a path that stands, or stood, for a namespace.
type heldName struct {
	owner   *Netns
	index   int    // of the Name in owner.Names; owner is nil if nobody has it
	changed uint64 // when it last appeared or went
}

// namePath is what a name is known by: /var/run is a link to /run.
func namePath(path string) string {
	if rest, ok := strings.CutPrefix(path, "/var/run/"); ok {
		return "/run/" + rest
	}
	return path
}

// pathOf is the path of what a snapshot calls a name: see event.NetnsState.Names.
func pathOf(name string) string {
	if strings.Contains(name, "/") {
		return namePath(name)
	}
	return "/run/netns/" + name
}

// drop ends what a path stands for at t. That it changed is remembered until the
// opening snapshot, which may have seen it before, is applied.
func (a *Analyzer) drop(path string, t uint64) {
	h := a.names[path]
	if h == nil {
		h = &heldName{}
	}
	if h.owner != nil {
		// When a name goes is known only by when it was looked for next. It
		// held a reference, so it was gone by the last put.
		if put := h.owner.Put; put != nil && put.At < t {
			t = put.At
		}
		h.owner.Names[h.index].Until = t
	}
	h.owner, h.changed = nil, t
	a.names[path] = h
	if a.applied != nil {
		delete(a.names, path)
	}
}

// give makes name stand for n from t on (0: since before the recording).
func (a *Analyzer) give(n *Netns, name, path string, from uint64) {
	if h := a.names[path]; h != nil && h.owner != nil {
		if h.owner.canon() == n {
			return
		}
		a.drop(path, from)
	}
	n.Names = append(n.Names, Name{Name: name, Path: path, From: from})
	a.names[path] = &heldName{owner: n, index: len(n.Names) - 1, changed: from}
}

// HandleName takes a name that appeared or went away.
func (a *Analyzer) HandleName(c *event.NameChange) {
	a.tick(c.Time)
	path := namePath(c.Path)
	if !c.Added {
		a.drop(path, c.Time)
		return
	}
	n := a.netns(event.NetRef{Inum: c.Inum, Cookie: c.Cookie}, c.Time)
	if n == nil {
		a.odd++
		return
	}
	a.give(n, c.Name, path, c.Time)
}

// AllNames returns every name the namespace ever had, in order, each once.
func (n *Netns) AllNames() []string {
	var out []string
	for _, x := range n.Names {
		if !slices.Contains(out, x.Name) {
			out = append(out, x.Name)
		}
	}
	return out
}

// CurrentNames returns the names it has at the end.
func (n *Netns) CurrentNames() []Name {
	var out []Name
	for _, x := range n.Names {
		if x.Until == 0 {
			out = append(out, x)
		}
	}
	return out
}
