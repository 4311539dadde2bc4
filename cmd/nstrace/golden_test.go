// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden holds what is reported of recordings from real kernels to the
// letter. After a change that is meant, -update rewrites the files; read the
// difference before committing it.
func TestGolden(t *testing.T) {
	const dir = "../../testdata"
	for _, c := range []struct {
		golden string
		args   []string
	}{
		{"move-6.1.txt", []string{"report", "move-6.1.nst"}},
		{"move-6.1.json", []string{"report", "--format", "json", "move-6.1.nst"}},
		{"move-6.1-sta.txt", []string{"report", "--ns", "sta", "move-6.1.nst"}},
		{"move-6.1-late.txt", []string{"report", "--since", "9s", "--ns", "init", "move-6.1.nst"}},
		{"move-6.1-verify.txt", []string{"verify", "move-6.1.nst"}},
		{"move-6.1-packets.txt", []string{"report", "move-6.1-packets.nst"}},
		{"move-6.1-packets-verify.txt", []string{"verify", "move-6.1-packets.nst"}},
		{"killed-6.1.txt", []string{"report", "killed-6.1.nst"}},
		{"hostile-6.1.txt", []string{"report", "hostile-6.1.nst"}},
		{"hostile-6.1.json", []string{"report", "--format", "json", "hostile-6.1.nst"}},
		{"tenants-6.1.txt", []string{"report", "tenants-6.1.nst"}},
		{"tenants-6.1-blue.txt", []string{"report", "--ns", "0123456789ab", "tenants-6.1.nst"}},
		{"tenants-6.1-blue.json", []string{"report", "--format", "json", "--ns", "blue", "tenants-6.1.nst"}},
	} {
		t.Run(c.golden, func(t *testing.T) {
			got := output(t, dir, c.args)
			path := filepath.Join(dir, c.golden)
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s of nstrace %q differs; it is now:\n%s", c.golden, c.args, got)
			}
		})
	}
}

func output(t *testing.T, dir string, args []string) []byte {
	t.Helper()
	cmd := exec.Command("nstrace", args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	got, err := cmd.Output()
	if err != nil {
		t.Fatalf("nstrace %q: %v: %s", args, err, stderr.Bytes())
	}
	return got
}
