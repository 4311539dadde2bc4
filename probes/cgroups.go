// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/event"
)

// cgroups finds the paths of cgroups that tasks were seen in, soon after, since a
// container's goes away with it. One that is gone already stays unknown.
type cgroups struct {
	asked   map[uint64]bool
	pending []uint64
	// walked is when the hierarchy was last walked through.
	walked time.Time
}

const (
	// cgroupsBound bounds what is remembered: ids are never reused, but a user
	// can make new ones.
	cgroupsBound = 1 << 16
	// walkInterval is how often the hierarchy may be walked through where there
	// is no better way.
	walkInterval = time.Second
	// fileidKernfs is the type of the file handles of kernfs (FILEID_KERNFS in
	// include/linux/exportfs.h): the id of a node (since 5.5).
	fileidKernfs = 0xfe
)

// mention takes the id of a cgroup, 0 for none.
func (c *cgroups) mention(id uint64) {
	if id == 0 || c.asked[id] {
		return
	}
	if c.asked == nil || len(c.asked) > cgroupsBound {
		c.asked = map[uint64]bool{}
	}
	c.asked[id] = true
	c.pending = append(c.pending, id)
}

// resolve reports the paths of what was mentioned since the last time.
func (c *cgroups) resolve(now uint64, report func(*event.CgroupPath)) {
	if len(c.pending) == 0 {
		return
	}
	root, err := cgroupMount()
	if err != nil {
		c.pending = c.pending[:0]
		return
	}
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		c.pending = c.pending[:0]
		return
	}
	defer unix.Close(fd)
	left := c.pending[:0]
	for _, id := range c.pending {
		path, err := pathByHandle(fd, root, id)
		switch {
		case err == nil:
			report(&event.CgroupPath{Time: now, ID: id, Path: path})
		case errors.Is(err, unix.EPERM), errors.Is(err, unix.EOPNOTSUPP):
			left = append(left, id) // handles take CAP_DAC_READ_SEARCH
		}
	}
	c.pending = left
	if len(c.pending) != 0 && time.Since(c.walked) >= walkInterval {
		c.walk(root, now, report)
		c.walked = time.Now()
	}
}

// pathByHandle asks the kernel for the directory of a cgroup.
func pathByHandle(mount int, root string, id uint64) (string, error) {
	handle := unix.NewFileHandle(fileidKernfs, binary.NativeEndian.AppendUint64(nil, id))
	fd, err := unix.OpenByHandleAt(mount, handle, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	path, err := os.Readlink(filepath.Join("/proc/self/fd", strconv.Itoa(fd)))
	if err != nil {
		return "", err
	}
	return below(root, path)
}

// below is a path as seen from root, with a leading slash.
func below(root, path string) (string, error) {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(root, "/"))
	switch {
	case !ok || rest != "" && rest[0] != '/':
		return "", fs.ErrNotExist // outside of what is mounted here
	case rest == "":
		return "/", nil
	}
	return rest, nil
}

// walk looks for the pending ones in the whole hierarchy: a directory's inode
// number is the id of its cgroup. What isn't found is gone.
func (c *cgroups) walk(root string, now uint64, report func(*event.CgroupPath)) {
	pending := map[uint64]bool{}
	for _, id := range c.pending {
		pending[id] = true
	}
	c.pending = c.pending[:0]
	filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil // it went away meanwhile, or is a file
		}
		var st unix.Stat_t
		if unix.Lstat(path, &st) != nil || !pending[st.Ino] {
			return nil
		}
		delete(pending, st.Ino)
		if rest, err := below(root, path); err == nil {
			report(&event.CgroupPath{Time: now, ID: st.Ino, Path: rest})
		}
		if len(pending) == 0 {
			return fs.SkipAll
		}
		return nil
	})
}

// errNoCgroup2 says that there is no hierarchy of cgroups (version 2) to be seen.
var errNoCgroup2 = errors.New("no cgroup2 file system is mounted with its root: mount -t cgroup2 none DIRECTORY, then record again")

// cgroupMount returns where the root of the cgroup2 hierarchy is mounted. In a
// container, another cgroup can look like it.
func cgroupMount() (string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for _, root := range parseCgroupMounts(text) {
		var st unix.Stat_t
		// kernfs gives its root the first number (kernfs_create_root).
		if unix.Stat(root, &st) == nil && st.Ino == 1 {
			return root, nil
		}
	}
	return "", errNoCgroup2
}

// unescape undoes what the kernel does to paths in mountinfo (mangle in
// fs/proc_namespace.c).
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// parseCgroupMounts returns where roots of cgroup2 file systems are mounted.
func parseCgroupMounts(mountinfo []byte) []string {
	var roots []string
	lines := bufio.NewScanner(bytes.NewReader(mountinfo))
	for lines.Scan() {
		mount, super, ok := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(mount)
		if ok && len(fields) >= 5 && fields[3] == "/" && strings.HasPrefix(super, "cgroup2 ") {
			roots = append(roots, unescape.Replace(fields[4]))
		}
	}
	return roots
}
