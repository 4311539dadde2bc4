// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/lab/internal/control"
)

type mount struct {
	kind, source, target string
	flags                uintptr
	options              string
	// optional: some kernels are built without it, and a command that needs it will say so itself
	optional bool
}

const (
	// 9p's default message of 8 KiB makes one round trip to QEMU for every two pages.
	wire = "trans=virtio,version=9p2000.L,msize=512000"
	// The host's files are taken not to change while the machine runs, so the guest may cache them.
	constant = wire + ",cache=loose"
)

func (m mount) do() error {
	if err := os.MkdirAll(m.target, 0o755); err != nil {
		if m.optional {
			return nil
		}
		return fmt.Errorf("making a mount point: %w", err)
	}
	err := unix.Mount(m.source, m.target, m.kind, m.flags, m.options)
	if err != nil && !m.optional {
		return fmt.Errorf("mounting %s (%s) on %s: %w", m.source, m.kind, m.target, err)
	}
	return nil
}

func mountAll(mounts ...mount) error {
	for _, m := range mounts {
		if err := m.do(); err != nil {
			return err
		}
	}
	return nil
}

// mountEarly mounts what loading modules and finding devices takes.
func mountEarly() error {
	return mountAll(
		mount{kind: "devtmpfs", source: "dev", target: "/dev"},
		mount{kind: "proc", source: "proc", target: "/proc"},
		mount{kind: "sysfs", source: "sys", target: "/sys"},
	)
}

// setUp turns the bare initramfs into the machine the command expects.
func setUp(config control.Config) error {
	if config.HostRoot {
		if err := enterHostRoot(); err != nil {
			return err
		}
		if err := mountEarly(); err != nil {
			return err
		}
	}
	err := mountAll(
		mount{kind: "tmpfs", source: "run", target: "/run", options: "mode=755"},
		mount{kind: "tmpfs", source: "shm", target: "/dev/shm", options: "mode=1777"},
		mount{kind: "devpts", source: "devpts", target: "/dev/pts", options: "ptmxmode=666", optional: true},
		mount{kind: "tracefs", source: "tracefs", target: "/sys/kernel/tracing", optional: true},
		mount{kind: "debugfs", source: "debugfs", target: "/sys/kernel/debug", optional: true},
		mount{kind: "bpf", source: "bpf", target: "/sys/fs/bpf", optional: true},
		mount{kind: "cgroup2", source: "cgroup2", target: "/sys/fs/cgroup", optional: true},
		mount{
			kind: "9p", source: control.TagModules, target: filepath.Join(control.ModulesDir, config.Release),
			flags: unix.MS_RDONLY, options: constant,
		},
	)
	if err != nil {
		return err
	}
	if config.Share {
		if err := (mount{kind: "9p", source: control.TagShare, target: control.SharePoint, options: wire}).do(); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/run/netns", "/run/lock", "/tmp"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := linkStandardFiles(); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte("lab")); err != nil {
		return fmt.Errorf("setting the host name: %w", err)
	}
	return loopbackUp()
}

// linkStandardFiles makes what udev adds to the kernel's own /dev. Without it a script that writes to
// /dev/stderr makes a file there, and nobody hears it.
func linkStandardFiles() error {
	for name, target := range map[string]string{"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"} {
		err := os.Symlink("/proc/self/fd"+target, "/dev/"+name)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// enterHostRoot makes the host's root this process's own: read-only below, so that nothing the guest does
// reaches the host, and memory above, so that the guest may do anything.
func enterHostRoot() error {
	err := mountAll(
		mount{kind: "9p", source: control.TagRoot, target: "/lower", flags: unix.MS_RDONLY, options: constant},
		mount{kind: "tmpfs", source: "overlay", target: "/overlay"},
	)
	if err != nil {
		return err
	}
	for _, dir := range []string{"/overlay/upper", "/overlay/work"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	const layers = "lowerdir=/lower,upperdir=/overlay/upper,workdir=/overlay/work"
	if err := (mount{kind: "overlay", source: "overlay", target: "/root", options: layers}).do(); err != nil {
		return err
	}
	// pivot_root refuses to leave an initramfs: cover it instead, as every init of one does.
	if err := os.Chdir("/root"); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("moving the overlay to /: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("entering the overlay: %w", err)
	}
	return os.Chdir("/")
}
