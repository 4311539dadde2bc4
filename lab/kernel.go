// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
)

// Kernel is a Linux kernel to boot. Fetch makes one of a Debian kernel; any other can be described by hand.
type Kernel struct {
	// Image is the file QEMU boots (bzImage, or Image on arm64).
	Image string
	// Modules is the folder of the kernel's modules, as depmod leaves it: the one with modules.dep in it.
	Modules string
	// Release is what uname -r says. Empty means the last element of Modules.
	Release string
	// Arch is the kernel's architecture by Go's name: amd64 or arm64. Empty means this machine's.
	Arch string
}

// complete fills in what may be left out, and says early what would otherwise show as a machine that
// doesn't boot.
func (k Kernel) complete() (Kernel, error) {
	if k.Arch == "" {
		k.Arch = runtime.GOARCH
	}
	if _, ok := machines[k.Arch]; !ok {
		return k, fmt.Errorf("no lab machine for architecture %q: it can be %v", k.Arch, Arches())
	}
	if k.Image == "" || k.Modules == "" {
		return k, errors.New("a kernel needs both its image and its modules folder")
	}
	image, err := os.Open(k.Image)
	if err != nil {
		return k, fmt.Errorf("reading the kernel image (Debian's under /boot are for everyone, Ubuntu's for root only): %w", err)
	}
	image.Close()
	if k.Modules, err = filepath.Abs(k.Modules); err != nil {
		return k, err
	}
	if k.Modules, err = filepath.EvalSymlinks(k.Modules); err != nil {
		return k, fmt.Errorf("reading the kernel's modules folder: %w", err)
	}
	_, err = os.Stat(filepath.Join(k.Modules, "modules.dep"))
	if errors.Is(err, fs.ErrNotExist) {
		return k, fmt.Errorf("%s has no modules.dep: name the folder called like the release, as in /lib/modules/$(uname -r), and run depmod if it was never run", k.Modules)
	}
	if err != nil {
		return k, fmt.Errorf("reading the kernel's modules folder: %w", err)
	}
	if k.Release == "" {
		k.Release = filepath.Base(k.Modules)
	}
	return k, nil
}

// foreign says that this machine's own programs don't run on k.
func (k Kernel) foreign() bool { return k.Arch != runtime.GOARCH }

// Arches returns the architectures a lab machine can have.
func Arches() []string {
	var arches []string
	for arch := range machines {
		arches = append(arches, arch)
	}
	slices.Sort(arches)
	return arches
}
