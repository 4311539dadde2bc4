// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ring reads a BPF_MAP_TYPE_RINGBUF in place.
//
// The kernel maps a page with the consumer's position, a page with the
// producer's, and the data twice in a row, so that a record never wraps
// (kernel/bpf/ringbuf.c). A record begins with 8 bytes: its length with two
// flag bits on top, and the kernel's own page offset.
type ring struct {
	name     string
	fd       int
	size     uint64
	consumer *uint64
	producer *uint64
	data     []byte

	consumerPage, producerPages []byte
}

const (
	recordHeader    = 8
	recordBusy      = 1 << 31 // still being written (BPF_RINGBUF_BUSY_BIT)
	recordDiscarded = 1 << 30 // given up by its writer (BPF_RINGBUF_DISCARD_BIT)
)

func newRing(name string, m *ebpf.Map) (*ring, error) {
	page := os.Getpagesize()
	r := &ring{name: name, fd: m.FD(), size: uint64(m.MaxEntries())}
	var err error
	if r.consumerPage, err = unix.Mmap(r.fd, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("map the %s ring's consumer page: %w", name, err)
	}
	r.producerPages, err = unix.Mmap(r.fd, int64(page), page+2*int(r.size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		unix.Munmap(r.consumerPage)
		return nil, fmt.Errorf("map the %s ring: %w", name, err)
	}
	r.consumer = (*uint64)(unsafe.Pointer(&r.consumerPage[0]))
	r.producer = (*uint64)(unsafe.Pointer(&r.producerPages[0]))
	r.data = r.producerPages[page:]
	return r, nil
}

// drain hands every complete record to take and frees its space. The bytes are
// the ring's own: valid during the call only. It returns how many there were.
// It stops at what was in the ring when it began, so that a fast producer can't
// keep it.
//
// Where a header makes no sense, nothing up to the producer's position does: take
// gets nil once, for a record that can't be decoded, and reading goes on from
// there. The sequence numbers tell how much that was.
func (r *ring) drain(take func(record []byte)) int {
	n := 0
	position := atomic.LoadUint64(r.consumer)
	end := atomic.LoadUint64(r.producer)
	for position < end {
		at := position & (r.size - 1)
		header := atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.data[at])))
		if header&recordBusy != 0 {
			break
		}
		length := uint64(header &^ (recordBusy | recordDiscarded))
		if left := end - position; left > r.size || recordHeader+length > left {
			take(nil)
			atomic.StoreUint64(r.consumer, end)
			return n + 1
		}
		if header&recordDiscarded == 0 {
			take(r.data[at+recordHeader : at+recordHeader+length])
			n++
		}
		position += (recordHeader + length + 7) &^ 7
		atomic.StoreUint64(r.consumer, position)
	}
	return n
}

func (r *ring) close() {
	unix.Munmap(r.consumerPage)
	unix.Munmap(r.producerPages)
	r.data = nil
}

// waiter sleeps until a ring is filling up, time has passed, or wake is called.
type waiter struct {
	epoll, event int
	ready        [4]unix.EpollEvent
}

func newWaiter(rings ...*ring) (*waiter, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("wait for events: %w", err)
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, fmt.Errorf("wait for events: %w", err)
	}
	w := &waiter{epoll: epoll, event: event}
	fds := []int{event}
	for _, r := range rings {
		fds = append(fds, r.fd)
	}
	for _, fd := range fds {
		// Edge-triggered: records the programs sent without a wake-up don't
		// count, only the wake-ups they force.
		ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(fd)}
		if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
			w.close()
			return nil, fmt.Errorf("wait for events: %w", err)
		}
	}
	return w, nil
}

// wait returns after at most ms milliseconds.
func (w *waiter) wait(ms int) error {
	_, err := unix.EpollWait(w.epoll, w.ready[:], ms)
	if err != nil && err != unix.EINTR {
		return fmt.Errorf("wait for events: %w", err)
	}
	return nil
}

func (w *waiter) wake() {
	// An eventfd can't be full at these numbers, so nothing can go wrong.
	unix.Write(w.event, binary.NativeEndian.AppendUint64(nil, 1))
}

func (w *waiter) close() {
	unix.Close(w.event)
	unix.Close(w.epoll)
}
