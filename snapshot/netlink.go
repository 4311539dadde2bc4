// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// errDumpInterrupted says that the kernel's tables changed again and again
// while they were read (NLM_F_DUMP_INTR): the answer may have holes.
var errDumpInterrupted = errors.New("the list changed during every attempt to read it and may be incomplete")

// dumpAttempts bounds how often an interrupted dump is begun anew.
const dumpAttempts = 8

// netlinkBuffer is larger than any datagram of a dump: netlink_dump in
// net/netlink/af_netlink.c never allocates more than 32 KiB.
const netlinkBuffer = 64 << 10

// netlinkSocket asks one netlink family of the namespace it was opened in.
//
// It is not a Conn of github.com/mdlayher/netlink because that drops the
// NLMSG_DONE which ends a dump, and the kernel may say that a dump was
// interrupted in that message only (netlink_dump_done). It blocks, which suits
// dumps: the kernel answers them while the request is being sent.
type netlinkSocket struct {
	fd  int
	seq uint32
	buf []byte
}

// openNetlink opens a socket in the calling thread's network namespace. buf is
// used for what is received.
func openNetlink(protocol int, buf []byte) (*netlinkSocket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	return &netlinkSocket{fd: fd, buf: buf}, nil
}

func (s *netlinkSocket) close() { _ = unix.Close(s.fd) }

// dump sends request (family header and attributes) and calls each with the
// body of every message of the answer, valid until each returns. When the
// kernel says that the dump was interrupted it calls reset and starts again;
// after too many attempts it leaves the last answer and returns
// [errDumpInterrupted].
func (s *netlinkSocket) dump(messageType uint16, request []byte, reset func(), each func([]byte) error) error {
	for range dumpAttempts {
		reset()
		interrupted, err := s.dumpOnce(messageType, request, each)
		if err != nil || !interrupted {
			return err
		}
	}
	return errDumpInterrupted
}

func (s *netlinkSocket) dumpOnce(messageType uint16, request []byte, each func([]byte) error) (interrupted bool, err error) {
	d, err := s.talk(messageType, unix.NLM_F_DUMP, request, each)
	return d.interrupted, err
}

// ask sends a request that isn't a dump, and calls each with the body of the
// answer.
func (s *netlinkSocket) ask(messageType uint16, request []byte, each func([]byte) error) error {
	// The acknowledgement ends what the kernel has to say.
	_, err := s.talk(messageType, unix.NLM_F_ACK, request, each)
	return err
}

// talk sends a request and takes the answer up to its end.
func (s *netlinkSocket) talk(messageType, flags uint16, request []byte, each func([]byte) error) (answer, error) {
	if err := s.send(messageType, flags, request); err != nil {
		return answer{}, err
	}
	d := answer{seq: s.seq, each: each}
	for !d.done {
		datagram, err := s.receive()
		if err != nil {
			return d, err
		}
		if err := d.take(datagram); err != nil {
			return d, err
		}
	}
	return d, d.err
}

// send sends a request (struct nlmsghdr, then request).
func (s *netlinkSocket) send(messageType, flags uint16, request []byte) error {
	s.seq++
	m := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(request))
	binary.NativeEndian.PutUint32(m[0:], uint32(unix.SizeofNlMsghdr+len(request)))
	binary.NativeEndian.PutUint16(m[4:], messageType)
	binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST|flags)
	binary.NativeEndian.PutUint32(m[8:], s.seq)
	m = append(m, request...)
	for {
		err := unix.Sendto(s.fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return fmt.Errorf("send a netlink request: %w", err)
		}
	}
}

// receive returns the next datagram that the kernel itself sent.
func (s *netlinkSocket) receive() ([]byte, error) {
	for {
		n, from, err := unix.Recvfrom(s.fd, s.buf, unix.MSG_TRUNC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("receive a netlink answer: %w", err)
		}
		if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
			continue // another process wrote to our port
		}
		if n > len(s.buf) {
			return nil, fmt.Errorf("receive a netlink answer: %d bytes in one message: %w", n, unix.EMSGSIZE)
		}
		return s.buf[:n], nil
	}
}

// answer puts the datagrams of one answer together.
type answer struct {
	seq  uint32
	each func([]byte) error

	done        bool
	interrupted bool
	// err is the first that each returned. The answer is read to its end all the
	// same, or the next request on this socket would fail.
	err error
}

// take goes over the messages of one datagram. Its own error is the kernel's.
func (d *answer) take(datagram []byte) error {
	messages, err := syscall.ParseNetlinkMessage(datagram)
	if err != nil {
		return fmt.Errorf("read a netlink answer of %d bytes: %w", len(datagram), err)
	}
	for _, m := range messages {
		if m.Header.Seq != d.seq {
			continue
		}
		if m.Header.Flags&unix.NLM_F_DUMP_INTR != 0 {
			d.interrupted = true
		}
		switch m.Header.Type {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			d.done = true
			return kernelError(m.Data)
		case unix.NLMSG_NOOP:
		default:
			if err := d.each(m.Data); err != nil && d.err == nil {
				d.err = err
			}
		}
	}
	return nil
}

// kernelError takes the errno off the front of an NLMSG_ERROR or NLMSG_DONE: a
// negative number, or 0 or nothing for success.
func kernelError(data []byte) error {
	if len(data) < 4 {
		return nil
	}
	if errno := int32(binary.NativeEndian.Uint32(data)); errno < 0 {
		return unix.Errno(-errno)
	}
	return nil
}
