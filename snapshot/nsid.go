// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/event"
)

// rtgenHeader is the size of struct rtgenmsg as a message has it: the family and
// padding.
const rtgenHeader = 4

// readNSIDs returns the numbers the socket's namespace has given to others,
// sorted. To whom, the kernel doesn't say.
func readNSIDs(route *netlinkSocket) ([]int32, error) {
	var ids []int32
	err := route.dump(unix.RTM_GETNSID, make([]byte, rtgenHeader),
		func() { ids = nil },
		func(body []byte) error {
			id, err := decodeNSID(body)
			if err == nil && id >= 0 {
				ids = append(ids, id)
			}
			return err
		})
	slices.Sort(ids)
	return ids, err
}

// askNSID returns the number that the socket's namespace knows the open one by,
// negative if it has none. Asking gives it none (rtnl_net_getid in
// net/core/net_namespace.c).
func askNSID(route *netlinkSocket, fd int) (id int32, err error) {
	attributes, err := netlink.MarshalAttributes([]netlink.Attribute{{
		Type: unix.NETNSA_FD, Data: binary.NativeEndian.AppendUint32(nil, uint32(fd)),
	}})
	if err != nil {
		return -1, err
	}
	id = -1
	err = route.ask(unix.RTM_GETNSID, append(make([]byte, rtgenHeader), attributes...), func(body []byte) error {
		id, err = decodeNSID(body)
		return err
	})
	return id, err
}

// decodeNSID reads an RTM_NEWNSID message (rtnl_net_fill in
// net/core/net_namespace.c): the number is -1 if there is none.
func decodeNSID(body []byte) (int32, error) {
	if len(body) < rtgenHeader {
		return -1, fmt.Errorf("an nsid message of %d bytes is too short", len(body))
	}
	attributes, err := netlink.NewAttributeDecoder(body[rtgenHeader:])
	if err != nil {
		return -1, fmt.Errorf("read an nsid message: %w", err)
	}
	id := int32(unix.NETNSA_NSID_NOT_ASSIGNED)
	for attributes.Next() {
		if attributes.Type() == unix.NETNSA_NSID {
			id = attributes.Int32()
		}
	}
	if err := attributes.Err(); err != nil {
		return -1, fmt.Errorf("read an nsid message: %w", err)
	}
	return id, nil
}

// nsidAnswers bounds how often the kernel is asked for the number of one
// namespace in another, per namespace on average and at least: in the worst
// case, where every namespace has a number for one that is found last, each
// would have to be asked about every other.
const (
	nsidAnswers    = 32
	nsidAnswersMin = 16 << 10
)

// errManyNSIDs says that there were too many pairs to try.
var errManyNSIDs = errors.New("there are too many to try")

// nsidResolver finds out which namespaces the numbers stand for.
type nsidResolver struct {
	visitor *visitor
	all     []*found
	left    int
	// knownBy has, for each namespace, those that have a number for it: they
	// mostly have one for each other.
	knownBy map[uint32][]*found
}

// resolveNSIDs completes the NSIDs of the namespaces that were visited, and calls
// told with the index of each when it is, until that returns false.
func (v *visitor) resolveNSIDs(all []*found, told func(int) bool) {
	r := nsidResolver{visitor: v, all: all, left: max(nsidAnswersMin, nsidAnswers*len(all)), knownBy: map[uint32][]*found{}}
	// Those with few numbers first: they are found quickly (a container knows the
	// namespace it was made from), and then the one with many has its answers.
	var order []int
	for i, ns := range all {
		if len(ns.state.NSIDs) > 0 {
			order = append(order, i)
		}
	}
	sort.SliceStable(order, func(i, j int) bool { return len(all[order[i]].state.NSIDs) < len(all[order[j]].state.NSIDs) })
	for _, i := range order {
		ns := all[i]
		ns.state.NSIDs = slices.Clone(ns.state.NSIDs) // it has been told of
		if err := r.resolve(ns); err != nil {
			v.problem("tell whom all nsids stand for in", ns.state, "", err)
		}
		if !told(i) {
			return
		}
	}
}

// resolve finds out whom the numbers of one namespace stand for.
func (r *nsidResolver) resolve(ns *found) error {
	fd, err := ns.open()
	if err != nil {
		return nil // it is gone, and with it what its numbers meant
	}
	defer unix.Close(fd)
	if err := r.visitor.enter(fd, ns.state.Inum); err != nil {
		return err
	}
	route, err := openNetlink(unix.NETLINK_ROUTE, r.visitor.buf)
	if err != nil {
		return err
	}
	defer route.close()
	missing := len(ns.state.NSIDs)
	tried := map[*found]bool{}
	for _, some := range [][]*found{r.knownBy[ns.state.Inum], r.all} {
		for _, other := range some {
			if missing == 0 || tried[other] {
				continue
			}
			if r.left--; r.left < 0 {
				return errManyNSIDs
			}
			tried[other] = true
			if r.ask(route, ns, other) {
				missing--
				r.knownBy[other.state.Inum] = append(r.knownBy[other.state.Inum], ns)
			}
		}
	}
	return nil
}

// ask reports whether one of ns's numbers is other's. What can't be asked is
// none: the number stays without an owner.
func (r *nsidResolver) ask(route *netlinkSocket, ns, other *found) bool {
	fd, err := other.open()
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	id, err := askNSID(route, fd)
	if err != nil || id < 0 {
		return false
	}
	i := slices.IndexFunc(ns.state.NSIDs, func(n event.NSID) bool { return n.ID == id && n.Inum == 0 })
	if i < 0 {
		return false // it was given since they were listed
	}
	ns.state.NSIDs[i].Inum, ns.state.NSIDs[i].Cookie = other.state.Inum, other.state.Cookie
	return true
}
