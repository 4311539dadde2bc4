// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/cilium/ebpf/btf"

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

// Taker takes snapshots. The zero Taker finds no namespaces but by their names.
type Taker struct {
	// survey is nil if it couldn't be had, for the reason refused.
	survey  *survey
	refused error
}

// errNoSurvey says that nobody asked for more.
var errNoSurvey = errors.New("it wasn't prepared")

// NewTaker gets ready to take snapshots, so that taking one is quick. types has
// the types of the running kernel if they have been read already; it may be nil.
// What the kernel refuses is told with each snapshot.
func NewTaker(types *btf.Cache) *Taker {
	t := &Taker{}
	t.survey, t.refused = newSurvey(types)
	return t
}

// Close lets go of what the kernel holds for t. A snapshot that is being taken
// fails.
func (t *Taker) Close() {
	if t.survey != nil {
		t.survey.close()
	}
}

// Take takes one snapshot: see [Taker.Take].
func Take(ctx context.Context, options Options) (event.Snapshot, error) {
	t := NewTaker(nil)
	defer t.Close()
	return t.Take(ctx, options)
}

// Take looks at every network namespace there is. Namespaces come the initial
// one first, then by inum; links by ifindex; wiphys by index.
//
// What couldn't be looked at is in Snapshot.Errors, and unknown: a namespace that
// couldn't be entered has nil Links. A namespace that ends meanwhile is left out.
// Only where nothing could be looked at, or ctx ended before all was, does Take
// return an error; the snapshot has what there is by then.
//
// Namespaces without a name need CAP_BPF and CAP_PERFMON to find, those of other
// users' tasks CAP_SYS_PTRACE to open, and all but the caller's own CAP_SYS_ADMIN
// to enter.
func (t *Taker) Take(ctx context.Context, options Options) (event.Snapshot, error) {
	if options.MaxHolders <= 0 {
		options.MaxHolders = DefaultMaxHolders
	}
	p := &problems{}
	snapshot := event.Snapshot{Begin: boottime(), Closing: options.Closing, Unseen: unseen("/proc")}
	finder := finder{root: "/proc", maxHolders: options.MaxHolders, problems: p}
	if t.survey != nil {
		finder.survey = t.survey
	} else {
		p.add("look for", "namespaces without a name", "run as root, or with CAP_BPF and CAP_PERFMON", cmp.Or(t.refused, errNoSurvey))
	}
	all, err := finder.find()
	if err == nil {
		snapshot.Namespaces, err = takeAll(ctx, all, finder.survey, p)
	}
	snapshot.Finish, snapshot.Errors = boottime(), p.list()
	if err != nil {
		return snapshot, fmt.Errorf("take a snapshot of the network namespaces: %w", err)
	}
	return snapshot, nil
}

// takeAll looks into the namespaces and keeps those that are still there.
func takeAll(ctx context.Context, all []*found, survey surveyor, p *problems) ([]event.NetnsState, error) {
	visited, err := visitAll(ctx, all, p)
	var listed map[uint32]*row
	if survey != nil {
		rows, err := survey.nets()
		if err != nil {
			p.add("compare", "what was found with the kernel's list", "", err)
		}
		listed = make(map[uint32]*row, len(rows))
		for i := range rows {
			listed[rows[i].Net.Inum] = &rows[i]
		}
	}
	states := make([]event.NetnsState, 0, len(visited))
	for _, v := range visited {
		ns := v.found
		if !ns.confirm(listed, v.ok) {
			continue
		}
		if !v.ok {
			p.add("look into", fmt.Sprintf("net:[%d]", ns.state.Inum), "", errNoWay)
		}
		states = append(states, ns.state)
	}
	return states, err
}

// errNoWay says that the kernel has a namespace in its list, but whatever holds
// it can't be seen.
var errNoWay = errors.New("it exists, but nothing that holds it can be seen from here")

// visit is what became of visiting a namespace. The thread that visits shares
// nothing with who takes this: it may have to be left behind.
type visit struct {
	index int
	found found
	// ok is false if no way leads there any more.
	ok bool
}

// visitAll visits the namespaces in order. When ctx ends it returns at once with
// those it has, though the kernel may keep its thread waiting (for the rtnl lock).
func visitAll(ctx context.Context, all []*found, p *problems) ([]visit, error) {
	visits := make(chan visit)
	onOwnThread(func() {
		defer close(visits)
		v := newVisitor(p)
		defer v.leave()
		tell := func(index int, ok bool) bool {
			select {
			case visits <- visit{index, *all[index], ok}:
				return true
			case <-ctx.Done():
				return false
			}
		}
		oks := make([]bool, len(all))
		for i, ns := range all {
			oks[i] = v.visit(ns)
			if !tell(i, oks[i]) {
				return
			}
		}
		v.resolveNSIDs(all, func(index int) bool { return tell(index, oks[index]) })
	})
	out := make([]visit, 0, len(all))
	for {
		select {
		case one, more := <-visits:
			switch {
			case !more:
				return out, ctx.Err()
			case one.index < len(out):
				out[one.index] = one // told again: more is known
			default:
				out = append(out, one)
			}
		case <-ctx.Done():
			return out, fmt.Errorf("stopped after %d of %d: %w", len(out), len(all), context.Cause(ctx))
		}
	}
}
