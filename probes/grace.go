// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// waitForPrograms returns when no program runs any more that was running when
// it was called.
//
// The kernel promises that for an update of a map of maps
// (maybe_wait_bpf_programs in kernel/bpf/syscall.c), on any number of CPUs.
// membarrier(2), which would be simpler, refuses on a nohz_full kernel and does
// nothing on a single CPU.
func waitForPrograms() error {
	inner := &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	value, err := ebpf.NewMap(inner)
	if err != nil {
		return fmt.Errorf("wait for running programs: %w", err)
	}
	defer value.Close()
	outer, err := ebpf.NewMap(&ebpf.MapSpec{
		Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: inner,
	})
	if err != nil {
		return fmt.Errorf("wait for running programs: %w", err)
	}
	err = outer.Put(uint32(0), value)
	if err = errors.Join(err, outer.Close()); err != nil {
		return fmt.Errorf("wait for running programs: %w", err)
	}
	return nil
}
