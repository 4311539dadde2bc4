// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// reserveBytes of disk are set aside, so that a recording that fills the disk
// can still be closed: last losses, the ledger, the index and the end.
const reserveBytes = 128 << 10

// reserveStep is how much more is set aside at once, to ask the kernel rarely.
const reserveStep = 1 << 20

// output writes blocks whole, or not at all where that can be had.
type output struct {
	w io.Writer
	// f is w if that is a regular file, of which a part can be taken back.
	f   *os.File
	off int64
	// reserved is up to where the disk has space for f.
	reserved   int64
	noReserve  bool // the file system can't
	lastWrites bool // the reserve may be used now
}

// write appends b. After an error the file is as it was before, except for a
// pipe or a device.
func (o *output) write(b []byte) error {
	if err := o.room(int64(len(b))); err != nil {
		return err
	}
	n, err := o.w.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err == nil {
		o.off += int64(n)
		return nil
	}
	if n > 0 && o.f == nil {
		o.off += int64(n)
	}
	return errors.Join(err, o.restore())
}

// restore takes a part of a block away.
func (o *output) restore() error {
	if o.f == nil {
		return nil
	}
	o.reserved = 0 // the truncation may have released it
	if err := o.f.Truncate(o.off); err != nil {
		return fmt.Errorf("take back a part of a block: %w", err)
	}
	if _, err := o.f.Seek(o.off, io.SeekStart); err != nil {
		return fmt.Errorf("take back a part of a block: %w", err)
	}
	return nil
}

// room makes sure that n bytes and the reserve fit, before one is written.
func (o *output) room(n int64) error {
	if o.f == nil {
		return nil
	}
	need := o.off + n
	if !o.lastWrites {
		need += reserveBytes
	}
	// Beyond the limit the kernel would send SIGXFSZ, which ends a Go program.
	if limit, ok := fileSizeLimit(); ok && need > limit {
		return fmt.Errorf("%w: the limit is %d bytes (ulimit -f)", syscall.EFBIG, limit)
	}
	if o.noReserve || need <= o.reserved {
		return nil
	}
	err := reserve(o.f, o.off, need+reserveStep-o.off)
	if err == nil {
		o.reserved = need + reserveStep
		return nil
	}
	if isFull(err) {
		if err = reserve(o.f, o.off, need-o.off); err == nil {
			o.reserved = need
			return nil
		}
	}
	if isFull(err) {
		return err
	}
	o.noReserve = true
	return nil
}

// sync makes what was written last, and gives back what was reserved and not
// used.
func (o *output) sync() error {
	if o.f == nil {
		return nil
	}
	return errors.Join(o.f.Truncate(o.off), o.f.Sync())
}

// isFull reports whether err says that there is no more space for the file.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
