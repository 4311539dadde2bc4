// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// The messages between vhci_hcd and a device (Documentation/usb/usbip_protocol.rst): a header of 48 bytes, and the data
// if it goes that way.
const (
	cmdSubmit = 1
	cmdUnlink = 2
	retSubmit = 3
	retUnlink = 4
)

type header struct {
	Command, Seq, Device, Direction, Endpoint uint32
	// Of cmdUnlink: which request. Of answers: the status, 0 or a negated errno.
	What uint32
	// How many bytes, asked for or had.
	Length                  uint32
	Frame, Packets, Further uint32
	Setup                   [8]byte
}

const directionIn = 1

// request is what the controller asks of the device.
type request struct {
	header
	data []byte
}

// port is the virtual controller's port with the device in it.
type port struct {
	wire     *os.File
	requests chan request // closed when there can be no more, with the reason in failed
	failed   error
}

// plugIn attaches a new device to the first port.
func plugIn() (*port, error) {
	const highSpeed = 3 // enum usb_device_speed
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("a pair of sockets: %w", err)
	}
	defer unix.Close(ends[1]) // the controller has its own reference
	// The port, the socket, a number for the device (which is for others), its speed.
	what := fmt.Sprintf("0 %d 1 %d", ends[1], highSpeed)
	if err := os.WriteFile("/sys/devices/platform/vhci_hcd.0/attach", []byte(what), 0); err != nil {
		return nil, fmt.Errorf("plugging in: %w", err)
	}
	p := &port{wire: os.NewFile(uintptr(ends[0]), "device"), requests: make(chan request)}
	go p.read()
	return p, nil
}

func (p *port) read() {
	defer close(p.requests)
	in := bufio.NewReader(p.wire)
	for {
		var r request
		if p.failed = binary.Read(in, binary.BigEndian, &r.header); p.failed != nil {
			return
		}
		if r.Command == cmdSubmit && r.Direction != directionIn {
			r.data = make([]byte, r.Length)
			if _, p.failed = io.ReadFull(in, r.data); p.failed != nil {
				return
			}
		}
		p.requests <- r
	}
}

// done answers a request to transfer data. Data that came to the device isn't sent back.
func (p *port) done(r *request, data []byte) error {
	length := len(data)
	if r.Direction != directionIn {
		length, data = len(r.data), nil
	}
	return p.answer(header{Command: retSubmit, Seq: r.Seq, Length: uint32(length)}, data)
}

// stall refuses a request, as a device does that doesn't know it.
func (p *port) stall(r *request) error {
	return p.answer(header{Command: retSubmit, Seq: r.Seq, What: errno(unix.EPIPE)}, nil)
}

// unlinked answers a request to forget another, which it did if it hadn't been answered.
func (p *port) unlinked(r *request, forgotten bool) error {
	h := header{Command: retUnlink, Seq: r.Seq}
	if forgotten {
		h.What = errno(unix.ECONNRESET)
	}
	return p.answer(h, nil)
}

func errno(e unix.Errno) uint32 { return -uint32(e) }

func (p *port) answer(h header, data []byte) error {
	b, err := binary.Append(nil, binary.BigEndian, h)
	if err != nil {
		return err
	}
	_, err = p.wire.Write(append(b, data...))
	return err
}
