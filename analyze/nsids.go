// SPDX-License-Identifier: Apache-2.0

package analyze

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/nstrace/nstrace/event"
)

// Nsid is a number by which one namespace knows another for some time.
type Nsid struct {
	ID int32
	// Peer is the other one, nil if unknown.
	Peer *Netns
	// By gave it out, or had the kernel give it out by listing interfaces or the
	// like; nil if it was there before the recording, or wasn't seen to come.
	// Requested says that it was asked for.
	By        *Deed
	Requested bool
	// Until is when it was taken away, because Peer was dying; 0 if it wasn't.
	Until uint64
	// EndInferred says that it is only known to be taken away by then.
	EndInferred bool

	changed uint64 // when it was last told of
}

// maxNsids bounds the list of numbers that are no more, per namespace: the
// initial one gives each container's one.
const maxNsids = 64

// nsid: a namespace is given a number in another, or loses it.
func (a *Analyzer) nsid(e *event.Event) {
	n, peer := a.netns(e.Net, e.Time), a.netns(e.Net2, e.Time)
	switch {
	case n == nil:
		a.odd++
	case e.Ret != 0:
		a.m.NsidRefusals = append(a.m.NsidRefusals, &NsidRefusal{Deed: deed(e), Netns: n, Peer: peer, Errno: e.Ret})
		if len(a.m.NsidRefusals) > maxAnswers {
			a.m.NsidRefusals = slices.Delete(a.m.NsidRefusals, 0, 1)
		}
	case e.Arg == event.NsidRemoved:
		a.dropNsid(n, e.Nsid, e.Time, false)
	default:
		d := deed(e)
		a.dropNsid(n, e.Nsid, e.Time, true) // whoever had it before
		n.nsids.now = append(n.nsids.now, &Nsid{ID: e.Nsid, Peer: peer, By: &d, Requested: e.Arg == event.NsidRequested, changed: e.Time})
	}
}

// NsidRefusal is a request for a number that failed.
type NsidRefusal struct {
	Deed
	Netns, Peer *Netns
	Errno       uint32
}

// nsids are the numbers by which one namespace knows others.
type nsids struct {
	now, gone []*Nsid
	omitted   uint64
}

// dropNsid takes a number away.
func (a *Analyzer) dropNsid(n *Netns, id int32, at uint64, inferred bool) {
	x := &n.nsids
	i := slices.IndexFunc(x.now, func(s *Nsid) bool { return s.ID == id })
	if i < 0 {
		if !inferred && a.applied == nil {
			// The opening snapshot may still have it.
			x.gone = append(x.gone, &Nsid{ID: id, Until: at, changed: at})
		}
		return
	}
	s := x.now[i]
	x.now = slices.Delete(x.now, i, i+1)
	s.Until, s.changed, s.EndInferred = at, at, inferred
	x.gone = append(x.gone, s)
	if len(x.gone) > maxNsids {
		x.gone = slices.Delete(x.gone, 0, 1)
		x.omitted++
	}
}

// introduceNsids applies the numbers of the opening snapshot.
func (a *Analyzer) introduceNsids(s *event.Snapshot, n *Netns, st *event.NetnsState) {
	for _, known := range st.NSIDs {
		same := func(x *Nsid) bool { return x.ID == known.ID }
		peer := a.peerOf(&known)
		if i := slices.IndexFunc(n.nsids.now, same); i >= 0 {
			if x := n.nsids.now[i]; x.Peer == nil {
				x.Peer = peer
			}
			continue
		}
		if i := slices.IndexFunc(n.nsids.gone, same); i >= 0 && n.nsids.gone[i].changed >= s.Begin {
			if x := n.nsids.gone[i]; x.Peer == nil {
				x.Peer = peer
			}
			continue
		}
		n.nsids.now = append(n.nsids.now, &Nsid{ID: known.ID, Peer: peer, changed: s.Begin})
	}
}

// peerOf returns the life that a number of a snapshot stands for, nil if that is
// unknown.
func (a *Analyzer) peerOf(x *event.NSID) *Netns {
	if n := a.nets.byCookie[x.Cookie].canon(); x.Cookie != 0 && n != nil {
		return n
	}
	return a.byInum(event.NetRef{Inum: x.Inum, Cookie: x.Cookie})
}

// absorbNsids adds those of a life that turned out to be the same.
func (n *Netns) absorbNsids(src *Netns) {
	n.nsids.now = append(n.nsids.now, src.nsids.now...)
	n.nsids.gone = append(n.nsids.gone, src.nsids.gone...)
	n.nsids.omitted += src.nsids.omitted
	src.nsids = nsids{}
}

// gatherNsids puts the numbers into the model, in order.
func (a *Analyzer) gatherNsids() {
	for _, n := range a.m.Namespaces {
		n.Nsids = append(n.nsids.gone, n.nsids.now...)
		n.NsidsOmitted = n.nsids.omitted
		for _, x := range n.Nsids {
			x.Peer = x.Peer.canon()
			if x.Until == 0 && x.Peer != nil && x.Peer.Ended != 0 {
				x.Until, x.EndInferred = x.Peer.Ended, true // that it was taken away is missing
			}
		}
		slices.SortStableFunc(n.Nsids, func(x, y *Nsid) int { return cmp.Or(cmp.Compare(x.since(), y.since()), cmp.Compare(x.ID, y.ID)) })
	}
	for _, r := range a.m.NsidRefusals {
		r.Netns, r.Peer = r.Netns.canon(), r.Peer.canon()
	}
}

// since is when it was given, 0 for before the recording.
func (x *Nsid) since() uint64 {
	if x.By == nil {
		return 0
	}
	return x.By.At
}

// forgetPeers forgets the numbers of namespaces that were folded.
func (n *Netns) forgetPeers(forgotten func(*Netns) bool) {
	n.nsids.gone = slices.DeleteFunc(n.nsids.gone, func(x *Nsid) bool {
		if x.Peer == nil || !forgotten(x.Peer) {
			return false
		}
		n.nsids.omitted++
		return true
	})
	for _, x := range n.nsids.now {
		if x.Peer != nil && forgotten(x.Peer) {
			x.Peer = nil
		}
	}
}

// nsidProbes are those without which nobody knows the numbers.
var nsidProbes = []string{"rtnl_net_notifyid", "peernet2id_alloc", "rtnl_net_newid", "get_net_ns_by_fd"}

// auditNsids compares the numbers by which a namespace knows others. Some may have
// come or gone while the snapshot was taken, if only because that lists links.
func (a *Analyzer) auditNsids(n *Netns, st *event.NetnsState) {
	if !a.probed(nsidProbes) {
		return
	}
	there := make(map[int32]bool)
	for _, known := range st.NSIDs {
		there[known.ID] = true
		a.m.Audit.Compared++
		i := slices.IndexFunc(n.Nsids, func(x *Nsid) bool {
			return x.ID == known.ID && (x.Until == 0 || x.Until >= a.closing.Begin)
		})
		what := fmt.Sprintf("number %d in %s", known.ID, n.Label())
		if i < 0 {
			a.m.Audit.differ(what, "there", "absent")
			continue
		}
		if peer := n.Nsids[i].Peer; peer != nil && known.Inum != 0 && peer.Inum != 0 && peer.Inum != known.Inum {
			a.m.Audit.differ(what, fmt.Sprintf("net:[%d]", known.Inum), fmt.Sprintf("net:[%d]", peer.Inum))
		}
	}
	for _, x := range n.Nsids {
		if x.Until == 0 && !there[x.ID] && x.since() < a.closing.Begin {
			a.m.Audit.Compared++
			a.m.Audit.differ(fmt.Sprintf("number %d in %s", x.ID, n.Label()), "absent", "there")
		}
	}
}

// clipNsids takes out what happened after the end: it is told of until the
// closing snapshot is taken.
func (a *Analyzer) clipNsids() {
	for _, n := range a.m.Namespaces {
		n.Nsids = slices.DeleteFunc(n.Nsids, func(x *Nsid) bool { return x.since() > a.m.Ended })
		for _, x := range n.Nsids {
			if x.Until > a.m.Ended {
				x.Until, x.EndInferred = 0, false
			}
		}
	}
}
