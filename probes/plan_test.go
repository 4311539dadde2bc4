// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
)

var update = flag.Bool("update", false, "rewrite the golden plans")

// TestPlan holds the plans for real kernels to the letter. How to renew their
// descriptions: see TestProbes in e2e.
func TestPlan(t *testing.T) {
	for _, file := range descriptions(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			d := readDescription(t, file)
			var got bytes.Buffer
			for _, mode := range []Mode{ModeAuto, ModeFentry, ModeKprobe} {
				printPlan(&got, mode, plan(d, mode, DeliveryCount))
			}
			golden := strings.TrimSuffix(file, ".json") + ".plan"
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s differs; the plan is now:\n%s", golden, got.Bytes())
			}
		})
	}
}

func printPlan(to *bytes.Buffer, mode Mode, choices []choice) {
	fmt.Fprintf(to, "--attach %s\n", mode)
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, c := range choices {
		hooks := strings.Join(c.hooks, ", ")
		if hooks == "" {
			hooks = "absent"
		}
		line := []string{"  " + c.name, c.function.Name, hooks}
		if c.reason != "" {
			line = append(line, c.reason)
		}
		fmt.Fprintln(w, strings.Join(line, "\t"))
	}
	w.Flush()
	fmt.Fprintln(to)
}

func descriptions(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../testdata/kernels/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no kernels: %v", err)
	}
	return files
}

func readDescription(t *testing.T, file string) *description {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var d description
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return &d
}

// TestPlanIgnoresVersion: a kernel that calls itself another is no other.
func TestPlanIgnoresVersion(t *testing.T) {
	for _, file := range descriptions(t) {
		d := readDescription(t, file)
		var before, after bytes.Buffer
		printPlan(&before, ModeAuto, plan(d, ModeAuto, DeliveryCount))
		d.Release, d.Arch = "4.4.0", "s390x"
		printPlan(&after, ModeAuto, plan(d, ModeAuto, DeliveryCount))
		if before.String() != after.String() {
			t.Errorf("%s: the plan changes with the version", file)
		}
	}
}

// example is a small kernel that has everything these tests ask for.
func example() *description {
	yes := true
	return &description{
		Features: features{Fentry: true, Kprobe: true, OwnCount: true},
		Types:    []string{"vmlinux", "cfg80211"},
		Functions: []function{
			{Name: "setup_net", Traceable: &yes, Args: []string{"struct net *", "struct user_namespace *"}},
			{Name: "ops_init", Traceable: &yes, Args: []string{"struct pernet_operations *", "struct net *"}},
			{Name: "cleanup_net", Traceable: &yes, Args: []string{"struct work_struct *"}},
			{Name: "net_drop_ns", Traceable: &yes, Args: []string{"void *"}},
			{Name: "dev_change_net_namespace", Traceable: &yes, Args: []string{"struct net_device *", "struct net *", "char *"}},
			{Name: "wiphy_register", Module: "cfg80211", Traceable: &yes, Args: []string{"struct wiphy *"}},
			{Name: "__cgroup_bpf_run_filter_sysctl", Traceable: &yes, Args: []string{"struct ctl_table_header *"}},
		},
		CgroupRoot:  "/sys/fs/cgroup",
		Tracepoints: []tracepoint{{"sched_process_fork", []string{"struct task_struct *", "struct task_struct *"}}},
	}
}

func (d *description) edit(name string, change func(*function)) {
	i := slices.IndexFunc(d.Functions, func(f function) bool { return f.Name == name })
	change(&d.Functions[i])
}

func TestChoose(t *testing.T) {
	no := false
	both := []string{hookFentry, hookKprobe}
	for _, c := range []struct {
		name     string
		probe    string
		mode     Mode
		change   func(*description)
		function string
		hooks    []string
		reason   string
	}{
		{name: "all is well", probe: "setup_net", function: "setup_net", hooks: both},
		{
			name: "no such function", probe: "put_net",
			reason: "this kernel has no function __put_net",
		},
		{
			name: "no such module", probe: "ieee80211_if_add",
			reason: "no function ieee80211_if_add: the module mac80211 isn't loaded (--load-modules loads it first) or doesn't have it",
		},
		{
			name: "built in", probe: "wiphy_register",
			change:   func(d *description) { d.edit("wiphy_register", func(f *function) { f.Module = "" }) },
			function: "wiphy_register", hooks: both,
		},
		{
			name: "another module's", probe: "wiphy_register",
			change: func(d *description) { d.edit("wiphy_register", func(f *function) { f.Module = "compat" }) },
			reason: "no function wiphy_register: the module cfg80211 isn't loaded (--load-modules loads it first) or doesn't have it",
		},
		{
			name: "a module without BTF", probe: "wiphy_register",
			change: func(d *description) {
				d.Types = []string{"vmlinux"}
				d.edit("wiphy_register", func(f *function) { f.Args = nil })
			},
			function: "wiphy_register", hooks: []string{hookKprobe},
			reason: "no fentry: there is no type information for cfg80211",
		},
		{
			name: "a module without BTF, by fentry only", probe: "wiphy_register", mode: ModeFentry,
			change: func(d *description) {
				d.Types = []string{"vmlinux"}
				d.edit("wiphy_register", func(f *function) { f.Args = nil })
			},
			reason: "no fentry: there is no type information for cfg80211",
		},
		{
			name: "not traceable", probe: "setup_net",
			change: func(d *description) {
				d.Features.KprobesNeedFtrace = true
				d.edit("setup_net", func(f *function) { f.Traceable = &no })
			},
			reason: "setup_net can't be traced (it isn't in available_filter_functions)",
		},
		{
			name: "not traceable, by fentry", probe: "setup_net", mode: ModeFentry,
			change: func(d *description) { d.edit("setup_net", func(f *function) { f.Traceable = &no }) },
			reason: "no fentry: setup_net can't be traced (it isn't in available_filter_functions)",
		},
		{
			name: "not traceable, and kprobes may not mind", probe: "setup_net",
			change:   func(d *description) { d.edit("setup_net", func(f *function) { f.Traceable = &no }) },
			function: "setup_net", hooks: []string{hookKprobe},
			reason: "no fentry: setup_net can't be traced (it isn't in available_filter_functions)",
		},
		{
			name: "not traceable, and kprobes may not mind for what it was made of", probe: "cleanup_net",
			change: func(d *description) {
				d.Features.KprobesNeedFtrace = true
				d.edit("cleanup_net", func(f *function) { f.Name, f.Traceable = "cleanup_net.constprop.0", &no })
			},
			function: "cleanup_net.constprop.0", hooks: []string{hookKprobe},
			reason: "no fentry: there is no type information for cleanup_net.constprop.0",
		},
		{
			name: "not traceable, but the next is", probe: "dev_change_net_namespace",
			change: func(d *description) {
				d.Features.KprobesNeedFtrace = true
				d.Functions = append(d.Functions, function{
					Name: "__dev_change_net_namespace", Traceable: &no, Args: []string{"struct net_device *", "struct net *"},
				})
			},
			function: "dev_change_net_namespace", hooks: both,
		},
		{
			name: "perhaps traceable", probe: "setup_net",
			change:   func(d *description) { d.edit("setup_net", func(f *function) { f.Traceable = nil }) },
			function: "setup_net", hooks: both,
		},
		{
			name: "other arguments", probe: "setup_net",
			change: func(d *description) {
				d.edit("setup_net", func(f *function) { f.Args = []string{"struct user_namespace *", "struct net *"} })
			},
			reason: "setup_net takes (struct user_namespace *, struct net *), not (struct net *, ...)",
		},
		{
			name: "more arguments than there may be", probe: "wiphy_register",
			change: func(d *description) {
				d.edit("wiphy_register", func(f *function) { f.Args = append(f.Args, "int") })
			},
			reason: "wiphy_register takes (struct wiphy *, int), not (struct wiphy *)",
		},
		{name: "the last resort", probe: "free_net", function: "net_drop_ns", hooks: both},
		{
			name: "the last resort, which changed", probe: "free_net",
			change: func(d *description) {
				d.edit("net_drop_ns", func(f *function) { f.Args = []string{"struct ns_common *"} })
			},
			reason: "net_drop_ns takes (struct ns_common *), not (void *)",
		},
		{
			name: "the last resort, which isn't the end any more", probe: "free_net",
			change: func(d *description) { d.Features.OwnCount = false },
			reason: "net_drop_ns doesn't serve on kernels as late as this",
		},
		{
			name: "what is left of the last resort", probe: "free_net",
			change: func(d *description) {
				d.Functions = append(d.Functions, function{Name: "net_drop_ns.part.0", Args: []string{"void *"}})
			},
			function: "net_drop_ns.part.0", hooks: []string{hookKprobe},
			reason: "no fentry: there is no type information for net_drop_ns.part.0",
		},
		{
			name: "split, by fentry", probe: "free_net", mode: ModeFentry,
			change: func(d *description) {
				d.Functions = append(d.Functions, function{Name: "net_drop_ns.part.0", Args: []string{"void *"}})
			},
			reason: "no fentry: there is no type information for net_drop_ns.part.0; " +
				"the compiler split net_drop_ns: some callers go to net_drop_ns.part.0 directly",
		},
		{
			name: "split", probe: "setup_net",
			change: func(d *description) {
				d.Functions = append(d.Functions, function{Name: "setup_net.part.0"})
			},
			reason: "the compiler split setup_net: some callers go to setup_net.part.0 directly",
		},
		{
			name: "the inner one of two", probe: "dev_change_net_namespace",
			change: func(d *description) {
				d.Functions = append(d.Functions, function{
					Name: "__dev_change_net_namespace", Args: []string{"struct net_device *", "struct net *", "char *", "int"},
				})
			},
			function: "__dev_change_net_namespace", hooks: both,
		},
		{
			name: "changed by the compiler, its arguments read", probe: "setup_net",
			change: func(d *description) { d.edit("setup_net", func(f *function) { f.Name = "setup_net.isra.0" }) },
			reason: "the compiler made setup_net.isra.0 of setup_net: its arguments are anywhere",
		},
		{
			name: "changed by the compiler, its arguments not read", probe: "cleanup_net",
			change:   func(d *description) { d.edit("cleanup_net", func(f *function) { f.Name = "cleanup_net.constprop.0" }) },
			function: "cleanup_net.constprop.0", hooks: []string{hookKprobe},
			reason: "no fentry: there is no type information for cleanup_net.constprop.0",
		},
		{
			name: "only a part", probe: "ops_init",
			change: func(d *description) { d.edit("ops_init", func(f *function) { f.Name = "ops_init.part.0" }) },
			reason: "this kernel has no function ops_init",
		},
		{
			name: "twice", probe: "setup_net",
			change: func(d *description) { d.Functions = append(d.Functions, d.Functions[0]) },
			reason: "there are 2 functions setup_net, and no telling which is meant",
		},
		{
			name: "elsewhere, too", probe: "wiphy_register",
			change: func(d *description) {
				d.Functions = append(d.Functions, function{Name: "wiphy_register", Module: "compat"})
			},
			function: "wiphy_register", hooks: []string{hookFentry},
		},
		{
			name: "elsewhere, too, by kprobe", probe: "wiphy_register", mode: ModeKprobe,
			change: func(d *description) {
				d.Functions = append(d.Functions, function{Name: "wiphy_register", Module: "compat"})
			},
			reason: "no kprobe: 2 functions are called wiphy_register",
		},
		{
			name: "no trampolines", probe: "setup_net",
			change:   func(d *description) { d.Features.Fentry = false },
			function: "setup_net", hooks: []string{hookKprobe},
			reason: "no fentry: this kernel has no trampolines for ftrace's calls",
		},
		{
			name: "neither", probe: "setup_net",
			change: func(d *description) { d.Features = features{} },
			reason: "no fentry: this kernel has no trampolines for ftrace's calls; no kprobe: this kernel has no kprobes",
		},
		{
			name: "locked down", probe: "setup_net",
			change: func(d *description) { d.Lockdown = "confidentiality" },
			reason: "the kernel is locked down (confidentiality), which forbids to trace it",
		},
		{
			name: "locked down a little", probe: "setup_net",
			change:   func(d *description) { d.Lockdown = "integrity" },
			function: "setup_net", hooks: both,
		},
		{
			name: "no privileges", probe: "setup_net",
			change: func(d *description) { d.Privileges = "CAP_BPF missing" },
			reason: "CAP_BPF missing",
		},
		{
			name: "types of modules denied", probe: "wiphy_register",
			change:   func(d *description) { d.Denials.ModuleTypes = "not without CAP_SYS_ADMIN" },
			function: "wiphy_register", hooks: []string{hookKprobe}, reason: "no fentry: not without CAP_SYS_ADMIN",
		},
		{
			name: "types of modules denied, the kernel's own function", probe: "setup_net",
			change:   func(d *description) { d.Denials.ModuleTypes = "not without CAP_SYS_ADMIN" },
			function: "setup_net", hooks: both,
		},
		{
			name: "kprobes denied", probe: "setup_net",
			change:   func(d *description) { d.Denials.Kprobes = "not without CAP_SYS_ADMIN" },
			function: "setup_net", hooks: []string{hookFentry},
		},
		{
			name: "both denied", probe: "wiphy_register",
			change: func(d *description) { d.Denials = denials{ModuleTypes: "no types", Kprobes: "no perf events"} },
			reason: "no fentry: no types; no kprobe: no perf events",
		},
		{name: "tracepoint", probe: "sched_process_fork", function: "sched_process_fork", hooks: []string{hookTracepoint}},
		{
			name: "tracepoint, whatever the mode", probe: "sched_process_fork", mode: ModeKprobe,
			function: "sched_process_fork", hooks: []string{hookTracepoint},
		},
		{
			name: "tracepoint without trampolines or kprobes", probe: "sched_process_fork",
			change: func(d *description) {
				d.Features, d.Denials = features{}, denials{ModuleTypes: "no types", Kprobes: "no perf events"}
			},
			function: "sched_process_fork", hooks: []string{hookTracepoint},
		},
		{
			name: "tracepoint with more arguments", probe: "sched_process_fork",
			change:   func(d *description) { d.Tracepoints[0].Args = append(d.Tracepoints[0].Args, "int") },
			function: "sched_process_fork", hooks: []string{hookTracepoint},
		},
		{
			name: "tracepoint with other arguments", probe: "sched_process_fork",
			change: func(d *description) { d.Tracepoints[0].Args[1] = "int" },
			reason: "the tracepoint sched_process_fork has (struct task_struct *, int), not (struct task_struct *, struct task_struct *, ...)",
		},
		{name: "cgroup", probe: "sysctl", function: "__cgroup_bpf_run_filter_sysctl", hooks: []string{hookCgroup}},
		{
			name: "cgroup, whatever the mode", probe: "sysctl", mode: ModeFentry,
			function: "__cgroup_bpf_run_filter_sysctl", hooks: []string{hookCgroup},
		},
		{
			name: "cgroup, none mounted", probe: "sysctl", change: func(d *description) { d.CgroupRoot = "" },
			reason: "no cgroup2 file system is mounted with its root: mount -t cgroup2 none DIRECTORY, then record again",
		},
		{
			name: "cgroup, denied", probe: "sysctl", change: func(d *description) { d.Denials.Cgroups = "not without CAP_NET_ADMIN" },
			reason: "not without CAP_NET_ADMIN",
		},
		{
			name: "cgroup, unknown to the kernel", probe: "sysctl",
			change: func(d *description) { d.edit("__cgroup_bpf_run_filter_sysctl", func(f *function) { f.Name = "x" }) },
			reason: "this kernel has no function __cgroup_bpf_run_filter_sysctl",
		},
		{name: "no such tracepoint", probe: "sched_process_exec", reason: "there is no type information for a tracepoint sched_process_exec"},
		{
			name: "tracepoint, locked down", probe: "sched_process_fork",
			change: func(d *description) { d.Lockdown = "confidentiality" },
			reason: "the kernel is locked down (confidentiality), which forbids to trace it",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := example()
			if c.change != nil {
				c.change(d)
			}
			if c.mode == "" {
				c.mode = ModeAuto
			}
			choices := plan(d, c.mode, DeliveryCount)
			i := slices.IndexFunc(choices, func(x choice) bool { return x.name == c.probe })
			got := choices[i]
			if got.function.Name != c.function || !slices.Equal(got.hooks, c.hooks) || got.reason != c.reason {
				t.Errorf("got %q by %v (%s), want %q by %v (%s)",
					got.function.Name, got.hooks, got.reason, c.function, c.hooks, c.reason)
			}
		})
	}
}

func TestPlanWithoutDelivery(t *testing.T) {
	for _, c := range plan(example(), ModeAuto, DeliveryOff) {
		if c.delivery {
			t.Errorf("%s counts packets", c.name)
		}
	}
}

// TestTable: each probe says what is lost without it, and has its programs.
func TestTable(t *testing.T) {
	spec, err := loadBpf()
	if err != nil {
		t.Fatal(err)
	}
	used := 1 // find_init_net
	for _, p := range table {
		programs := []string{p.programs + "_fentry", p.programs + "_kprobe"}
		if p.hook != "" {
			programs = []string{p.programs + "_" + p.hook}
		}
		if p.returns {
			programs = append(programs, p.programs+"_fexit", p.programs+"_kretprobe")
		}
		for _, name := range programs {
			if spec.Programs[name] == nil {
				t.Errorf("%s: no program %s", p.name, name)
			}
		}
		used += len(programs)
		if p.loses == "" || len(p.functions) == 0 {
			t.Errorf("%s: loses %q, functions %v", p.name, p.loses, p.functions)
		}
	}
	if used != len(spec.Programs) {
		t.Errorf("%d programs are used of %d", used, len(spec.Programs))
	}
}

func TestParseTraceable(t *testing.T) {
	wanted := map[string]bool{"setup_net": true, "net_drop_ns": true, "ieee80211_if_add": true}
	got, err := parseTraceable(strings.NewReader("other\nsetup_net\nnet_drop_ns.part.0\nieee80211_if_add [mac80211]\n"), wanted)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []symbol{{name: "setup_net"}, {name: "net_drop_ns.part.0"}, {name: "ieee80211_if_add", module: "mac80211"}} {
		if !got[s] {
			t.Errorf("%v isn't traceable", s)
		}
	}
	if len(got) != 3 {
		t.Errorf("%d traceable: %v", len(got), got)
	}
	if _, err := parseTraceable(strings.NewReader("nothing of ours\n"), wanted); err == nil {
		t.Error("a list without any known function is believed")
	}
}

func TestBrief(t *testing.T) {
	for _, c := range []struct{ long, short string }{
		{
			"setup_net_fexit: load program: invalid argument: R1 is no pointer (12 line(s) omitted)\nmore\nand more",
			"setup_net_fexit: load program: invalid argument: R1 is no pointer",
		},
		{
			"setup_net_fentry: program setup_net_fentry: attach Tracing/TraceFEntry: not supported",
			"setup_net_fentry: attach Tracing/TraceFEntry: not supported",
		},
	} {
		if got := brief(errors.New(c.long)); got != c.short {
			t.Errorf("%q became %q, not %q", c.long, got, c.short)
		}
	}
}
