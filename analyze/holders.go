// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"math"
	"strings"

	"github.com/nstrace/nstrace/event"
)

// held takes what a snapshot says of who holds the namespace, and of the numbers
// it has for others.
func (n *Netns) held(st *event.NetnsState) {
	n.Holders, n.Held, n.References, n.NSIDs = st.Holders, st.Held, st.References, st.NSIDs
	for _, h := range st.Holders {
		if h.Kind == "task" {
			n.sawTask(h.PID, h.Comm)
		}
	}
}

// HolderLabel is how a holder is written, escaped.
func HolderLabel(h event.Holder) string {
	owner := Task(h.PID, h.Comm)
	switch h.Kind {
	case "task":
		return owner
	case "mount":
		label := "a mount at " + Escape(h.Path)
		if h.MountNS != 0 {
			label += " in the mount namespace of " + owner
		}
		return label
	case "file":
		return "an open file of " + owner + " (" + Escape(h.Path) + ")"
	case "socket":
		return "a socket of " + owner + " (" + Escape(h.Path) + ")"
	case "tun":
		return "/dev/net/tun, opened there by " + owner + " (" + Escape(h.Path) + ")"
	case "proc":
		return "a file of /proc/net, opened there by " + owner + " (" + Escape(h.Path) + ")"
	}
	return Escape(h.Kind) + " " + Escape(h.Path)
}

// heldBy says what keeps a namespace without tasks, "" if there are tasks in it
// or a name stands for it, as its maker wanted. Namespaces that are kept alike are
// told together, so it says no more than what they may have in common.
func (a *Analyzer) heldBy(n *Netns) string {
	kinds := map[string]event.Holder{}
	for i := len(n.Holders) - 1; i >= 0; i-- {
		kinds[n.Holders[i].Kind] = n.Holders[i]
	}
	_, tasks := kinds["task"]
	mount, mounted := kinds["mount"]
	if tasks || n.InClosing && n.nameAt(math.MaxUint64) != "" {
		return ""
	}
	for _, kind := range []struct{ name, label string }{
		{"file", "an open file of "},
		{"socket", "a socket of "},
		{"tun", "/dev/net/tun, opened there by "},
		{"proc", "a file of /proc/net, opened there by "},
	} {
		if h, ok := kinds[kind.name]; ok && (!mounted || mount.MountNS != 0) {
			return kind.label + Task(h.PID, h.Comm)
		}
	}
	switch {
	case mounted && mount.MountNS != 0:
		return "a mount in the mount namespace of " + Task(mount.PID, mount.Comm)
	case mounted:
		return "a mount"
	}
	return a.unseenHolder()
}

// unseenHolder says what a holder that wasn't seen may be.
func (a *Analyzer) unseenHolder() string {
	if len(a.m.Unseen) == 0 {
		// Recorded before snapshots looked for open files.
		return "neither a task nor a mount that could be seen, so by an open file, a socket, or a task in a place the snapshot couldn't look"
	}
	var kinds []string
	for _, kind := range a.m.Unseen {
		kinds = append(kinds, EscapeText(kind))
	}
	return "nothing that could be seen. What can't be: " + strings.Join(kinds, "; ")
}
