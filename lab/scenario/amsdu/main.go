// SPDX-License-Identifier: Apache-2.0

// Command amsdu sends A-MSDUs: frames with several packets in them. mac80211 makes them for drivers that ask for it
// (TX_AMSDU), which mac80211_hwsim doesn't; but what is injected by a monitor interface it sends as it is.
//
//	amsdu MONITOR TO FROM BSSID COUNT
//
// It injects COUNT of them, of three packets each, into an IBSS without encryption.
package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// packetsEach is how many packets are in a frame.
const packetsEach = 3

// etherType is one that IEEE 802 leaves to experiments: no protocol takes the packets.
const etherType = 0x88b5

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "amsdu:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("usage: amsdu MONITOR TO FROM BSSID COUNT")
	}
	var addresses [3]net.HardwareAddr
	for i := range addresses {
		var err error
		if addresses[i], err = net.ParseMAC(args[1+i]); err != nil {
			return err
		}
	}
	count, err := strconv.ParseUint(args[4], 10, 12) // as many as there are sequence numbers
	if err != nil {
		return err
	}
	send, err := open(args[0])
	if err != nil {
		return err
	}
	for i := range count {
		if err := send(frame(addresses[0], addresses[1], addresses[2], uint16(i))); err != nil {
			return fmt.Errorf("injecting frame %d by %s: %w", i, args[0], err)
		}
	}
	return nil
}

// open returns a function that sends by an interface.
func open(name string) (func([]byte) error, error) {
	device, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("a packet socket: %w", err)
	}
	to := &unix.SockaddrLinklayer{Ifindex: device.Index}
	return func(frame []byte) error { return unix.Sendto(fd, frame, 0, to) }, nil
}

// frame makes an A-MSDU: IEEE 802.11-2020, 9.3.2.2, behind an empty radiotap header.
func frame(to, from, bssid net.HardwareAddr, sequence uint16) []byte {
	f := []byte{
		0, 0, 8, 0, 0, 0, 0, 0, // radiotap: version, padding, length, nothing present
		0x88, 0, 0, 0, // QoS data, neither to nor from a distribution system; duration
	}
	f = append(f, to...)
	f = append(f, from...)
	f = append(f, bssid...)
	f = binary.LittleEndian.AppendUint16(f, sequence<<4)
	f = append(f, 0x80, 0) // QoS control: an A-MSDU is present, priority 0
	for i := range packetsEach {
		f = subframe(f, to, from, 100*(i+1))
	}
	return f
}

// subframe appends a packet, with length bytes of payload. Each but the last is padded to four bytes; for the last it
// does no harm.
func subframe(f []byte, to, from net.HardwareAddr, length int) []byte {
	snap := []byte{0xaa, 0xaa, 3, 0, 0, 0, etherType >> 8, etherType & 0xff}
	start := len(f)
	f = append(f, to...)
	f = append(f, from...)
	f = binary.BigEndian.AppendUint16(f, uint16(len(snap)+length))
	f = append(f, snap...)
	f = append(f, make([]byte, length)...)
	return append(f, make([]byte, -(len(f)-start)&3)...)
}
