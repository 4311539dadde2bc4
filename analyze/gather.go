// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// gather puts the lives into the model, in order, with their stays.
func (a *Analyzer) gather() {
	a.gatherNamespaces()
	a.gatherTasks()
	a.gatherNsids()
	for _, d := range a.devs.all {
		a.m.Devices = append(a.m.Devices, d)
		for _, s := range d.Stays {
			s.Netns = s.Netns.canon()
			s.Netns.Stays = append(s.Netns.Stays, s)
		}
	}
	for _, w := range a.wiphys.all {
		if len(w.Stays) == 0 && w.Birth == nil && w.Name == "" {
			continue // nothing is known of it but its address
		}
		a.m.Wiphys = append(a.m.Wiphys, w)
		w.BornIn, w.DiedWith = w.BornIn.canon(), w.DiedWith.canon()
		for _, s := range w.Stays {
			s.Netns = s.Netns.canon()
			s.Netns.WiphyStays = append(s.Netns.WiphyStays, s)
		}
	}
	slices.SortStableFunc(a.m.Wiphys, func(x, y *Wiphy) int { return cmp.Compare(uint32(x.Index), uint32(y.Index)) })
	for _, n := range a.m.Namespaces {
		slices.SortStableFunc(n.Stays, func(x, y *Stay) int { return cmp.Compare(x.From, y.From) })
		slices.SortStableFunc(n.WiphyStays, func(x, y *WiphyStay) int { return cmp.Compare(x.From, y.From) })
	}
	for _, m := range a.m.Moves {
		m.From, m.To = m.From.canon(), m.To.canon()
	}
	slices.SortStableFunc(a.m.Moves, func(x, y *Move) int { return cmp.Compare(x.At, y.At) })
	a.m.Wdevs = a.wdevs.all
	for _, d := range a.m.Wdevs {
		if d.Birth != nil {
			d.Birth.Caller = d.Birth.Caller.canon()
		}
	}
	for _, v := range a.m.Vifs {
		v.Netns, v.Caller = v.Netns.canon(), v.Caller.canon()
	}
	for _, r := range a.m.Renames {
		r.Netns = r.Netns.canon()
	}
}

// gatherNamespaces orders and labels the namespaces.
func (a *Analyzer) gatherNamespaces() {
	for _, n := range a.nets.all {
		if n.into == nil {
			a.m.Namespaces = append(a.m.Namespaces, n)
		}
	}
	slices.SortStableFunc(a.m.Namespaces, func(x, y *Netns) int {
		if x.Initial != y.Initial {
			if x.Initial {
				return -1
			}
			return 1
		}
		return cmp.Compare(x.firstSeen, y.firstSeen)
	})
	taken := make(map[string]int)
	for i, n := range a.m.Namespaces {
		n.ID = "ns" + strconv.Itoa(i+1+n.folded)
		if n.Birth != nil {
			n.Birth.Caller = n.Birth.Caller.canon()
		}
		n.label = n.describe()
		taken[n.label]++
	}
	for _, n := range a.m.Namespaces {
		if taken[n.label] > 1 && !n.Initial {
			n.label += " (" + n.ID + ")"
		}
	}
}

// describe says what to call a namespace: its name, else who made it.
func (n *Netns) describe() string {
	if n.Initial {
		return "init"
	}
	if name := n.bestName(); name != "" {
		return Escape(name)
	}
	what := "namespace of unknown number"
	switch {
	case n.Inum != 0:
		what = fmt.Sprintf("namespace net:[%d]", n.Inum)
	case n.Cookie != 0:
		what = fmt.Sprintf("namespace with cookie %d", n.Cookie)
	}
	if n.Birth != nil {
		return n.Birth.Who() + "'s " + what
	}
	var tasks []string
	for _, h := range n.Holders {
		if h.Kind == "task" {
			tasks = append(tasks, Task(h.PID, h.Comm))
		}
	}
	if len(tasks) == 1 {
		return what + " of " + tasks[0]
	}
	return what
}

// bestName is the latest of its names: one it still has before others, one under
// /run/netns before the path of a mount elsewhere; "" if it has none.
func (n *Netns) bestName() string {
	best, worth := "", -1
	for _, x := range n.Names {
		w := 0
		if x.Until == 0 {
			w += 2
		}
		if !strings.Contains(x.Name, "/") {
			w++
		}
		if w >= worth {
			best, worth = x.Name, w
		}
	}
	return best
}

// Label is what the namespace is called in prose, escaped and unique: its name,
// or who made it. A nil namespace is an unknown one.
func (n *Netns) Label() string {
	if n == nil {
		return "an unknown namespace"
	}
	return n.label
}

// Task is how a process is written: its comm, escaped, and its PID.
func Task(pid uint32, comm string) string {
	if comm == "" {
		return fmt.Sprintf("process %d", pid)
	}
	return fmt.Sprintf("%s[%d]", Escape(comm), pid)
}

// Who is the process that did it.
func (d Deed) Who() string { return Task(d.PID, d.Comm) }

// Label is what the device is called in prose, escaped.
func (d *Device) Label() string {
	switch {
	case d == nil:
		return "an unknown interface"
	case d.Name != "":
		return Escape(d.Name)
	case len(d.Stays) > 0 && d.Stays[len(d.Stays)-1].Ifindex != 0:
		return fmt.Sprintf("interface number %d", d.Stays[len(d.Stays)-1].Ifindex)
	}
	return "an interface of unknown name"
}

// Label is what the radio is called in prose, escaped.
func (w *Wiphy) Label() string {
	switch {
	case w == nil:
		return "an unknown radio"
	case w.Name != "":
		return Escape(w.Name)
	case w.Index >= 0:
		return fmt.Sprintf("radio number %d", w.Index)
	}
	return "a radio of unknown name"
}

// Since is a time as reports print it: seconds since the recording began.
func (m *Model) Since(t uint64) string {
	d := int64(t) - int64(m.Began)
	sign := "+"
	if d < 0 {
		sign, d = "-", -d
	}
	d += 500_000
	return fmt.Sprintf("%s%d.%03d s", sign, d/1e9, d%1e9/1e6)
}

// Span is a duration of ns nanoseconds as reports print it.
func Span(ns uint64) string {
	trim := func(v float64, unit string) string {
		s := strconv.FormatFloat(v, 'f', 3, 64)
		if i := strings.IndexByte(s, '.'); i >= 3 {
			s = strconv.FormatFloat(v, 'f', 0, 64)
		} else {
			s = strconv.FormatFloat(v, 'f', 3-i, 64)
		}
		return s + " " + unit
	}
	switch {
	case ns < 1_000:
		return strconv.FormatUint(ns, 10) + " ns"
	case ns < 1_000_000:
		return trim(float64(ns)/1e3, "us")
	case ns < 1_000_000_000:
		return trim(float64(ns)/1e6, "ms")
	case ns < 120_000_000_000:
		return trim(float64(ns)/1e9, "s")
	}
	s := ns / 1_000_000_000
	if s < 3600 {
		return fmt.Sprintf("%d min %02d s", s/60, s%60)
	}
	return fmt.Sprintf("%d h %02d min", s/3600, s%3600/60)
}

// KindLabel says in a word or two what kind of interface d is, escaped: its link
// kind, or the radio it belongs to.
func (d *Device) KindLabel() string {
	const (
		arphrdEther    = 1
		arphrdLoopback = 772
		arphrdRadiotap = 803
	)
	switch {
	case d.Wiphy != nil:
		return "Wi-Fi of " + d.Wiphy.Label()
	case d.Kind != "":
		return Escape(d.Kind)
	case d.DevType == arphrdLoopback:
		return "loopback"
	case d.DevType == arphrdEther:
		return "Ethernet"
	case d.DevType == arphrdRadiotap:
		return "radiotap"
	}
	return "other"
}
