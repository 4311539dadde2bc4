// SPDX-License-Identifier: Apache-2.0

package modules_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nstrace/nstrace/lab/internal/modules"
)

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"modules.dep": "kernel/net/9p/9pnet.ko.xz:\n" +
			"kernel/fs/netfs/netfs.ko.xz:\n" +
			"kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz\n" +
			"kernel/fs/9p/9p.ko.xz: kernel/fs/netfs/netfs.ko.xz kernel/net/9p/9pnet.ko.xz\n" +
			"kernel/drivers/some-driver.ko:\n",
		"modules.builtin": "kernel/drivers/virtio/virtio_pci.ko\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	index, err := modules.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	got, err := index.Files("virtio-pci", "9pnet_virtio", "9p", "some_driver")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"kernel/net/9p/9pnet.ko.xz", "kernel/net/9p/9pnet_virtio.ko.xz", "kernel/fs/netfs/netfs.ko.xz",
		"kernel/fs/9p/9p.ko.xz", "kernel/drivers/some-driver.ko",
	}
	for i := range want {
		want[i] = filepath.Join(dir, want[i])
	}
	if !slices.Equal(got, want) {
		t.Errorf("files to load:\n%v\nwant:\n%v", got, want)
	}
	if _, err := index.Files("9p", "nonesuch"); !errors.Is(err, modules.ErrUnknown) {
		t.Errorf("error %v, want %v", err, modules.ErrUnknown)
	}
}

func TestOpenWithoutIndex(t *testing.T) {
	if _, err := modules.Open(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want %v", err, fs.ErrNotExist)
	}
}
