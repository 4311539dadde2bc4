// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/event"
)

// needLab skips a test outside the lab's throw-away machines, where modules may
// be loaded. There nothing is skipped.
func needLab(t *testing.T) {
	t.Helper()
	if os.Getenv("NSTRACE_LAB") != "1" {
		t.Skip("loads modules: runs in the lab (NSTRACE_LAB=1)")
	}
}

func moduleLoaded(t *testing.T, name string) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/modules")
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`(?m)^` + name + ` `).Match(text)
}

// withRadios loads the simulator with some radios, all in the own namespace.
func withRadios(t *testing.T, count int) {
	t.Helper()
	needLab(t)
	unloadRadios(t)
	run(t, "modprobe", "mac80211_hwsim", "radios="+strconv.Itoa(count))
	t.Cleanup(func() { unloadRadios(t) })
}

func unloadRadios(t *testing.T) {
	t.Helper()
	for _, module := range []string{"mac80211_hwsim", "mac80211", "cfg80211"} {
		if moduleLoaded(t, module) {
			run(t, "modprobe", "-r", module)
		}
	}
}

// Looking for radios must not load what drives them.
func TestLabLoadsNothing(t *testing.T) {
	needLab(t)
	unloadRadios(t)
	_, states := take(t)
	if moduleLoaded(t, "cfg80211") {
		t.Error("cfg80211 was loaded")
	}
	for _, ns := range states {
		if len(ns.Wiphys) != 0 {
			t.Errorf("wiphys without cfg80211: %+v", ns.Wiphys)
		}
	}
}

// In a machine of our own nothing may stay in the dark.
func TestLabNoErrors(t *testing.T) {
	withRadios(t, 1)
	snapshot, states := take(t)
	if len(snapshot.Errors) != 0 {
		t.Errorf("errors: %q", snapshot.Errors)
	}
	inum, err := InitialNetns()
	if err != nil {
		t.Fatal(err)
	}
	if !states[inum].Initial || snapshot.Namespaces[0].Inum != inum {
		t.Errorf("net:[%d] is not the initial one", inum)
	}
	if got := states[inum]; len(got.Wiphys) != 1 || !got.Wiphys[0].CanSwitch {
		t.Errorf("the initial namespace is %+v", got)
	}
}

// Radios in two namespaces, with more than one interface, as iw(8) says.
func TestLabWiphys(t *testing.T) {
	withRadios(t, 3)
	name := uniqueName()
	inum := addNetns(t, name)
	radios := iwPhys(t, "")
	if len(radios) != 3 {
		t.Fatalf("iw has %+v", radios)
	}
	moved := radios[1].Name
	run(t, "iw", "phy", moved, "set", "netns", "name", name)
	run(t, "iw", "phy", radios[0].Name, "interface", "add", "mon0", "type", "monitor")
	run(t, "ip", "netns", "exec", name, "iw", "phy", moved, "interface", "add", "ap0", "type", "__ap")
	run(t, "ip", "netns", "exec", name, "iw", "phy", moved, "interface", "add", "p2pdev", "type", "__p2pdev")
	// A name with what terminals and shells take badly.
	run(t, "iw", "phy", radios[2].Name, "set", "name", "p\x1b[1m'%s")

	_, states := take(t)
	sameRadios(t, "", states[ownNetns(t)])
	sameRadios(t, name, states[inum])
	if got := states[inum].Wiphys; len(got) != 1 || got[0].Index != radios[1].Index {
		t.Errorf("wiphys of %s: %+v, want %s", name, got, moved)
	}
	if len(iwDevs(t, name)) != 3 {
		t.Errorf("iw has interfaces %+v", iwDevs(t, name))
	}
	renamed := func(w event.Wiphy) bool { return w.Name == "p\x1b[1m'%s" }
	if !slices.ContainsFunc(states[ownNetns(t)].Wiphys, renamed) {
		t.Errorf("the renamed radio isn't in %+v", states[ownNetns(t)].Wiphys)
	}
	sameLinks(t, name, states[inum].Links)
}

// iw runs iw(8) in a named namespace, or here.
func iw(t *testing.T, name string, args ...string) string {
	t.Helper()
	if name == "" {
		return string(run(t, "iw", args...))
	}
	return string(run(t, "ip", append([]string{"netns", "exec", name, "iw"}, args...)...))
}

var (
	iwPhy = regexp.MustCompile(`(?m)^Wiphy (.*)\n\twiphy index: (\d+)$`)
	iwDev = regexp.MustCompile(`^phy#(\d+)|\tInterface (.*)|\t\tifindex (\d+)|\t\ttype (.*)|\t\twdev (.*)`)
)

// iwPhys returns the radios of a namespace as iw(8) lists them.
func iwPhys(t *testing.T, name string) []event.Wiphy {
	t.Helper()
	var wiphys []event.Wiphy
	for part := range strings.SplitSeq(iw(t, name, "phy"), "\nWiphy ") {
		if !strings.HasPrefix(part, "Wiphy ") {
			part = "Wiphy " + part
		}
		match := iwPhy.FindStringSubmatch(part)
		if match == nil {
			continue
		}
		index, _ := strconv.Atoi(match[2])
		wiphys = append(wiphys, event.Wiphy{
			Index: int32(index), Name: match[1], CanSwitch: strings.Contains(part, "* set_wiphy_netns\n"),
		})
	}
	slices.SortFunc(wiphys, func(a, b event.Wiphy) int { return int(a.Index - b.Index) })
	return wiphys
}

// iwDevs returns the wireless interfaces of a namespace as iw(8) lists them, each
// as "name ifindex wiphy type wdev", those without a netdev as " 0 wiphy type wdev".
func iwDevs(t *testing.T, name string) []string {
	t.Helper()
	var devs []string
	var phy, dev, ifindex, wdev string
	for line := range strings.Lines(iw(t, name, "dev")) {
		match := iwDev.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		switch {
		case match == nil:
			if strings.Contains(line, "Unnamed/non-netdev") {
				dev, ifindex = "", "0"
			}
		case match[1] != "":
			phy = match[1]
		case match[2] != "":
			dev = match[2]
		case match[3] != "":
			ifindex = match[3]
		case match[4] != "":
			devs = append(devs, fmt.Sprintf("%s %s %s %s %s", dev, ifindex, phy, match[4], wdev))
		case match[5] != "":
			wdev = match[5]
		}
	}
	slices.Sort(devs)
	return devs
}

// sameRadios compares what a snapshot has of a namespace with iw(8).
func sameRadios(t *testing.T, name string, state event.NetnsState) {
	t.Helper()
	var wiphys []event.Wiphy
	for _, w := range state.Wiphys {
		wiphys = append(wiphys, event.Wiphy{Index: w.Index, Name: w.Name, CanSwitch: w.CanSwitch})
	}
	if want := iwPhys(t, name); !slices.Equal(wiphys, want) {
		t.Errorf("%q: wiphys %+v, iw has %+v", name, wiphys, want)
	}
	types := map[uint32]string{
		unix.NL80211_IFTYPE_STATION: "managed", unix.NL80211_IFTYPE_AP: "AP", unix.NL80211_IFTYPE_MONITOR: "monitor",
		unix.NL80211_IFTYPE_P2P_DEVICE: "P2P-device",
	}
	var devs, linked []string
	for _, link := range state.Links {
		if link.Wiphy >= 0 {
			linked = append(linked, fmt.Sprintf("%s %d %d %s", link.Name, link.Ifindex, link.Wiphy, types[link.Iftype]))
		}
	}
	for _, wdev := range state.Wdevs {
		name := ""
		for _, link := range state.Links {
			if link.Ifindex == wdev.Ifindex {
				name = link.Name
			}
		}
		dev := fmt.Sprintf("%s %d %d %s", name, wdev.Ifindex, wdev.Wiphy, types[wdev.Iftype])
		if wdev.Ifindex != 0 && !slices.Contains(linked, dev) {
			t.Errorf("%q: %q is no link, which are %q", name, dev, linked)
		}
		devs = append(devs, fmt.Sprintf("%s %#x", dev, wdev.ID))
	}
	slices.Sort(devs)
	if want := iwDevs(t, name); !slices.Equal(devs, want) {
		t.Errorf("%q: interfaces %q, iw has %q", name, devs, want)
	}
	sameDrivers(t, name, state)
}

// sameDrivers compares drivers with what ethtool -i gets from the kernel, which
// for a link without a driver is its kind, or nothing.
func sameDrivers(t *testing.T, name string, state event.NetnsState) {
	t.Helper()
	path := "/proc/self/ns/net"
	if name != "" {
		path = "/run/netns/" + name
	}
	drivers := map[string]string{}
	<-onOwnThread(func() {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(fd)
		socket := -1
		if err = unix.Setns(fd, unix.CLONE_NEWNET); err == nil {
			socket, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
		}
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(socket)
		for _, link := range state.Links {
			if info, err := unix.IoctlGetEthtoolDrvinfo(socket, link.Name); err == nil {
				drivers[link.Name] = unix.ByteSliceToString(info.Driver[:])
			}
		}
	})
	wireless := 0
	for _, link := range state.Links {
		want := drivers[link.Name]
		switch {
		case link.Wiphy >= 0:
			wireless++
			if want != "mac80211_hwsim" || link.Driver != want {
				t.Errorf("%q: the driver of %s is %q, ethtool has %q", name, link.Name, link.Driver, want)
			}
		case link.Driver != "" && link.Driver != want, link.Driver == "" && want != "" && link.Kind == "":
			t.Errorf("%q: the driver of %+v is %q, ethtool has %q", name, link, link.Driver, want)
		}
	}
	for _, w := range state.Wiphys {
		if w.Driver != "mac80211_hwsim" || !strings.HasPrefix(w.Device, "hwsim") {
			t.Errorf("%q: %s is %q of driver %q", name, w.Name, w.Device, w.Driver)
		}
	}
	if len(state.Wiphys) > 0 && wireless == 0 {
		t.Errorf("%q: no wireless links in %+v", name, state.Links)
	}
}

// Radios that come, move and go while the snapshot is taken are never an error.
func TestLabRadiosInMotion(t *testing.T) {
	withRadios(t, 2)
	name := uniqueName()
	addNetns(t, name)
	script := fmt.Sprintf(`
		for i in 1 2 3; do
			for phy in $(iw phy | sed -n 's/^Wiphy //p'); do iw phy $phy set netns name %s; done
			for phy in $(ip netns exec %[1]s iw phy | sed -n 's/^Wiphy //p'); do ip netns exec %[1]s iw phy $phy set netns 1; done
		done
		rmmod mac80211_hwsim; modprobe -r mac80211 cfg80211; modprobe mac80211_hwsim radios=2`, name)
	moving := exec.Command("sh", "-c", script)
	if err := moving.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- moving.Wait() }()
	errors := map[string]bool{}
	for count := 0; ; count++ {
		snapshot, err := Take(context.Background(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range snapshot.Errors {
			errors[problem] = true
		}
		select {
		case err := <-done:
			t.Logf("%d snapshots meanwhile; script: %v", count, err)
			if len(errors) != 0 {
				t.Errorf("errors: %q", slices.Sorted(maps.Keys(errors)))
			}
			return
		default:
		}
	}
}

// The namespaces lsns(8) finds and the named ones, which util-linux 2.38 leaves
// out, and no others.
func TestLabLsns(t *testing.T) {
	needLab(t)
	var named []string
	for range 3 {
		named = append(named, strconv.Itoa(int(addNetns(t, uniqueName()))))
	}
	sleeper := exec.Command("unshare", "--net", "sleep", "1000")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sleeper.Process.Kill(); _ = sleeper.Wait() }()
	own := fmt.Sprintf("net:[%d]", ownNetns(t))
	for { // until unshare has done it
		target, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", sleeper.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if target != own {
			break
		}
	}
	snapshot, _ := take(t)
	var got []string
	for _, ns := range snapshot.Namespaces {
		got = append(got, strconv.Itoa(int(ns.Inum)))
	}
	want := append(strings.Fields(string(run(t, "lsns", "-t", "net", "-n", "-o", "NS"))), named...)
	slices.Sort(got)
	slices.Sort(want)
	if want = slices.Compact(want); !slices.Equal(got, want) || len(got) != 5 {
		t.Errorf("got %q, lsns has %q", got, want)
	}
}
