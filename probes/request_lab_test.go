// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/event"
)

// tell writes what matters of a request in short. Namespaces and user namespaces
// are those of the test, or others.
func tell(e *event.Event, inums map[uint32]string) string {
	name := func(inum uint32) string {
		if inum == 0 {
			return "-"
		}
		if s := inums[inum]; s != "" {
			return s
		}
		return "other"
	}
	errno := "ok"
	if e.Ret != 0 {
		errno = unix.ErrnoName(unix.Errno(e.Ret))
	}
	if e.Kind == event.KindNetByPID {
		return fmt.Sprintf("pid %d: %s %s in %s", e.TargetPID, errno, e.NewName, name(e.Net.Inum))
	}
	s := fmt.Sprintf("%s %d: %s", e.Kind, e.Arg, errno)
	if e.Kind == event.KindNL80211 {
		s += fmt.Sprintf(" at stage %d", e.Stage)
	}
	s += fmt.Sprintf(" in %s of %s", name(e.Net.Inum), name(e.UserNS))
	if e.Flags&event.FlagNetAdmin == 0 {
		s += " without capability"
	}
	if e.Net2.Known() {
		s += " to " + name(e.Net2.Inum)
	}
	if e.Wiphy != 0 {
		s += fmt.Sprintf(" radio %d found", e.WiphyIndex)
	} else if e.WiphyIndex >= 0 {
		s += fmt.Sprintf(" radio %d", e.WiphyIndex)
	}
	for _, name := range []string{e.Name, e.WiphyName, e.LinkKind} {
		if name != "" {
			s += " " + name
		}
	}
	if e.Nsid >= 0 {
		s += fmt.Sprintf(" nsid %d", e.Nsid)
	}
	if e.WdevID != 0 {
		s += fmt.Sprintf(" wdev %d", e.WdevID)
	}
	return s
}

// TestLabRequests: what is asked of nl80211 and rtnetlink is told, also if it is
// refused, with what the kernel made of it.
func TestLabRequests(t *testing.T) {
	k := inLab(t)
	shell := func(command string) string {
		t.Helper()
		out, err := exec.Command("sh", "-c", command).Output()
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		return strings.TrimSpace(string(out))
	}
	shell("modprobe mac80211_hwsim radios=2 && ip netns add far")
	first, err := strconv.Atoi(shell("cat /sys/class/ieee80211/*/index | sort -n | head -1"))
	if err != nil {
		t.Fatal(err)
	}
	sleeper := exec.Command("ip", "netns", "exec", "far", "sleep", "1000")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer sleeper.Wait()
	defer sleeper.Process.Kill()
	pid := sleeper.Process.Pid
	waitFor(t, "sleep to run", func() bool { return shell(fmt.Sprintf("cat /proc/%d/comm", pid)) == "sleep" })
	s, err := attach(k, Options{Mode: ModeKprobe, Delivery: DeliveryOff, LifecycleRing: 1 << 20, TaskRing: minRing, PacketRing: minRing})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.modules = newModules("/sys/module", probedModules()...)
	if err := s.Begin(); err != nil {
		t.Fatal(err)
	}
	everyRequest(first, pid)
	heard := &story{counts: map[event.Flow]uint64{}}
	if err := s.Read(heard); err != nil {
		t.Fatal(err)
	}
	// nl80211 gets another number, or may.
	shell("modprobe -r mac80211_hwsim && modprobe mac80211_hwsim radios=1")
	if err := s.Read(heard); err != nil {
		t.Fatal(err)
	}
	shell(fmt.Sprintf("iw phy phy%d set name again", first+2))
	if err := errors.Join(s.Stop(heard), s.End(heard)); err != nil {
		t.Fatal(err)
	}
	inums := map[uint32]string{
		inumOf(t, "/proc/self/ns/net"): "init", inumOf(t, "/run/netns/far"): "far", inumOf(t, "/proc/self/ns/user"): "root",
	}
	var got []string
	for i := range heard.events {
		e := &heard.events[i]
		if e.Kind == event.KindNL80211 || e.Kind == event.KindRTNetlink || e.Kind == event.KindNetByPID {
			got = append(got, tell(e, inums))
		}
	}
	radio := func(i int) string { return fmt.Sprintf("radio %d", first+i) }
	want := []string{
		"genl_rcv_msg 49: ok at stage 3 in init of root to far " + radio(1) + " found",
		"genl_rcv_msg 49: ENODEV at stage 2 in init of root to far " + radio(1),
		"genl_rcv_msg 7: ok at stage 3 in init of root " + radio(0) + " found p2p0",
		"genl_rcv_msg 2: EINVAL at stage 3 in init of root " + radio(0) + " phy77",
		"pid 99999: ESRCH  in -",
		"genl_rcv_msg 49: ESRCH at stage 3 in init of root " + radio(0) + " found",
		fmt.Sprintf("pid %d: ok sleep in far", pid),
		"genl_rcv_msg 49: ok at stage 3 in init of root to far " + radio(0) + " found",
		"genl_rcv_msg 8: ok at stage 3 in far of root " + radio(0) + " found wdev 2",
		"genl_rcv_msg 49: EPERM at stage 1 in other of other without capability to init " + radio(0),
		"rtnetlink_rcv_msg 16: ok in init of root v0 veth",
		"rtnetlink_rcv_msg 16: EEXIST in init of root v0 dummy",
		"rtnetlink_rcv_msg 16: ok in init of root to far eth9",
		"rtnetlink_rcv_msg 16: EPERM in other of other without capability x",
		"rtnetlink_rcv_msg 17: ok in init of root",
		"pid 1: ok init in init",
		"rtnetlink_rcv_msg 16: EPERM in other of other to init",
		"genl_rcv_msg 2: ok at stage 3 in init of root " + radio(2) + " again",
	}
	if !slices.Equal(got, want) {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// everyRequest makes requests of all sorts. What comes of them is for the kernel
// to say.
func everyRequest(first, pid int) {
	for _, command := range []string{
		fmt.Sprintf("iw phy#%d set netns name far", first+1),
		fmt.Sprintf("iw phy#%d set netns name far", first+1),
		fmt.Sprintf("iw phy#%d interface add p2p0 type __p2pdev", first),
		fmt.Sprintf("iw phy#%d set name phy77", first), // a number that isn't its own
		fmt.Sprintf("iw phy#%d set netns 99999", first),
		fmt.Sprintf("iw phy#%d set netns %d", first, pid),
		fmt.Sprintf("ip netns exec far iw wdev %#x del", first<<32|2),
		fmt.Sprintf("unshare -U -n iw phy#%d set netns 1", first),
		"ip link set lo up", // sets something, but changes nothing of a life
		"ip link add v0 type veth peer name v1",
		"ip link add v0 type dummy",
		"ip link set v1 netns far name eth9",
		"unshare -U -n ip link set lo name x",
		"ip link del v0",
		"unshare -U -r -n ip link set lo netns 1",
	} {
		exec.Command("sh", "-c", command).Run()
	}
}

func inumOf(t *testing.T, path string) uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return uint32(st.Ino)
}
