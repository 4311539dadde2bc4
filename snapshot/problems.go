// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// problems collects what couldn't be looked at. The same failure on many
// subjects is one line: without root there would be one for every task.
type problems struct {
	mu    sync.Mutex
	order []*problem
	known map[[2]string]*problem
}

// problem is one kind of failure and the first subject it was met on.
type problem struct {
	what, subject, answer string
	more                  int
}

// add notes that doing what to subject failed with err; hint says what to do.
func (p *problems) add(what, subject, hint string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	answer := err.Error()
	if hint != "" {
		answer += "; " + hint
	}
	key := [2]string{what, answer}
	if known := p.known[key]; known != nil {
		known.more++
		return
	}
	if p.known == nil {
		p.known = map[[2]string]*problem{}
	}
	p.known[key] = &problem{what: what, subject: subject, answer: answer}
	p.order = append(p.order, p.known[key])
}

// list returns the problems as sentences, in the order they came up.
func (p *problems) list() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, one := range p.order {
		subject := one.subject
		if one.more > 0 {
			subject += fmt.Sprintf(" and %d more", one.more)
		}
		out = append(out, fmt.Sprintf("%s %s: %s", one.what, subject, one.answer))
	}
	return out
}

// vanished reports whether err only says that the thing looked at is gone.
func vanished(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH)
}

// errnoOf reduces a wrapped system call error, whose text has the path in it
// again, to the kernel's answer.
func errnoOf(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
