// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"fmt"
	"os"

	"github.com/nstrace/nstrace/event"
)

// symbols names the pernet operations and functions that events mention, soon
// after they do, since a module and its names can go away again.
type symbols struct {
	// file is /proc/kallsyms, opened while this process might see addresses in it:
	// it goes on showing them to a process that has given CAP_SYSLOG up.
	file    *os.File
	asked   map[uint64]bool
	pending []uint64
}

func (s *symbols) open() (err error) {
	if s.file, err = os.Open(kallsyms); err != nil {
		return fmt.Errorf("read the kernel's symbols: %w", err)
	}
	return nil
}

func (s *symbols) close() {
	if s.file != nil {
		s.file.Close()
	}
}

// symbolsBound bounds what is remembered. Addresses are the kernel's own; a
// module that is loaded over and over gets new ones.
const symbolsBound = 1 << 16

// mention takes the addresses of an event.
func (s *symbols) mention(e *event.Event) {
	if e.Kind != event.KindRegisterPernet && e.Kind != event.KindUnregisterPernet {
		return
	}
	if s.asked == nil || len(s.asked) > symbolsBound {
		s.asked = map[uint64]bool{}
	}
	for _, addr := range []uint64{e.Ops, e.Fn} {
		if addr != 0 && !s.asked[addr] {
			s.asked[addr] = true
			s.pending = append(s.pending, addr)
		}
		if e.Kind == event.KindUnregisterPernet && e.Phase == event.PhaseExit {
			// Its module can go now, and another come to its place.
			delete(s.asked, addr)
		}
	}
}

// resolve reports the names of what was mentioned since the last time. Those
// that have none, because they are hidden or gone, stay unknown.
func (s *symbols) resolve(now uint64, report func(*event.Symbol)) {
	if len(s.pending) == 0 {
		return
	}
	found, err := symbolsAt(s.file, s.pending...)
	if err != nil {
		return // and try again the next time
	}
	asked := s.pending
	s.pending = s.pending[:0]
	for _, addr := range asked {
		if sym, ok := found[addr]; ok {
			report(&event.Symbol{Time: now, Addr: addr, Name: sym.name, Module: sym.module})
		}
	}
}
