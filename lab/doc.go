// SPDX-License-Identifier: Apache-2.0

// Package lab runs one command at a time in a throw-away virtual machine with a kernel of your choice, for
// tests that need a real kernel and for trying things out.
//
//	kernel, err := lab.Fetch(ctx, "bookworm", "amd64", os.Stderr)
//	...
//	machine := lab.VM{Kernel: kernel, Share: dir, Stdout: os.Stdout, Stderr: os.Stderr}
//	status, err := machine.Run(ctx, "sh", "-c", "iw phy > /share/phys")
//
// There is no disk image to build or keep: a machine of the host's own architecture finds the host's root,
// read-only under an overlay in memory, so every tool installed here is there, and whatever the command does
// is gone afterwards, but for what it wrote to /share. A machine of another architecture has an almost empty
// root: its command must be a static program, put into the shared folder. It too finds the kernel's modules
// in /lib/modules, and a modprobe.
//
// It takes QEMU, Go, and for Fetch a Debian machine (see setup). KVM is used where it works, else QEMU's
// emulation, which boots a Debian kernel in a few seconds.
package lab
