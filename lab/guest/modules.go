// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/lab/internal/control"
	"github.com/nstrace/nstrace/lab/internal/modules"
)

// loadBootModules loads what the host put into the initramfs, in the order of the names.
func loadBootModules() error {
	entries, err := os.ReadDir(control.BootModules)
	if err != nil {
		return fmt.Errorf("listing the modules of the initramfs: %w", err)
	}
	for _, entry := range entries {
		if err := insert(filepath.Join(control.BootModules, entry.Name()), ""); err != nil {
			return err
		}
	}
	return nil
}

// insert loads one module; one that is there already is fine.
func insert(file, params string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if !strings.HasSuffix(file, ".ko") {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	err = unix.FinitModule(int(f.Fd()), params, flags)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("loading %s: %w", file, err)
	}
	return nil
}

// modprobe does what scripts and the kernel itself need of the command of that name: one module, what it
// depends on, its parameters; or with -a several modules. Other options are taken and ignored; aliases are not
// known.
func modprobe(args []string) error {
	several := false
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		several = several || args[0] == "-a" || args[0] == "--all"
		args = args[1:]
	}
	if len(args) == 0 {
		return errors.New("which module?")
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return fmt.Errorf("asking for the kernel's release: %w", err)
	}
	index, err := modules.Open(filepath.Join(control.ModulesDir, unix.ByteSliceToString(name.Release[:])))
	if err != nil {
		return err
	}
	if !several {
		return load(index, args[0], strings.Join(args[1:], " "))
	}
	for _, module := range args {
		if err := load(index, module, ""); err != nil {
			return err
		}
	}
	return nil
}

// load loads what a module depends on, then the module itself with its parameters.
func load(index *modules.Index, module, params string) error {
	files, err := index.Files(module)
	if err != nil {
		return err
	}
	for _, file := range files[:len(files)-1] {
		if err := insert(file, ""); err != nil {
			return err
		}
	}
	return insert(files[len(files)-1], params)
}
