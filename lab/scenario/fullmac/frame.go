// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"net"
)

// etherType is one that IEEE 802 leaves to experiments: no protocol takes the packets.
const etherType = 0x88b5

// maxPayload is the driver's MTU.
const maxPayload = 1500

var (
	broadcast = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	allHosts  = [6]byte{0x01, 0x00, 0x5e, 0, 0, 1}
)

// The addresses of who sends, and of the interface.
var sender, receiver, group = net.IPv4(10, 14, 0, 1).To4(), net.IPv4(10, 14, 0, 2).To4(), net.IPv4(224, 0, 0, 1).To4()

// frame makes the i-th frame: of all kinds, and of all lengths.
func frame(i int) []byte {
	length := i * 53 % (maxPayload - 28 + 1)
	switch i % 4 {
	case 0:
		return datagram(ethernet(address, 0x0800), receiver, length)
	case 1:
		return arp(ethernet(broadcast, 0x0806))
	case 2:
		return datagram(ethernet(allHosts, 0x0800), group, length/8) // several go into a transfer
	}
	return append(ethernet(broadcast, etherType), make([]byte, length/4)...)
}

func ethernet(to [6]byte, protocol uint16) []byte {
	return binary.BigEndian.AppendUint16(append(to[:], accessPoint[:]...), protocol)
}

// arp asks who the receiver is.
func arp(b []byte) []byte {
	b = append(b, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet, IPv4, a request
	b = append(append(b, accessPoint[:]...), sender...)
	return append(append(b, make([]byte, 6)...), receiver...)
}

// datagram appends one of UDP over IPv4 (RFC 791, RFC 768), for the discard service.
func datagram(b []byte, to net.IP, length int) []byte {
	start := len(b)
	b = append(b, 0x45, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(20+8+length))
	b = append(b, 0, 0, 0, 0, 64, 17, 0, 0)
	b = append(append(b, sender...), to...)
	binary.BigEndian.PutUint16(b[start+10:], checksum(b[start:]))
	b = append(b, 0, 9, 0, 9)
	b = binary.BigEndian.AppendUint16(b, uint16(8+length))
	b = append(b, 0, 0) // without a checksum
	return append(b, make([]byte, length)...)
}

// checksum is that of a header whose own is 0.
func checksum(header []byte) uint16 {
	var sum uint32
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
