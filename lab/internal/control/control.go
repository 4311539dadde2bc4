// SPDX-License-Identifier: Apache-2.0

// Package control is what a lab machine's host and guest say to each other: one JSON value a line over a
// virtio-serial port, apart from the command's own output so that neither can be mistaken for the other.
package control

// Numbers of the virtio-serial ports. Port 0 is QEMU's to give to a console, so ours start at 1. The
// guest finds port N as /dev/vport0pN.
const (
	PortControl = 1 + iota
	PortStdout
	PortStderr
)

// Mount tags of the folders the host offers over 9p.
const (
	TagRoot    = "root"
	TagModules = "modules"
	TagShare   = "share"
)

// Where the initramfs keeps what the guest needs before it has a root.
const (
	// BootModules holds the modules that make 9p and virtio-serial work, decompressed, their names sorted in
	// the order to load them.
	BootModules = "/boot-modules"
	// ModulesDir is where the kernel, and anyone who calls modprobe, looks for a release's folder.
	ModulesDir = "/lib/modules"
	// SharePoint is where the caller's folder appears.
	SharePoint = "/share"
)

// Config tells the guest what to run and on what. The host sends it once, in answer to Hello.
type Config struct {
	Argv []string
	Env  []string
	Dir  string
	// HostRoot: the host offers its own root, to be used read-only under a throw-away overlay.
	HostRoot bool
	// Share: the host offers a writable folder.
	Share bool
	// Release names the folder below ModulesDir.
	Release string
}

// Kind says what a Report reports.
type Kind string

// The guest reports each of these at most once, in this order; Failed takes the place of all that follow.
const (
	Hello   Kind = "hello"   // the guest's init runs and waits for a Config
	Failed  Kind = "failed"  // it couldn't start the command: Text says why
	Started Kind = "started" // the command is running
	Exited  Kind = "exited"  // the command ended with Status
	Done    Kind = "done"    // all output has been handed to the ports: Stdout and Stderr bytes of it
)

// Report is the guest's word on how far it got.
type Report struct {
	Kind   Kind
	Text   string `json:",omitempty"`
	Status int    `json:",omitempty"`
	// Stdout and Stderr let the host know when it has everything: a port's write returns before the host
	// has read the bytes, so the machine must not be switched off on Done alone.
	Stdout, Stderr int64 `json:",omitempty"`
}
