// SPDX-License-Identifier: Apache-2.0

// Command fullmac is a Wi-Fi device of the kind that does all of 802.11 itself and gives Ethernet frames to its driver
// (FullMAC): mac80211 never sees its packets. It speaks RNDIS over USB, for driver rndis_wlan, and is plugged into this
// machine's virtual controller (vhci_hcd).
//
//	fullmac COUNT
//
// It says when its driver has made a network interface of it. Whoever connects to the network "nstrace" is connected
// at once. At each SIGUSR1 the device has received COUNT frames from the air, and hands them over; it says how many
// packets and bytes they were. It is unplugged when the program ends.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fullmac:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: fullmac COUNT")
	}
	count, err := strconv.ParseUint(args[0], 10, 16)
	if err != nil {
		return err
	}
	receive := make(chan os.Signal, 1)
	signal.Notify(receive, unix.SIGUSR1)
	if err := watchLinks(); err != nil {
		return err
	}
	port, err := plugIn()
	if err != nil {
		return err
	}
	d := device{port: port}
	for {
		select {
		case r, ok := <-port.requests:
			if !ok {
				return port.failed
			}
			err = d.request(r)
		case <-receive:
			d.receive(int(count))
			err = d.hand()
		}
		if err != nil {
			return err
		}
	}
}
