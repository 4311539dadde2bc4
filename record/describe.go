// SPDX-License-Identifier: Apache-2.0

package record

import (
	"fmt"
	"os"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/event"
	"github.com/nstrace/nstrace/snapshot"
)

// describe says what this is a recording of. It is called when the probes have
// begun: its time is the recording's beginning.
func describe(o *Options) (event.Recording, error) {
	var r event.Recording
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return r, fmt.Errorf("ask for the kernel's name: %w", err)
	}
	clock, err := readClock()
	if err != nil {
		return r, err
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return r, fmt.Errorf("count the CPUs: %w", err)
	}
	// Without it times can't be matched to another recording's: no reason not
	// to record.
	bootID, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	// 0, unknown, if this can't be told: see snapshot.
	initNet, _ := snapshot.InitialNetns()
	return event.Recording{
		Tool: o.Version, Host: unix.ByteSliceToString(uts.Nodename[:]),
		Kernel: unix.ByteSliceToString(uts.Release[:]), Version: unix.ByteSliceToString(uts.Version[:]),
		Arch: unix.ByteSliceToString(uts.Machine[:]), BootID: strings.TrimSpace(string(bootID)),
		CPUs: cpus, Command: o.CommandLine, Delivery: string(o.Probes.Delivery), AllDevices: o.Probes.AllDevices,
		Packets: describePackets(o),
		InitNet: initNet, Began: clock.Boot, Clock: clock,
	}, nil
}

func describePackets(o *Options) *event.PacketOptions {
	f := &o.Probes.Packets
	p := &event.PacketOptions{Snaplen: f.Snaplen, Devices: f.Devices, Ethertypes: f.Ethertypes}
	for _, s := range o.Netns {
		p.Netns = append(p.Netns, s.String())
	}
	if p.Snaplen == 0 && !p.Filtered() {
		return nil
	}
	return p
}

// readClock reads boot and wall time as close together as can be.
func readClock() (event.Clock, error) {
	var boot, wall unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		return event.Clock{}, fmt.Errorf("read the boot time: %w", err)
	}
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &wall); err != nil {
		return event.Clock{}, fmt.Errorf("read the time of day: %w", err)
	}
	return event.Clock{Boot: uint64(boot.Nano()), Wall: wall.Nano()}, nil
}
