// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/nstrace/nstrace/lab"
)

// suite is the Debian suite whose kernel is used.
const suite = "bookworm"

// build makes a static program for the machine: the command in folder pkg, or
// with "test -c" the tests of a package.
func build(t *testing.T, out string, how ...string) {
	t.Helper()
	pkg := how[len(how)-1]
	cmd := exec.Command("go", append(append(how[:len(how)-1:len(how)-1], "-o", out), pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, msg)
	}
}

// boot runs a command in a machine that shares dir, and returns its exit status
// and what it printed.
func boot(t *testing.T, dir string, env []string, argv ...string) (status int, output string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	kernel, err := lab.Fetch(ctx, suite, "amd64", os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	vm := lab.VM{Kernel: kernel, Share: dir, Env: env, Stdout: &out, Stderr: &out}
	status, err = vm.Run(ctx, argv...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.Bytes())
	}
	return status, out.String()
}
