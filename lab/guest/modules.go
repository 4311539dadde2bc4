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
// depends on, its parameters. Options are taken and ignored; aliases are not known.
func modprobe(args []string) error {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
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
	files, err := index.Files(args[0])
	if err != nil {
		return err
	}
	for i, file := range files {
		params := ""
		if i == len(files)-1 {
			params = strings.Join(args[1:], " ")
		}
		if err := insert(file, params); err != nil {
			return err
		}
	}
	return nil
}
