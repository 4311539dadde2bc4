// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/event"
)

// message builds a message body: a head, then attributes.
func message(t testing.TB, head []byte, attributes ...netlink.Attribute) []byte {
	t.Helper()
	data, err := netlink.MarshalAttributes(attributes)
	if err != nil {
		t.Fatal(err)
	}
	return append(append([]byte{}, head...), data...)
}

func u16(n uint16) []byte { return binary.NativeEndian.AppendUint16(nil, n) }
func u32(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// linkHead is a struct ifinfomsg of an Ethernet device.
func linkHead(ifindex uint32) []byte {
	head := append([]byte{0, 0}, u16(unix.ARPHRD_ETHER)...)
	return append(append(head, u32(ifindex)...), make([]byte, 8)...)
}

func TestDecodeLink(t *testing.T) {
	stats := make([]byte, 200)
	binary.NativeEndian.PutUint64(stats[0:], 1<<40)
	binary.NativeEndian.PutUint64(stats[8:], 2)
	binary.NativeEndian.PutUint64(stats[16:], 3)
	info := message(t, nil,
		netlink.Attribute{Type: 99, Data: []byte("x")},
		netlink.Attribute{Type: unix.IFLA_INFO_KIND, Data: []byte("veth\x00")})
	name := netlink.Attribute{Type: unix.IFLA_IFNAME, Data: []byte("a\x1b[0m\"%s\x00")}
	for _, test := range []struct {
		name string
		body []byte
		want event.Link
		fail bool
	}{
		{
			name: "everything",
			body: message(t, linkHead(7), name,
				netlink.Attribute{Type: unix.IFLA_LINKINFO | unix.NLA_F_NESTED, Data: info},
				netlink.Attribute{Type: unix.IFLA_STATS64, Data: stats}),
			want: event.Link{
				Ifindex: 7, Name: "a\x1b[0m\"%s", Kind: "veth", DevType: unix.ARPHRD_ETHER, Wiphy: -1,
				Stats: true, RxPackets: 1 << 40, RxBytes: 3,
			},
		},
		{
			name: "how it is and what it is part of",
			body: message(t, linkHead(7), name,
				netlink.Attribute{Type: unix.IFLA_OPERSTATE, Data: []byte{6}},
				netlink.Attribute{Type: unix.IFLA_MASTER, Data: u32(8)},
				netlink.Attribute{Type: unix.IFLA_LINK, Data: u32(9)},
				netlink.Attribute{Type: unix.IFLA_LINK_NETNSID, Data: u32(0)},
				netlink.Attribute{Type: unix.IFLA_PROP_LIST | unix.NLA_F_NESTED, Data: message(t, nil,
					netlink.Attribute{Type: unix.IFLA_ALT_IFNAME, Data: []byte("x y\x00")},
					netlink.Attribute{Type: unix.IFLA_ALT_IFNAME, Data: []byte("z\x00")})}),
			want: event.Link{
				Ifindex: 7, Name: "a\x1b[0m\"%s", AltNames: []string{"x y", "z"}, DevType: unix.ARPHRD_ETHER, Wiphy: -1,
				OperState: 6, Master: 8, Lower: 9, LowerNSID: new(int32),
			},
		},
		{
			name: "no stats are unknown, not 0",
			body: message(t, linkHead(7), name),
			want: event.Link{Ifindex: 7, Name: "a\x1b[0m\"%s", DevType: unix.ARPHRD_ETHER, Wiphy: -1},
		},
		{
			name: "short stats are unknown",
			body: message(t, linkHead(7), netlink.Attribute{Type: unix.IFLA_STATS64, Data: stats[:23]}),
			want: event.Link{Ifindex: 7, DevType: unix.ARPHRD_ETHER, Wiphy: -1},
		},
		{name: "empty", fail: true},
		{name: "short head", body: make([]byte, 15), fail: true},
		{name: "attribute longer than the message", body: append(linkHead(7), 200, 0, 3, 0, 'x', 0, 0, 0), fail: true},
		{name: "attribute shorter than itself", body: append(linkHead(7), 1, 0, 3, 0, 'x', 0, 0, 0), fail: true},
		{
			name: "nested attribute longer than its nest", fail: true,
			body: message(t, linkHead(7), netlink.Attribute{Type: unix.IFLA_LINKINFO, Data: []byte{99, 0, 1, 0}}),
		},
	} {
		got, err := decodeLink(test.body)
		if (err != nil) != test.fail || (!test.fail && !reflect.DeepEqual(got, test.want)) {
			t.Errorf("%s: got %+v, %v", test.name, got, err)
		}
	}
}

func TestDecodeWiphy(t *testing.T) {
	index := netlink.Attribute{Type: unix.NL80211_ATTR_WIPHY, Data: u32(3)}
	name := netlink.Attribute{Type: unix.NL80211_ATTR_WIPHY_NAME, Data: []byte("phy\n3\x00")}
	commands := message(t, nil,
		netlink.Attribute{Type: 1, Data: u32(unix.NL80211_CMD_NEW_INTERFACE)},
		netlink.Attribute{Type: 2, Data: u32(unix.NL80211_CMD_SET_WIPHY_NETNS)})
	other := message(t, nil, netlink.Attribute{Type: 1, Data: u32(unix.NL80211_CMD_NEW_INTERFACE)})
	head := genlRequest(unix.NL80211_CMD_NEW_WIPHY)
	list := func(data []byte) netlink.Attribute {
		return netlink.Attribute{Type: unix.NL80211_ATTR_SUPPORTED_COMMANDS, Data: data}
	}
	for _, test := range []struct {
		name string
		body []byte
		want event.Wiphy
		fail bool
	}{
		{name: "can switch", body: message(t, head, index, name, list(commands)), want: event.Wiphy{Index: 3, Name: "phy\n3", CanSwitch: true}},
		{name: "can't switch", body: message(t, head, index, name, list(other)), want: event.Wiphy{Index: 3, Name: "phy\n3"}},
		{name: "a later part", body: message(t, head, index), want: event.Wiphy{Index: 3}},
		{name: "no index", body: message(t, head, name), fail: true},
		{name: "negative index", body: message(t, head, netlink.Attribute{Type: unix.NL80211_ATTR_WIPHY, Data: u32(1 << 31)}), fail: true},
		{name: "index of 2 bytes", body: message(t, head, netlink.Attribute{Type: unix.NL80211_ATTR_WIPHY, Data: u16(3)}), fail: true},
		{name: "command of 2 bytes", body: message(t, head, index, list(message(t, nil, netlink.Attribute{Type: 1, Data: u16(49)}))), fail: true},
		{name: "head only", body: head, fail: true},
		{name: "empty", fail: true},
	} {
		got, err := decodeWiphy(test.body)
		if (err != nil) != test.fail || (!test.fail && got != test.want) {
			t.Errorf("%s: got %+v, %v", test.name, got, err)
		}
	}
}

func TestDecodeWdev(t *testing.T) {
	head := genlRequest(unix.NL80211_CMD_NEW_INTERFACE)
	wiphy := netlink.Attribute{Type: unix.NL80211_ATTR_WIPHY, Data: u32(3)}
	iftype := netlink.Attribute{Type: unix.NL80211_ATTR_IFTYPE, Data: u32(unix.NL80211_IFTYPE_AP)}
	ifindex := netlink.Attribute{Type: unix.NL80211_ATTR_IFINDEX, Data: u32(9)}
	id := netlink.Attribute{Type: unix.NL80211_ATTR_WDEV, Data: binary.NativeEndian.AppendUint64(nil, 3<<32|2)}
	name := netlink.Attribute{Type: unix.NL80211_ATTR_IFNAME, Data: []byte("ap0\x00")}
	got, err := decodeWdev(message(t, head, ifindex, name, id, wiphy, iftype))
	if want := (event.Wdev{ID: 3<<32 | 2, Ifindex: 9, Name: "ap0", Wiphy: 3, Iftype: unix.NL80211_IFTYPE_AP}); got != want || err != nil {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	// A P2P device has no netdev.
	if got, err := decodeWdev(message(t, head, id, wiphy, iftype)); got.Ifindex != 0 || got.ID == 0 || err != nil {
		t.Errorf("got %+v, %v without an ifindex", got, err)
	}
	if _, err := decodeWdev([]byte{1, 0}); err == nil {
		t.Error("a message of two bytes is decoded")
	}
}

// An interface that its radio left behind in another namespace isn't the one that
// has its number here.
func TestAddWireless(t *testing.T) {
	links := []event.Link{{Ifindex: 3, Name: "wlan0", Wiphy: -1}, {Ifindex: 4, Name: "eth0", Wiphy: -1}}
	addWireless(links, []event.Wdev{{Wiphy: 7, Ifindex: 3, Name: "wlan0", Iftype: 2}, {Wiphy: 8, Ifindex: 4, Name: "wlan1", Iftype: 2}})
	if links[0].Wiphy != 7 || links[0].Iftype != 2 || links[1].Wiphy != -1 || links[1].Iftype != 0 {
		t.Errorf("got %+v", links)
	}
}

func TestDecodeNSID(t *testing.T) {
	head := make([]byte, rtgenHeader)
	for _, test := range []struct {
		name string
		body []byte
		want int32
		fail bool
	}{
		{name: "zero", body: message(t, head, netlink.Attribute{Type: unix.NETNSA_NSID, Data: u32(0)})},
		{name: "none", body: message(t, head, netlink.Attribute{Type: unix.NETNSA_NSID, Data: u32(^uint32(0))}), want: -1},
		{name: "not said", body: head, want: -1},
		{name: "short", body: head[1:], fail: true},
		{name: "two bytes", body: message(t, head, netlink.Attribute{Type: unix.NETNSA_NSID, Data: u16(1)}), fail: true},
	} {
		got, err := decodeNSID(test.body)
		if (err != nil) != test.fail || (!test.fail && got != test.want) {
			t.Errorf("%s: got %d, %v", test.name, got, err)
		}
	}
}

// FuzzDecode feeds every decoder of netlink messages with anything.
func FuzzDecode(f *testing.F) {
	f.Add(message(f, linkHead(1), netlink.Attribute{Type: unix.IFLA_IFNAME, Data: []byte("lo\x00")}))
	f.Add(message(f, genlRequest(1), netlink.Attribute{Type: unix.NL80211_ATTR_WIPHY, Data: u32(3)}))
	f.Add(message(f, genlRequest(1), netlink.Attribute{Type: unix.NL80211_ATTR_SUPPORTED_COMMANDS, Data: []byte{8, 0, 1, 0, 49, 0, 0, 0}}))
	f.Add(datagram(5, unix.RTM_NEWLINK, unix.NLM_F_DUMP_INTR, linkHead(1)))
	f.Fuzz(func(t *testing.T, data []byte) {
		if link, err := decodeLink(data); err == nil && link.Wiphy != -1 {
			t.Errorf("rtnetlink said wiphy %d", link.Wiphy)
		}
		if wiphy, err := decodeWiphy(data); err == nil && wiphy.Index < 0 {
			t.Errorf("wiphy %d", wiphy.Index)
		}
		_, _ = decodeWdev(data)
		_, _ = decodeNSID(data)
		_, _, _ = decodeFamily(data)
		answer := answer{seq: 5, each: func([]byte) error { return nil }}
		_ = answer.take(data)
	})
}

// datagram builds a netlink message with its header.
func datagram(seq uint32, messageType, flags uint16, body []byte) []byte {
	m := u32(uint32(unix.SizeofNlMsghdr + len(body)))
	m = append(m, u16(messageType)...)
	m = append(m, u16(flags)...)
	m = append(append(m, u32(seq)...), u32(0)...)
	return append(m, body...)
}

func TestAnswer(t *testing.T) {
	body := linkHead(1)
	part := datagram(5, unix.RTM_NEWLINK, unix.NLM_F_MULTI, body)
	stale := datagram(4, unix.RTM_NEWLINK, unix.NLM_F_MULTI, body)
	done := datagram(5, unix.NLMSG_DONE, unix.NLM_F_MULTI, u32(0))
	for _, test := range []struct {
		name        string
		datagram    []byte
		messages    int
		done        bool
		interrupted bool
		err         error
	}{
		{name: "two parts", datagram: append(append([]byte{}, part...), part...), messages: 2},
		{name: "the end", datagram: append(append([]byte{}, part...), done...), messages: 1, done: true},
		{name: "of an earlier request", datagram: append(append([]byte{}, stale...), part...), messages: 1},
		{name: "interrupted", datagram: datagram(5, unix.RTM_NEWLINK, unix.NLM_F_DUMP_INTR, body), messages: 1, interrupted: true},
		{name: "interrupted at the end", datagram: datagram(5, unix.NLMSG_DONE, unix.NLM_F_DUMP_INTR, u32(0)), done: true, interrupted: true},
		{name: "refused", datagram: datagram(5, unix.NLMSG_ERROR, 0, u32(^uint32(unix.EPERM)+1)), done: true, err: unix.EPERM},
		{name: "failed at the end", datagram: datagram(5, unix.NLMSG_DONE, 0, u32(^uint32(unix.EMSGSIZE)+1)), done: true, err: unix.EMSGSIZE},
	} {
		messages := 0
		answer := answer{seq: 5, each: func([]byte) error { messages++; return nil }}
		err := answer.take(test.datagram)
		if messages != test.messages || answer.done != test.done || answer.interrupted != test.interrupted || err != test.err {
			t.Errorf("%s: %d messages, done %v, interrupted %v, %v", test.name, messages, answer.done, answer.interrupted, err)
		}
	}
}
