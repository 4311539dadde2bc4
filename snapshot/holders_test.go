// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/event"
)

// helpers are what a process of a test's own does, by name: each makes
// namespaces that something of it keeps, and returns what to print of them.
var helpers = map[string]func() (string, error){}

// kernelTypes are read once for all tests.
var kernelTypes = btf.NewCache()

// TestMain runs a helper instead of the tests where it is told to.
func TestMain(m *testing.M) {
	helper := helpers[os.Getenv("SNAPSHOT_HELPER")]
	if helper == nil {
		os.Exit(m.Run())
	}
	runtime.LockOSThread()
	said, err := helper()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(said)
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test is over
}

// help runs a helper until the end of the test, and returns its PID and what it
// said.
func help(t testing.TB, name string) (pid int, said string) {
	t.Helper()
	needRoot(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SNAPSHOT_HELPER="+name)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	said, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, strings.TrimSpace(said)
}

// inNew makes a namespace, calls fn in it, goes back home and returns the inum.
func inNew(fn func() error) (string, error) {
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(home)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return "", err
	}
	inum, err := readNsLink("/proc", "thread-self", "net")
	return strconv.Itoa(int(inum)), errors.Join(err, fn(), unix.Setns(home, unix.CLONE_NEWNET))
}

// kept keeps what helpers open from the garbage collector.
var kept []*os.File

func keepOpen(path string, flags int) func() error {
	return func() error {
		file, err := os.OpenFile(path, flags, 0)
		kept = append(kept, file)
		return err
	}
}

func init() {
	helpers["file"] = func() (string, error) { return inNew(keepOpen("/proc/thread-self/ns/net", os.O_RDONLY)) }
	helpers["socket"] = func() (string, error) {
		return inNew(func() error {
			_, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			return err
		})
	}
	helpers["tun"] = func() (string, error) { return inNew(keepOpen("/dev/net/tun", os.O_RDWR)) }
	// Opened as seq_open_net and as single_open_net do.
	helpers["proc"] = func() (string, error) { return inNew(keepOpen("/proc/thread-self/net/dev", os.O_RDONLY)) }
	helpers["proc-single"] = func() (string, error) {
		return inNew(keepOpen("/proc/thread-self/net/sockstat", os.O_RDONLY))
	}
	helpers["thread"] = leaveThread
	helpers["flight"] = func() (string, error) { return inNew(sendAway) }
	helpers["mount"] = func() (string, error) { return inNew(mountPrivately) }
	helpers["many"] = func() (string, error) { return "", beMany() }
}

// leaveThread leaves a thread behind in a namespace of its own.
func leaveThread() (string, error) {
	said, failed := make(chan string), make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		inum, readErr := readNsLink("/proc", "thread-self", "net")
		failed <- errors.Join(err, readErr)
		said <- fmt.Sprintf("%d %d", inum, unix.Gettid())
		select {}
	}()
	err := <-failed
	return <-said, err
}

// sendAway sends the open namespace to oneself, where nobody takes it.
func sendAway() error {
	file, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(file)
	home, err := homeSockets()
	if err != nil {
		return err
	}
	return unix.Sendmsg(home[0], []byte{0}, unix.UnixRights(file), nil, 0)
}

// homeSockets makes a pair of sockets in the namespace of the process: what a
// new thread starts in, since Go starts none from one that is locked.
func homeSockets() (fds [2]int, err error) {
	<-onOwnThread(func() { fds, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0) })
	return fds, err
}

// mountPrivately mounts the namespace where only this thread's mount namespace
// sees it, which the thread stays in.
func mountPrivately() error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("snapshot-test", "/mnt", "tmpfs", 0, ""); err != nil {
		return err
	}
	if err := os.WriteFile("/mnt/a b", nil, 0o600); err != nil {
		return err
	}
	return unix.Mount("/proc/thread-self/ns/net", "/mnt/a b", "", unix.MS_BIND, "")
}

// beMany starts many processes that wait, each with a file open.
func beMany() error {
	count, err := strconv.Atoi(os.Getenv("SNAPSHOT_MANY"))
	if err != nil {
		return err
	}
	for range count {
		cmd := exec.Command("sleep", "1000")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
		if err := cmd.Start(); err != nil {
			return err
		}
	}
	return nil
}

// Each kind of holder that alone keeps a namespace alive is found, and shown, and
// what is in the namespace too.
func TestTakeHolders(t *testing.T) {
	needSurvey(t)
	for _, test := range []struct {
		helper, kind string
		// path is the holder's without the task's directory in /proc.
		path  string
		enter bool
	}{
		{"file", "file", "fd/*", true},
		{"socket", "socket", "fd/*", true},
		{"tun", "tun", "fd/*", true},
		// Nothing leads from such a file to its namespace, nor from what is on
		// its way, but from 6.18 on the kernel finds all by their number; from
		// 6.19 on only those in use, which a file of /proc/net doesn't count for.
		{"proc", "proc", "fd/*", kernelHas(6, 18) && !kernelHas(6, 19)},
		{"proc-single", "proc", "fd/*", kernelHas(6, 18) && !kernelHas(6, 19)},
		{"flight", "", "", kernelHas(6, 18)},
	} {
		t.Run(test.helper, func(t *testing.T) {
			if test.helper == "tun" {
				needTun(t)
			}
			pid, said := help(t, test.helper)
			inum, err := strconv.Atoi(said)
			if err != nil {
				t.Fatal(err)
			}
			snapshot, states := take(t)
			state, ok := states[uint32(inum)]
			if !ok {
				t.Fatalf("net:[%d] is not found", inum)
			}
			if test.enter != (len(state.Links) > 0) {
				t.Errorf("links: %+v, errors: %q", state.Links, snapshot.Errors)
			}
			if test.enter == slices.ContainsFunc(snapshot.Errors, func(s string) bool { return strings.Contains(s, errNoWay.Error()) }) {
				t.Errorf("errors: %q", snapshot.Errors)
			}
			if state.Ptr == 0 || state.References == 0 || state.OwnerUserNS != ownUserNS(t) {
				t.Errorf("it is %+v", state)
			}
			if test.kind == "" {
				if len(state.Holders) != 0 || state.Held != (event.HoldCounts{}) {
					t.Errorf("held by %+v", state.Holders)
				}
				return
			}
			if len(state.Holders) != 1 || state.Held != (event.HoldCounts{Files: 1}) {
				t.Fatalf("held by %+v, %+v", state.Holders, state.Held)
			}
			holder := state.Holders[0]
			within, _ := strings.CutPrefix(holder.Path, fmt.Sprintf("/proc/%d/", pid))
			if matched, _ := filepath.Match(test.path, within); !matched || holder.Kind != test.kind || holder.PID != uint32(pid) || holder.Comm == "" {
				t.Errorf("held by %+v, of process %d", holder, pid)
			}
		})
	}
}

// needSurvey skips a test where the kernel lets nobody read its lists. In the
// lab it does.
func needSurvey(t testing.TB) {
	t.Helper()
	needRoot(t)
	s, err := newSurvey(kernelTypes)
	if err != nil && os.Getenv("NSTRACE_LAB") == "1" {
		t.Fatal(err)
	}
	if err != nil {
		t.Skipf("no BPF iterators here: %v", err)
	}
	s.close()
}

// needTun sees to /dev/net/tun. In the lab it is there.
func needTun(t *testing.T) {
	t.Helper()
	_ = exec.Command("modprobe", "tun").Run()
	file, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil && os.Getenv("NSTRACE_LAB") == "1" {
		t.Fatal(err)
	}
	if err != nil {
		t.Skip(err)
	}
	file.Close()
}

// A namespace that is only mounted, in a mount namespace that isn't ours.
func TestTakeMountElsewhere(t *testing.T) {
	needSurvey(t)
	pid, said := help(t, "mount")
	inum, err := strconv.Atoi(said)
	if err != nil {
		t.Fatal(err)
	}
	snapshot, states := take(t)
	state, ok := states[uint32(inum)]
	if !ok || len(state.Links) == 0 || len(state.Holders) != 1 || state.Held != (event.HoldCounts{OtherMounts: 1}) || state.Names != nil {
		t.Fatalf("it is %+v, errors %q", state, snapshot.Errors)
	}
	holder := state.Holders[0]
	if holder.Kind != "mount" || holder.Path != "/mnt/a b" || holder.PID != uint32(pid) || holder.MountNS == 0 {
		t.Errorf("held by %+v, of process %d", holder, pid)
	}
}

// The kernel's own list has those and no others that anything else says exist.
func TestSurveyNets(t *testing.T) {
	needSurvey(t)
	s, err := newSurvey(kernelTypes)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	before, err := s.nets()
	if err != nil {
		t.Fatal(err)
	}
	// More than fit into a part.
	count := 2*surveyPage + 10
	added := inumsOf(t, addMany(t, count), count)
	after, err := s.nets()
	if err != nil {
		t.Fatal(err)
	}
	byInum := map[uint32]row{}
	for _, r := range after {
		byInum[r.Net.Inum] = r
	}
	if len(byInum) != len(after) {
		t.Errorf("%d namespaces, %d inums", len(after), len(byInum))
	}
	for inum := range added {
		if _, ok := byInum[inum]; !ok {
			t.Errorf("net:[%d] was added, and isn't there", inum)
		}
	}
	// Of those that were there before some may be on their way out.
	for _, r := range after {
		if !added[r.Net.Inum] && !slices.ContainsFunc(before, func(x row) bool { return x.Net.Inum == r.Net.Inum }) {
			t.Errorf("net:[%d] is there, and wasn't added", r.Net.Inum)
		}
	}
	if own := byInum[ownNetns(t)]; own.References <= 0 || own.UserInum != ownUserNS(t) {
		t.Errorf("the own one is %+v", own)
	}
	_, states := take(t)
	for inum, state := range states {
		if r := byInum[inum]; r.Net.Ptr != state.Ptr || state.Ptr == 0 {
			t.Errorf("net:[%d] is at %#x, and at %#x in the snapshot", inum, r.Net.Ptr, state.Ptr)
		}
	}
}

// A list that changes all the while is read whole: of what stays nothing is
// missing.
func TestSurveyNetsInMotion(t *testing.T) {
	needSurvey(t)
	s, err := newSurvey(kernelTypes)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	stays := inumsOf(t, addMany(t, 3*surveyPage), 3*surveyPage)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				<-onOwnThread(func() { _ = unix.Unshare(unix.CLONE_NEWNET) })
			}
		}
	}()
	rounds := 200
	moved := 0
	for range rounds {
		rows, err := s.nets()
		if errors.Is(err, errListMoved) {
			moved++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		there := map[uint64]bool{}
		missing := maps.Clone(stays)
		for _, r := range rows {
			if there[r.Net.Ptr] {
				t.Errorf("%#x is listed twice", r.Net.Ptr)
			}
			there[r.Net.Ptr] = true
			delete(missing, r.Net.Inum)
		}
		for inum := range missing {
			t.Fatalf("net:[%d] is missing", inum)
		}
	}
	close(stop)
	<-done
	if moved > rounds/10 {
		t.Errorf("%d of %d times the list couldn't be read", moved, rounds)
	}
}
