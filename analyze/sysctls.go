// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"cmp"
	"slices"

	"github.com/nstrace/nstrace/event"
)

// SysctlWrite is a write to a file below /proc/sys/net, as it was asked for:
// whether the kernel accepted it isn't known.
type SysctlWrite struct {
	Deed
	// Path is below /proc/sys. Old is the value it had, New the one written; both
	// and Path are cut to 63 bytes.
	Path, Old, New string
}

// SysctlWrites are those made from one namespace: the first and the last.
type SysctlWrites struct {
	Writes []*SysctlWrite
	// Omitted is how many there were in between.
	Omitted uint64
}

func (a *Analyzer) sysctl(e *event.Event) {
	n := a.netns(e.Net, e.Time)
	if n == nil {
		a.odd++
		return
	}
	w := &n.Sysctls
	if len(w.Writes) == keptFirst+keptLast {
		w.Writes = slices.Delete(w.Writes, keptFirst, keptFirst+1)
		w.Omitted++
	}
	w.Writes = append(w.Writes, &SysctlWrite{Deed: deed(e), Path: e.Path, Old: e.Name, New: e.NewName})
}

// absorbSysctls adds those of a life that turned out to be the same.
func (n *Netns) absorbSysctls(src *Netns) {
	all := append(n.Sysctls.Writes, src.Sysctls.Writes...)
	slices.SortStableFunc(all, func(x, y *SysctlWrite) int { return cmp.Compare(x.At, y.At) })
	n.Sysctls.Omitted += src.Sysctls.Omitted
	if over := len(all) - keptFirst - keptLast; over > 0 {
		all = slices.Delete(all, keptFirst, keptFirst+over)
		n.Sysctls.Omitted += uint64(over)
	}
	n.Sysctls.Writes, src.Sysctls = all, SysctlWrites{}
}
