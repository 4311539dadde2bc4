// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nstrace/nstrace/analyze"
)

// checkWorld compares what there is in the end with what ip, iw and lsns, which
// know nothing of nstrace, say of every namespace that can be reached.
func (r *randomRun) checkWorld(t *testing.T) {
	t.Helper()
	looked := 0
	for _, n := range r.model.Namespaces {
		file := filepath.Join(r.dir, "look", fmt.Sprint(n.Inum))
		if !n.Alive() || !exists(file+".links") {
			continue
		}
		looked++
		if got, want := linksInReport(n), linksByIP(t, file+".links"); !slices.Equal(got, want) {
			t.Errorf("interfaces of %s in the end:\n%q\nip says\n%q", n.Label(), got, want)
		}
		if got, want := r.vifsInReport(n), vifsByIW(t, file+".vifs"); !slices.Equal(got, want) {
			t.Errorf("wireless interfaces of %s in the end:\n%q\niw says\n%q", n.Label(), got, want)
		}
	}
	var list struct{ Namespaces []struct{ NS uint32 } }
	readJSON(t, filepath.Join(r.dir, "look/lsns"), &list)
	for _, ns := range list.Namespaces {
		if !slices.ContainsFunc(r.model.Namespaces, func(n *analyze.Netns) bool { return n.Alive() && n.Inum == ns.NS }) {
			t.Errorf("lsns has net:[%d]; in the report it isn't alive", ns.NS)
		}
	}
	if looked < 3 || len(list.Namespaces) < 2 {
		t.Errorf("ip and iw looked into %d namespaces, lsns saw %d", looked, len(list.Namespaces))
	}
	t.Logf("ip and iw looked into %d namespaces, lsns saw %d", looked, len(list.Namespaces))
}

// staying are the stays in n that last.
func staying(n *analyze.Netns) (stays []*analyze.Stay) {
	for _, s := range n.Stays {
		if s.Left == "" {
			stays = append(stays, s)
		}
	}
	return stays
}

func linksInReport(n *analyze.Netns) (links []string) {
	for _, s := range staying(n) {
		links = append(links, fmt.Sprintf("%d %s", s.Ifindex, s.Name()))
	}
	slices.Sort(links)
	return links
}

func linksByIP(t *testing.T, file string) (links []string) {
	t.Helper()
	var list []struct {
		Ifindex int
		Ifname  string
	}
	readJSON(t, file, &list)
	for _, l := range list {
		links = append(links, fmt.Sprintf("%d %s", l.Ifindex, l.Ifname))
	}
	slices.Sort(links)
	return links
}

// vifsInReport are the interfaces of the radios that are in n. Where a radio's move
// came to nothing, one of them may be elsewhere.
func (r *randomRun) vifsInReport(n *analyze.Netns) (vifs []string) {
	for _, d := range r.model.Devices {
		s, w := d.At(), d.Wiphy
		if s != nil && w != nil && w.At() != nil && w.At().Netns == n {
			vifs = append(vifs, fmt.Sprintf("phy#%d %d %s", w.Index, s.Ifindex, s.Name()))
		}
	}
	slices.Sort(vifs)
	return vifs
}

// vifsByIW reads what `iw dev` prints, but for those without a netdev.
func vifsByIW(t *testing.T, file string) (vifs []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var phy, name string
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		switch {
		case len(words) == 1 && strings.HasPrefix(words[0], "phy#"):
			phy = words[0]
		case len(words) == 2 && words[0] == "Interface":
			name = words[1]
		case len(words) == 2 && words[0] == "ifindex":
			index, err := strconv.Atoi(words[1])
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			vifs = append(vifs, fmt.Sprintf("%s %d %s", phy, index, name))
		}
	}
	slices.Sort(vifs)
	return vifs
}
