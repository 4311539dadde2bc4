// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// withCapabilities runs test in a thread that has only these capabilities in
// effect, and ends with it.
func withCapabilities(t *testing.T, caps []uint, test func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		err := unix.Capget(&header, &data[0])
		data[0].Effective, data[1].Effective = 0, 0
		for _, c := range caps {
			data[c/32].Effective |= 1 << (c % 32)
		}
		if err == nil {
			err = unix.Capset(&header, &data[0])
		}
		if err == nil {
			test()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestPrivileges(t *testing.T) {
	for _, c := range []struct {
		name    string
		caps    []uint
		missing []string
	}{
		{"none", nil, []string{"CAP_BPF", "CAP_PERFMON"}},
		{"others", []uint{unix.CAP_NET_ADMIN}, []string{"CAP_BPF", "CAP_PERFMON"}},
		{"bpf", []uint{unix.CAP_BPF}, []string{"CAP_PERFMON"}},
		{"perfmon", []uint{unix.CAP_PERFMON}, []string{"CAP_BPF"}},
		{"both", []uint{unix.CAP_BPF, unix.CAP_PERFMON}, nil},
		{"admin", []uint{unix.CAP_SYS_ADMIN}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if len(c.caps) > 0 && os.Getuid() != 0 {
				t.Skip("needs root to have capabilities")
			}
			withCapabilities(t, c.caps, func() {
				err := checkPrivileges()
				if len(c.missing) == 0 {
					if err != nil {
						t.Errorf("got %v", err)
					}
					return
				}
				if !errors.Is(err, ErrPrivileges) {
					t.Errorf("got %v, want %v", err, ErrPrivileges)
					return
				}
				for _, name := range []string{"CAP_BPF", "CAP_PERFMON"} {
					missing := strings.Contains(strings.Join(c.missing, " "), name)
					if strings.Contains(err.Error(), name) != missing {
						t.Errorf("%q: %s missing: %v", err, name, missing)
					}
				}
			})
		})
	}
}
