// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"fmt"
	"slices"
)

// hook puts the wanted probes on what is planned for them on k.
//
// The kernel isn't asked beforehand which functions can be traced, since it is
// slow to tell and nearly always they can. It is asked when it refuses one; what
// is planned with that knowledge then replaces what was tried without it, so that
// a recording gets what Check announced, and for the same reasons. The error is
// one of preparing for that: what was attached until then is returned with it.
func (s *Set) hook(k *kernel, l *loader, wanted func(*probe) bool) ([]*attached, error) {
	var probes []*attached
	for _, c := range plan(&k.description, s.options.Mode, s.options.Delivery) {
		if wanted(c.probe) {
			probes = append(probes, l.attach(c))
		}
	}
	if !slices.ContainsFunc(probes, (*attached).refused) {
		return probes, nil
	}
	k.learnTraceable()
	return probes, s.reconsider(k, l, probes)
}

// refused reports whether the kernel refused any hook that was planned.
func (a *attached) refused() bool { return a.ledger.Reason != a.reason }

// reconsider attaches those of the probes anew for which k's plan has changed.
func (s *Set) reconsider(k *kernel, l *loader, probes []*attached) error {
	// The programs may have to know a function by other arguments.
	again, err := newLoader(k, s.options, l)
	if err != nil {
		return fmt.Errorf("attach what the kernel refused in another way: %w", err)
	}
	defer again.close()
	for _, c := range plan(&k.description, s.options.Mode, s.options.Delivery) {
		i := slices.IndexFunc(probes, func(a *attached) bool { return a.probe == c.probe })
		if i < 0 || c.equal(&probes[i].choice) {
			continue
		}
		if err := probes[i].detach(); err != nil {
			return fmt.Errorf("detach what is attached in another way: %w", err)
		}
		probes[i] = again.attach(c)
	}
	return nil
}

// equal reports whether the same would be tried, and for the same reason.
func (c *choice) equal(d *choice) bool {
	return c.function.Name == d.function.Name && c.function.Module == d.function.Module &&
		slices.Equal(c.hooks, d.hooks) && c.reason == d.reason
}
