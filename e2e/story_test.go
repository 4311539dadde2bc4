// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// fact is a point of the scenario's story, and the probes without any of which a
// report can't tell it.
type fact struct {
	value string
	needs []string
}

// wantStory is what a recording of the scenario tells, in which radios and
// interfaces are moved by what is called iw and ip.
func wantStory(iw, ip string) map[string]fact {
	const (
		births, moves, switches, radios, devices = "setup_net", "dev_change_net_namespace", "cfg80211_switch_netns", "wiphy_register", "register_netdevice"
		delivery                                 = "ieee80211_deliver_skb"
	)
	story := map[string]fact{
		"namespaces":         {"ap, init, sta", []string{births}},
		"birth of ap":        {"by " + ip, []string{births}},
		"birth of sta":       {"by " + ip, []string{births}},
		"end of ap":          {"none", []string{"cleanup_net", "put_net"}},
		"end of sta":         {"seen", []string{"free_net"}},
		"last put of sta":    {"known", []string{"put_net", "netns_put"}},
		"clean-up of sta":    {"known", []string{"cleanup_net"}},
		"what hwsim is to":   {"1 namespace", []string{"register_pernet_operations", "ops_init"}},
		"vap0":               {"AP of phy0 in init, by " + iw + " of init", []string{"ieee80211_if_add"}},
		"audit":              {"agrees", []string{switches}},
		"verdict":            {"clean", []string{switches}},
		"packets of wlan1":   {"into ap", []string{delivery}},
		"packets of wlan2":   {"into sta", []string{delivery}},
		"interfaces in ap":   {"lo created, wlan1 moved", []string{devices, moves}},
		"interfaces in init": {"hwsim0 created, lo preexisting, vap0 created, wlan0 created, wlan1 created-moved, wlan2 created-moved, wlan2 moved", []string{devices, moves}},
		"interfaces in sta":  {"lo created-removed, wlan2 moved-moved", []string{devices, moves, "unregister_netdevice"}},
	}
	for i, m := range []struct{ what, cause string }{
		{"wlan1 init>ap by " + iw, "carried-by-wiphy"},
		{"wlan2 init>sta by " + iw, "carried-by-wiphy"},
		{"wlan0 init>ap EINVAL by " + ip, "request"},
		{"wlan2 sta>init by kworker", "carried-by-wiphy"},
	} {
		story[fmt.Sprintf("netdev move %d", i+1)] = fact{m.what, []string{moves}}
		because := fact{m.cause, []string{moves}}
		if m.cause == "carried-by-wiphy" {
			because.needs = append(because.needs, switches)
		}
		story[fmt.Sprintf("cause of netdev move %d", i+1)] = because
	}
	for i, m := range []struct{ what, cause string }{
		{"phy1 init>ap by " + iw, "request"},
		{"phy2 init>sta by " + iw, "request"},
		{"phy2 sta>init by kworker", "namespace-death"},
	} {
		story[fmt.Sprintf("wiphy move %d", i+1)] = fact{m.what, []string{switches}}
		story[fmt.Sprintf("cause of wiphy move %d", i+1)] = fact{m.cause, []string{switches}}
	}
	for phy, where := range map[string]string{"phy0": "init", "phy1": "init, ap", "phy2": "init, sta, init"} {
		story["birth of "+phy] = fact{"by modprobe", []string{radios}}
		story["residence of "+phy] = fact{where, []string{radios, switches}}
	}
	for rule, f := range map[string]fact{
		"netdev-pinned-to-wiphy": {"wlan0", []string{moves}},
		"wiphy-returned":         {"phy2", []string{switches}},
		"link-down-after-move":   {"wlan2", []string{moves, switches}},
		"audit-differs":          {"", []string{switches}},
		"delivery-differs":       {"", []string{delivery}},
	} {
		story["finding "+rule] = f
	}
	return story
}

// storyOf is what a report tells of the same.
func storyOf(r *report) map[string]string {
	story := map[string]string{
		"audit": fmt.Sprint(r.Audit.Differences), "verdict": "not clean", "what hwsim is to": "",
		"finding audit-differs": "", "finding delivery-differs": "",
	}
	if r.Audit.Compared > 0 && len(r.Audit.Differences) == 0 {
		story["audit"] = "agrees"
	}
	if r.Recording.Clean {
		story["verdict"] = "clean"
	}
	r.tellNamespaces(story)
	r.tellRadios(story)
	r.tellMoves(story)
	for _, p := range r.Pernet {
		if p.Action == "register" && p.Module == "mac80211_hwsim" && p.Errno == 0 {
			story["what hwsim is to"] += fmt.Sprintf("%d namespace", p.Namespaces)
		}
	}
	for _, v := range r.Vifs {
		if v.Name == "vap0" {
			story["vap0"] = fmt.Sprintf("%s of %s in %s, by %s of %s", v.Iftype, v.Wiphy, r.name(v.Namespace), v.Comm, r.name(v.Caller))
		}
	}
	for _, f := range r.Findings {
		switch f.Rule {
		case "probe-missing": // this is how the report announces it
			continue
		case "request-refused": // what wpa_supplicant tries with a radio is its own affair
			continue
		}
		about := "finding " + f.Rule
		story[about] = strings.TrimPrefix(story[about]+", "+f.Subject, ", ")
	}
	return story
}

func (r *report) tellNamespaces(story map[string]string) {
	var names []string
	for _, n := range r.Namespaces {
		name := r.name(n.ID)
		names = append(names, name)
		var stays []string
		for _, d := range n.Devices {
			stays = append(stays, strings.TrimSuffix(fmt.Sprintf("%s %s-%s", d.Name, d.Arrived, d.Left), "-"))
		}
		slices.Sort(stays)
		story["interfaces in "+name] = strings.Join(stays, ", ")
		for _, d := range n.Delivery {
			if d.Path == stationUpdate {
				continue
			}
			story["packets of "+d.Device] = strings.TrimPrefix(story["packets of "+d.Device]+", into "+name, ", ")
		}
		if n.Initial {
			continue
		}
		story["birth of "+name] = "unknown"
		if c := n.Created; c != nil && !c.Inferred && c.SetupNS > 0 {
			story["birth of "+name] = "by " + c.Comm
		}
		d := n.Destroyed
		switch {
		case d == nil:
			story["end of "+name] = "none"
			continue
		case d.Inferred:
			story["end of "+name] = "inferred"
		default:
			story["end of "+name] = "seen"
		}
		story["last put of "+name] = known(d.PutAtNS)
		story["clean-up of "+name] = known(d.CleanupNS)
	}
	slices.Sort(names)
	story["namespaces"] = strings.Join(names, ", ")
}

func known(ns *int64) string {
	if ns == nil {
		return "unknown"
	}
	return "known"
}

func (r *report) tellRadios(story map[string]string) {
	for _, w := range r.Wiphys {
		story["birth of "+w.Name] = "unknown"
		if c := w.Created; c != nil && !c.Inferred && r.name(w.BornIn) == "init" {
			story["birth of "+w.Name] = "by " + c.Comm
		}
		var where []string
		for _, s := range w.Residence {
			where = append(where, r.name(s.Namespace))
		}
		story["residence of "+w.Name] = strings.Join(where, ", ")
	}
}

func (r *report) tellMoves(story map[string]string) {
	count := map[string]int{}
	for _, m := range r.Moves {
		count[m.What]++
		what := fmt.Sprintf("%s move %d", m.What, count[m.What])
		words := []string{m.Name, r.name(m.From) + ">" + r.name(m.To), m.Error, "by", commOf(m.Comm)}
		if m.NewName != "" && m.NewName != m.Name {
			words = append(words, "as", m.NewName)
		}
		story[what] = strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " ")
		story["cause of "+what] = m.Cause
	}
}

// commOf leaves out which of the kernel's workers it was.
func commOf(comm string) string {
	name, _, _ := strings.Cut(comm, "/")
	return name
}

// compareStory wants the story to be the same everywhere, but for what was
// announced: that there is no probe for it.
func compareStory(t *testing.T, r *report, want map[string]fact, absent []string) {
	t.Helper()
	got := storyOf(r)
	for what := range maps.Keys(got) {
		if _, ok := want[what]; !ok {
			t.Errorf("%s: %s, which isn't in the story", what, got[what])
		}
	}
	for _, what := range slices.Sorted(maps.Keys(want)) {
		w := want[what]
		if got[what] == w.value {
			continue
		}
		lacks := slices.DeleteFunc(slices.Clone(w.needs), func(p string) bool { return !slices.Contains(absent, p) })
		if len(lacks) == 0 {
			t.Errorf("%s: %q, want %q", what, got[what], w.value)
			continue
		}
		t.Logf("%s: %q, not %q: as announced, there is no probe %s", what, got[what], w.value, strings.Join(lacks, ", "))
	}
}
