// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// entries are the names in a directory.
func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	check(t, err)
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// Preparing finds what would fail, and makes nothing and moves nothing.
func TestPrepare(t *testing.T) {
	dir := t.TempDir()
	older := filepath.Join(dir, "older.nst")
	check(t, os.WriteFile(older, []byte("precious"), 0o600))
	for _, path := range []string{older, filepath.Join(dir, "new.nst")} {
		d, err := Prepare(path)
		check(t, err)
		check(t, d.Close())
	}
	if names := entries(t, dir); !slices.Equal(names, []string{"older.nst"}) {
		t.Errorf("left behind: %q", names)
	}
	check(t, os.Mkdir(filepath.Join(dir, "blocked.nst.old"), 0o700))
	check(t, os.WriteFile(filepath.Join(dir, "blocked.nst"), nil, 0o600))
	for path, want := range map[string]error{
		"":                                nil,
		dir:                               nil,
		filepath.Join(dir, "no", "dir"):   fs.ErrNotExist,
		filepath.Join(older, "file"):      syscall.ENOTDIR,
		filepath.Join(dir, "blocked.nst"): nil,
		filepath.Join(dir, strings.Repeat("x", 300)): syscall.ENAMETOOLONG,
	} {
		d, err := Prepare(path)
		if err == nil {
			t.Errorf("%q can be had", path)
			check(t, d.Close())
		}
		if want != nil && !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", path, err, want)
		}
	}
}

// A directory that others may write to and this user may not is refused, on file
// systems with and without files that have no name.
func TestPrepareNotAllowed(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may")
	}
	dir := t.TempDir()
	check(t, os.Chmod(dir, 0o500))
	if _, err := Prepare(filepath.Join(dir, "t.nst")); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v", err)
	}
}

// The older file stays in its place until a trace really begins, and comes back
// if that fails.
func TestDestinationKeepsTheOlder(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "t.nst")
	check(t, os.WriteFile(path, []byte("older"), 0o600))
	d, err := Prepare(path)
	check(t, err)
	if b, err := os.ReadFile(path); err != nil || string(b) != "older" {
		t.Errorf("after Prepare there is %q, %v", b, err)
	}
	w, err := d.Begin(sampleRecording)
	check(t, err)
	check(t, d.Close())
	check(t, w.Close(sampleEnd))
	if b, err := os.ReadFile(path + oldSuffix); err != nil || string(b) != "older" {
		t.Errorf("after Begin there is %q, %v", b, err)
	}
	if names := entries(t, dir); !slices.Equal(names, []string{"t.nst", "t.nst" + oldSuffix}) {
		t.Errorf("there are %q", names)
	}
}

// A pipe's reader sees no end between Prepare and Begin.
func TestPreparePipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	check(t, syscall.Mkfifo(path, 0o600))
	all := make(chan []byte)
	go func() {
		b, _ := os.ReadFile(path)
		all <- b
	}()
	var d *Destination
	for d == nil { // until the reader has opened it
		var err error
		if d, err = Prepare(path); err != nil && !strings.Contains(err.Error(), "nobody reads") {
			t.Fatal(err)
		}
	}
	w, err := d.Begin(sampleRecording)
	check(t, err)
	check(t, d.Close()) // has no say any more
	e := sampleEvent(1)
	check(t, w.Event(&e))
	check(t, w.Close(sampleEnd))
	if s := verify(t, <-all); !s.Whole() || kindOf(s, kindLifecycle).Read != 1 {
		t.Errorf("%+v", s)
	}
}

// stdout makes f standard output while test runs.
func stdout(t *testing.T, f *os.File, test func()) {
	t.Helper()
	saved := os.Stdout
	os.Stdout = f
	defer func() { os.Stdout = saved }()
	test()
}

// Standard output can be a pipe or an empty file.
func TestPrepareStdout(t *testing.T) {
	record := func(t *testing.T) {
		d, err := PrepareStdout()
		check(t, err)
		w, err := d.Begin(sampleRecording)
		check(t, err)
		check(t, w.Close(sampleEnd))
	}
	t.Run("pipe", func(t *testing.T) {
		r, w, err := os.Pipe()
		check(t, err)
		stdout(t, w, func() { record(t) })
		check(t, w.Close())
		b, err := io.ReadAll(r)
		check(t, err)
		if s := verify(t, b); !s.Whole() {
			t.Errorf("%+v", s)
		}
	})
	t.Run("file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "t.nst")
		f, err := os.Create(path)
		check(t, err)
		stdout(t, f, func() { record(t) })
		b, err := os.ReadFile(path)
		check(t, err)
		if s := verify(t, b); !s.Whole() {
			t.Errorf("%+v", s)
		}
		stdout(t, f, func() {
			if _, err := PrepareStdout(); err == nil || !strings.Contains(err.Error(), "something in it") {
				t.Errorf("behind what is in a file already: %v", err)
			}
		})
	})
	t.Run("closed pipe", func(t *testing.T) {
		r, w, err := os.Pipe()
		check(t, err)
		check(t, r.Close())
		stdout(t, w, func() {
			d, err := PrepareStdout()
			check(t, err)
			if _, err := d.Begin(sampleRecording); !errors.Is(err, syscall.EPIPE) {
				t.Errorf("got %v", err)
			}
		})
	})
}
