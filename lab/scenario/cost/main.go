// SPDX-License-Identifier: Apache-2.0

// Command cost prints the arguments for a kprobe event at ieee80211_deliver_skb (Documentation/trace/kprobetrace.rst)
// that fetch what nstrace keeps of a packet: the inum of the namespace, the index of the interface, and the length. Where
// these are depends on the kernel it runs on, of whose types it asks.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// fetched is a value that is found by following members from the function's first argument.
type fetched struct {
	name, kind string
	// path is of members, as STRUCT.MEMBER; each but the last is a pointer to the next one's struct.
	path []string
}

var arguments = []fetched{
	{"netns", "u32", []string{"ieee80211_rx_data.sdata", "ieee80211_sub_if_data.dev", "net_device.nd_net.net", "net.ns.inum"}},
	{"ifindex", "s32", []string{"ieee80211_rx_data.sdata", "ieee80211_sub_if_data.dev", "net_device.ifindex"}},
	{"len", "u32", []string{"ieee80211_rx_data.skb", "sk_buff.len"}},
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "cost:", err)
		os.Exit(1)
	}
}

func run() error {
	module, err := btf.LoadKernelModuleSpec("mac80211")
	if err != nil {
		return fmt.Errorf("the types of mac80211: %w", err)
	}
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return fmt.Errorf("the types of the kernel: %w", err)
	}
	var words []string
	for _, f := range arguments {
		where := "$arg1"
		for _, step := range f.path {
			offset, err := offsetOf(step, module, kernel)
			if err != nil {
				return err
			}
			where = fmt.Sprintf("+%d(%s)", offset, where)
		}
		words = append(words, f.name+"="+where+":"+f.kind)
	}
	fmt.Println(strings.Join(words, " "))
	return nil
}

// offsetOf returns where in its struct STRUCT.MEMBER[.MEMBER…] is, in bytes.
func offsetOf(step string, types ...*btf.Spec) (uint32, error) {
	names := strings.Split(step, ".")
	var t btf.Type
	for _, spec := range types {
		var s *btf.Struct
		if err := spec.TypeByName(names[0], &s); err == nil {
			t = s
			break
		}
	}
	if t == nil {
		return 0, fmt.Errorf("there is no struct %s", names[0])
	}
	var offset btf.Bits
	for _, name := range names[1:] {
		m, at, err := member(t, name)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", step, err)
		}
		t, offset = m, offset+at
	}
	return offset.Bytes(), nil
}

var errNoMember = errors.New("there is no such member")

// member finds a member in a struct or union, in the nameless ones in it, too.
func member(t btf.Type, name string) (btf.Type, btf.Bits, error) {
	var members []btf.Member
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		members = t.Members
	case *btf.Union:
		members = t.Members
	}
	for _, m := range members {
		if m.Name == name {
			return m.Type, m.Offset, nil
		}
		if m.Name == "" {
			if t, at, err := member(m.Type, name); err == nil {
				return t, m.Offset + at, nil
			}
		}
	}
	return nil, 0, errNoMember
}
