// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"fmt"

	"github.com/nstrace/nstrace/event"
)

// DefaultMaxHolders is how many holders of a namespace are listed by default.
const DefaultMaxHolders = 16

// Options say how to take a snapshot. The zero value is a good choice.
type Options struct {
	// Closing marks the snapshot as the one at the end of a recording.
	Closing bool
	// MaxHolders bounds the holders listed per namespace, mounts before tasks;
	// 0 means [DefaultMaxHolders].
	MaxHolders int
}

// Take looks at every network namespace that can be found. Namespaces come the
// initial one first, then by inum; links by ifindex; wiphys by index.
//
// What couldn't be looked at is in Snapshot.Errors, and unknown: a namespace that
// couldn't be entered has nil Links. A namespace that ends meanwhile is left out.
// Only where nothing could be looked at, or ctx ended before all was, does Take
// return an error; the snapshot has what there is by then.
//
// Other namespaces than the caller's own need CAP_SYS_ADMIN to enter and
// CAP_SYS_PTRACE to find through tasks of other users.
func Take(ctx context.Context, options Options) (event.Snapshot, error) {
	if options.MaxHolders <= 0 {
		options.MaxHolders = DefaultMaxHolders
	}
	p := &problems{}
	snapshot := event.Snapshot{Begin: boottime(), Closing: options.Closing}
	finder := finder{root: "/proc", maxHolders: options.MaxHolders, problems: p}
	all, err := finder.find()
	if err == nil {
		snapshot.Namespaces, err = visitAll(ctx, all, p)
	}
	snapshot.Finish, snapshot.Errors = boottime(), p.list()
	if err != nil {
		return snapshot, fmt.Errorf("take a snapshot of the network namespaces: %w", err)
	}
	return snapshot, nil
}

// visitAll visits the namespaces in order. When ctx ends it returns at once with
// those it has, though the kernel may keep its thread waiting (for the rtnl lock).
func visitAll(ctx context.Context, all []*found, p *problems) ([]event.NetnsState, error) {
	states := make(chan event.NetnsState)
	onOwnThread(func() {
		defer close(states)
		v := newVisitor(p)
		defer v.leave()
		for _, ns := range all {
			state, ok := v.visit(ns)
			if !ok {
				continue
			}
			select {
			case states <- state:
			case <-ctx.Done():
				return
			}
		}
	})
	out := make([]event.NetnsState, 0, len(all))
	for {
		select {
		case state, more := <-states:
			if !more {
				return out, ctx.Err()
			}
			out = append(out, state)
		case <-ctx.Done():
			return out, fmt.Errorf("stopped after %d of %d: %w", len(out), len(all), context.Cause(ctx))
		}
	}
}
