// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/nstrace/nstrace/event"
)

// symbols names the pernet operations and functions that events mention, soon
// after they do, since a module and its names can go away again.
type symbols struct {
	// file is /proc/kallsyms, opened while this process might see addresses in it:
	// it goes on showing them to a process that has given CAP_SYSLOG up.
	file *os.File
	// asked has the addresses that were asked for, each with the module of its
	// symbol, "" for the kernel's own or as long as that isn't known.
	asked   map[uint64]string
	pending []uint64
	// places are where in functions packets were dropped.
	places, pendingPlaces []uint64
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
	switch e.Kind {
	case event.KindRegisterPernet, event.KindUnregisterPernet, event.KindPernetRequest:
	default:
		return
	}
	s.ask(e.Ops)
	s.ask(e.Fn)
	if e.Kind == event.KindUnregisterPernet && e.Phase == event.PhaseExit {
		s.leaves(e.Ops, e.Fn)
	}
}

// mentionStep takes the addresses of a step.
func (s *symbols) mentionStep(x *event.Step) {
	s.ask(x.Ops)
	s.ask(x.Fn)
}

func (s *symbols) ask(addr uint64) {
	if s.asked == nil || len(s.asked) > symbolsBound {
		s.asked = map[uint64]string{}
	}
	if _, asked := s.asked[addr]; addr != 0 && !asked {
		s.asked[addr] = ""
		s.pending = append(s.pending, addr)
	}
}

// askPlace asks for the function that an address is in.
func (s *symbols) askPlace(addr uint64) {
	if addr != 0 && !slices.Contains(s.places, addr) && len(s.places) < maxPlaces {
		s.places = append(s.places, addr)
		s.pendingPlaces = append(s.pendingPlaces, addr)
	}
}

// maxPlaces is more than there are calls of kfree_skb that a packet can meet.
const maxPlaces = 1 << 10

// leaves forgets the addresses of pernet operations that are unregistered: their
// module can go now, with all that it has, and another come to its place.
func (s *symbols) leaves(ops, fn uint64) {
	module := cmp.Or(s.asked[ops], s.asked[fn])
	maps.DeleteFunc(s.asked, func(addr uint64, of string) bool {
		return addr == ops || addr == fn || module != "" && of == module
	})
}

// resolve reports the names of what was mentioned since the last time. Those
// that have none, because they are hidden or gone, stay unknown.
func (s *symbols) resolve(now uint64, report func(*event.Symbol)) {
	s.resolvePlaces(now, report)
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
		sym, ok := found[addr]
		if !ok {
			continue
		}
		if _, still := s.asked[addr]; still {
			s.asked[addr] = sym.module
		}
		report(&event.Symbol{Time: now, Addr: addr, Name: sym.name, Module: sym.module})
	}
}

func (s *symbols) resolvePlaces(now uint64, report func(*event.Symbol)) {
	if len(s.pendingPlaces) == 0 {
		return
	}
	found, err := functionsAround(s.file, s.pendingPlaces...)
	if err != nil {
		return // and try again the next time
	}
	for _, place := range s.pendingPlaces {
		if sym, ok := found[place]; ok {
			report(&event.Symbol{Time: now, Addr: place, Name: sym.name, Module: sym.module})
		}
	}
	s.pendingPlaces = s.pendingPlaces[:0]
}
