// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"io"
	"strings"
	"sync"
)

// tail keeps the end of what is written to it, and passes all of it on.
type tail struct {
	mu   sync.Mutex
	kept []byte
	next io.Writer // may be nil
}

// tailBytes is enough for a panic with its registers and call trace.
const tailBytes = 16 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - tailBytes; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	if t.next != nil {
		return t.next.Write(p)
	}
	return len(p), nil
}

func (t *tail) contains(s string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Contains(t.kept, []byte(s))
}

// lines returns the last n lines, fit to be printed: a console speaks to a terminal, with commands to
// move the cursor and clear the screen.
func (t *tail) lines(n int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	printable := strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r >= ' ' && r != 0x7f {
			return r
		}
		return -1
	}, strings.ToValidUTF8(string(t.kept), "?"))
	lines := strings.Split(strings.TrimSpace(printable), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// counter passes on what is written to it and tells when a number of bytes has come by. When the writer
// behind it fails it still takes everything, so that a closed standard output doesn't stop the machine.
type counter struct {
	mu      sync.Mutex
	next    io.Writer
	err     error
	n, goal int64
	reached chan struct{}
}

func newCounter(next io.Writer) *counter {
	if next == nil {
		next = io.Discard
	}
	return &counter{next: next, goal: -1, reached: make(chan struct{})}
}

func (c *counter) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		_, c.err = c.next.Write(p)
	}
	c.n += int64(len(p))
	c.check()
	return len(p), nil
}

// expect returns a channel that is closed once n bytes have been written in all. It is called once.
func (c *counter) expect(n int64) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.goal = n
	c.check()
	return c.reached
}

func (c *counter) check() {
	if c.goal >= 0 && c.n >= c.goal {
		close(c.reached)
		c.goal = -1
	}
}

func (c *counter) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}
