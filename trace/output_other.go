// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package trace

import (
	"errors"
	"os"
)

// Recordings are made on Linux; elsewhere files are only read, and written by
// tests.

const openNoFollow = 0

func reserve(*os.File, int64, int64) error { return errors.ErrUnsupported }

func fileSizeLimit() (int64, bool) { return 0, false }

func takesFiles(string) error { return nil }

func dup(int) (int, error) { return 0, errors.ErrUnsupported }
