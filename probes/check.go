// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Outlook is what a recording would get of the running kernel.
type Outlook struct {
	// Release is the kernel's, as uname(2) has it, Arch as Go calls it.
	Release, Arch string
	// Lockdown is "none", "integrity" or "confidentiality", "" if unknown.
	Lockdown string
	// Types says whether the kernel describes its own.
	Types bool
	// Lacks are the capabilities that are missing, UserNamespace whether that
	// is because this process is in a user namespace of its own.
	Lacks         []Lack
	UserNamespace bool
	// Modules are those with functions that are probed.
	Modules []ModuleOutlook
	// Probes are nil if nothing can be told of them.
	Probes []ProbeOutlook
	// Problems are what keeps a recording from anything, worst first.
	Problems []Problem
}

// The states of a module.
const (
	ModuleLoaded    = "loaded"
	ModuleBuiltIn   = "built in"
	ModuleNotLoaded = "not loaded"
)

// ModuleOutlook is one module.
type ModuleOutlook struct {
	Name string
	// State is one of the above, "" if unknown.
	State string
	// Types says whether there is type information for it, nil if it isn't
	// there to have any.
	Types *bool
}

// The prospects of a probe.
const (
	// ProbeAvailable: it is going to be tried, and nothing speaks against it.
	ProbeAvailable = "available"
	ProbeAbsent    = "absent"
	// ProbeUnknown: it is going to be tried. Which functions can be traced could
	// not be read, or this one isn't among them and may take a kprobe all the same.
	ProbeUnknown = "unknown"
)

// ProbeOutlook is one probe.
type ProbeOutlook struct {
	Name   string
	Status string
	// Hook is as in [event.ProbeLedger], Function what it goes to, in Module ("" for
	// the kernel itself). All are "" if the probe is absent. Without the
	// privileges to record, they are what a process that has them would get.
	Hook, Function, Module string
	// Reason says why it is absent or doesn't get the best hook; may be "".
	Reason string
	// Loses says what a report lacks without it.
	Loses string
}

// Problem is something that a recording suffers from.
type Problem struct {
	// Fatal says that there can be no recording.
	Fatal bool
	What  string
	// Remedy says what to do about it.
	Remedy string
}

// Works reports whether recording would work, if not with all probes.
func (o *Outlook) Works() bool {
	return !slices.ContainsFunc(o.Problems, func(p Problem) bool { return p.Fatal })
}

// Check tells what Attach would get, and attaches and changes nothing. Its error
// is one of asking for things that every kernel tells everybody.
func Check(mode Mode, delivery Delivery) (*Outlook, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return nil, fmt.Errorf("ask for the kernel's name: %w", err)
	}
	o := &Outlook{
		Release: unix.ByteSliceToString(uts.Release[:]), Arch: runtime.GOARCH,
		Lockdown: readLockdown(), UserNamespace: inUserNamespace(),
	}
	k, err := readKernel()
	if err != nil {
		k = nil
		o.fatal(kernelProblem(err))
	} else {
		k.learnTraceable()
	}
	if o.Lacks, err = Lacks(); err != nil {
		return nil, err
	}
	if k != nil {
		o.Types, o.Lockdown = true, k.Lockdown
		o.Lacks = k.missed(o.Lacks)
	}
	if err := checkPrivileges(); err != nil {
		o.fatal(privilegeProblem(err))
	} else {
		o.Problems = append(o.Problems, lackProblems(o.Lacks)...)
	}
	if o.Lockdown == lockedDown {
		o.fatal(whyLockedDown, "boot without lockdown=confidentiality")
	}
	o.lookAtModules(k, mode)
	if k != nil {
		o.lookAtProbes(&k.description, mode, delivery)
	}
	slices.SortStableFunc(o.Problems, func(a, b Problem) int {
		switch {
		case a.Fatal == b.Fatal:
			return 0
		case a.Fatal:
			return -1
		}
		return 1
	})
	return o, nil
}

func privilegeProblem(err error) (what, remedy string) {
	var lacking *privilegeError
	if errors.As(err, &lacking) {
		return fmt.Sprintf("%v: %s", ErrPrivileges, lacking.what), lacking.remedy
	}
	return err.Error(), remedyRoot
}

func kernelProblem(err error) (what, remedy string) {
	if errors.Is(err, ErrNoBTF) {
		return "this kernel has no type information (/sys/kernel/btf/vmlinux is missing)",
			"use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as the distributions' are"
	}
	return err.Error(), "mount /proc and /sys, and make them readable"
}

func (o *Outlook) fatal(what, remedy string) {
	o.Problems = append(o.Problems, Problem{Fatal: true, What: what, Remedy: remedy})
}

func (o *Outlook) lesser(what, remedy string) {
	o.Problems = append(o.Problems, Problem{What: what, Remedy: remedy})
}

// missed leaves out what a process lacks but this kernel gives it all the same,
// and adds what it doesn't give.
func (k *kernel) missed(lacks []Lack) []Lack {
	lacks = slices.DeleteFunc(lacks, func(l Lack) bool {
		return l.Capability == "CAP_SYSLOG" && !addressesHidden() ||
			l.Capability == "CAP_DAC_READ_SEARCH" && opensByNumber()
	})
	for i := range lacks {
		if lacks[i].Capability == "CAP_SYS_ADMIN" && k.Denials.Kprobes != "" {
			lacks[i].Loses += ", and the probes that this kernel refuses without it"
		}
	}
	return lacks
}

// lackProblems are those of a process that may record, but not all.
func lackProblems(lacks []Lack) []Problem {
	var problems []Problem
	for _, l := range lacks {
		if !l.Required {
			problems = append(problems, Problem{What: l.Capability + " missing: a recording lacks " + l.Loses, Remedy: remedyRoot})
		}
	}
	return problems
}

// Problems returns what the recording suffers from because of the privileges this
// process had when it attached. What became of the probes is in the ledger.
func (s *Set) Problems() []Problem { return s.problems }

// lookAtModules tells whether the probes' modules are there; k may be nil.
func (o *Outlook) lookAtModules(k *kernel, mode Mode) {
	for _, name := range probedModules() {
		m := ModuleOutlook{Name: name, State: stateOf(k, name)}
		if k != nil && (m.State == ModuleLoaded || m.State == ModuleBuiltIn) {
			has := m.State == ModuleBuiltIn || k.describes(name)
			m.Types = &has
		}
		o.Modules = append(o.Modules, m)
		switch {
		case m.State == ModuleNotLoaded:
			o.lesser(fmt.Sprintf("the module %s isn't loaded: there is nothing of it to probe when a recording begins", name),
				fmt.Sprintf("modprobe %s, or let record do it: nstrace record --load-modules", name))
		case m.Types == nil || *m.Types || mode == ModeKprobe:
		case mode == ModeFentry:
			o.lesser(fmt.Sprintf("there is no type information for the module %s: its probes can't be had with fentry only", name),
				"use --attach auto, or a kernel built with CONFIG_DEBUG_INFO_BTF_MODULES=y")
		default:
			o.lesser(fmt.Sprintf("there is no type information for the module %s: its probes get kprobes, which cost more per call", name),
				"use a kernel built with CONFIG_DEBUG_INFO_BTF_MODULES=y")
		}
	}
}

func stateOf(k *kernel, name string) string {
	if k != nil && k.builtIn(name) {
		return ModuleBuiltIn
	}
	if _, err := os.Stat(filepath.Join("/sys/module", name)); err == nil {
		return ModuleLoaded
	}
	if _, err := os.Stat("/sys/module"); err != nil {
		return ""
	}
	return ModuleNotLoaded
}

// builtIn reports whether a module's probes have functions in the kernel itself.
func (d *description) builtIn(module string) bool {
	for i := range table {
		if table[i].module != module {
			continue
		}
		for _, c := range table[i].functions {
			if slices.ContainsFunc(d.Functions, func(f function) bool { return f.Module == "" && f.Name == c.name }) {
				return true
			}
		}
	}
	return false
}

// lookAtProbes plans as Attach does, for a process that has the privileges to.
func (o *Outlook) lookAtProbes(d *description, mode Mode, delivery Delivery) {
	with := *d
	with.Privileges = ""
	unknown, some := false, false
	for _, c := range plan(&with, mode, delivery) {
		p := ProbeOutlook{Name: c.name, Status: ProbeAbsent, Reason: c.reason, Loses: c.loses}
		if len(c.hooks) > 0 {
			p.Status, p.Hook, p.Function, p.Module = ProbeAvailable, c.hooks[0], c.function.Name, c.function.Module
			some = some || c.hook == ""
			switch why := c.function.untraceable(); {
			case c.function.Traceable == nil:
				p.Status, unknown = ProbeUnknown, true
			case why != "":
				p.Status = ProbeUnknown
				if p.Reason == "" {
					p.Reason = why
				}
			}
		}
		o.Probes = append(o.Probes, p)
	}
	if unknown && o.Lockdown != lockedDown {
		o.lesser("which functions can be traced is unknown: available_filter_functions of tracefs can't be read",
			"as root, mount -t tracefs tracefs /sys/kernel/tracing")
	}
	if !some && o.Lockdown != lockedDown {
		o.fatal("no probe can be had: "+strings.Join(reasons(o.Probes), "; "), "use another kernel, or --attach auto")
	}
}

// reasons returns what speaks against probes, each once, and not more than a few.
func reasons(probes []ProbeOutlook) []string {
	var all []string
	for _, p := range probes {
		if !slices.Contains(all, p.Reason) && len(all) < 2 {
			all = append(all, p.Reason)
		}
	}
	return all
}
