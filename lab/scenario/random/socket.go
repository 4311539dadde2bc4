// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// socket is a plain one for netlink.Conn, which waits in the system call. netlink.Dial's is watched by Go's poller,
// looks at each answer twice and takes ten times as many system calls; here thousands are opened.
type socket struct{ fd int }

// netlinkBuffer is larger than any datagram of a dump (netlink_dump in net/netlink/af_netlink.c).
const netlinkBuffer = 64 << 10

var buffers = sync.Pool{New: func() any { return new([netlinkBuffer]byte) }}

// dial opens a socket in the calling thread's namespace.
func dial(family int) (*netlink.Conn, *socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, family)
	if err != nil {
		return nil, nil, notAnErrno(fmt.Errorf("opening a netlink socket: %w", err))
	}
	s := &socket{fd}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		s.Close()
		return nil, nil, notAnErrno(fmt.Errorf("binding a netlink socket: %w", err))
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		s.Close()
		return nil, nil, notAnErrno(fmt.Errorf("asking a netlink socket for its number: %w", err))
	}
	return netlink.NewConn(s, name.(*unix.SockaddrNetlink).Pid), s, nil
}

// Close closes it.
func (s *socket) Close() error { return unix.Close(s.fd) }

// Send sends a message to the kernel.
func (s *socket) Send(m netlink.Message) error {
	data, err := m.MarshalBinary()
	if err != nil {
		return err
	}
	return notAnErrno(unix.Sendto(s.fd, data, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
}

// SendMessages sends several.
func (s *socket) SendMessages(messages []netlink.Message) error {
	for _, m := range messages {
		if err := s.Send(m); err != nil {
			return err
		}
	}
	return nil
}

// Receive waits for a datagram and returns the messages in it.
func (s *socket) Receive() ([]netlink.Message, error) {
	buffer := buffers.Get().(*[netlinkBuffer]byte)
	defer buffers.Put(buffer)
	n, _, err := unix.Recvfrom(s.fd, buffer[:], 0)
	if err != nil {
		return nil, notAnErrno(fmt.Errorf("receiving a netlink message: %w", err))
	}
	var messages []netlink.Message
	for data := bytes.Clone(buffer[:n]); len(data) >= unix.SizeofNlMsghdr; {
		length := (int(binary.NativeEndian.Uint32(data)) + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1)
		if length < unix.SizeofNlMsghdr || length > len(data) {
			return nil, notAnErrno(fmt.Errorf("a netlink message of %d bytes in %d", length, len(data)))
		}
		var m netlink.Message
		if err := m.UnmarshalBinary(data[:length]); err != nil {
			return nil, notAnErrno(err)
		}
		messages, data = append(messages, m), data[length:]
	}
	return messages, nil
}

// ReceiveIter is Receive, one message after the other.
func (s *socket) ReceiveIter() iter.Seq2[netlink.Message, error] {
	return func(yield func(netlink.Message, error) bool) {
		messages, err := s.Receive()
		if err != nil {
			yield(netlink.Message{}, err)
			return
		}
		for _, m := range messages {
			if !yield(m, nil) {
				return
			}
		}
	}
}

// dialRoute opens a socket for rtnetlink in the calling thread's namespace.
func dialRoute() (*netlink.Conn, error) {
	conn, _, err := dial(unix.NETLINK_ROUTE)
	return conn, err
}

// dialGeneric opens a socket for generic netlink in the calling thread's namespace.
func dialGeneric() (*netlink.Conn, error) {
	conn, _, err := dial(unix.NETLINK_GENERIC)
	return conn, err
}
