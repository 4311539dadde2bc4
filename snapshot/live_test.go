// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/event"
)

// needRoot skips a test that has to make namespaces. As root a missing feature
// fails it.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
}

func run(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

var nameCount atomic.Int32

// uniqueName returns a name no other test on this machine has.
func uniqueName() string {
	return fmt.Sprintf("snap-%d-%d", os.Getpid(), nameCount.Add(1))
}

// addNetns makes a namespace that is removed with the test.
func addNetns(t testing.TB, name string) (inum uint32) {
	t.Helper()
	needRoot(t)
	run(t, "ip", "netns", "add", name)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	var stat unix.Stat_t
	if err := unix.Stat(filepath.Join("/run/netns", name), &stat); err != nil {
		t.Fatal(err)
	}
	return uint32(stat.Ino)
}

// take takes a snapshot and returns it by inum.
func take(t testing.TB) (event.Snapshot, map[uint32]event.NetnsState) {
	t.Helper()
	taker := NewTaker(kernelTypes)
	defer taker.Close()
	snapshot, err := taker.Take(context.Background(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	states := map[uint32]event.NetnsState{}
	for _, ns := range snapshot.Namespaces {
		if _, twice := states[ns.Inum]; twice {
			t.Errorf("net:[%d] is there twice", ns.Inum)
		}
		states[ns.Inum] = ns
	}
	return snapshot, states
}

// ownNetns returns the inum of the test's own namespace.
func ownNetns(t testing.TB) uint32 {
	t.Helper()
	target, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	inum, ok := parseNetLink(target)
	if !ok {
		t.Fatalf("/proc/self/ns/net is %q", target)
	}
	return inum
}

// ownUserNS returns the inum of the test's own user namespace.
func ownUserNS(t testing.TB) uint32 {
	t.Helper()
	target, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	inum, _ := parseNsLink(target, "user")
	return inum
}

// The own namespace is there without any privilege, with its links.
func TestTakeOwn(t *testing.T) {
	before := boottime()
	snapshot, states := take(t)
	after := boottime()
	own, ok := states[ownNetns(t)]
	if !ok || len(own.Links) == 0 || own.Links[0].Name != "lo" || own.Links[0].Ifindex != 1 {
		t.Fatalf("the own namespace is %+v", own)
	}
	lo := own.Links[0]
	if !lo.Stats || lo.StatsTime < before || lo.StatsTime > after || lo.DevType != unix.ARPHRD_LOOPBACK || lo.Wiphy != -1 {
		t.Errorf("lo is %+v", lo)
	}
	if own.OwnerUserNS == 0 {
		t.Errorf("owner of the own namespace is unknown")
	}
	if snapshot.Begin < before || snapshot.Finish > after || snapshot.Begin > snapshot.Finish {
		t.Errorf("snapshot from %d to %d, between %d and %d", snapshot.Begin, snapshot.Finish, before, after)
	}
	if snapshot.Closing {
		t.Error("it says it is the closing one")
	}
}

// ipLink is what `ip -j -d -s link` says of a link.
type ipLink struct {
	Ifindex  int32  `json:"ifindex"`
	Ifname   string `json:"ifname"`
	Linkinfo struct {
		Kind string `json:"info_kind"`
	} `json:"linkinfo"`
	Stats struct {
		Rx struct{ Packets, Bytes uint64 } `json:"rx"`
	} `json:"stats64"`
}

// ipLinks asks ip(8) for the links of a named namespace.
func ipLinks(t testing.TB, name string) []ipLink {
	t.Helper()
	var links []ipLink
	out := run(t, "ip", "-n", name, "-j", "-d", "-s", "link")
	if err := json.Unmarshal(out, &links); err != nil {
		t.Fatalf("ip -j link: %v\n%s", err, out)
	}
	slices.SortFunc(links, func(a, b ipLink) int { return int(a.Ifindex - b.Ifindex) })
	return links
}

// sameLinks compares links with what ip(8) says.
func sameLinks(t testing.TB, name string, got []event.Link) {
	t.Helper()
	want := ipLinks(t, name)
	if len(got) != len(want) {
		t.Errorf("%s: %d links, ip has %d", name, len(got), len(want))
		return
	}
	for i, link := range got {
		ip := want[i]
		if link.Ifindex != ip.Ifindex || link.Name != ip.Ifname || link.Kind != ip.Linkinfo.Kind ||
			!link.Stats || link.RxPackets != ip.Stats.Rx.Packets || link.RxBytes != ip.Stats.Rx.Bytes {
			t.Errorf("%s: %+v, ip has %+v", name, link, ip)
		}
	}
}

func TestTakeNamed(t *testing.T) {
	name := uniqueName()
	inum := addNetns(t, name)
	run(t, "ip", "-n", name, "link", "set", "lo", "up")
	// Some traffic, of which every packet is counted on both sides.
	run(t, "ip", "netns", "exec", name, "sh", "-c", "echo hello > /dev/udp/127.0.0.1/9 2>/dev/null || ping -c 3 -i 0.2 127.0.0.1 > /dev/null")
	snapshot, states := take(t)
	state, ok := states[inum]
	if !ok {
		t.Fatalf("net:[%d] is not in the snapshot", inum)
	}
	if !slices.Equal(state.Names, []string{name}) || state.Initial {
		t.Errorf("names %q, initial %v", state.Names, state.Initial)
	}
	if want := []event.Holder{{Kind: "mount", Path: "/run/netns/" + name}}; !slices.Equal(state.Holders, want) {
		t.Errorf("holders %+v, want %+v", state.Holders, want)
	}
	if state.OwnerUserNS != ownUserNS(t) {
		t.Errorf("owner user namespace %d, want %d", state.OwnerUserNS, ownUserNS(t))
	}
	if state.Links[0].RxPackets == 0 {
		t.Errorf("lo received nothing: %+v", state.Links)
	}
	sameLinks(t, name, state.Links)
	checkCookie(t, state)
	if len(snapshot.Errors) != 0 {
		t.Logf("errors: %q", snapshot.Errors)
	}
}

// checkCookie checks that a cookie is there where the kernel has one.
func checkCookie(t *testing.T, state event.NetnsState) {
	t.Helper()
	if !kernelHas(5, 14) {
		if state.Cookie != 0 {
			t.Errorf("cookie %d from a kernel without SO_NETNS_COOKIE", state.Cookie)
		}
		return
	}
	if state.Cookie == 0 {
		t.Errorf("net:[%d] has no cookie", state.Inum)
	}
	var fromFile uint64
	for _, holder := range state.Holders {
		if holder.Kind == "mount" {
			fd, err := openNamespace(holder.Path, state.Inum)
			if err != nil {
				t.Fatal(err)
			}
			fromFile = openCookie(fd)
			_ = unix.Close(fd)
		}
	}
	if fromFile != state.Cookie {
		t.Errorf("cookie %d by its file, %d by a socket", fromFile, state.Cookie)
	}
}

// kernelHas reports whether the kernel is of a version or newer.
func kernelHas(major, minor int) bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	var a, b int
	_, _ = fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &a, &b)
	return a > major || (a == major && b >= minor)
}

// Kernels without veth have dummy.
func TestTakeLinkKind(t *testing.T) {
	name := uniqueName()
	inum := addNetns(t, name)
	kind := "veth"
	if out, err := exec.Command("ip", "-n", name, "link", "add", "v-left", "type", "veth", "peer", "name", "v-right").CombinedOutput(); err != nil {
		t.Logf("no veth: %s", out)
		kind = "dummy"
		run(t, "ip", "-n", name, "link", "add", "v-left", "type", "dummy")
	}
	_, states := take(t)
	sameLinks(t, name, states[inum].Links)
	if !slices.ContainsFunc(states[inum].Links, func(l event.Link) bool { return l.Name == "v-left" && l.Kind == kind }) {
		t.Errorf("no link v-left of kind %s: %+v", kind, states[inum].Links)
	}
}

// linkNamed returns the link of that name.
func linkNamed(t testing.TB, state event.NetnsState, name string) event.Link {
	t.Helper()
	for _, link := range state.Links {
		if link.Name == name {
			return link
		}
	}
	t.Fatalf("there is no %s in %+v", name, state.Links)
	panic("unreachable")
}

// needVeth skips a test where there are no veth pairs. In the lab there are.
func needVeth(t testing.TB) {
	t.Helper()
	needRoot(t)
	name := fmt.Sprintf("v%d", os.Getpid())
	out, err := exec.Command("ip", "link", "add", name, "type", "veth").CombinedOutput()
	if err != nil && os.Getenv("NSTRACE_LAB") != "1" {
		t.Skipf("no veth: %s", out)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run(t, "ip", "link", "del", name)
}

// A pair between two namespaces, one end of it a port of a bridge: each end says
// where the other is, and how things are.
func TestTakePair(t *testing.T) {
	needVeth(t)
	one, two := uniqueName(), uniqueName()
	oneInum, twoInum := addNetns(t, one), addNetns(t, two)
	// Numbers that differ, and from those that others have.
	run(t, "ip", "-n", one, "netns", "set", two, "41")
	run(t, "ip", "-n", two, "netns", "set", one, "42")
	run(t, "ip", "-n", one, "link", "add", "left", "type", "veth", "peer", "name", "right", "netns", two)
	run(t, "ip", "-n", one, "link", "add", "bridge", "type", "bridge")
	run(t, "ip", "-n", one, "link", "set", "left", "master", "bridge", "up")
	run(t, "ip", "-n", two, "link", "property", "add", "dev", "right", "altname", "right-by-a-name-longer-than-any")
	// The kernel gets to operational states by and by (linkwatch).
	for strings.Contains(string(run(t, "ip", "-n", one, "link", "show", "dev", "left")), "state UNKNOWN") {
		runtime.Gosched()
	}
	_, states := take(t)
	left, bridge := linkNamed(t, states[oneInum], "left"), linkNamed(t, states[oneInum], "bridge")
	right := linkNamed(t, states[twoInum], "right")
	if left.Lower != right.Ifindex || right.Lower != left.Ifindex || left.LowerNSID == nil || *left.LowerNSID != 41 || right.LowerNSID == nil || *right.LowerNSID != 42 {
		t.Errorf("they are %+v and %+v", left, right)
	}
	if left.Master != bridge.Ifindex || bridge.Master != 0 || bridge.Lower != 0 || bridge.LowerNSID != nil {
		t.Errorf("they are %+v and %+v", left, bridge)
	}
	if left.Flags&unix.IFF_UP == 0 || right.Flags&unix.IFF_UP != 0 || left.OperState == 0 || right.OperState != operDown {
		t.Errorf("they are %+v and %+v", left, right)
	}
	if !slices.Equal(right.AltNames, []string{"right-by-a-name-longer-than-any"}) || left.AltNames != nil {
		t.Errorf("they are %+v and %+v", left, right)
	}
	for _, end := range []struct {
		state event.NetnsState
		want  event.NSID
	}{
		{states[oneInum], event.NSID{ID: 41, Inum: twoInum, Cookie: states[twoInum].Cookie}},
		{states[twoInum], event.NSID{ID: 42, Inum: oneInum, Cookie: states[oneInum].Cookie}},
	} {
		if !slices.Equal(end.state.NSIDs, []event.NSID{end.want}) {
			t.Errorf("nsids of net:[%d]: %+v, want %+v", end.state.Inum, end.state.NSIDs, end.want)
		}
	}
}

// operDown is IF_OPER_DOWN of include/uapi/linux/if.h.
const operDown = 2

// What ip(8) lists of the numbers of many namespaces, with one of which every
// other has a pair, and with its next.
func TestTakeNSIDs(t *testing.T) {
	needVeth(t)
	const count = 12
	var names []string
	inums := map[uint32]string{}
	for range count {
		name := uniqueName()
		names = append(names, name)
		inums[addNetns(t, name)] = name
	}
	for i, name := range names {
		for j, other := range []string{names[0], names[(i+1)%count]} {
			if other != name {
				run(t, "ip", "-n", name, "link", "add", fmt.Sprintf("to%d", j), "type", "veth", "peer", "name", fmt.Sprintf("from%d-%d", i, j), "netns", other)
			}
		}
	}
	_, states := take(t)
	listed := regexp.MustCompile(`(?m)^nsid (\d+) (?:current-nsid \d+ )?\(iproute2 netns name: (.*?)\)`)
	total := 0
	for inum, name := range inums {
		var got, want []string
		for _, id := range states[inum].NSIDs {
			got = append(got, fmt.Sprint(id.ID, " ", inums[id.Inum]))
		}
		for _, match := range listed.FindAllStringSubmatch(string(run(t, "ip", "-n", name, "netns", "list-id")), -1) {
			want = append(want, match[1]+" "+match[2])
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: nsids %q, ip has %q", name, got, want)
		}
		total += len(want)
	}
	if total < 2*count {
		t.Errorf("ip lists %d nsids in all", total)
	}
}

// addBridges makes bridges in a named namespace.
func addBridges(t testing.TB, name string, count int) {
	t.Helper()
	var batch bytes.Buffer
	for i := range count {
		fmt.Fprintf(&batch, "link add br%d type bridge\n", i)
	}
	cmd := exec.Command("ip", "-n", name, "-batch", "-")
	cmd.Stdin = &batch
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("add %d bridges: %v\n%s", count, err, out)
	}
}

// More links than fit into one answer of the kernel.
func TestTakeManyLinks(t *testing.T) {
	name := uniqueName()
	inum := addNetns(t, name)
	addBridges(t, name, 300)
	_, states := take(t)
	sameLinks(t, name, states[inum].Links)
}

// Links that come and go while they are listed interrupt the listing.
func TestTakeChangingLinks(t *testing.T) {
	name := uniqueName()
	inum := addNetns(t, name)
	addBridges(t, name, 100)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				_ = exec.Command("ip", "-n", name, "link", "add", "x", "type", "bridge").Run()
				_ = exec.Command("ip", "-n", name, "link", "del", "x").Run()
			}
		}
	}()
	for range 10 {
		snapshot, states := take(t)
		if links := states[inum].Links; len(links) < 101 && !slices.ContainsFunc(snapshot.Errors, isInterrupted) {
			t.Errorf("%d links, errors %q", len(links), snapshot.Errors)
		}
	}
	close(stop)
	<-done
}

func isInterrupted(problem string) bool { return strings.Contains(problem, errDumpInterrupted.Error()) }

// A namespace that only one thread of a process is in, and no mount.
func TestTakeThread(t *testing.T) {
	needSurvey(t)
	pid, said := help(t, "thread")
	var inum, tid int
	if _, err := fmt.Sscan(said, &inum, &tid); err != nil {
		t.Fatal(err)
	}
	_, states := take(t)
	want := []event.Holder{{Kind: "task", PID: uint32(pid), TID: uint32(tid), Path: fmt.Sprintf("/proc/%d/task/%d/ns/net", pid, tid)}}
	state := states[uint32(inum)]
	for i := range state.Holders {
		if state.Holders[i].Comm == "" {
			t.Errorf("holder %+v has no name", state.Holders[i])
		}
		state.Holders[i].Comm, state.Holders[i].Cgroup = "", ""
	}
	if !slices.Equal(state.Holders, want) || len(state.Links) != 1 || state.Held != (event.HoldCounts{Tasks: 1}) {
		t.Errorf("it is %+v, want holders %+v", state, want)
	}
}

// numbers returns the entries of a directory that are numbers.
func numbers(t *testing.T, dir string) []int {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, entry := range entries {
		if n, err := strconv.Atoi(entry.Name()); err == nil {
			out = append(out, n)
		}
	}
	return out
}

// The process itself stays where it is, and nothing leaks.
func TestTakeLeavesNoTrace(t *testing.T) {
	name := uniqueName()
	inum := addNetns(t, name)
	own := ownNetns(t)
	take(t)
	settle := func() (files, threads int) {
		time.Sleep(50 * time.Millisecond)
		return len(numbers(t, "/proc/self/fd")), len(numbers(t, "/proc/self/task"))
	}
	files, threads := settle()
	for range 20 {
		take(t)
	}
	filesAfter, threadsAfter := settle()
	if filesAfter > files || threadsAfter > threads+4 {
		t.Errorf("%d open files became %d, %d threads %d", files, filesAfter, threads, threadsAfter)
	}
	for _, tid := range numbers(t, "/proc/self/task") {
		if target, _ := os.Readlink(fmt.Sprintf("/proc/self/task/%d/ns/net", tid)); target == fmt.Sprintf("net:[%d]", inum) {
			t.Errorf("thread %d is still in net:[%d]", tid, inum)
		}
	}
	if ownNetns(t) != own {
		t.Error("the process was moved")
	}
}

// The main thread is never the one that visits.
func TestOwnThreadIsNotMain(t *testing.T) {
	for range 100 {
		tid := 0
		<-onOwnThread(func() { tid = unix.Gettid() })
		if tid == unix.Getpid() {
			t.Fatal("it was the main thread")
		}
	}
}

func TestTakeInitial(t *testing.T) {
	needRoot(t)
	inum, err := InitialNetns()
	if err != nil {
		t.Skipf("in a container: %v", err)
	}
	snapshot, states := take(t)
	if !snapshot.Namespaces[0].Initial || !states[inum].Initial {
		t.Errorf("net:[%d] is not the initial namespace; first is %+v", inum, snapshot.Namespaces[0])
	}
	if kernelHas(6, 18) && inum != initNetInum {
		t.Errorf("the initial namespace is net:[%d], this kernel says %d", inum, uint32(initNetInum))
	}
	for i, ns := range snapshot.Namespaces[1:] {
		if ns.Initial || (i > 0 && ns.Inum <= snapshot.Namespaces[i].Inum) {
			t.Errorf("net:[%d], initial %v, is out of order", ns.Inum, ns.Initial)
		}
	}
}

func TestTakeCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Take(ctx, Options{}); err == nil {
		t.Error("a snapshot with an ended context is no error")
	}
}

// Without capabilities there is the own namespace, and what is missing is said.
func TestTakeUnprivileged(t *testing.T) {
	name := uniqueName()
	inum := addNetns(t, name)
	cmd := exec.Command(os.Args[0], "-test.run=TestHelperUnprivileged")
	cmd.Env = append(os.Environ(), "SNAPSHOT_HELPER=unprivileged")
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var snapshot event.Snapshot
	line, _, _ := bytes.Cut(text, []byte("\n"))
	if err := json.Unmarshal(line, &snapshot); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if len(snapshot.Errors) == 0 || len(snapshot.Errors) > 5 {
		t.Errorf("errors: %q", snapshot.Errors)
	}
	var seen bool
	for _, ns := range snapshot.Namespaces {
		if ns.Inum == inum {
			seen = true
			if ns.Links != nil || !slices.Equal(ns.Names, []string{name}) {
				t.Errorf("it is %+v", ns)
			}
		}
		if ns.Inum == ownNetns(t) && len(ns.Links) == 0 {
			t.Errorf("the own namespace has no links: %q", snapshot.Errors)
		}
	}
	if !seen {
		t.Errorf("net:[%d] is not in it", inum)
	}
}

// TestHelperUnprivileged is no test but the process of TestTakeUnprivileged.
func TestHelperUnprivileged(t *testing.T) {
	if os.Getenv("SNAPSHOT_HELPER") != "unprivileged" {
		t.Skip("runs in a process of its own only")
	}
	// Every thread of the process: the Go runtime sees to it.
	if err := syscall.Setuid(65534); err != nil {
		t.Fatal(err)
	}
	snapshot, err := Take(context.Background(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(snapshot)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(string(text))
}

// addMany makes namespaces with names quickly and returns a way to remove them.
func addMany(t testing.TB, count int) (prefix string) {
	t.Helper()
	needRoot(t)
	prefix = uniqueName() + "-n"
	batch := func(verb string) *exec.Cmd {
		var text bytes.Buffer
		for i := range count {
			fmt.Fprintf(&text, "netns %s %s%s\n", verb, prefix, strconv.Itoa(i))
		}
		cmd := exec.Command("ip", "-force", "-batch", "-")
		cmd.Stdin = &text
		return cmd
	}
	t.Cleanup(func() { _ = batch("del").Run() })
	if out, err := batch("add").CombinedOutput(); err != nil {
		t.Fatalf("add %d namespaces: %v\n%s", count, err, out)
	}
	return prefix
}

// inumsOf returns the inums of those that addMany has made.
func inumsOf(t testing.TB, prefix string, count int) map[uint32]bool {
	t.Helper()
	inums := map[uint32]bool{}
	for i := range count {
		var stat unix.Stat_t
		if err := unix.Stat("/run/netns/"+prefix+strconv.Itoa(i), &stat); err != nil {
			t.Fatal(err)
		}
		inums[uint32(stat.Ino)] = true
	}
	return inums
}

// A thousand namespaces in well under a second.
func TestTakeThousand(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 1000 namespaces")
	}
	prefix := addMany(t, 1000)
	begin := time.Now()
	snapshot, _ := take(t)
	took := time.Since(begin)
	count := 0
	for _, ns := range snapshot.Namespaces {
		if len(ns.Names) == 1 && strings.HasPrefix(ns.Names[0], prefix) {
			count++
			if len(ns.Links) == 0 || (kernelHas(5, 14) && ns.Cookie == 0) {
				t.Errorf("%+v", ns)
			}
		}
	}
	if count != 1000 {
		t.Errorf("%d of 1000 namespaces", count)
	}
	t.Logf("%d namespaces in %v on %d CPUs, errors %q", len(snapshot.Namespaces), took, runtime.NumCPU(), snapshot.Errors)
	if took > time.Minute {
		t.Errorf("that is too long even for an emulated machine that is busy")
	}
}

func BenchmarkTake(b *testing.B) {
	needRoot(b)
	for b.Loop() {
		if _, err := Take(context.Background(), Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTakeHundred(b *testing.B) {
	addMany(b, 100)
	for b.Loop() {
		if _, err := Take(context.Background(), Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
