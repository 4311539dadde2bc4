// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"fmt"
	"io"
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
	entryLink, exitLink io.Closer // a link.Link or a *traceEvent
	// runs counts those of the program at the entry where the kernel doesn't count
	// how often it doesn't run it, else nil.
	runs *ebpf.Map
	// lacks says what it does without although it is attached, "" if nothing.
	lacks string
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
		a.ledger.Reason = joinReasons(a.ledger.Reason, fmt.Sprintf("%s: %s", hook, brief(err)))
	}
	return a
}

// joinReasons makes one of two, of which either may be "".
func joinReasons(a, b string) string {
	if a != "" && b != "" {
		return a + "; " + b
	}
	return a + b
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
	defer func() {
		if err != nil {
			err = errors.Join(err, a.detach())
		}
	}()
	if err = l.load(a, hook); err != nil {
		return err
	}
	if a.exit != nil {
		if a.exitLink, err = l.attachExit(a, hook); err != nil {
			return err
		}
	}
	a.entryLink, err = l.attachEntry(a, hook)
	return err
}

func (l *loader) attachEntry(a *attached, hook string) (io.Closer, error) {
	switch hook {
	case hookFentry, hookTracepoint:
		return link.AttachTracing(link.TracingOptions{Program: a.entry})
	case hookCgroup:
		return link.AttachCgroup(link.CgroupOptions{Path: l.kernel.CgroupRoot, Attach: ebpf.AttachCGroupSysctl, Program: a.entry})
	}
	if a.runs != nil {
		if e, err := l.events.attach(a.entry, a.function.Name, 0); err == nil {
			return e, nil
		}
		// Without the event nobody counts what is missed: then that is unknown.
	}
	return link.Kprobe(a.function.Name, a.entry, &link.KprobeOptions{TraceFSPrefix: eventGroup})
}

func (l *loader) attachExit(a *attached, hook string) (io.Closer, error) {
	if hook != hookKprobe {
		return link.AttachTracing(link.TracingOptions{Program: a.exit})
	}
	a.lacks = ""
	if n := l.kretprobeInstances(a.probe); n > 0 {
		err := l.noEvents
		if err == nil {
			var e *traceEvent
			if e, err = l.events.attach(a.exit, a.function.Name, n); err == nil {
				return e, nil
			}
		}
		a.lacks = fmt.Sprintf("the kernel chose how many returns can be awaited at once, instead of %d: %s", n, brief(err))
	}
	return link.Kretprobe(a.function.Name, a.exit, &link.KprobeOptions{TraceFSPrefix: eventGroup})
}

// kretprobeInstances is how many returns of the probe's function are to be
// awaited at once, 0 if as many as the kernel chooses are enough: that may be as
// few as there are CPUs.
func (l *loader) kretprobeInstances(p *probe) int {
	switch {
	case l.instances != 0:
		return l.instances
	case p.sleeps:
		return maxInstances
	}
	return 0
}

// detach takes the programs off the function and frees them.
func (a *attached) detach() error {
	var errs []error
	for _, l := range []io.Closer{a.entryLink, a.exitLink} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	for _, p := range []*ebpf.Program{a.entry, a.exit} {
		if p != nil {
			errs = append(errs, p.Close())
		}
	}
	a.runs.Close()
	a.entryLink, a.exitLink, a.entry, a.exit, a.runs = nil, nil, nil, nil, nil
	return errors.Join(errs...)
}
