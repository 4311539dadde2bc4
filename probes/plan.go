// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"fmt"
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
)

// choice is what is to be tried for a probe.
type choice struct {
	*probe
	function symbol
	// hooks are to be tried in this order; none if the probe is absent.
	hooks []string
	// reason says why the probe is absent.
	reason string
}

// plan chooses a function and the hooks to try for each probe of the table.
func plan(k *kernel, mode Mode, delivery Delivery) []choice {
	choices := make([]choice, 0, len(table))
	for i := range table {
		p := &table[i]
		if p.delivery && delivery == DeliveryOff {
			continue
		}
		choices = append(choices, choose(k, p, mode))
	}
	return choices
}

func choose(k *kernel, p *probe, mode Mode) choice {
	c := choice{probe: p}
	var ok bool
	if c.function, ok = k.function(p); !ok {
		c.reason = absence(p)
		return c
	}
	switch mode {
	case ModeFentry:
		c.hooks = []string{hookFentry}
	case ModeKprobe:
		c.hooks = []string{hookKprobe}
	default:
		c.hooks = []string{hookFentry, hookKprobe}
	}
	return c
}

// function returns the best function that serves a probe on this kernel.
func (k *kernel) function(p *probe) (symbol, bool) {
	for _, name := range p.functions {
		if s, ok := k.functions[name]; ok {
			return s, true
		}
	}
	return symbol{}, false
}

func absence(p *probe) string {
	names := strings.Join(p.functions, ", ")
	if p.module != "" {
		return fmt.Sprintf("no function %s: the module %s isn't loaded (--load-modules loads it first) or doesn't have it", names, p.module)
	}
	return fmt.Sprintf("this kernel has no function %s", names)
}

// ledger begins the probe's account.
func (c *choice) ledger() event.ProbeLedger {
	return event.ProbeLedger{
		Name: c.name, Function: c.function.name, Module: c.function.module,
		Status: event.StatusAbsent, Reason: c.reason, Loses: c.loses,
	}
}
