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

// TestReadmeReports holds the reports that the README shows against the golden
// files they are from, which TestGolden holds against the program.
func TestReadmeReports(t *testing.T) {
	shown := regexp.MustCompile("(?s)<!-- from (\\S+) -->\n```\n(.*?\n)```").FindAllStringSubmatch(readme(t), -1)
	if len(shown) == 0 {
		t.Fatal("the README shows no report")
	}
	for _, s := range shown {
		golden, err := os.ReadFile(filepath.Join(top, s[1]))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(golden), s[2]) {
			t.Errorf("this isn't in %s:\n%s", s[1], s[2])
		}
	}
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
	commands := regexp.MustCompile("nstrace (record|report|verify)([^#`|\n]*)").FindAllStringSubmatch(text, -1)
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
