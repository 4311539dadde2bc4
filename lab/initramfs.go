// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cavaliergopher/cpio"
	"github.com/klauspost/compress/zstd"

	"github.com/nstrace/nstrace/lab/internal/control"
	"github.com/nstrace/nstrace/lab/internal/modules"
)

// bootModules are what the guest can't do without before it has the modules folder.
var bootModules = []string{"virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay"}

// guestPackage is the init of every machine.
const guestPackage = "github.com/nstrace/nstrace/lab/guest"

// initramfs returns an archive for k with the guest's init and the modules it needs first, made anew only
// if either has changed.
func initramfs(ctx context.Context, k Kernel) (string, error) {
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	guest, err := buildGuest(ctx, cache, k.Arch)
	if err != nil {
		return "", err
	}
	index, err := modules.Open(k.Modules)
	if err != nil {
		return "", fmt.Errorf("reading the index of the kernel's modules: %w", err)
	}
	files, err := index.Files(bootModules...)
	if err != nil {
		return "", fmt.Errorf("the kernel can't be a lab machine's: %w", err)
	}
	name, err := initramfsName(k, guest, files)
	if err != nil {
		return "", err
	}
	name = filepath.Join(cache, name)
	if _, err := os.Stat(name); err == nil {
		return name, nil
	}
	var content bytes.Buffer
	if err := writeInitramfs(ctx, &content, guest, files); err != nil {
		return "", fmt.Errorf("making an initramfs: %w", err)
	}
	return name, writeWhole(name, content.Bytes())
}

// initramfsName is different whenever anything in the archive would be. A module is known by its size and
// time: reading them all at every boot would take longer than the boot.
func initramfsName(k Kernel, guest []byte, files []string) (string, error) {
	h := sha256.New()
	h.Write(guest)
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, file, info.Size(), info.ModTime().UnixNano())
	}
	return fmt.Sprintf("initramfs-%s-%s-%x.cpio", filepath.Base(k.Release), k.Arch, h.Sum(nil)[:8]), nil
}

// buildGuest compiles the guest's init. Go's own cache makes it quick when nothing has changed.
func buildGuest(ctx context.Context, cache, arch string) ([]byte, error) {
	dir, err := os.MkdirTemp(cache, "guest-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "guest")
	// Without paths, symbols and versions in it, the same source makes the same file.
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", file, guestPackage)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return nil, errors.New("the lab compiles its guest's init, and there is no go command here: install Go (Debian: golang-go)")
	}
	if err != nil {
		return nil, fmt.Errorf("building the guest's init (the lab works from inside nstrace's source folder): %w\n%s", err, bytes.TrimSpace(out))
	}
	return os.ReadFile(file)
}

func writeInitramfs(ctx context.Context, w io.Writer, guest []byte, modules []string) error {
	a := archive{cpio.NewWriter(w)}
	// A machine without the host's root has only this. The kernel opens the console before any init runs.
	for _, dir := range []string{"dev", "proc", "sys", "sbin", "tmp", "root", control.BootModules[1:]} {
		if err := a.add(dir, cpio.TypeDir|0o755, nil); err != nil {
			return err
		}
	}
	if err := a.add("init", cpio.TypeReg|0o755, guest); err != nil {
		return err
	}
	if err := a.add("sbin/modprobe", cpio.TypeSymlink|0o777, []byte("/init")); err != nil {
		return err
	}
	for i, file := range modules {
		content, err := readModule(ctx, file)
		if err != nil {
			return err
		}
		base, _, _ := strings.Cut(filepath.Base(file), ".ko")
		name := fmt.Sprintf("%s/%02d-%s.ko", control.BootModules[1:], i, base)
		if err := a.add(name, cpio.TypeReg|0o644, content); err != nil {
			return err
		}
	}
	return a.Close()
}

type archive struct{ *cpio.Writer }

// add adds a file, a folder (no content) or a symbolic link (its target as the content).
func (a archive) add(name string, mode cpio.FileMode, content []byte) error {
	header := &cpio.Header{Name: name, Mode: mode, Size: int64(len(content))}
	if err := a.WriteHeader(header); err != nil {
		return err
	}
	_, err := a.Write(content)
	return err
}

// readModule returns a module's file as the kernel wants it: not every kernel can decompress one itself.
func readModule(ctx context.Context, file string) ([]byte, error) {
	switch filepath.Ext(file) {
	case ".xz":
		content, err := exec.CommandContext(ctx, "xz", "-dc", "--", file).Output()
		if errors.Is(err, exec.ErrNotFound) {
			return nil, errors.New("the kernel's modules are packed with xz, and there is no xz command here: install xz-utils")
		}
		if err != nil {
			return nil, fmt.Errorf("unpacking %s: %w", file, err)
		}
		return content, nil
	case ".zst":
		packed, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer packed.Close()
		d, err := zstd.NewReader(packed)
		if err != nil {
			return nil, err
		}
		defer d.Close()
		content, err := io.ReadAll(d)
		if err != nil {
			return nil, fmt.Errorf("unpacking %s: %w", file, err)
		}
		return content, nil
	default:
		return os.ReadFile(file)
	}
}
