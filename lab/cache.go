// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// cacheEnv names the environment variable that moves the lab's cache.
const cacheEnv = "NSTRACE_LAB_CACHE"

// CacheDir is where kernels, and what is built for them, are kept between runs: the folder named by
// NSTRACE_LAB_CACHE, else nstrace/lab in the user's cache folder. It can be deleted at any time no lab
// machine is running.
func CacheDir() (string, error) {
	dir := os.Getenv(cacheEnv)
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("finding a place for the lab's cache (set %s to choose one): %w", cacheEnv, err)
		}
		dir = filepath.Join(user, "nstrace", "lab")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the lab's cache (set %s to put it elsewhere): %w", cacheEnv, err)
	}
	return dir, nil
}

// lock keeps other processes, and other callers in this one, from working on the same thing. waiting is
// called if somebody does already. The lock goes with the process, however that ends.
func lock(ctx context.Context, file string, waiting func()) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	fd := int(f.Fd())
	if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil {
		return func() { f.Close() }, nil
	}
	waiting()
	locked := make(chan error, 1)
	go func() {
		for {
			err := unix.Flock(fd, unix.LOCK_EX)
			if err != unix.EINTR {
				locked <- err
				return
			}
		}
	}()
	select {
	case err := <-locked:
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", file, err)
		}
		return func() { f.Close() }, nil
	case <-ctx.Done():
		// The wait can't be called off; when it ends, so does the lock.
		go func() {
			<-locked
			f.Close()
		}()
		return nil, ctx.Err()
	}
}

// writeWhole makes a file that is there with all its content, or not at all.
func writeWhole(name string, content []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(name), "writing-")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(content)
	if err := errors.Join(err, temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), name)
}
