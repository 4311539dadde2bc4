// SPDX-License-Identifier: Apache-2.0

package record

import (
	"encoding/binary"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The recorded command must have the privileges, limits and descriptors that it
// would have without nstrace. The recorder's own change: it raises the limit of
// locked memory on old kernels, and gives up privileges. So the command's process
// is started before all that, as a stand-in: nstrace once more, which waits on a
// socket and, when it is told to, becomes the command (execve). Its PID is the
// command's from the beginning, and nothing that it does until then is in the
// recording.

// standInArg is the first argument of a stand-in. After it come the number of its
// socket's descriptor, the signals to ignore, the program's path, and the program's
// arguments from 0 on.
const standInArg = "stand-in-for"

// ignored are the signals that this process was started to ignore, of those that a
// Go program can tell of (os/signal): by nohup, or by a shell for its background.
// The recorder may ask for them; the command is to ignore them none the less.
var ignored = ignoredOf(syscall.SIGHUP, syscall.SIGINT)

func ignoredOf(signals ...syscall.Signal) string {
	var numbers []string
	for _, s := range signals {
		if signal.Ignored(s) {
			numbers = append(numbers, strconv.Itoa(int(s)))
		}
	}
	return strings.Join(numbers, ",")
}

// StandIn returns unless this process was started to stand in for a recorded
// command. A program that uses [Run] calls it before anything else, with os.Args.
func StandIn(args []string) {
	if len(args) < 6 || args[1] != standInArg {
		return
	}
	fd, err := strconv.Atoi(args[2])
	if err != nil {
		return
	}
	for number := range strings.SplitSeq(args[3], ",") {
		if n, err := strconv.Atoi(number); err == nil {
			signal.Ignore(syscall.Signal(n))
		}
	}
	os.Exit(standIn(fd, args[4], args[5:]))
}

// standIn waits for the word and becomes the command. It returns only if it
// can't, or isn't to.
func standIn(fd int, path string, argv []string) (status int) {
	unix.CloseOnExec(fd)
	// Whoever looks at the processes meanwhile, as the opening snapshot does, sees
	// whose process this is. Without /proc they don't.
	_ = os.WriteFile("/proc/self/comm", []byte(filepath.Base(path)), 0)
	if n, err := receive(fd, make([]byte, 1)); err != nil || n == 0 {
		return exitNotRun // the recorder has ended, and has said why
	}
	err := syscall.Exec(path, argv, os.Environ())
	errno, _ := err.(syscall.Errno)
	// The answer can't be sent only if nobody is left to hear it.
	_, _ = unix.Write(fd, binary.NativeEndian.AppendUint32(nil, uint32(errno)))
	return exitNotRun
}

// exitNotRun is a stand-in's status, which nobody gets to see: the recorder tells
// in its own words that there was no command.
const exitNotRun = 126

// receive reads from a socket.
func receive(fd int, buf []byte) (int, error) {
	for {
		n, err := unix.Read(fd, buf)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// stage is the recorder's side of a stand-in.
type stage struct{ fd int }

// enter makes the stand-in become the command. It returns when it has, or with
// the kernel's answer to execve. If the stand-in is dead, so is the command: that
// is for whoever waits for it to find out.
func (s *stage) enter() error {
	if err := unix.Send(s.fd, []byte{1}, unix.MSG_NOSIGNAL); err != nil {
		return nil
	}
	answer := make([]byte, 4)
	n, err := receive(s.fd, answer)
	if err != nil || n < len(answer) {
		return nil // execve has closed its end
	}
	return syscall.Errno(binary.NativeEndian.Uint32(answer))
}

func (s *stage) close() { _ = unix.Close(s.fd) }
