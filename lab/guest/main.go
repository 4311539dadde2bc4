// SPDX-License-Identifier: Apache-2.0

// Command guest is the first process of a lab machine: it makes the machine fit to work in, runs the one
// command the machine was started for, and reports how that went. Called as modprobe it loads modules, for
// machines whose root has nothing but this program.
//
// The lab builds it statically for the guest's architecture; it is of no use outside.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/lab/internal/control"
)

func main() {
	if filepath.Base(os.Args[0]) == "modprobe" {
		if err := modprobe(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "modprobe:", err)
			os.Exit(1)
		}
		return
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "guest: this is the init of a lab machine; start it with the lab, not by hand")
		os.Exit(2)
	}
	if err := boot(); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
	}
	powerOff()
}

// boot returns when there is nothing more to do. What it returns is for the console: the host has been told
// already if it could be.
func boot() error {
	if err := mountEarly(); err != nil {
		return err
	}
	useConsole()
	events, err := openEvents()
	if err != nil {
		return err
	}
	if err := loadBootModules(); err != nil {
		return err
	}
	ports, err := openPorts(events)
	if err != nil {
		return err
	}
	reports := json.NewEncoder(ports.control)
	orders := json.NewDecoder(ports.control)
	if err := reports.Encode(control.Report{Kind: control.Hello}); err != nil {
		return fmt.Errorf("greeting the host: %w", err)
	}
	var config control.Config
	if err := orders.Decode(&config); err != nil {
		return fmt.Errorf("reading the host's orders: %w", err)
	}
	if err := obey(config, ports, reports); err != nil {
		return errors.Join(err, reports.Encode(control.Report{Kind: control.Failed, Text: err.Error()}))
	}
	// The host switches the machine off once it has read everything. Should the host be gone, its end of
	// the port is too, and this read returns.
	_ = orders.Decode(&struct{}{})
	return nil
}

func obey(config control.Config, ports *ports, reports *json.Encoder) error {
	if err := setUp(config); err != nil {
		return err
	}
	command, err := start(config, ports)
	if err != nil {
		return err
	}
	if err := reports.Encode(control.Report{Kind: control.Started}); err != nil {
		return err
	}
	status, err := command.wait()
	if err != nil {
		return err
	}
	if err := reports.Encode(control.Report{Kind: control.Exited, Status: status}); err != nil {
		return err
	}
	stdout, stderr := command.drain()
	unix.Sync()
	return reports.Encode(control.Report{Kind: control.Done, Status: status, Stdout: stdout, Stderr: stderr})
}

// useConsole points this process's own output at the console, whatever the kernel opened for it: that is
// where a panic of this program must show.
func useConsole() {
	fd, err := unix.Open("/dev/console", unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return
	}
	for std := range 3 {
		if fd != std {
			_ = unix.Dup3(fd, std, 0)
		}
	}
}

func powerOff() {
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	// Without a way to power off, a restart ends QEMU just as well: it runs with -no-reboot.
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}
