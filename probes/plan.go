// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nstrace/nstrace/event"
)

// Mode says which hooks may be used.
type Mode string

// The modes of --attach.
const (
	// ModeAuto prefers fentry and falls back to kprobe, probe by probe.
	ModeAuto   Mode = "auto"
	ModeFentry Mode = "fentry"
	ModeKprobe Mode = "kprobe"
)

// Delivery says what to do about packets.
type Delivery string

// The values of --delivery.
const (
	// DeliveryCount counts them in the kernel.
	DeliveryCount Delivery = "count"
	// DeliveryPackets also records each one.
	DeliveryPackets Delivery = "packets"
	// DeliveryOff leaves the packet path alone.
	DeliveryOff Delivery = "off"
)

const (
	hookFentry = "fentry"
	hookKprobe = "kprobe"
	// hookTracepoint is for tracepoints, by their types: it takes no trampolines.
	hookTracepoint = "tracepoint"
	// hookCgroup is for what the kernel asks programs of a cgroup about: they are
	// attached to the root of all, beside those that others attach.
	hookCgroup = "cgroup"
)

// choice is what is to be tried for a probe.
type choice struct {
	*probe
	function function
	// hooks are to be tried in this order; none if the probe is absent.
	hooks []string
	// reason says why the probe is absent, or why it doesn't get the best hook.
	reason string
}

// plan chooses a function and the hooks to try for each probe of the table. It
// depends on nothing but its arguments, and on no kernel's version: stable
// releases take over changes from later ones.
func plan(d *description, mode Mode, delivery Delivery) []choice {
	choices := make([]choice, 0, len(table))
	for i := range table {
		p := &table[i]
		if p.delivery && delivery == DeliveryOff {
			continue
		}
		choices = append(choices, d.choose(p, mode))
	}
	return choices
}

// choose takes the first function of the probe that exists and can be hooked.
func (d *description) choose(p *probe, mode Mode) choice {
	if why := d.forbidden(); why != "" {
		return choice{probe: p, reason: why}
	}
	switch p.hook {
	case hookTracepoint:
		return d.chooseTracepoint(p)
	case hookCgroup:
		return d.chooseCgroup(p)
	}
	var reasons []string
	for i := range p.functions {
		c := &p.functions[i]
		f, why := d.find(p, c)
		if why == "" && f == nil {
			continue
		}
		var hooks []string
		if why == "" {
			if hooks, why = d.hooks(f, mode); len(hooks) > 0 {
				return choice{probe: p, function: *f, hooks: hooks, reason: why}
			}
		}
		reasons = append(reasons, why)
	}
	if len(reasons) == 0 {
		return choice{probe: p, reason: absence(p)}
	}
	return choice{probe: p, reason: strings.Join(reasons, "; ")}
}

// chooseTracepoint takes the first tracepoint of the probe that exists. Whatever
// the mode, there is one way to hook it.
func (d *description) chooseTracepoint(p *probe) choice {
	for _, c := range p.functions {
		for _, t := range d.Tracepoints {
			if t.Name != c.name {
				continue
			}
			if !matches(c.args, t.Args) {
				return choice{probe: p, reason: fmt.Sprintf("the tracepoint %s has (%s), not (%s)", t.Name, strings.Join(t.Args, ", "), c.args)}
			}
			traceable := true
			return choice{probe: p, function: function{Name: t.Name, Traceable: &traceable}, hooks: []string{hookTracepoint}}
		}
	}
	return choice{probe: p, reason: absence(p)}
}

// chooseCgroup is for a program of the root of all cgroups. The function is the
// one that runs it.
func (d *description) chooseCgroup(p *probe) choice {
	switch name := p.functions[0].name; {
	case d.count(name) == 0:
		return choice{probe: p, reason: absence(p)}
	case d.Denials.Cgroups != "":
		return choice{probe: p, reason: d.Denials.Cgroups}
	case d.CgroupRoot == "":
		return choice{probe: p, reason: errNoCgroup2.Error()}
	default:
		reachable := true
		return choice{probe: p, function: function{Name: name, Traceable: &reachable}, hooks: []string{hookCgroup}}
	}
}

// forbidden says why nothing can be traced at all, "" if it can.
func (d *description) forbidden() string {
	if d.Lockdown == lockedDown {
		return whyLockedDown
	}
	return d.Privileges
}

// find returns the kernel's function that a candidate means, nil if there is
// none, and why it can't be used.
func (d *description) find(p *probe, c *candidate) (f *function, why string) {
	var exact, changed, parts []*function
	for i := range d.Functions {
		f := &d.Functions[i]
		switch {
		case f.Module != "" && f.Module != p.module:
		case f.Name == c.name:
			exact = append(exact, f)
		case isChanged(f.Name, c.name):
			changed = append(changed, f)
		case strings.HasPrefix(f.Name, c.name+".part."):
			parts = append(parts, f)
		}
	}
	switch {
	case len(exact) > 1:
		return nil, fmt.Sprintf("there are %d functions %s, and no telling which is meant", len(exact), c.name)
	case len(exact) == 1 && len(parts) > 0:
		return nil, fmt.Sprintf("the compiler split %s: some callers go to %s directly", c.name, parts[0].Name)
	case len(exact) == 1:
		f = exact[0]
	case len(changed) == 0:
		return nil, ""
	case len(changed) == 1 && c.args == "...":
		f = changed[0] // nobody reads its arguments
	default:
		return nil, fmt.Sprintf("the compiler made %s of %s: its arguments are anywhere", changed[0].Name, c.name)
	}
	return f, d.usable(f, c)
}

// usable says why a program must not be put on a function, "" if it may.
func (d *description) usable(f *function, c *candidate) string {
	switch {
	case c.early && !d.Features.OwnCount:
		return fmt.Sprintf("%s doesn't serve on kernels as late as this", f.Name)
	case f.Args != nil && !matches(c.args, f.Args):
		return fmt.Sprintf("%s takes (%s), not (%s)", f.Name, strings.Join(f.Args, ", "), c.args)
	}
	return ""
}

// hooks returns what to try for a function, best first: fentry costs less per
// call than a kprobe, and its fexit needs no free instance to catch a return.
// why says what keeps it from the best.
func (d *description) hooks(f *function, mode Mode) (hooks []string, why string) {
	noFentry, noKprobe := d.noFentry(f), d.noKprobe(f)
	if mode != ModeKprobe && noFentry == "" {
		hooks = append(hooks, hookFentry)
	}
	if mode != ModeFentry && noKprobe == "" {
		hooks = append(hooks, hookKprobe)
	}
	switch {
	case len(hooks) == 0 && noFentry == noKprobe:
		return nil, noFentry
	case len(hooks) == 0 && mode == ModeKprobe:
		return nil, "no kprobe: " + noKprobe
	case len(hooks) == 0 && mode == ModeFentry:
		return nil, "no fentry: " + noFentry
	case len(hooks) == 0:
		return nil, "no fentry: " + noFentry + "; no kprobe: " + noKprobe
	case mode == ModeAuto && noFentry != "":
		return hooks, "no fentry: " + noFentry
	}
	return hooks, ""
}

// noFentry says why fentry programs can't be put on f, "" if they can.
func (d *description) noFentry(f *function) string {
	switch {
	case !d.Features.Fentry:
		return "this kernel has no trampolines for ftrace's calls"
	case f.Module != "" && d.Denials.ModuleTypes != "":
		return d.Denials.ModuleTypes
	case !d.describes(f.Module):
		return fmt.Sprintf("there is no type information for %s", f.Module)
	case f.Args == nil || baseName(f.Name) != f.Name:
		return fmt.Sprintf("there is no type information for %s", f.Name)
	}
	return f.untraceable()
}

// noKprobe says why kprobes can't be put on f, "" if they can.
func (d *description) noKprobe(f *function) string {
	switch n := d.count(f.Name); {
	case !d.Features.Kprobe:
		return "this kernel has no kprobes"
	case d.Denials.Kprobes != "":
		return d.Denials.Kprobes
	case n > 1:
		return fmt.Sprintf("%d functions are called %s", n, f.Name)
	case d.Features.KprobesNeedFtrace && f.Name == baseName(f.Name):
		// With a suffix, the kernel looks at the function it was made of, too.
		return f.untraceable()
	}
	return ""
}

// baseName is a function's name without what the compiler put behind it.
func baseName(name string) string {
	base, _, _ := strings.Cut(name, ".")
	return base
}

// isChanged reports whether name is what the compiler made of all of a function,
// with other arguments. A .part is only some of it, and not always called.
func isChanged(name, function string) bool {
	return strings.HasPrefix(name, function+".isra.") || strings.HasPrefix(name, function+".constprop.")
}

// matches reports whether args are as a candidate of the table wants them.
func matches(want string, args []string) bool {
	types := strings.Split(want, ", ")
	if types[len(types)-1] == "..." {
		types = types[:len(types)-1]
		args = args[:min(len(args), len(types))]
	}
	return slices.EqualFunc(types, args, func(either, arg string) bool {
		return slices.Contains(strings.Split(either, " | "), arg)
	})
}

func absence(p *probe) string {
	var names []string
	for _, f := range p.functions {
		names = append(names, f.name)
	}
	list := strings.Join(names, ", ")
	if p.hook == hookTracepoint {
		return "there is no type information for a tracepoint " + list
	}
	if p.module != "" {
		return fmt.Sprintf("no function %s: the module %s isn't loaded (--load-modules loads it first) or doesn't have it", list, p.module)
	}
	if p.without != "" {
		return p.without
	}
	return fmt.Sprintf("this kernel has no function %s", list)
}

// ledger begins the probe's account.
func (c *choice) ledger() event.ProbeLedger {
	return event.ProbeLedger{
		Name: c.name, Function: c.function.Name, Module: c.function.Module,
		Status: event.StatusAbsent, Reason: c.reason, Loses: c.loses, Needs: c.module,
	}
}
