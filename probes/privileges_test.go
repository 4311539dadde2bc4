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

func TestLacks(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to have capabilities")
	}
	if inUserNamespace() {
		t.Skip("root of a user namespace has none of the machine's")
	}
	for _, c := range []struct {
		caps []uint
		want string
	}{
		{nil, "CAP_BPF! CAP_PERFMON! CAP_SYS_ADMIN CAP_SYS_PTRACE CAP_DAC_READ_SEARCH CAP_NET_ADMIN CAP_SYSLOG"},
		{[]uint{unix.CAP_BPF, unix.CAP_PERFMON}, "CAP_SYS_ADMIN CAP_SYS_PTRACE CAP_DAC_READ_SEARCH CAP_NET_ADMIN CAP_SYSLOG"},
		{[]uint{unix.CAP_SYS_ADMIN}, "CAP_SYS_PTRACE CAP_DAC_READ_SEARCH CAP_NET_ADMIN CAP_SYSLOG"},
		{[]uint{unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE, unix.CAP_DAC_READ_SEARCH, unix.CAP_NET_ADMIN, unix.CAP_SYSLOG}, ""},
	} {
		withCapabilities(t, c.caps, func() {
			lacks, err := Lacks()
			if err != nil {
				t.Error(err)
				return
			}
			var got []string
			for _, l := range lacks {
				name := l.Capability
				if l.Required {
					name += "!"
				}
				got = append(got, name)
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("with %v: lacks %q, want %q", c.caps, s, c.want)
			}
		})
	}
}

// A probe for whose function there is no hook has failed, not gone missing, if
// that is for what this process is denied.
func TestDenials(t *testing.T) {
	d := example()
	d.Denials = denials{ModuleTypes: "no types", Kprobes: "no perf events"}
	for _, c := range plan(d, ModeAuto, DeliveryCount) {
		want := len(c.hooks) == 0 && c.module != "" && strings.HasPrefix(c.reason, "no fentry: no types")
		if c.name == "wiphy_register" && !want || d.Denials.deny(&c) != want {
			t.Errorf("%s by %v (%s): denied %v", c.name, c.hooks, c.reason, !want)
		}
		if none := (&denials{}); none.deny(&c) {
			t.Errorf("%s is denied by nothing", c.name)
		}
	}
}

// Opening a namespace by its number is no matter of paths.
func TestOpensByNumber(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to have capabilities")
	}
	want := opensByNumber()
	withCapabilities(t, []uint{unix.CAP_SYS_ADMIN}, func() {
		if got := opensByNumber(); got != want {
			t.Errorf("with CAP_SYS_ADMIN alone %v, as root %v", got, want)
		}
	})
	t.Log(want)
}
