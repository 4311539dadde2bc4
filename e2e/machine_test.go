// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nstrace/nstrace/lab"
)

// suite is the Debian suite whose kernel is used where one is enough.
const suite = "bookworm"

// unstable is the suite whose kernel may be broken on some day by no fault of
// ours.
const unstable = "sid"

// suites are those whose kernels the lab has.
var suites = []string{"bullseye", "bookworm", "trixie", unstable}

// everyKernel is what make test-kernels asks for.
var everyKernel = flag.Bool("every-kernel", false,
	"run each test on every kernel that it is for, and not only where kernels differ most: three quarters of an hour")

// suitesOf returns the suites on whose kernels a test is run, which without
// -every-kernel are those that are named.
func suitesOf(ordinarily ...string) []string {
	if *everyKernel {
		return suites
	}
	return ordinarily
}

// untestedFile names the environment variable with a file that takes what could
// not be tested: go test keeps quiet about what it skips.
const untestedFile = "NSTRACE_UNTESTED"

// untested skips a test for reasons that aren't nstrace's, aloud.
func untested(t *testing.T, format string, args ...any) {
	t.Helper()
	t.Skip("NOT TESTED: " + note(t, format, args...))
}

// note says aloud what a test leaves out.
func note(t *testing.T, format string, args ...any) string {
	t.Helper()
	said := fmt.Sprintf("%s: %s", t.Name(), fmt.Sprintf(format, args...))
	if file := os.Getenv(untestedFile); file != "" {
		f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		fmt.Fprintln(f, said)
	}
	t.Log(said)
	return said
}

// kernelOf returns a suite's kernel. Where the unstable one can't be had, or
// doesn't even boot and simulate a radio, the test is skipped.
func kernelOf(t *testing.T, suite, arch string) lab.Kernel {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	kernel, err := lab.Fetch(ctx, suite, arch, os.Stderr)
	if err != nil && suite == unstable {
		untested(t, "there is no kernel of Debian %s today: %v", suite, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if suite == unstable {
		if err := bareBoot(kernel); err != nil {
			untested(t, "the kernel %s of Debian %s doesn't work by itself: %v", kernel.Release, suite, err)
		}
	}
	return kernel
}

// bareBoot tries a kernel without nstrace, once.
var bareBoot = func() func(lab.Kernel) error {
	var once sync.Once
	var err error
	return func(kernel lab.Kernel) error {
		once.Do(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			var out bytes.Buffer
			vm := lab.VM{Kernel: kernel, Stdout: &out, Stderr: &out}
			var status int
			status, err = vm.Run(ctx, "sh", "-c", "modprobe mac80211_hwsim radios=1 && iw phy phy0 info >/dev/null")
			if err == nil && status != 0 {
				err = fmt.Errorf("exit status %d: %s", status, out.Bytes())
			}
		})
		return err
	}
}()

// TestMain removes what build has made.
func TestMain(m *testing.M) {
	flag.Parse()
	status := m.Run()
	built.Range(func(_, made any) bool {
		if program, err := made.(func() (string, error))(); err == nil {
			os.RemoveAll(filepath.Dir(program))
		}
		return true
	})
	os.Exit(status)
}

// built has what each build makes: many tests use the same programs.
var built sync.Map

// build makes a static program for the machine: the command in folder pkg, or
// with "test -c" the tests of a package.
func build(t *testing.T, out string, how ...string) {
	t.Helper()
	buildFor(t, runtime.GOARCH, out, how...)
}

func buildFor(t *testing.T, arch, out string, how ...string) {
	t.Helper()
	made, _ := built.LoadOrStore(arch+" "+strings.Join(how, " "), sync.OnceValues(func() (string, error) {
		return compile(arch, how)
	}))
	program, err := made.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	copyFile(t, program, out)
	if err := os.Chmod(out, 0o755); err != nil {
		t.Fatal(err)
	}
}

// compile makes a program in a folder of its own.
func compile(arch string, how []string) (program string, err error) {
	dir, err := os.MkdirTemp("", "nstrace-e2e-")
	if err != nil {
		return "", err
	}
	program, pkg := filepath.Join(dir, "program"), how[len(how)-1]
	cmd := exec.Command("go", append(append(how[:len(how)-1:len(how)-1], "-o", program), pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
	if msg, err := cmd.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, msg)
	}
	return program, nil
}

// boot runs a command in a machine with a suite's kernel that shares dir, and
// returns its exit status and what it printed.
func boot(t *testing.T, suite, dir string, env []string, argv ...string) (status int, output string) {
	t.Helper()
	return bootKernel(t, kernelOf(t, suite, runtime.GOARCH), dir, env, argv...)
}

func bootKernel(t *testing.T, kernel lab.Kernel, dir string, env []string, argv ...string) (status int, output string) {
	t.Helper()
	return bootVM(t, lab.VM{Kernel: kernel, Share: dir, Env: env}, argv...)
}

func bootVM(t *testing.T, vm lab.VM, argv ...string) (status int, output string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	var out bytes.Buffer
	vm.Stdout, vm.Stderr = &out, &out
	status, err := vm.Run(ctx, argv...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.Bytes())
	}
	return status, out.String()
}
