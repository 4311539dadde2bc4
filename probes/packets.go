// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
)

// MaxSnaplen is how many bytes a record of a packet can have (bpf/packet.h).
const MaxSnaplen = 1<<16 - 1

// maxSelected is how many of each there is space for in the maps of bpf/packet.h.
const maxSelected = 1024

// MaxDeviceName is the length of a netdev's name at most: IFNAMSIZ less the byte at
// its end.
const MaxDeviceName = 15

// PacketFilter says of which packets there are records with DeliveryPackets, and
// what of each. The counts are of all packets. The zero value takes all, without
// bytes.
type PacketFilter struct {
	// Snaplen is how many bytes of each are recorded at most. Only the linear part
	// of an sk_buff can be read.
	Snaplen uint32
	// Netns has only packets recorded into the namespaces that SelectNetns was
	// told of.
	Netns bool
	// Devices and Ethertypes, if not empty, have only those recorded to netdevs
	// that are called so at that time, and of these kinds.
	Devices    []string
	Ethertypes []uint16
}

func (f *PacketFilter) any() bool {
	return f.Snaplen > 0 || f.Netns || len(f.Devices) > 0 || len(f.Ethertypes) > 0
}

func (f *PacketFilter) check(o *Options) error {
	switch {
	case f.any() && o.Delivery != DeliveryPackets:
		return errors.New("only records of packets can be chosen, or have bytes, and there are to be none")
	case f.Snaplen > MaxSnaplen:
		return fmt.Errorf("%d bytes of each packet are not possible: use at most %d", f.Snaplen, MaxSnaplen)
	case f.Snaplen > 0 && f.Snaplen > o.PacketRing/16:
		return fmt.Errorf("a packet ring of %d bytes has space for too few packets of %d bytes: use at least 16 times as much", o.PacketRing, f.Snaplen)
	case len(f.Devices) > maxSelected || len(f.Ethertypes) > maxSelected:
		return fmt.Errorf("packets can be chosen by at most %d devices and ethertypes", maxSelected)
	}
	for _, name := range f.Devices {
		if name == "" || len(name) > MaxDeviceName {
			return fmt.Errorf("no device can be called %q: names have 1 to %d bytes", name, MaxDeviceName)
		}
	}
	return nil
}

func (f *PacketFilter) setVariables(set func(string, any) error) error {
	return errors.Join(
		set("snaplen", f.Snaplen),
		set("select_netns", f.Netns),
		set("select_devices", len(f.Devices) > 0),
		set("select_ethertypes", len(f.Ethertypes) > 0),
	)
}

// fill puts what is chosen from the beginning into the maps.
func (f *PacketFilter) fill(maps map[string]*ebpf.Map) error {
	for _, name := range f.Devices {
		var key bpfNstDeviceName
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&key.Name)), MaxDeviceName), name)
		if err := maps["packet_devices"].Put(&key, uint8(1)); err != nil {
			return fmt.Errorf("choose the packets to %s: %w", name, err)
		}
	}
	for _, ethertype := range f.Ethertypes {
		if err := maps["packet_ethertypes"].Put(uint32(ethertype), uint8(1)); err != nil {
			return fmt.Errorf("choose the packets of type %#04x: %w", ethertype, err)
		}
	}
	return nil
}

// SelectNetns begins or ends that packets into the namespace with that inum are
// recorded, if not all are. It may be called from any goroutine.
func (s *Set) SelectNetns(inum uint32, on bool) error {
	selected := s.loader.maps["packet_netns"]
	if on {
		if err := selected.Put(inum, uint8(1)); err != nil {
			return fmt.Errorf("choose the packets into net:[%d]: %w", inum, err)
		}
		return nil
	}
	if err := selected.Delete(inum); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("no longer choose the packets into net:[%d]: %w", inum, err)
	}
	return nil
}
