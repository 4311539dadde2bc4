// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"cmp"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// findAsks: requests that were refused, or did something else than it looks. What
// got as far as a move is told with the move.
func (a *Analyzer) findAsks() {
	told := make(map[*Ask]bool)
	for _, m := range a.m.Moves {
		if m.Result == ResultFailed {
			told[m.Asked] = true
		}
	}
	for _, v := range a.m.Vifs {
		if v.Errno != 0 {
			told[v.Asked] = true
		}
	}
	others := make(map[refusedKey]*Finding)
	for _, k := range a.m.Asks {
		switch {
		case told[k]:
		case k.OK():
			a.findMeant(k)
		case k.Errno == uint32(unix.EPERM):
			a.findForbidden(k)
		case k.Errno == uint32(unix.ENODEV) && k.elsewhere != nil:
			a.findNotHere(k)
		case k.Errno == uint32(unix.ESRCH) && k.TargetPID != 0 && k.Meant == nil:
			a.findNobody(k)
		case k.Errno == uint32(unix.EEXIST) && k.Name != "":
			a.findNameTaken(k)
		case k.Errno == uint32(unix.EINVAL) && k.namesake != nil:
			a.findRadioNameTaken(k)
		default:
			a.findRefused(k, others)
		}
	}
	for _, f := range others {
		a.find(*f)
	}
}

// Asked says who wanted what, and from where if that isn't the initial namespace,
// escaped.
func (k *Ask) Asked() string {
	from := ""
	switch {
	case k.Caller != nil && k.Netns != nil && k.Caller != k.Netns:
		from = fmt.Sprintf(", running in %s and asking in %s,", k.Caller.Label(), k.Netns.Label())
	case k.Netns != nil && !k.Netns.Initial || k.elsewhere != nil:
		from = fmt.Sprintf(", running in %s,", k.Netns.Label())
	}
	return fmt.Sprintf("%s%s asked to %s", k.Who(), from, k.Intent())
}

// Intent is what was wanted, as in "asked to ...", escaped.
func (k *Ask) Intent() string {
	if k.Protocol == RTNetlink {
		return k.linkIntent()
	}
	switch k.Command {
	case unix.NL80211_CMD_SET_WIPHY:
		return fmt.Sprintf("rename %s to %s", k.subject(), Escape(k.Name))
	case unix.NL80211_CMD_NEW_INTERFACE:
		return fmt.Sprintf("add %s%s to %s", k.named(), parenthesis(IftypeName(k.Iftype)), k.radio())
	case unix.NL80211_CMD_DEL_INTERFACE:
		return "remove " + k.subject()
	case unix.NL80211_CMD_SET_INTERFACE:
		return fmt.Sprintf("make %s %s", k.subject(), cmp.Or(IftypeName(k.Iftype), "something else"))
	case unix.NL80211_CMD_SET_WIPHY_NETNS:
		return fmt.Sprintf("move %s to %s", k.subject(), k.target())
	case unix.NL80211_CMD_START_P2P_DEVICE, unix.NL80211_CMD_START_NAN:
		return "start " + k.subject()
	case unix.NL80211_CMD_STOP_P2P_DEVICE, unix.NL80211_CMD_STOP_NAN:
		return "stop " + k.subject()
	}
	return fmt.Sprintf("%s of %s", k.CommandName(), k.subject())
}

// linkIntent is Intent for rtnetlink.
func (k *Ask) linkIntent() string {
	goes := k.Target != nil || k.TargetPID != 0
	switch {
	case k.Command == unix.RTM_DELLINK:
		return "delete " + k.subject()
	case k.creates():
		s := fmt.Sprintf("create %s%s", k.named(), parenthesis(escapeIfAny(k.Kind)))
		if goes {
			s += " in " + k.target()
		}
		return s
	case goes:
		s := fmt.Sprintf("move %s to %s", k.subject(), k.target())
		if k.Name != "" && k.Name != k.was {
			s += " as " + Escape(k.Name)
		}
		return s
	}
	return fmt.Sprintf("rename %s to %s", k.subject(), Escape(k.Name))
}

// creates reports whether a request over rtnetlink makes a netdev.
func (k *Ask) creates() bool {
	return k.Protocol == RTNetlink && k.Command == unix.RTM_NEWLINK && k.Ifindex == 0 && (k.Kind != "" || k.Device == nil)
}

func (k *Ask) named() string {
	if k.Name == "" {
		return "an interface"
	}
	return Escape(k.Name)
}

// parenthesis is s, which is escaped, as an aside, "" without it.
func parenthesis(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

// escapeIfAny is Escape, but "" for "".
func escapeIfAny(s string) string {
	if s == "" {
		return ""
	}
	return Escape(s)
}

// subject is what the request is about.
func (k *Ask) subject() string {
	switch {
	case k.was != "":
		return Escape(k.was)
	case k.Device != nil:
		return k.Device.Label()
	case k.Wdev != nil:
		return k.Wdev.Label()
	case k.Ifindex != 0:
		return fmt.Sprintf("interface number %d", k.Ifindex)
	case k.WdevID != 0:
		return fmt.Sprintf("interface %d of %s", k.WdevID, k.radio())
	case k.Name != "" && k.Protocol == RTNetlink:
		return Escape(k.Name)
	}
	return k.radio()
}

func (k *Ask) radio() string {
	if k.Wiphy == nil && k.WiphyIndex >= 0 {
		return fmt.Sprintf("radio number %d", k.WiphyIndex)
	}
	return k.Wiphy.Label()
}

// target is where it was to go.
func (k *Ask) target() string {
	switch {
	case k.TargetPID != 0 && k.Target != nil:
		return fmt.Sprintf("%s (the namespace of PID %d)", k.Target.Label(), k.TargetPID)
	case k.TargetPID != 0:
		return fmt.Sprintf("the namespace of PID %d", k.TargetPID)
	}
	return k.Target.Label()
}

// counting says what a PID means, if the caller counts otherwise than the rest of
// the machine, "" if it doesn't.
func (a *Analyzer) counting(k *Ask) string {
	if k.TargetPID == 0 || k.Meant == nil || k.Meant.PID == k.TargetPID {
		return ""
	}
	text := fmt.Sprintf("%s counts PIDs in a pid namespace of its own: %d is %s", k.Who(), k.TargetPID, Task(k.Meant.PID, k.Meant.Comm))
	if n, comm := a.seenRunning(k.TargetPID); n != nil {
		text += fmt.Sprintf(", not %s, which is in %s", Task(k.TargetPID, comm), n.Label())
	}
	return text + "."
}

// seenRunning returns where a process (by its number in the initial pid namespace)
// was seen, nil if nowhere.
func (a *Analyzer) seenRunning(pid uint32) (*Netns, string) {
	for i := len(a.m.Namespaces) - 1; i >= 0; i-- {
		if comm, ok := a.m.Namespaces[i].tasks[pid]; ok {
			return a.m.Namespaces[i], comm
		}
	}
	return nil, ""
}

// findMeant: a request was granted, but a PID meant another process than one
// could think, or the radio was there already.
func (a *Analyzer) findMeant(k *Ask) {
	counting := a.counting(k)
	switch {
	case k.nowhere:
		text := fmt.Sprintf("%s, where it was already: nothing moved, and the kernel says so to nobody.", k.Asked())
		if counting != "" {
			text += " " + counting
		}
		a.find(Finding{
			Rule: "moved-nowhere", Severity: Warning, Subject: k.subject(), At: k.At, About: k.About(), Text: text,
		})
	case counting != "":
		a.find(Finding{
			Rule: "pid-means-another", Severity: Info, Subject: fmt.Sprintf("PID %d", k.TargetPID), At: k.At, About: k.About(),
			Text: fmt.Sprintf("%s. %s", k.Asked(), counting),
		})
	}
}

// findNobody: no process has the PID, as the caller counts.
func (a *Analyzer) findNobody(k *Ask) {
	f := Finding{
		Rule: "pid-unknown", Severity: Error, Subject: fmt.Sprintf("PID %d", k.TargetPID), At: k.At, About: k.About(),
		Text: fmt.Sprintf("%s; the kernel refused with ESRCH, because no process has that number in the pid namespace of %s.", k.Asked(), k.Who()),
	}
	if n, comm := a.seenRunning(k.TargetPID); n != nil {
		f.Text += fmt.Sprintf(" In the initial pid namespace it was seen to be %s, in %s: who runs in a pid namespace of its own, as a container does, can't name it so.",
			Task(k.TargetPID, comm), n.Label())
		f.About = append(f.About, n)
		f.Advice = k.command(n)
	}
	a.find(f)
}

// privileged says of a command what it takes to be heard.
func privileged(command string, owner uint32) string {
	switch {
	case command == "":
		return ""
	case owner == 0:
		return command + "   # as root, outside the container"
	}
	return fmt.Sprintf("%s   # with CAP_NET_ADMIN in %s", command, userNS(owner))
}

// linkCommand is command for rtnetlink.
func (k *Ask) linkCommand(to *Netns) string {
	what := ""
	switch {
	case k.creates() && k.Name != "" && k.Kind != "":
		what = "add " + shellWord(k.Name) + " type " + shellWord(k.Kind)
	case k.was == "" || k.creates():
		return ""
	case k.Command == unix.RTM_DELLINK:
		what = "del " + shellWord(k.was)
	case to != nil && to.asTarget(k.At) != "":
		what = "set " + shellWord(k.was) + " netns " + strings.TrimPrefix(to.asTarget(k.At), "name ")
	case k.Name != "" && k.Name != k.was:
		what = "set " + shellWord(k.was) + " name " + shellWord(k.Name)
	default:
		return ""
	}
	return k.Netns.within("ip link " + what)
}

// command is how to ask for the same with the radio's present name, to be typed
// where the radio is now; "" if that isn't known.
func (k *Ask) command(to *Netns) string {
	if k.Protocol == RTNetlink {
		return k.linkCommand(to)
	}
	w := k.Wiphy
	if w == nil || w.Name == "" || w.At() == nil {
		return ""
	}
	here := w.At().Netns
	switch k.Command {
	case unix.NL80211_CMD_SET_WIPHY:
		return here.within("iw phy " + shellWord(w.Name) + " set name " + shellWord(k.Name))
	case unix.NL80211_CMD_NEW_INTERFACE:
		if k.Name == "" || iftypeWord(k.Iftype) == "" {
			return ""
		}
		return here.within("iw phy " + shellWord(w.Name) + " interface add " + shellWord(k.Name) + " type " + iftypeWord(k.Iftype))
	case unix.NL80211_CMD_SET_WIPHY_NETNS:
		if to == here {
			return ""
		}
		if to == nil || to.asTarget(k.At) == "" {
			return here.within("iw phy " + shellWord(w.Name) + " set netns name NAME")
		}
		return moveCommand(w, here, to, k.At)
	}
	return ""
}

// findNotHere: the radio is in another namespace than whoever wants something of
// it.
func (a *Analyzer) findNotHere(k *Ask) {
	w := k.Wiphy
	f := Finding{
		Rule: "wiphy-not-here", Severity: Error, Subject: w.Label(), At: k.At, About: k.About(), Advice: k.command(k.Target),
		Text: fmt.Sprintf("%s; the kernel refused with ENODEV, because %s was in %s: a radio is only found from the namespace it is in.",
			k.Asked(), w.Label(), k.elsewhere.Label()),
	}
	switch at := w.At(); {
	case at == nil:
		f.Text += " It is gone now."
	case at.Netns == k.Target && k.Command == unix.NL80211_CMD_SET_WIPHY_NETNS:
		f.Text += " That is where it is now."
	case at.Netns != k.elsewhere:
		f.Text += fmt.Sprintf(" Now it is in %s.", at.Netns.Label())
	}
	a.find(f)
}

// userNS writes a user namespace.
func userNS(inum uint32) string {
	if inum == 0 {
		return "a user namespace that is unknown"
	}
	return fmt.Sprintf("user:[%d]", inum)
}

// findForbidden: who asked isn't allowed to. Which check failed depends on what
// the kernel asks for: generic netlink (GENL_UNS_ADMIN_PERM) and rtnetlink
// (rtnetlink_rcv_msg) the capability over the namespace asked in, rtnetlink
// (rtnl_link_get_net_capable) the same over the target's.
func (a *Analyzer) findForbidden(k *Ask) {
	f := Finding{
		Rule: "not-permitted", Severity: Error, Subject: k.Who(), At: k.At, About: k.About(),
		Text: k.Asked() + "; the kernel refused with EPERM, ",
	}
	switch {
	case !k.Capable:
		f.Text += fmt.Sprintf("because that takes CAP_NET_ADMIN in %s, which owns %s, and ", userNS(k.Owner), k.Netns.Label())
		if k.Owner == k.CallerOwner {
			f.Text += fmt.Sprintf("%s runs in that without the capability.", k.Who())
		} else {
			f.Text += fmt.Sprintf("%s runs in %s: what it may do there counts for nothing in the other.", k.Who(), userNS(k.CallerOwner))
		}
		f.Advice = privileged(k.command(k.Target), k.Owner)
	case k.Protocol == RTNetlink && (k.Target != nil || k.TargetPID != 0):
		owner := "the user namespace that owns the target"
		if k.Target != nil && k.Target.OwnerUserNS != 0 {
			owner = fmt.Sprintf("%s, which owns %s", userNS(k.Target.OwnerUserNS), k.Target.Label())
		}
		f.Text += fmt.Sprintf("because it takes CAP_NET_ADMIN over both namespaces: %s has it in %s, which owns %s, but not in %s.",
			k.Who(), userNS(k.Owner), k.Netns.Label(), owner)
		f.Advice = privileged(k.command(k.Target), 0)
	default:
		f.Text += fmt.Sprintf("although %s has CAP_NET_ADMIN in %s, which owns %s: a security module may have refused, or its socket was opened by somebody who hasn't.",
			k.Who(), userNS(k.Owner), k.Netns.Label())
	}
	a.find(f)
}

// findNameTaken: a name that was wanted is another's.
func (a *Analyzer) findNameTaken(k *Ask) {
	f := Finding{
		Rule: "name-taken", Severity: Error, Subject: Escape(k.Name), At: k.At, About: k.About(),
		Text: fmt.Sprintf("%s; the kernel refused with EEXIST, because the name %s is taken", k.Asked(), Escape(k.Name)),
	}
	in := k.Netns
	if k.Target != nil && k.Protocol == RTNetlink {
		in = k.Target
	}
	if h := k.holder; h != nil {
		f.Text += fmt.Sprintf(" in %s by another interface (%s).", in.Label(), h.nature())
	} else {
		f.Text += fmt.Sprintf(" in %s by an interface this recording doesn't know, or as an alternative name.", in.Label())
	}
	f.Text += k.halfDone()
	f.Advice = in.within("ip link show " + shellWord(k.Name))
	a.find(f)
}

// findRadioNameTaken: cfg80211_dev_check_name calls it EINVAL.
func (a *Analyzer) findRadioNameTaken(k *Ask) {
	where := ""
	if at := k.namesake.At(); at != nil {
		where = fmt.Sprintf(" (number %d, in %s)", k.namesake.Index, at.Netns.Label())
	}
	f := Finding{
		Rule: "name-taken", Severity: Error, Subject: Escape(k.Name), At: k.At, About: k.About(),
		Text: fmt.Sprintf("%s; the kernel refused with EINVAL, because another radio%s has the name %s: radios' names are the machine's, not a namespace's.",
			k.Asked(), where, Escape(k.Name)),
	}
	if k.was != "" {
		f.Advice = k.Netns.within("iw phy " + shellWord(k.was) + " set name NEWNAME")
	}
	a.find(f)
}

// halfDone says what a refused request had done by then, "" if nothing:
// do_setlink moves a netdev before it renames it, and leaves it at that.
func (k *Ask) halfDone() string {
	for _, m := range k.moves {
		if m.OK() && m.Carrier == nil && m.Device != nil {
			return fmt.Sprintf(" By then %s had moved to %s, and it stays there as %s.", m.Label(), m.To.Label(), Escape(m.NewName))
		}
	}
	return ""
}

// refusedKey is what makes refusals alike.
type refusedKey struct {
	comm, what string
	errno      uint32
}

// findRefused: another error, told once for all that are alike.
func (a *Analyzer) findRefused(k *Ask, others map[refusedKey]*Finding) {
	key := refusedKey{k.Comm, k.Intent(), k.Errno}
	if f := others[key]; f != nil {
		f.times++
		f.Text = fmt.Sprintf("%s %d times from %s on; the kernel refused with %s.%s", k.Asked(), f.times, a.m.Since(f.At), ErrnoName(k.Errno), k.explain()+k.halfDone())
		f.About = append(f.About, k.About()...)
		return
	}
	others[key] = &Finding{
		Rule: "request-refused", Severity: Warning, Subject: k.subject(), At: k.At, About: k.About(), times: 1,
		Text: fmt.Sprintf("%s; the kernel refused with %s.%s", k.Asked(), ErrnoName(k.Errno), k.explain()+k.halfDone()),
	}
}

// explain says what an error means, if there is more to it than its name.
func (k *Ask) explain() string {
	number := -1
	if k.namesRadio() {
		_, _ = fmt.Sscanf(k.Name, "phy%d", &number) // cfg80211_dev_check_name does the same
	}
	switch {
	case number >= 0 && k.Errno == uint32(unix.EINVAL) && k.Name == fmt.Sprintf("phy%d", number):
		return fmt.Sprintf(" Only the radio of number %d may be called that.", number)
	case k.Errno == uint32(unix.ENODEV) && k.Wiphy != nil && k.Wiphy.At() == nil:
		return " That radio is gone."
	case k.Errno == uint32(unix.ENODEV) && k.Wiphy == nil && k.WiphyIndex >= 0:
		return fmt.Sprintf(" No radio of this recording has the number %d.", k.WiphyIndex)
	case k.Errno == uint32(unix.ENODEV) && k.Device == nil && k.Ifindex != 0:
		return fmt.Sprintf(" No interface has the number %d in %s.", k.Ifindex, k.Netns.Label())
	case k.Errno == uint32(unix.EBUSY) && k.Protocol == RTNetlink && k.Name != "":
		return " Early kernels rename an interface only while it is down."
	}
	return ""
}
