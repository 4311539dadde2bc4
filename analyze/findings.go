// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Rules lists the rules by which findings are made, each with what it is about.
var Rules = map[string]string{
	"netdev-pinned-to-wiphy":   "a wireless interface was to move without its radio",
	"netdev-move-failed":       "an interface's move failed",
	"wiphy-cannot-move":        "the driver doesn't support moving",
	"wiphy-move-failed":        "a radio's move failed",
	"wiphy-move-undone":        "a radio's move was taken back",
	"name-taken":               "a move failed because a name is taken in the target",
	"move-unfinished":          "a move had not returned when the recording ended",
	"wiphy-returned":           "a radio came home because its namespace died",
	"wiphy-destroyed":          "a radio was destroyed with the namespace it was created in",
	"vif-in-wiphy-netns":       "a virtual interface landed where its radio lives, not where its creator is",
	"vif-add-failed":           "a virtual interface could not be added",
	"link-down-after-move":     "moving closed an interface",
	"renamed-by-move":          "a move changed an interface's name",
	"renumbered-by-move":       "a move changed an interface's number",
	"wiphy-not-here":           "something was asked of a radio from another namespace than it is in",
	"pid-unknown":              "a PID that was to mean a namespace means nobody to whoever used it",
	"pid-means-another":        "a PID meant another process than it does to the rest of the machine",
	"moved-nowhere":            "a radio was moved to the namespace it was in",
	"not-permitted":            "somebody asked for what it isn't allowed to do",
	"request-refused":          "a request was refused for another reason",
	"interface-contended":      "several programs renamed or moved an interface at once",
	"netns-left-behind":        "a namespace without tasks stays alive",
	"name-removed-netns-alive": "a namespace's name is gone but something holds it",
	"netns-dying":              "a namespace's clean-up was not complete at the end",
	"cleanup-slow":             "clean-up took long or is stuck",
	"setup-slow":               "a namespace's set-up took long",
	"setup-failed":             "a namespace could not be created",
	"setup-waited":             "a namespace's set-up had to wait",
	"netns-refused":            "a namespace was refused before its set-up",
	"creators-waiting":         "somebody still waited for a namespace at the end",
	"pernet-slow":              "registering pernet operations took long",
	"pernet-failed":            "pernet operations could not be registered",
	"pernet-waited":            "registering pernet operations had to wait",
	"radios-born-apart":        "radios were created in different namespaces",
	"delivery-differs":         "our count and the kernel's differ",
	"delivery-interrupted":     "steady traffic stopped, and its interface went elsewhere",
	rulePackets:                "packets recorded one by one are not those that were counted",
	ruleIncomplete:             "the recording is not complete",
	ruleDamage:                 "the file is damaged",
	ruleLost:                   "events were lost",
	ruleMissed:                 "the kernel skipped a probe",
	ruleReturns:                "returns of functions were not seen",
	ruleProbe:                  "a probe is missing",
	ruleSnapshot:               "a snapshot is missing or incomplete",
	ruleAudit:                  "the end doesn't agree with the kernel",
	ruleOdd:                    "events could not be used",
}

// findings applies every rule, worst first and then in order of time.
func (a *Analyzer) findings() {
	for _, s := range a.m.Verdict {
		a.find(Finding{Rule: s.Rule, Severity: s.Severity, Subject: "recording", Text: s.Text, At: s.At})
	}
	a.findMoves()
	a.findAsks()
	a.findRadios()
	a.findLinks()
	a.findContended()
	a.findNamespaces()
	a.findStuck()
	a.findUnserved()
	a.findWaits()
	a.findRefusals()
	a.findLeftBehind()
	a.findPernet()
	a.findDelivery()
	a.findPackets()
	slices.SortStableFunc(a.m.Findings, func(x, y Finding) int {
		return cmp.Or(cmp.Compare(rank(x.Severity), rank(y.Severity)), cmp.Compare(x.At, y.At))
	})
}

func (a *Analyzer) find(f Finding) {
	f.About = slices.DeleteFunc(f.About, func(n *Netns) bool { return n == nil })
	a.m.Findings = append(a.m.Findings, f)
}

// ErrnoName is an errno's symbolic name ("EINVAL"), or its number.
func ErrnoName(errno uint32) string {
	switch errno {
	case 0:
		return ""
	case uint32(unix.EOPNOTSUPP):
		return "EOPNOTSUPP" // the kernel has no ENOTSUP, which libc makes the same
	}
	if s := unix.ErrnoName(unix.Errno(errno)); s != "" {
		return s
	}
	return fmt.Sprintf("errno %d", errno)
}

// list joins words as in prose.
func list(words []string) string {
	switch len(words) {
	case 0:
		return ""
	case 1:
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// nameAt returns a name by which commands can reach the namespace at time t, ""
// if it had none under /run/netns.
func (n *Netns) nameAt(t uint64) string {
	for i := len(n.Names) - 1; i >= 0; i-- {
		x := n.Names[i]
		if strings.HasPrefix(x.Path, "/run/netns/") && (x.Until == 0 || x.Until > t) && (x.From <= t || x.Until == 0) {
			return x.Name
		}
	}
	return ""
}

// taskIn returns a process that was in the namespace, 0 if none is known.
func (n *Netns) taskIn() uint32 {
	for _, h := range n.Holders {
		if h.Kind == "task" {
			return h.PID
		}
	}
	if n.Birth != nil {
		return n.Birth.PID
	}
	return 0
}

// within prefixes a command so that it runs in the namespace, as it is at the
// end: that is when somebody may type it. It returns "" if nothing is known by
// which to reach it.
func (n *Netns) within(command string) string {
	switch {
	case n == nil || !n.Alive():
		return ""
	case n.Initial:
		return command
	}
	if name := n.nameAt(math.MaxUint64); name != "" {
		return "ip netns exec " + shellWord(name) + " " + command
	}
	if pid := n.taskIn(); pid != 0 {
		return fmt.Sprintf("nsenter --net=/proc/%d/ns/net %s", pid, command)
	}
	return ""
}

// asTarget is how iw is told of the namespace: "name X" or a PID, "" if there is
// no way.
func (n *Netns) asTarget(t uint64) string {
	switch {
	case n == nil:
		return ""
	case n.Initial:
		return "1"
	}
	if name := n.nameAt(t); name != "" {
		return "name " + shellWord(name)
	}
	if pid := n.taskIn(); pid != 0 {
		return fmt.Sprint(pid)
	}
	return ""
}

// moveCommand is the command that takes radio w from one namespace to another.
func moveCommand(w *Wiphy, from, to *Netns, t uint64) string {
	target := to.asTarget(t)
	if w == nil || w.Name == "" || target == "" {
		return ""
	}
	return from.within("iw phy " + shellWord(w.Name) + " set netns " + target)
}

// interfacesAt lists the netdevs of w in n at time t, without d.
func (a *Analyzer) interfacesAt(w *Wiphy, n *Netns, t uint64, without *Device) []string {
	var out []string
	for _, d := range a.m.Devices {
		if d.Wiphy != w || d == without {
			continue
		}
		for _, s := range d.Stays {
			if s.Netns == n && s.From <= t && (s.Left == "" || s.Until > t) {
				out = append(out, Escape(s.Name()))
			}
		}
	}
	return out
}
