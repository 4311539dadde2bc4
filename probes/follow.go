// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"fmt"

	"github.com/nstrace/nstrace/event"
)

// follow hooks the functions of modules that came since the last look. What
// they did until they are hooked is not seen; the ledger says from when on it
// is. The error, if any, is one of looking: a probe that can't be attached is
// in the ledger.
func (s *Set) follow() error {
	if !s.modules.fresh() {
		return nil
	}
	k, err := readKernel()
	if err != nil {
		return fmt.Errorf("hook modules that were loaded meanwhile: %w", err)
	}
	l, err := newLoader(k, s.options, s.loader)
	if err != nil {
		return fmt.Errorf("hook modules that were loaded meanwhile: %w", err)
	}
	defer l.close()
	fresh, err := s.hook(k, l, func(p *probe) bool { return s.modules.isFresh(p.module) })
	for _, a := range fresh {
		s.rehook(a)
	}
	s.followRequests()
	s.modules.hooked()
	return err
}

// rehook has a probe that is on the function that has come take the place of
// what it was.
func (s *Set) rehook(a *attached) {
	for i, old := range s.probes {
		if old.name != a.name {
			continue
		}
		if a.ledger.Status == event.StatusAttached {
			// Not an error of the recording's: it has what it wants.
			a.ledger.Since, _ = bootTime()
		}
		t := s.loader.tally([]*attached{old, a})
		earlier := old.misses(t)
		a.missedBefore, a.missedEarlier = t.misses(a), &earlier
		// The function it was on is gone with its module; detaching from
		// nothing has no use for an error either.
		old.detach()
		s.probes[i] = a
	}
}
