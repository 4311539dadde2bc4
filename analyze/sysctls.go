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
	// Times is how often it was told in succession. The kernel has a write begin
	// anew while it can't have a lock that it needs (restart_syscall, in
	// addrconf_sysctl_forward and others), and each is told.
	Times uint64
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
	if last := len(w.Writes) - 1; last >= 0 && w.Writes[last].isAgain(e) {
		w.Writes[last].Times++
		return
	}
	if len(w.Writes) == keptFirst+keptLast {
		w.Writes = slices.Delete(w.Writes, keptFirst, keptFirst+1)
		w.Omitted++
	}
	w.Writes = append(w.Writes, &SysctlWrite{Deed: deed(e), Path: e.Path, Old: e.Name, New: e.NewName, Times: 1})
}

// isAgain reports whether e is the same write once more.
func (w *SysctlWrite) isAgain(e *event.Event) bool {
	return w.PID == e.PID && w.Path == e.Path && w.Old == e.Name && w.New == e.NewName
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
