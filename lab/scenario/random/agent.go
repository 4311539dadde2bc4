// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// agent is another process, which lives in a namespace and does there what it is told: one order a line, each
// answered with an errno and, behind a space, what else there is to say.
type agent struct {
	pid  int
	fd   int // a pidfd
	in   *os.File
	out  *os.File
	read *bufio.Reader
	// user says that it is in a user namespace of its own, mounts in a mount namespace of its own.
	user, mounts bool
	// others is a thread that stayed where it began when the first one left, 0 if that never did.
	others int
	// The ends of the pipes by which a child of its own will be told; nil if it can have none (any more).
	childIn, childOut *os.File
}

// patience is what any one thing may take: much, on an emulated machine that others keep busy.
const patience = 5 * time.Minute

// startAgent starts a process with new namespaces (CLONE_NEWNET, CLONE_NEWUSER). The calling thread's are the
// others it has.
func startAgent(flags uintptr) (*agent, error) {
	a := &agent{user: flags&unix.CLONE_NEWUSER != 0, mounts: flags&unix.CLONE_NEWNS != 0}
	cmd := agentCommand(flags)
	in, err := pipeTo(&a.in)
	if err != nil {
		return nil, err
	}
	out, err := pipeFrom(&a.out)
	if err != nil {
		return nil, err
	}
	theirs := []*os.File{in, out}
	cmd.Stdin, cmd.Stdout = in, out
	if a.user {
		childIn, err := pipeTo(&a.childIn)
		if err != nil {
			return nil, err
		}
		childOut, err := pipeFrom(&a.childOut)
		if err != nil {
			return nil, err
		}
		theirs = append(theirs, childIn, childOut)
		cmd.ExtraFiles = []*os.File{childIn, childOut}
	}
	err = cmd.Start()
	for _, file := range theirs {
		file.Close()
	}
	if err != nil {
		a.close()
		return nil, err
	}
	go func() { _ = cmd.Wait() }()
	return a, a.meet(cmd.Process.Pid)
}

// agentCommand is how an agent is started.
func agentCommand(flags uintptr) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", agentRole)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	if flags&unix.CLONE_NEWUSER != 0 {
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = ids, ids
	}
	return cmd
}

// meet waits until the process is ready.
func (a *agent) meet(pid int) (err error) {
	a.pid, a.read = pid, bufio.NewReader(a.out)
	if a.fd, err = unix.PidfdOpen(pid, 0); err != nil {
		return fmt.Errorf("opening process %d: %w", pid, err)
	}
	_, err = a.answer()
	return err
}

// tell gives the agent an order and returns what it says.
func (a *agent) tell(order ...string) (string, error) {
	if _, err := io.WriteString(a.in, strings.Join(order, " ")+"\n"); err != nil {
		return "", fmt.Errorf("telling process %d to %q: %w", a.pid, order, notAnErrno(err))
	}
	return a.answer()
}

func (a *agent) answer() (string, error) {
	line, err := a.read.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("listening to process %d: %w", a.pid, notAnErrno(err))
	}
	var errno int
	number, said, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	if _, err := fmt.Sscan(number, &errno); err != nil {
		return "", fmt.Errorf("process %d said %q", a.pid, line)
	}
	if errno != 0 {
		return said, syscall.Errno(errno)
	}
	return said, nil
}

// nest has the agent start a process in further user and network namespaces.
func (a *agent) nest() (*agent, error) {
	child := &agent{user: true, in: a.childIn, out: a.childOut}
	said, err := a.tell("nest")
	if err != nil {
		return nil, err
	}
	a.childIn, a.childOut = nil, nil
	var pid int
	if _, err := fmt.Sscan(said, &pid); err != nil {
		return nil, fmt.Errorf("process %d said %q", a.pid, said)
	}
	return child, child.meet(pid)
}

// end ends the process, by an order or by SIGKILL, and waits until it has let go of everything.
func (a *agent) end(kill bool) error {
	if kill {
		if err := unix.Kill(a.pid, unix.SIGKILL); err != nil {
			return err
		}
	}
	a.close()
	defer unix.Close(a.fd)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(a.fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return notAnErrno(err)
		case n == 0:
			return fmt.Errorf("process %d doesn't end", a.pid)
		default:
			return nil
		}
	}
}

// otherThread returns the number of a thread that isn't the process's first.
func (a *agent) otherThread() (int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", a.pid))
	if err != nil {
		return 0, notAnErrno(err)
	}
	for _, entry := range entries {
		if tid, err := strconv.Atoi(entry.Name()); err == nil && tid != a.pid {
			return tid, nil
		}
	}
	return 0, fmt.Errorf("process %d has one thread", a.pid)
}

func (a *agent) close() {
	for _, file := range []*os.File{a.in, a.out, a.childIn, a.childOut} {
		if file != nil {
			file.Close()
		}
	}
}

// pipeTo makes a pipe and returns its reading end; the writing end goes to ours.
func pipeTo(ours **os.File) (theirs *os.File, err error) {
	theirs, *ours, err = os.Pipe()
	return theirs, notAnErrno(err)
}

func pipeFrom(ours **os.File) (theirs *os.File, err error) {
	*ours, theirs, err = os.Pipe()
	return theirs, notAnErrno(err)
}

// The numbers an agent has those pipes' other ends under.
const (
	childIn  = 3
	childOut = 4
)

// beAgent is what an agent does. The main goroutine has the process's first thread, the one that is meant by
// the process's number.
func beAgent() {
	runtime.GOMAXPROCS(1)
	for _, fd := range []int{childIn, childOut} {
		unix.CloseOnExec(fd) // if it is there: only a child gets them, under other numbers
	}
	fmt.Println(0)
	orders := bufio.NewReader(os.Stdin)
	for {
		line, err := orders.ReadString('\n')
		if err != nil {
			return
		}
		said, err := obey(strings.Fields(line))
		errno := 0
		if err != nil {
			if errno = errnoOf(err); errno == 0 {
				fmt.Fprintln(os.Stderr, "random: agent:", err)
				os.Exit(1)
			}
		}
		fmt.Println(errno, said)
	}
}

func obey(order []string) (said string, err error) {
	switch order[0] {
	case "unshare":
		return "", unix.Unshare(unix.CLONE_NEWNET)
	case "enter":
		file, err := os.Open(order[1])
		if err != nil {
			return "", err
		}
		defer file.Close()
		return "", unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
	case "mount":
		return "", mountPrivately(order[1], order[2])
	case "add":
		return "", askForLink(simple{name: order[1], kind: "dummy"}.request())
	case "give":
		index, _ := strconv.Atoi(order[1])
		task, _ := strconv.Atoi(order[2])
		r := request{command: unix.RTM_SETLINK, index: index}
		r.attributes = func(a *netlink.AttributeEncoder) { a.Uint32(unix.IFLA_NET_NS_PID, uint32(task)) }
		return "", askForLink(r)
	case "nest":
		return nest()
	}
	return "", fmt.Errorf("unknown order %q", order)
}

// nest starts an agent in further namespaces.
func nest() (string, error) {
	cmd := agentCommand(unix.CLONE_NEWUSER | unix.CLONE_NEWNET)
	in, out := os.NewFile(childIn, "in"), os.NewFile(childOut, "out")
	cmd.Stdin, cmd.Stdout = in, out
	if err := cmd.Start(); err != nil {
		return "", err
	}
	in.Close()
	out.Close()
	go func() { _ = cmd.Wait() }()
	return fmt.Sprint(cmd.Process.Pid), nil
}

// mountPrivately mounts a namespace at a path of a file system that only this process's mount namespace has.
func mountPrivately(namespace, path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var there, above unix.Stat_t
	if err := errors.Join(unix.Stat(dir, &there), unix.Stat(filepath.Dir(dir), &above)); err != nil {
		return err
	}
	if there.Dev == above.Dev {
		if err := unix.Mount("private", dir, "tmpfs", 0, ""); err != nil {
			return err
		}
	}
	return bind(namespace, path)
}

// askForLink asks rtnetlink of the namespace that this process is in.
func askForLink(r request) error {
	conn, err := dialRoute()
	if err != nil {
		return err
	}
	defer conn.Close()
	return r.do(conn)
}
