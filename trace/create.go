// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/nstrace/nstrace/event"
)

// oldSuffix is what a file that is in the way gets.
const oldSuffix = ".old"

// Destination is where a trace is going to be written. Nothing is there yet, and
// what was there still is.
type Destination struct {
	path string
	// stream is a pipe or a device, open since Prepare: whoever reads a pipe would
	// take it for the end if it were closed again. nil for a file to be made.
	stream *os.File
}

// Create is [Prepare] and [Destination.Begin] at once.
func Create(path string, rec event.Recording) (*Writer, error) {
	d, err := Prepare(path)
	if err != nil {
		return nil, err
	}
	return d.Begin(rec)
}

// Prepare finds out whether a trace can be written to path, as far as that can be
// told without making a file. A named pipe or a character device (/dev/null) is
// opened, and to be written to as it is. Anything but those and regular files is
// refused: a symbolic link too, since in a directory others can write to it could
// lead anywhere.
func Prepare(path string) (*Destination, error) {
	if path == "" {
		return nil, errors.New("create trace file: it has no name")
	}
	stream, exists, err := look(path)
	if err != nil {
		return nil, err
	}
	if stream != nil {
		return &Destination{path, stream}, nil
	}
	if err := takesFiles(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("create trace file %s: %w", path, err)
	}
	if st, err := os.Lstat(path + oldSuffix); exists && err == nil && st.IsDir() {
		return nil, fmt.Errorf("keep the older trace file: %s is a directory: move it away", path+oldSuffix)
	}
	return &Destination{path: path}, nil
}

// PrepareStdout makes standard output the destination. It gets a descriptor of
// its own, so that a reader that goes away is an error of writing, and not the
// end of the process as for descriptors 1 and 2 (os/signal). Of a file, only one
// with nothing in it can become a trace.
func PrepareStdout() (*Destination, error) {
	fd, err := dup(int(os.Stdout.Fd()))
	if err != nil {
		return nil, fmt.Errorf("write the trace to standard output: %w", err)
	}
	f := os.NewFile(uintptr(fd), "standard output")
	st, err := f.Stat()
	if err == nil && st.Mode().IsRegular() {
		var at int64
		at, err = f.Seek(0, io.SeekCurrent)
		if err == nil && (st.Size() != 0 || at != 0) {
			err = errors.New("it is a file that has something in it, and a trace begins at a file's beginning")
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write the trace to standard output: %w", err), f.Close())
	}
	return &Destination{stream: f}, nil
}

// Begin begins a trace of rec at the destination. It makes the file, if it is to
// be one, with mode 0600; a file in the way becomes path.old, replacing an older
// one. Whatever comes of it, the destination is used up.
func (d *Destination) Begin(rec event.Recording) (*Writer, error) {
	f, path, moved := d.stream, d.path, false
	if f == nil {
		var err error
		if f, moved, err = create(path); err != nil {
			return nil, err
		}
	}
	d.stream = nil
	w, err := NewWriter(f, rec)
	if err == nil {
		w.file = f
		return w, nil
	}
	err = errors.Join(fmt.Errorf("begin trace file %s: %w", f.Name(), err), f.Close())
	if moved {
		return nil, errors.Join(err, os.Rename(path+oldSuffix, path))
	}
	if path != "" && w != nil && w.out.f != nil {
		err = errors.Join(err, os.Remove(path))
	}
	return nil, err
}

// Close gives the destination up, unless it was used.
func (d *Destination) Close() error {
	if d.stream == nil {
		return nil
	}
	f := d.stream
	d.stream = nil
	return f.Close()
}

// look says what is at path: a stream, which it opens, or a regular file that
// exists, or nothing.
func look(path string) (stream *os.File, exists bool, err error) {
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("create trace file: %w", err)
	case st.Mode().IsRegular():
		return nil, true, nil
	case st.Mode()&fs.ModeSymlink != 0:
		return nil, false, fmt.Errorf("create trace file: %s is a symbolic link: name the file it leads to, or remove it", path)
	case st.Mode()&fs.ModeNamedPipe != 0, st.Mode()&fs.ModeCharDevice != 0:
		stream, err = openStream(path)
		return stream, false, err
	default:
		return nil, false, fmt.Errorf("create trace file: %s is neither a file, a pipe nor a character device: name another", path)
	}
}

// create opens path for writing and reports whether a file was moved away.
func create(path string) (f *os.File, moved bool, err error) {
	stream, exists, err := look(path)
	if err != nil || stream != nil {
		return stream, false, err
	}
	if exists {
		if err := os.Rename(path, path+oldSuffix); err != nil {
			return nil, false, fmt.Errorf("keep the older trace file: %w", err)
		}
		moved = true
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
