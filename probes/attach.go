// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/nstrace/nstrace/event"
)

// attached is a probe that was planned, and what became of it.
type attached struct {
	choice
	ledger              event.ProbeLedger
	entry, exit         *ebpf.Program
	entryLink, exitLink link.Link
	// missedBefore is what the kernel had let pass when the recording began or
	// this came, missedAfter when the recording was over, nil until then.
	// missedEarlier is of what this took the place of, nil if it took none.
	missedBefore               misses
	missedAfter, missedEarlier *misses
}

// attach tries the hooks of c in turn. It can't fail: what went wrong is in the
// ledger.
func (l *loader) attach(c choice) *attached {
	a := &attached{choice: c, ledger: c.ledger()}
	if l.kernel.Denials.deny(&c) {
		// Not for want of the function: it is there to be missed.
		a.ledger.Status = event.StatusFailed
	}
	for _, hook := range c.hooks {
		err := l.tryHook(a, hook)
		if err == nil {
			a.ledger.Hook, a.ledger.Status = hook, event.StatusAttached
			return a
		}
		a.ledger.Status = event.StatusFailed
		if a.ledger.Reason != "" {
			a.ledger.Reason += "; "
		}
		a.ledger.Reason += fmt.Sprintf("%s: %s", hook, brief(err))
	}
	return a
}

// omitted is what an ebpf.VerifierError ends with.
var omitted = regexp.MustCompile(` \(\d+ line\(s\) omitted\)|\n.*`)

// named is what the ebpf library adds to a name that is there already.
var named = regexp.MustCompile(`^(\w+): program \w+: `)

// brief cuts an error down to what fits into a table: of a verifier's, that is
// the complaint without the way there.
func brief(err error) string {
	return named.ReplaceAllString(omitted.ReplaceAllString(err.Error(), ""), "$1: ")
}

func (l *loader) tryHook(a *attached, hook string) (err error) {
	if a.entry, a.exit, err = l.load(&a.choice, hook); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.detach())
		}
	}()
	if a.exit != nil {
		if a.exitLink, err = attachProgram(a.exit, a.function.Name, hook, true); err != nil {
			return err
		}
	}
	a.entryLink, err = attachProgram(a.entry, a.function.Name, hook, false)
	return err
}

func attachProgram(p *ebpf.Program, function, hook string, exit bool) (link.Link, error) {
	switch {
	case hook == hookFentry, hook == hookTracepoint:
		return link.AttachTracing(link.TracingOptions{Program: p})
	case exit:
		return link.Kretprobe(function, p, nil)
	default:
		return link.Kprobe(function, p, nil)
	}
}

// detach takes the programs off the function and frees them.
func (a *attached) detach() error {
	var errs []error
	for _, l := range []link.Link{a.entryLink, a.exitLink} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	for _, p := range []*ebpf.Program{a.entry, a.exit} {
		if p != nil {
			errs = append(errs, p.Close())
		}
	}
	a.entryLink, a.exitLink, a.entry, a.exit = nil, nil, nil, nil
	return errors.Join(errs...)
}
