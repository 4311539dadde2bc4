// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const top = "../.."

func readme(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(top, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// shown finds a report in the README: its golden file, the lines it begins with
// and goes up to, and the text.
var shown = regexp.MustCompile("(?s)<!-- (\\S+)(?: from ([^>]+?))? up to ([^>]+?) -->\n```\n(.*?\n)```")

// TestReadmeReports holds the reports that the README shows against the golden
// files they are from, which TestGolden holds against the program.
func TestReadmeReports(t *testing.T) {
	text := readme(t)
	reports := shown.FindAllStringSubmatch(text, -1)
	if len(reports) == 0 {
		t.Fatal("the README shows no report")
	}
	for _, r := range reports {
		want := excerpt(t, r[1], r[2], r[3])
		if *update {
			text = strings.Replace(text, r[4], want, 1)
		} else if r[4] != want {
			t.Errorf("the README's report from %s isn't what is there; -update rewrites it", r[1])
		}
	}
	if *update {
		if err := os.WriteFile(filepath.Join(top, "README.md"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// excerpt returns the part of a golden file between two of its lines, the
// second and the blank lines before it left out.
func excerpt(t *testing.T, file, from, to string) string {
	t.Helper()
	golden, err := os.ReadFile(filepath.Join(top, file))
	if err != nil {
		t.Fatal(err)
	}
	part := "\n" + string(golden)
	if from != "" {
		i := strings.Index(part, "\n"+from+"\n")
		if i < 0 {
			t.Fatalf("%s has no line %q", file, from)
		}
		part = part[i:]
	}
	part, _, ok := strings.Cut(part, "\n"+to+"\n")
	if !ok {
		t.Fatalf("%s has no line %q", file, to)
	}
	return strings.Trim(part, "\n") + "\n"
}

// TestReadmeCommands checks that the commands the README has people type exist
// with these flags, and the files it points to.
func TestReadmeCommands(t *testing.T) {
	text := readme(t)
	makefile, err := os.ReadFile(filepath.Join(top, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	targets := regexp.MustCompile("(?m)(?:^    |`)make ([a-z-]+)").FindAllStringSubmatch(text, -1)
	if len(targets) < 3 {
		t.Errorf("found only the make targets %q", targets)
	}
	for _, target := range targets {
		if !strings.Contains("\n"+string(makefile), "\n"+target[1]+":") {
			t.Errorf("there is no make %s", target[1])
		}
	}
	commands := regexp.MustCompile("nstrace (check|record|report|verify)([^#`|\n]*)").FindAllStringSubmatch(text, -1)
	if len(commands) < 6 {
		t.Errorf("found only the commands %q", commands)
	}
	for _, c := range commands {
		cmd, _, err := newRoot().Find([]string{c[1]})
		if err != nil {
			t.Errorf("nstrace %s: %v", c[1], err)
			continue
		}
		own, _, _ := strings.Cut(c[2], " -- ")
		if err := cmd.ParseFlags(strings.Fields(own)); err != nil {
			t.Errorf("nstrace %s%s: %v", c[1], c[2], err)
		}
	}
	for _, link := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join(top, link[1])); err != nil {
			t.Errorf("a link leads nowhere: %v", err)
		}
	}
}
