// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"nstrace": main})
}

// TestScripts runs the command as a user does who has no privileges to trace,
// on any machine.
func TestScripts(t *testing.T) { runScripts(t, "testdata/script") }

// TestLabScripts runs it on a kernel that can be traced: in a virtual machine,
// to which e2e brings this test. The scripts change the machine.
func TestLabScripts(t *testing.T) {
	if os.Getenv("NSTRACE_LAB") == "" {
		t.Skip("not in the lab; e2e runs this in a virtual machine")
	}
	runScripts(t, "testdata/lab")
}

// TestLabKernelScripts does so on every kernel of the lab.
func TestLabKernelScripts(t *testing.T) {
	if os.Getenv("NSTRACE_LAB") == "" {
		t.Skip("not in the lab; e2e runs this in virtual machines")
	}
	runScripts(t, "testdata/kernels")
}

func runScripts(t *testing.T, dir string) {
	recordings, err := filepath.Abs("../../testdata")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("RECORDINGS", recordings)
			e.Setenv("KEEP", os.Getenv("NSTRACE_KEEP"))
			e.Setenv("PATH", e.Getenv("PATH")+":/usr/sbin:/sbin")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status, "samehooks": sameHooks, "holds": holds},
	})
}

// status N COMMAND... runs a command that must exit with N.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}
