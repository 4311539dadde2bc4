// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// cleanUps hears when the kernel has cleaned up after namespaces. Netlink says when a namespace can no longer
// be reached, not when it is gone; the end of cleanup_net (net/core/net_namespace.c) is what says so, and the
// workqueues' own tracepoint tells of it, by a buffer in tracefs that no other tracer shares.
type cleanUps struct {
	dir  string
	pipe int
}

const (
	tracefs     = "/sys/kernel/tracing"
	workEnds    = "events/workqueue/workqueue_execute_end/enable"
	cleanUpWork = "function cleanup_net"
)

func watchCleanUps() (*cleanUps, error) {
	w := &cleanUps{dir: filepath.Join(tracefs, "instances", fmt.Sprintf("driver-%d", os.Getpid())), pipe: -1}
	if err := os.Mkdir(w.dir, 0o700); err != nil {
		return nil, fmt.Errorf("watching the workqueues: %w", err)
	}
	if err := w.begin(); err != nil {
		w.close()
		return nil, fmt.Errorf("watching the workqueues: %w", err)
	}
	return w, nil
}

func (w *cleanUps) begin() (err error) {
	if err := os.WriteFile(filepath.Join(w.dir, workEnds), []byte("1"), 0); err != nil {
		return err
	}
	w.pipe, err = unix.Open(filepath.Join(w.dir, "trace_pipe"), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	return err
}

// await waits until a clean-up has ended.
func (w *cleanUps) await() error {
	until := time.Now().Add(patience)
	var said []byte
	chunk := make([]byte, 16<<10)
	for !bytes.Contains(said, []byte(cleanUpWork)) {
		left := time.Until(until)
		if left <= 0 {
			return errors.New("waiting for the end of a namespace: the kernel hasn't cleaned up")
		}
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(w.pipe), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("waiting for the end of a namespace: %w", err)
		}
		n, err := unix.Read(w.pipe, chunk)
		if err != nil && err != unix.EAGAIN && err != unix.EINTR {
			return fmt.Errorf("waiting for the end of a namespace: %w", err)
		}
		said = append(said, chunk[:max(n, 0)]...)
	}
	return nil
}

func (w *cleanUps) close() {
	if w.pipe >= 0 {
		_ = unix.Close(w.pipe)
	}
	_ = os.Remove(w.dir)
}
