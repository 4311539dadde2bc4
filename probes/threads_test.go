// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	// A thread that began 5 s after the machine, with a name made to mislead.
	statOf    = "17 (evil) Z 1) S 1 17 17 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 500 1000 1 18446744073709551615"
	stackOf   = "[<0>] synchronize_rcu+0x5/0x60\n[<0>] ops_init+0x3c/0x180\n[<0>] setup_net+0x1f0/0x370\n[<0>] copy_net_ns+0x10a/0x270\n"
	beforeIt  = uint64(4_999_999_999)
	afterIt   = uint64(5_000_000_001)
	someThing = "setup_net"
)

func TestThreadFate(t *testing.T) {
	self := uint32(unix.Gettid())
	for _, c := range []struct {
		name, stat, stack, function string
		since                       uint64
		want                        fate
	}{
		{"in it", statOf, stackOf, someThing, afterIt, fateRunning},
		{"in a part of it", statOf, "[<0>] setup_net.part.0+0x1f0/0x370\n", someThing, afterIt, fateRunning},
		{"in a module's", statOf, "[<0>] cfg80211_pernet_exit+0x40/0x90 [cfg80211]\n", "cfg80211_pernet_exit", afterIt, fateRunning},
		{"elsewhere", statOf, "[<0>] do_wait+0x5f/0x1c0\n", someThing, afterIt, fateOver},
		{"in one that is called alike", statOf, "[<0>] setup_network+0x5f/0x1c0\n", someThing, afterIt, fateOver},
		{"running, so without a stack", statOf, "", someThing, afterIt, fateUnknown},
		{"another thread", statOf, stackOf, someThing, beforeIt, fateDead},
		{"dead, not buried", "17 (x) Z 1 17 17 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 500 0 0", "", someThing, afterIt, fateDead},
		{"nonsense", "17", stackOf, someThing, afterIt, fateUnknown},
		{"hidden", "", stackOf, someThing, afterIt, fateUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			proc := t.TempDir()
			dir := filepath.Join(proc, strconv.Itoa(int(self)))
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			for name, data := range map[string]string{"stat": c.stat, "stack": c.stack} {
				if name == "stat" && data == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			look := &threads{proc: proc, initial: true}
			if got := look.fate(self, c.since, c.function); got != c.want {
				t.Errorf("fate %d, want %d", got, c.want)
			}
			// In another pid namespace its number means another thread.
			look.initial = false
			if got := look.fate(self, c.since, c.function); got != fateUnknown {
				t.Errorf("fate %d of a thread of another pid namespace", got)
			}
		})
	}
	look := &threads{proc: "/proc", initial: true}
	// No pid is as large as that (PID_MAX_LIMIT is 4 Mi).
	if got := look.fate(1<<30, 0, someThing); got != fateDead {
		t.Errorf("fate %d of a thread that never was", got)
	}
}
