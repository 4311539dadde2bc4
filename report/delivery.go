// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/analyze"
)

// ethertypeName is what people call an ethertype, or its number.
func ethertypeName(protocol uint16) string {
	switch protocol {
	case 0:
		return "other"
	case unix.ETH_P_802_2:
		return "802.2"
	case unix.ETH_P_IP:
		return "IPv4"
	case unix.ETH_P_ARP:
		return "ARP"
	case unix.ETH_P_IPV6:
		return "IPv6"
	case unix.ETH_P_PAE:
		return "EAPOL"
	case unix.ETH_P_8021Q:
		return "VLAN"
	case unix.ETH_P_PREAUTH:
		return "preauthentication"
	case unix.ETH_P_TDLS:
		return "TDLS"
	}
	return fmt.Sprintf("0x%04x", protocol)
}

// ethertypes lists a row's packets by ethertype.
func ethertypes(d *analyze.Delivery) string {
	var out []string
	for _, e := range d.Ethertypes {
		out = append(out, fmt.Sprintf("%s %d", ethertypeName(e.Protocol), e.Packets))
	}
	return strings.Join(out, ", ")
}

// undelivered says what became of packets that were received and not delivered.
func undelivered(d *analyze.Delivery) string {
	u := d.Undelivered
	if u == nil {
		return ""
	}
	var out []string
	if u.Relayed != 0 {
		out = append(out, fmt.Sprintf("%d relayed", u.Relayed))
	}
	if u.Control != 0 {
		out = append(out, fmt.Sprintf("%d to the control port", u.Control))
	}
	return strings.Join(out, ", ")
}

// handled are reasons by which the kernel also frees what nothing is wrong with.
var handled = map[string]string{
	"NO_SOCKET":     handledReply,
	"icmp_rcv":      handledReply,
	"NOT_SPECIFIED": handledICMPv6,
	"icmpv6_rcv":    handledICMPv6,
}

const (
	handledReply  = "an echo reply of which a raw socket (ping in most namespaces) got a copy"
	handledICMPv6 = "IPv6's own messages (ICMPv6), handled or not"
)

// drops adds what the stack dropped of what was delivered.
func (t *writer) drops(drops []*analyze.Drop, indent string) {
	tab := newTable("namespace", "interface", "reason", "packets", "bytes").numbers(3, 4)
	var notes []string
	for _, d := range drops {
		reason := "unknown"
		switch {
		case d.Function:
			reason = "in " + escape(d.Reason) + "()"
		case d.Reason != "":
			reason = escape(d.Reason)
		}
		tab.row(d.Netns.Label(), nameOn(d.Device, d.Netns, d.Ifindex), reason, fmt.Sprint(d.Packets), fmt.Sprint(d.Bytes))
		if what := handled[d.Reason]; what != "" && !slices.Contains(notes, d.Reason) {
			notes = append(notes, d.Reason)
		}
	}
	tab.write(&t.Builder, indent)
	for _, reason := range notes {
		t.line("%s%s isn't always a loss: the kernel also drops so %s.", indent, reason, handled[reason])
	}
}
