// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/nstrace/nstrace/probes"
	"github.com/nstrace/nstrace/record"
)

// ethertypes are those that have a name for --ethertype, as tcpdump and ip have them
// (linux/if_ether.h has the numbers).
var ethertypes = map[string]uint16{"ip": 0x0800, "arp": 0x0806, "ipv6": 0x86dd, "eapol": 0x888e}

// minEthertype is the least number that isn't the length of an 802.3 frame
// (ETH_P_802_3_MIN).
const minEthertype = 0x0600

// packetFlags say which packets --delivery packets records, and what of each.
type packetFlags struct {
	snaplen                    uint32
	netns, devices, ethertypes []string
}

func addPacketFlags(cmd *cobra.Command) *packetFlags {
	p := &packetFlags{}
	f := cmd.Flags()
	f.Uint32Var(&p.snaplen, "snaplen", 0, "with --delivery packets: record the first `N` bytes of each packet, at most 65535")
	f.StringArrayVar(&p.netns, "ns", nil, "with --delivery packets: record those into this namespace only (may be repeated)")
	f.StringArrayVar(&p.devices, "device", nil, "with --delivery packets: record those to devices of this `NAME` only (may be repeated)")
	f.StringArrayVar(&p.ethertypes, "ethertype", nil, "with --delivery packets: record those of this `TYPE` only (may be repeated): ip, ipv6, arp, eapol, or a number (0x88cc)")
	return p
}

// set checks the flags and puts them into the options.
func (p *packetFlags) set(o *record.Options, rings *probes.Options) error {
	if rings.Delivery != probes.DeliveryPackets {
		for _, f := range []struct {
			name  string
			given bool
		}{{"snaplen", p.snaplen != 0}, {"ns", len(p.netns) > 0}, {"device", len(p.devices) > 0}, {"ethertype", len(p.ethertypes) > 0}} {
			if f.given {
				return fmt.Errorf("--%s is about records of packets: say --delivery packets", f.name)
			}
		}
		return nil
	}
	if p.snaplen > probes.MaxSnaplen {
		return fmt.Errorf("--snaplen %d: must be at most %d", p.snaplen, probes.MaxSnaplen)
	}
	for _, text := range p.netns {
		s, err := record.ParseNetns(text)
		if err != nil {
			return fmt.Errorf("--ns: %w", err)
		}
		o.Netns = append(o.Netns, s)
	}
	filter := &rings.Packets
	filter.Snaplen, filter.Devices = p.snaplen, p.devices
	for _, text := range p.ethertypes {
		n, err := parseEthertype(text)
		if err != nil {
			return err
		}
		if !slices.Contains(filter.Ethertypes, n) {
			filter.Ethertypes = append(filter.Ethertypes, n)
		}
	}
	for _, name := range p.devices {
		if name == "" || len(name) > probes.MaxDeviceName {
			return fmt.Errorf("--device %q: names of devices have 1 to %d bytes", name, probes.MaxDeviceName)
		}
	}
	return nil
}

func parseEthertype(text string) (uint16, error) {
	if n, ok := ethertypes[text]; ok {
		return n, nil
	}
	n, err := strconv.ParseUint(text, 0, 16)
	if errors.Is(err, strconv.ErrSyntax) {
		return 0, fmt.Errorf("--ethertype %s: must be ip, ipv6, arp, eapol or a number (0x88cc)", text)
	}
	if err != nil || n < minEthertype {
		return 0, fmt.Errorf("--ethertype %s: ethertypes are from %#04x to 0xffff", text, minEthertype)
	}
	return uint16(n), nil
}
