// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/mdlayher/netlink"
)

// agentAdds has a process make an interface where it is.
func (w *world) agentAdds() (*attempt, error) {
	agents := w.holding(func(h *holder) bool { return h.kind == byAgent })
	if len(agents) == 0 {
		return nil, nil
	}
	x := pick(w.rand, agents)
	name := w.randomLinkName()
	return w.try(x.holder.agent.rights(), args{"id": x.space.ID, "task": x.holder.task, "name": name}, func() error {
		_, err := x.holder.agent.tell("add", name)
		return err
	})
}

// rights says what kind of process it is.
func (a *agent) rights() string {
	if a.user {
		return "user"
	}
	return "root"
}

// agentGives has a process move an interface away from where it is, which it may not do to a namespace over
// which it has no rights.
func (w *world) agentGives() (*attempt, error) {
	agents := w.holding(func(h *holder) bool { return h.kind == byAgent })
	if len(agents) == 0 {
		return nil, nil
	}
	x := pick(w.rand, agents)
	to := w.elsewhere(x.space)
	if to == nil || to.task() == 0 {
		return nil, nil
	}
	var l *link
	err := w.visitLinks(x.space, func(_ *netlink.Conn, links []*link) error {
		l = pick(w.rand, links)
		return w.mark(x.space, links)
	})
	if err != nil {
		return nil, notAnErrno(err)
	}
	with := args{"id": x.space.ID, "to": to.ID, "task": x.holder.task, "ifindex": l.index, "name": l.name, "how": "task"}
	variation := x.holder.agent.rights()
	if l.variation() != "" {
		variation = l.variation()
	}
	return w.try(variation, with, func() error {
		_, err := x.holder.agent.tell("give", fmt.Sprint(l.index), fmt.Sprint(to.task()))
		return err
	})
}
