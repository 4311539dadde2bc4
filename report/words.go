// SPDX-License-Identifier: Apache-2.0

package report

import (
	"github.com/nstrace/nstrace/analyze"
)

func action(p *analyze.Pernet) string {
	if p.Register {
		return "register"
	}
	return "unregister"
}

// module is where pernet operations come from, "vmlinux" for the kernel itself,
// "" if unknown.
func module(p *analyze.Pernet) string {
	if p.BuiltIn {
		return "vmlinux"
	}
	return p.Module
}

// span is the time from a to b, 0 if b is before a.
func span(a, b uint64) uint64 {
	if b < a {
		return 0
	}
	return b - a
}

// listed reports whether a finding passes the options: what concerns the
// recording itself always does.
func listed(f analyze.Finding, o Options) bool {
	if f.Subject == "recording" && len(f.About) == 0 {
		return true
	}
	if len(o.Netns) != 0 && !o.any(f.About...) {
		return false
	}
	return f.At == 0 || o.when(f.At)
}
