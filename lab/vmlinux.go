// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"compress/gzip"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

// A bzImage unpacks itself when it boots, which under emulation takes longer than all the rest of the boot
// (5 s of 10 s, measured with Debian 12's). QEMU can as well enter the vmlinux inside it directly, the way
// Xen starts a PVH guest, so the lab unpacks it beforehand, once.

// errNotUnpacked means that an image has to be booted as it is.
var errNotUnpacked = errors.New("not an image that can be unpacked")

// quickImage returns the file to boot for k: its vmlinux if it has one that QEMU can enter, else its image.
func quickImage(ctx context.Context, k Kernel) (string, error) {
	if k.Arch != "amd64" {
		return k.Image, nil
	}
	info, err := os.Stat(k.Image)
	if err != nil {
		return "", err
	}
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("vmlinux-%s-%x-%x", filepath.Base(k.Release), info.Size(), info.ModTime().UnixNano())
	name = filepath.Join(cache, name)
	if _, err := os.Stat(name); err == nil {
		return name, nil
	}
	image, err := os.ReadFile(k.Image)
	if err != nil {
		return "", err
	}
	vmlinux, err := unpackImage(ctx, image)
	if errors.Is(err, errNotUnpacked) {
		return k.Image, nil
	}
	if err != nil {
		return "", fmt.Errorf("unpacking %s: %w", k.Image, err)
	}
	return name, writeWhole(name, vmlinux)
}

// unpackImage returns the vmlinux inside a bzImage (Documentation/arch/x86/boot.rst has the header's fields).
func unpackImage(ctx context.Context, image []byte) ([]byte, error) {
	const (
		setupSectors  = 0x1f1
		magic         = 0x202
		version       = 0x206
		payloadOffset = 0x248
		payloadLength = 0x24c
	)
	le := binary.LittleEndian
	if len(image) < 0x268 || string(image[magic:magic+4]) != "HdrS" || le.Uint16(image[version:]) < 0x208 {
		return nil, errNotUnpacked
	}
	sectors := uint64(image[setupSectors])
	if sectors == 0 {
		sectors = 4
	}
	start := (sectors+1)*512 + uint64(le.Uint32(image[payloadOffset:]))
	end := start + uint64(le.Uint32(image[payloadLength:]))
	if start+8 > end || end > uint64(len(image)) {
		return nil, errNotUnpacked
	}
	// The kernel's build appends the unpacked size to what the packer made.
	vmlinux, err := unpack(ctx, image[start:end-4])
	if err != nil {
		return nil, err
	}
	if !entersPVH(vmlinux) {
		return nil, errNotUnpacked
	}
	return vmlinux, nil
}

func unpack(ctx context.Context, packed []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(packed, []byte("\xfd7zXZ\x00")):
		cmd := exec.CommandContext(ctx, "xz", "-dc")
		cmd.Stdin = bytes.NewReader(packed)
		content, err := cmd.Output()
		if errors.Is(err, exec.ErrNotFound) {
			return nil, errNotUnpacked
		}
		return content, err
	case bytes.HasPrefix(packed, []byte("\x28\xb5\x2f\xfd")):
		// The kernel is packed with zstd's largest window, 128 MiB.
		d, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderMaxWindow(1<<27))
		if err != nil {
			return nil, err
		}
		defer d.Close()
		return io.ReadAll(d)
	case bytes.HasPrefix(packed, []byte("\x1f\x8b")):
		d, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(d)
	default:
		return nil, errNotUnpacked
	}
}

// entersPVH says whether vmlinux tells where a PVH guest starts. It is in a note of Xen's, number 18
// (XEN_ELFNOTE_PHYS32_ENTRY); a kernel without CONFIG_PVH lacks it.
func entersPVH(vmlinux []byte) bool {
	file, err := elf.NewFile(bytes.NewReader(vmlinux))
	if err != nil {
		return false
	}
	note := binary.LittleEndian.AppendUint32(nil, 18)
	note = append(note, "Xen\x00"...)
	for _, p := range file.Progs {
		if p.Type != elf.PT_NOTE {
			continue
		}
		content, err := io.ReadAll(p.Open())
		if err == nil && bytes.Contains(content, note) {
			return true
		}
	}
	return false
}
