// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// loadable are modules with pernet operations, or with interfaces, that Debian's kernels have.
var loadable = []string{
	"dummy", "ifb", "ip_vti", "ipip", "sit", "vxlan", "bonding", "xfrm_interface", "geneve", "l2tp_core", "ip_gre",
	"veth", "bridge", "macvlan", "8021q", "nosuchmodule",
}

// loadModule loads a module; its pernet operations visit every namespace there is.
func (w *world) loadModule() (*attempt, error) {
	name := pick(w.rand, loadable)
	return w.try(name, nil, func() error { return modprobe(name) })
}

func modprobe(module string, parameters ...string) error {
	out, err := exec.Command("modprobe", append([]string{module}, parameters...)...).CombinedOutput()
	if err == nil {
		return nil
	}
	if bytes.Contains(out, []byte("not found")) || bytes.Contains(out, []byte("no such module")) {
		return unix.ENOENT
	}
	return notAnErrno(fmt.Errorf("modprobe %s: %w: %s", module, err, out))
}

// reloadHwsim removes the simulated radios' driver, and all of them with it, and loads it anew.
func (w *world) reloadHwsim() (*attempt, error) {
	a, err := w.try("", nil, func() error {
		if err := unix.DeleteModule(hwsimModule, unix.O_NONBLOCK); err != nil {
			return err
		}
		return notAnErrno(modprobe(hwsimModule, "radios=2"))
	})
	if err != nil || a.Errno != 0 {
		return a, err
	}
	w.radios = nil
	return a, errors.Join(w.findFamilies(), w.meetRadios())
}

// removeModule removes a module; interfaces of its kind go with it, wherever they are.
func (w *world) removeModule() (*attempt, error) {
	name := pick(w.rand, loadable)
	if loaded := loadedModules(); len(loaded) > 0 && w.chance(70) {
		name = pick(w.rand, loaded)
	}
	return w.try(name, nil, func() error { return unix.DeleteModule(name, unix.O_NONBLOCK) })
}

// loadedModules are those of loadable that are.
func loadedModules() []string {
	var found []string
	for _, name := range loadable {
		if _, err := os.Stat("/sys/module/" + strings.ReplaceAll(name, "-", "_") + "/refcnt"); err == nil {
			found = append(found, name)
		}
	}
	return found
}
