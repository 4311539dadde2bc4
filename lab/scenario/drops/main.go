// SPDX-License-Identifier: Apache-2.0

// Command drops sends packets that the stack they come to drops, each kind for another reason, and keeps the sockets
// that some of them are for.
//
//	drops send DEVICE TO-MAC TO-IP FROM-IP KIND=COUNT...
//	drops hold
//
// send sends COUNT packets of each KIND by DEVICE, and prints in how many frames. hold opens the sockets, says so, and
// stays until it is killed.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The ports: what hold has open, and those that nobody listens on.
const (
	portHeld     = 4000 // of UDP, never read from
	portListen   = 4001 // of TCP
	portClosed   = 4002
	portFiltered = 4003 // drops.sh has netfilter drop what is for it
)

// The ethertypes: one that IEEE 802 leaves to experiments, that no protocol takes, and the other, of which drops.sh
// has a queueing discipline drop what comes in.
const (
	typeIPv4    = 0x0800
	typeUnknown = 0x88b5
	typeRefused = 0x88b6
)

// Numbers of IP protocols: the last is one that RFC 3692 leaves to experiments.
const (
	protocolTCP     = 6
	protocolUDP     = 17
	protocolUnknown = 253
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "drops:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) > 4 && args[0] == "send":
		return send(args[1:])
	case len(args) == 1 && args[0] == "hold":
		return hold()
	}
	return errors.New("usage: drops send DEVICE TO-MAC TO-IP FROM-IP KIND=COUNT... | drops hold")
}

// hold keeps a UDP socket with room for few packets, and a TCP socket that listens.
func hold() error {
	small := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1) // the kernel takes its least
		}), err)
	}}
	udp, err := small.ListenPacket(context.Background(), "udp4", fmt.Sprintf(":%d", portHeld))
	if err != nil {
		return err
	}
	defer udp.Close()
	tcp, err := net.Listen("tcp4", fmt.Sprintf(":%d", portListen))
	if err != nil {
		return err
	}
	defer tcp.Close()
	fmt.Println("holding")
	return unix.Pause()
}

func send(args []string) error {
	device, err := net.InterfaceByName(args[0])
	if err != nil {
		return err
	}
	to, err := net.ParseMAC(args[1])
	if err != nil {
		return err
	}
	var addresses [2]netip.Addr
	for i := range addresses {
		if addresses[i], err = netip.ParseAddr(args[2+i]); err != nil {
			return err
		}
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("a packet socket: %w", err)
	}
	id, sent := uint16(0), 0
	for _, arg := range args[4:] {
		kind, n, _ := strings.Cut(arg, "=")
		frames, ok := kinds[kind]
		count, err := strconv.ParseUint(n, 10, 8)
		if err != nil || !ok {
			return fmt.Errorf("%s: not a kind and a count", arg)
		}
		for range count {
			id++
			for _, payload := range frames(packet{from: addresses[1], to: addresses[0], id: id}) {
				frame := slices.Concat(to, device.HardwareAddr, payload)
				if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: device.Index}); err != nil {
					return fmt.Errorf("sending %s by %s: %w", kind, device.Name, err)
				}
				sent++
			}
		}
	}
	fmt.Println(sent)
	return nil
}

// packet is what all kinds have in common.
type packet struct {
	from, to netip.Addr
	id       uint16
}

// kinds has for each kind what it is made of, from the ethertype on: one frame or several.
var kinds = map[string]func(packet) [][]byte{
	"no-socket": func(p packet) [][]byte { return p.ip(protocolUDP, p.udp(portClosed, 100)) },
	"full":      func(p packet) [][]byte { return p.ip(protocolUDP, p.udp(portHeld, 200)) },
	"filtered":  func(p packet) [][]byte { return p.ip(protocolUDP, p.udp(portFiltered, 300)) },
	"udp-checksum": func(p packet) [][]byte {
		datagram := p.udp(portClosed, 60)
		datagram[len(datagram)-1]++
		return p.ip(protocolUDP, datagram)
	},
	"ip-checksum": func(p packet) [][]byte {
		frames := p.ip(protocolUDP, p.udp(portClosed, 70))
		frames[0][2+ipChecksum]++
		return frames
	},
	"ip-header": func(p packet) [][]byte {
		frames := p.ip(protocolUDP, p.udp(portClosed, 80))
		frames[0][2] = 5<<4 | 5 // the version
		return frames
	},
	"ip-protocol": func(p packet) [][]byte { return p.ip(protocolUnknown, make([]byte, 90)) },
	"not-here": func(p packet) [][]byte { // no address of the receiver's
		p.to = p.from.Prev()
		return p.ip(protocolUDP, p.udp(portClosed, 110))
	},
	"reverse-path": func(p packet) [][]byte { // it wouldn't answer by where this comes from
		p.from = netip.AddrFrom4([4]byte{192, 0, 2, 1})
		return p.ip(protocolUDP, p.udp(portClosed, 120))
	},
	"fragments": func(p packet) [][]byte { return p.fragments(p.udp(portClosed, 1000), 600) },
	"tcp-closed": func(p packet) [][]byte {
		return p.ip(protocolTCP, p.tcp(portClosed, flagSYN))
	},
	"tcp-reset": func(p packet) [][]byte { // a socket that listens knows of nothing to reset
		return p.ip(protocolTCP, p.tcp(portListen, flagRST))
	},
	"ethertype": func(packet) [][]byte { return [][]byte{ethernet(typeUnknown, make([]byte, 130))} },
	"refused":   func(packet) [][]byte { return [][]byte{ethernet(typeRefused, make([]byte, 140))} },
}

func ethernet(ethertype uint16, payload []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, ethertype), payload...)
}

// ip returns a packet of RFC 791, whole.
func (p packet) ip(protocol byte, payload []byte) [][]byte {
	return [][]byte{ethernet(typeIPv4, append(p.ipHeader(protocol, len(payload), 0), payload...))}
}

// fragments returns a datagram of UDP in two.
func (p packet) fragments(payload []byte, first int) [][]byte {
	const moreFragments = 1 << 13
	return [][]byte{
		ethernet(typeIPv4, append(p.ipHeader(protocolUDP, first, moreFragments), payload[:first]...)),
		ethernet(typeIPv4, append(p.ipHeader(protocolUDP, len(payload)-first, uint16(first/8)), payload[first:]...)),
	}
}

// ipChecksum is where the checksum is in the header.
const ipChecksum = 10

func (p packet) ipHeader(protocol byte, length int, fragment uint16) []byte {
	const headerLen = 20
	h := []byte{4<<4 | headerLen/4, 0}
	h = binary.BigEndian.AppendUint16(h, uint16(headerLen+length))
	h = binary.BigEndian.AppendUint16(h, p.id)
	h = binary.BigEndian.AppendUint16(h, fragment)
	h = append(h, 64, protocol, 0, 0)
	h = append(h, p.from.AsSlice()...)
	h = append(h, p.to.AsSlice()...)
	binary.BigEndian.PutUint16(h[ipChecksum:], checksum(h))
	return h
}

// portFrom is where they all come from.
const portFrom = 4999

func (p packet) udp(port uint16, payload int) []byte {
	const checksumAt = 6
	d := binary.BigEndian.AppendUint16(nil, portFrom)
	d = binary.BigEndian.AppendUint16(d, port)
	d = binary.BigEndian.AppendUint16(d, uint16(8+payload))
	d = append(d, 0, 0)
	d = append(d, make([]byte, payload)...)
	binary.BigEndian.PutUint16(d[checksumAt:], p.checksum(protocolUDP, d))
	return d
}

// The flags of TCP's header.
const (
	flagSYN = 2
	flagRST = 4
)

func (p packet) tcp(port uint16, flags byte) []byte {
	const headerLen, checksumAt = 20, 16
	s := binary.BigEndian.AppendUint16(nil, portFrom)
	s = binary.BigEndian.AppendUint16(s, port)
	s = binary.BigEndian.AppendUint32(s, uint32(p.id)<<16) // sequence
	s = append(s, 0, 0, 0, 0, headerLen/4<<4, flags, 16, 0, 0, 0, 0, 0)
	binary.BigEndian.PutUint16(s[checksumAt:], p.checksum(protocolTCP, s))
	return s
}

// checksum is that of UDP and TCP, which is of some of IP's header, too.
func (p packet) checksum(protocol byte, payload []byte) uint16 {
	pseudo := slices.Concat(p.from.AsSlice(), p.to.AsSlice(), []byte{0, protocol})
	pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(len(payload)))
	return checksum(append(pseudo, payload...))
}

// checksum is RFC 1071's.
func checksum(data []byte) uint16 {
	var sum uint32
	for i, b := range data {
		sum += uint32(b) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
