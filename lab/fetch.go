// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// suites are the Debian releases whose kernels span what nstrace is for, oldest first.
var suites = []string{"bullseye", "bookworm", "trixie", "sid"}

// Suites returns the Debian suites Fetch knows, oldest kernel first.
func Suites() []string { return slices.Clone(suites) }

// Fetch returns the kernel of a Debian suite ("bookworm") for an architecture (amd64 or arm64): the newest
// at the time of the first call, and the same, without any use of the network, from then on. Progress goes
// to log, which may be nil. It needs apt with a Debian mirror; the system's own apt state is left alone.
func Fetch(ctx context.Context, suite, arch string, log io.Writer) (Kernel, error) {
	return fetch(ctx, suite, arch, log, false)
}

// Refresh is Fetch that always asks for the newest. Machines running the old kernel aren't disturbed: it stays
// in the cache.
func Refresh(ctx context.Context, suite, arch string, log io.Writer) (Kernel, error) {
	return fetch(ctx, suite, arch, log, true)
}

func fetch(ctx context.Context, suite, arch string, log io.Writer, fresh bool) (Kernel, error) {
	if log == nil {
		log = io.Discard
	}
	if !slices.Contains(suites, suite) {
		return Kernel{}, fmt.Errorf("no such suite: %q (there is %s)", suite, strings.Join(suites, ", "))
	}
	if _, ok := machines[arch]; !ok {
		return Kernel{}, fmt.Errorf("no lab machine for architecture %q: it can be %v", arch, Arches())
	}
	cache, err := CacheDir()
	if err != nil {
		return Kernel{}, err
	}
	// The current kernel of a suite is a link, put there last and in one step: what it leads to is whole.
	current := filepath.Join(cache, "kernel-"+suite+"-"+arch)
	if k, err := unpacked(current, arch); err == nil && !fresh {
		return k, nil
	}
	unlock, err := lock(ctx, current+".lock", func() {
		fmt.Fprintf(log, "lab: waiting for somebody else to finish fetching the %s kernel\n", suite)
	})
	if err != nil {
		return Kernel{}, err
	}
	defer unlock()
	if k, err := unpacked(current, arch); err == nil && !fresh {
		return k, nil
	}
	dir, err := download(ctx, cache, suite, arch, log)
	if err != nil {
		return Kernel{}, fmt.Errorf("fetching the %s kernel of Debian %s (any other will do: name its image and modules folder): %w", arch, suite, err)
	}
	if err := replaceLink(filepath.Base(dir), current); err != nil {
		return Kernel{}, err
	}
	return unpacked(current, arch)
}

// download leaves the newest kernel of suite, ready for use, in a folder of its own in the cache.
func download(ctx context.Context, cache, suite, arch string, log io.Writer) (string, error) {
	// The lock makes this name ours: what is there was left by a fetch that was killed.
	work := filepath.Join(cache, "fetching-"+suite+"-"+arch)
	if err := os.RemoveAll(work); err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	apt, err := newApt(ctx, filepath.Join(work, "apt"), suite, arch, log)
	if err != nil {
		return "", err
	}
	packages, err := apt.kernelPackages(ctx)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(log, "lab: fetching %s from Debian %s; this is done once\n", strings.Join(packages, ", "), suite)
	debs, err := apt.download(ctx, packages)
	if err != nil {
		return "", err
	}
	tree := filepath.Join(work, "tree")
	for _, deb := range debs {
		fmt.Fprintf(log, "lab: unpacking %s\n", filepath.Base(deb))
		if err := run(ctx, log, "dpkg-deb", "-x", deb, tree); err != nil {
			return "", err
		}
	}
	return keep(ctx, cache, tree, arch, log)
}

// keep arranges an unpacked kernel as vmlinuz and modules/RELEASE, whichever way its packages do it, indexes
// the modules, and moves the whole into the cache.
func keep(ctx context.Context, cache, tree, arch string, log io.Writer) (string, error) {
	modules, err := one(tree, "lib/modules/*", "usr/lib/modules/*")
	if err != nil {
		return "", err
	}
	release := filepath.Base(modules)
	image, err := one(tree, "boot/vmlinuz-"+release, strings.TrimPrefix(modules, tree+"/")+"/vmlinuz")
	if err != nil {
		return "", err
	}
	fmt.Fprintf(log, "lab: indexing the modules of %s\n", release)
	base := strings.TrimSuffix(modules, "/lib/modules/"+release)
	if err := run(ctx, log, "depmod", "-b", base, release); err != nil {
		return "", err
	}
	ready := tree + "-ready"
	if err := os.MkdirAll(filepath.Join(ready, "modules"), 0o755); err != nil {
		return "", err
	}
	if err := os.Rename(image, filepath.Join(ready, "vmlinuz")); err != nil {
		return "", err
	}
	if err := os.Rename(modules, filepath.Join(ready, "modules", release)); err != nil {
		return "", err
	}
	dir := filepath.Join(cache, release+"-"+arch)
	if _, err := unpacked(dir, arch); err == nil {
		return dir, nil // two suites have the same kernel, or a refresh found nothing newer
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	return dir, os.Rename(ready, dir)
}

// unpacked describes the kernel that keep left in dir.
func unpacked(dir, arch string) (Kernel, error) {
	modules, err := one(dir, "modules/*")
	if err != nil {
		return Kernel{}, err
	}
	return Kernel{
		Image:   filepath.Join(dir, "vmlinuz"),
		Modules: modules,
		Release: filepath.Base(modules),
		Arch:    arch,
	}.complete()
}

// one returns the first file below dir that matches a pattern.
func one(dir string, patterns ...string) (string, error) {
	for _, pattern := range patterns {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return "", err
		}
		if len(found) > 0 {
			return found[0], nil
		}
	}
	return "", fmt.Errorf("no %s in %s: %w", strings.Join(patterns, " or "), dir, fs.ErrNotExist)
}

func replaceLink(target, link string) error {
	next := link + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, next); err != nil {
		return err
	}
	return os.Rename(next, link)
}

// run runs one of the system's tools, its words going to log.
func run(ctx context.Context, log io.Writer, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	// An administrator's tool such as depmod isn't on every user's path.
	if cmd.Err != nil {
		if _, err := os.Stat("/usr/sbin/" + name); err == nil {
			cmd = exec.CommandContext(ctx, "/usr/sbin/"+name, args...)
		}
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}
