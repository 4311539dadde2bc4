// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// watchLinks says the name of each network interface that is made of this device.
func watchLinks() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("a netlink socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK}); err != nil {
		return fmt.Errorf("listening for interfaces: %w", err)
	}
	go func() {
		message, known := make([]byte, os.Getpagesize()), 0
		for {
			// What changed is looked up, so that it doesn't matter if a message was cut or lost.
			if _, _, err := unix.Recvfrom(fd, message, 0); err != nil && err != unix.ENOBUFS && err != unix.EINTR {
				fmt.Fprintln(os.Stderr, "fullmac: listening for interfaces:", err)
				return
			}
			if l := ownLink(); l != nil && l.Index != known {
				fmt.Println("interface:", l.Name)
				known = l.Index
			}
		}
	}()
	return nil
}

// ownLink is the network interface that has the device's address, nil if there is none.
func ownLink() *net.Interface {
	links, err := net.Interfaces()
	if err != nil {
		return nil
	}
	i := slices.IndexFunc(links, func(l net.Interface) bool { return bytes.Equal(l.HardwareAddr, address[:]) })
	if i < 0 {
		return nil
	}
	return &links[i]
}
