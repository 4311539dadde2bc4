// SPDX-License-Identifier: Apache-2.0

package record

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/event"
	"github.com/nstrace/nstrace/snapshot"
)

// NetnsSelector says packets into which namespace are to be recorded. A name or a
// path means whichever namespace has it at the time.
type NetnsSelector struct {
	text string
	// One of these is set; a path is that of a mount, as /run/netns has them.
	inum       uint32
	name, path string
}

func (s *NetnsSelector) String() string { return s.text }

// ParseNetns parses what a user calls a namespace: a name, an inum ("4026532281" or
// "net:[4026532281]"), "init", or a path.
func ParseNetns(text string) (*NetnsSelector, error) {
	s := &NetnsSelector{text: text}
	inum := text
	if rest, ok := strings.CutPrefix(text, "net:["); ok {
		inum = strings.TrimSuffix(rest, "]")
	}
	n, err := strconv.ParseUint(inum, 10, 32)
	prefix, name, prefixed := strings.Cut(text, ":")
	switch {
	case err == nil && n != 0:
		s.inum = uint32(n)
	case text == "init":
		if s.inum, err = snapshot.InitialNetns(); err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
	case strings.HasPrefix(text, "/"):
		return s, s.setPath(path.Clean(text))
	case prefixed && prefix == "name" && name != "":
		s.name = name
	case text == "" || prefixed || strings.Contains(text, "/"):
		return nil, fmt.Errorf("%q is no namespace: packets can be chosen by a name (blue), an inum (4026532281, net:[4026532281]), init, or an absolute path", text)
	default:
		s.name = text
	}
	return s, nil
}

// setPath takes what a path leads to in /proc, and elsewhere the path itself.
func (s *NetnsSelector) setPath(path string) error {
	if rest, ok := strings.CutPrefix(path, "/var/run/"); ok {
		path = "/run/" + rest
	}
	s.path = path
	if !strings.HasPrefix(path, "/proc/") {
		return nil
	}
	var fs unix.Statfs_t
	var st unix.Stat_t
	if err := unix.Statfs(path, &fs); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if fs.Type != unix.NSFS_MAGIC {
		return fmt.Errorf("%s is no namespace", path)
	}
	if err := unix.Stat(path, &st); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	s.inum = uint32(st.Ino)
	return nil
}

func (s *NetnsSelector) means(n *event.NameChange) bool {
	return s.inum == 0 && (s.name != "" && s.name == n.Name || s.path != "" && s.path == strings.Replace(n.Path, "/var/run/", "/run/", 1))
}

// chosen keeps the probes told which namespaces the selectors mean. Its methods may
// be called from any goroutine.
type chosen struct {
	selectors []*NetnsSelector
	// tell is the probes' SelectNetns, nil without selectors.
	tell func(inum uint32, on bool) error

	mu sync.Mutex
	// named are the namespaces that are chosen by a name, by its path.
	named map[string]uint32
	// met are the selectors that meant a namespace at some time.
	met map[*NetnsSelector]bool
	err error
}

// begin chooses what needs no name, and what has one already.
func (c *chosen) begin(names []event.NameChange) {
	if c.tell == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.named, c.met = map[string]uint32{}, map[*NetnsSelector]bool{}
	for _, s := range c.selectors {
		if s.inum != 0 {
			c.met[s] = true
			c.set(s.inum, true)
		}
	}
	for i := range names {
		c.change(&names[i])
	}
}

// follow takes a name that came or went.
func (c *chosen) follow(n event.NameChange) {
	if c.tell == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.change(&n)
}

func (c *chosen) change(n *event.NameChange) {
	if old, ok := c.named[n.Path]; ok {
		delete(c.named, n.Path)
		if !c.wanted(old) {
			c.set(old, false)
		}
	}
	if !n.Added {
		return
	}
	for _, s := range c.selectors {
		if s.means(n) {
			c.met[s] = true
			c.named[n.Path] = n.Inum
			c.set(n.Inum, true)
		}
	}
}

// wanted reports whether a namespace is chosen by anything.
func (c *chosen) wanted(inum uint32) bool {
	for _, other := range c.named {
		if other == inum {
			return true
		}
	}
	return slices.ContainsFunc(c.selectors, func(s *NetnsSelector) bool { return s.inum == inum })
}

func (c *chosen) set(inum uint32, on bool) {
	if err := c.tell(inum, on); err != nil && c.err == nil {
		c.err = err
	}
}

// problems says what wasn't recorded though it was wanted.
func (c *chosen) problems() []string {
	if c.tell == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	if c.err != nil {
		all = append(all, c.err.Error())
	}
	for _, s := range c.selectors {
		if !c.met[s] {
			all = append(all, fmt.Sprintf("no namespace was called %s, so no packets were recorded for it", s))
		}
	}
	return all
}
