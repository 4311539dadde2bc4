// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/lab/internal/control"
)

// ports are the virtio-serial ports to the host.
type ports struct {
	control, stdout, stderr *os.File
}

// events tells of devices that appear, as the kernel's uevents.
type events int

// openEvents must come before the modules that make the devices are loaded, so that none is missed.
func openEvents() (events, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return -1, fmt.Errorf("opening the uevent socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		return -1, fmt.Errorf("listening for uevents: %w", err)
	}
	return events(fd), nil
}

// wait returns when another device has appeared, or when some event was dropped and a look is in order.
func (e events) wait() error {
	_, err := unix.Read(int(e), make([]byte, 8192))
	if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("waiting for a device: %w", err)
	}
	return nil
}

func openPorts(events events) (*ports, error) {
	defer unix.Close(int(events))
	var p ports
	for number, file := range map[int]**os.File{
		control.PortControl: &p.control,
		control.PortStdout:  &p.stdout,
		control.PortStderr:  &p.stderr,
	} {
		var err error
		if *file, err = openPort(events, number); err != nil {
			return nil, err
		}
	}
	return &p, nil
}

// openPort opens the device for blocking reads and writes: a write then waits for the host to be there.
func openPort(events events, number int) (*os.File, error) {
	name := fmt.Sprintf("/dev/vport0p%d", number)
	for {
		fd, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err == nil {
			return os.NewFile(uintptr(fd), name), nil
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENXIO) && !errors.Is(err, unix.ENODEV) {
			return nil, fmt.Errorf("opening %s: %w", name, err)
		}
		if err := events.wait(); err != nil {
			return nil, err
		}
	}
}
