// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// apt is Debian's package tool with a state of its own, so that it can look at another suite or architecture
// than this machine's, as any user.
type apt struct {
	dir, arch string
	options   []string
	log       io.Writer
}

// newApt learns what suite has at the moment.
func newApt(ctx context.Context, dir, suite, arch string, log io.Writer) (*apt, error) {
	mirror, key, err := mirror(ctx)
	if err != nil {
		return nil, err
	}
	for _, sub := range []string{"lists/partial", "archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	files := map[string]string{
		"sources.list": fmt.Sprintf("deb [signed-by=%s] %s %s main\n", key, mirror, suite),
		"status":       "", // nothing is installed there
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return nil, err
		}
	}
	a := &apt{dir: dir, arch: arch, log: log}
	for _, option := range []string{
		"Dir::Etc::sourcelist=" + dir + "/sources.list", "Dir::Etc::sourceparts=-",
		"Dir::State=" + dir, "Dir::State::lists=" + dir + "/lists", "Dir::State::status=" + dir + "/status",
		"Dir::Cache=" + dir, "Dir::Cache::archives=" + dir + "/archives",
		"APT::Architecture=" + arch, "APT::Architectures=" + arch,
		"APT::Sandbox::User=root", // the folder is this user's, and closed to apt's own
		"Acquire::Languages=none",
	} {
		a.options = append(a.options, "-o", option)
	}
	fmt.Fprintf(log, "lab: asking the Debian mirror of this machine for the kernels of %s\n", suite)
	if err := a.run(ctx, "apt-get", "-q", "update"); err != nil {
		return nil, err
	}
	return a, nil
}

// mirror returns the Debian archive this machine is set up to use, and the keys its packages are signed with.
func mirror(ctx context.Context) (uri, key string, err error) {
	const format = "$(CREATED_BY) $(COMPONENT) $(REPO_URI) $(SIGNED_BY)"
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", format).Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", "", errors.New("this machine has no apt, so it can't fetch Debian's kernels")
	}
	if err != nil {
		return "", "", fmt.Errorf("asking apt for its sources: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		field := strings.Fields(line)
		if len(field) < 3 || field[0] != "Packages" || field[1] != "main" {
			continue
		}
		// The archive of a derivative, or of security updates alone, hasn't all the suites; nor has a disc.
		if !slices.Contains(strings.Split(field[2], "/"), "debian") || strings.HasPrefix(field[2], "cdrom:") {
			continue
		}
		key := "/usr/share/keyrings/debian-archive-keyring.gpg"
		if len(field) > 3 && filepath.IsAbs(field[3]) {
			key = field[3]
		}
		return field[2], key, nil
	}
	return "", "", errors.New("apt on this machine has no Debian archive among its sources")
}

// versioned matches the packages that make up one kernel. Until 6.12 that was linux-image alone.
var versioned = regexp.MustCompile(`^linux-(image|binary|modules|base)-[0-9]`)

// kernelPackages returns the packages of the newest kernel, found by following the one whose name has no
// version in it.
func (a *apt) kernelPackages(ctx context.Context) ([]string, error) {
	var packages []string
	for queue := []string{"linux-image-" + a.arch}; len(queue) > 0; queue = queue[1:] {
		depends, err := a.depends(ctx, queue[0])
		if err != nil {
			return nil, err
		}
		for _, name := range depends {
			if versioned.MatchString(name) && !slices.Contains(packages, name) {
				packages = append(packages, name)
				queue = append(queue, name)
			}
		}
	}
	if len(packages) == 0 {
		return nil, fmt.Errorf("linux-image-%s leads to no kernel", a.arch)
	}
	return packages, nil
}

// depends returns the names a package depends on, of alternatives the first.
func (a *apt) depends(ctx context.Context, name string) ([]string, error) {
	cmd := a.command(ctx, "apt-cache", "show", "--no-all-versions", name)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("apt-cache show %s: %w", name, err)
	}
	var names []string
	for line := range bytes.Lines(out) {
		list, ok := strings.CutPrefix(string(line), "Depends: ")
		if !ok {
			continue
		}
		for dependency := range strings.SplitSeq(list, ",") {
			if words := strings.Fields(dependency); len(words) > 0 {
				names = append(names, words[0])
			}
		}
	}
	return names, nil
}

// download fetches packages, checked by apt against the archive's signature, and returns their files.
func (a *apt) download(ctx context.Context, packages []string) ([]string, error) {
	if err := a.run(ctx, "apt-get", append([]string{"-q", "download"}, packages...)...); err != nil {
		return nil, err
	}
	return filepath.Glob(filepath.Join(a.dir, "archives", "*.deb"))
}

func (a *apt) run(ctx context.Context, name string, args ...string) error {
	cmd := a.command(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = a.log, a.log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}

func (a *apt) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, slices.Concat(a.options, args)...)
	cmd.Dir = filepath.Join(a.dir, "archives") // where apt-get download leaves its files
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	return cmd
}
