// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/nstrace/nstrace/event"
)

// oldSuffix is what a file that is in the way gets.
const oldSuffix = ".old"

// Create makes the file path, with mode 0600, and begins a trace of rec in it.
//
// A regular file in the way becomes path.old, replacing an older one. A named
// pipe or a character device (/dev/null) is written to as it is. Anything else
// is refused: a symbolic link too, since in a directory others can write to it
// could lead anywhere.
func Create(path string, rec event.Recording) (*Writer, error) {
	f, moved, err := create(path)
	if err != nil {
		return nil, err
	}
	w, err := NewWriter(f, rec)
	if err == nil {
		w.file = f
		return w, nil
	}
	err = errors.Join(fmt.Errorf("begin trace file %s: %w", path, err), f.Close())
	if moved {
		return nil, errors.Join(err, os.Rename(path+oldSuffix, path))
	}
	if w != nil && w.out.f != nil {
		err = errors.Join(err, os.Remove(path))
	}
	return nil, err
}

// create opens path for writing and reports whether a file was moved away.
func create(path string) (f *os.File, moved bool, err error) {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, false, fmt.Errorf("create trace file: %w", err)
	case st.Mode().IsRegular():
		if err := os.Rename(path, path+oldSuffix); err != nil {
			return nil, false, fmt.Errorf("keep the older trace file: %w", err)
		}
		moved = true
	case st.Mode()&fs.ModeSymlink != 0:
		return nil, false, fmt.Errorf("create trace file: %s is a symbolic link: name the file it leads to, or remove it", path)
	case st.Mode()&fs.ModeNamedPipe != 0, st.Mode()&fs.ModeCharDevice != 0:
		f, err := openStream(path)
		return f, false, err
	default:
		return nil, false, fmt.Errorf("create trace file: %s is neither a file, a pipe nor a character device: name another", path)
	}
	// O_EXCL follows no link, and fails should another have come in between.
	f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		err = fmt.Errorf("create trace file: %w", err)
		if moved {
			err = errors.Join(err, os.Rename(path+oldSuffix, path))
		}
		return nil, false, err
	}
	return f, moved, nil
}

// openStream opens a pipe or a device, and makes sure it still is one. It doesn't
// wait for somebody to read a pipe.
func openStream(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|openNoFollow|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ENXIO) {
		return nil, fmt.Errorf("open trace file: nobody reads the pipe %s: start the reader first", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open trace file: %w", err)
	}
	st, err := f.Stat()
	if err == nil && st.Mode()&(fs.ModeNamedPipe|fs.ModeCharDevice) == 0 {
		err = fmt.Errorf("%s was replaced meanwhile", path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open trace file: %w", err), f.Close())
	}
	return f, nil
}
