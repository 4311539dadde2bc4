// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// ErrNoBTF says that the kernel doesn't describe its types, without which the
// programs can't be fitted to it.
var ErrNoBTF = errors.New("this kernel has no type information (/sys/kernel/btf/vmlinux is missing): " +
	"use one built with CONFIG_DEBUG_INFO_BTF=y, as the distributions' are")

// kernel is the running kernel: its description, and what is needed of it
// besides to load programs.
type kernel struct {
	description
	// perCPUOffset is the address of __per_cpu_offset[], 0 if hidden.
	perCPUOffset uint64
	possibleCPUs int
	// types has the BTF of the kernel and its modules.
	types *btf.Cache
}

// readKernel looks at the running kernel and changes nothing. Which functions
// can be traced is left to learnTraceable.
func readKernel() (*kernel, error) {
	k := &kernel{types: btf.NewCache()}
	if _, err := k.types.Kernel(); err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, ebpf.ErrNotSupported) {
			return nil, ErrNoBTF
		}
		return nil, fmt.Errorf("read the kernel's type information: %w", err)
	}
	var err error
	if k.possibleCPUs, err = ebpf.PossibleCPU(); err != nil {
		return nil, fmt.Errorf("count the CPUs: %w", err)
	}
	return k, k.describe()
}
