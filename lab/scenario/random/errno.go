// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"syscall"
)

// trouble is an error that isn't the kernel's answer to an operation, whatever errno it has: this program can't
// go on.
type trouble struct{ error }

// notAnErrno makes trouble of an error.
func notAnErrno(err error) error {
	if err == nil {
		return nil
	}
	return trouble{err}
}

// errnoOf returns the errno that the kernel answered, 0 if err is trouble.
func errnoOf(err error) int {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return int(errno)
	}
	return 0
}
