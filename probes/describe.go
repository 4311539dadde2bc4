// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	bpffeatures "github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// members are those of modules' structures that programs read: see
// bpf/layout.h.
var members = []struct{ module, structure, member string }{
	{"cfg80211", "cfg80211_registered_device", "wiphy"},
	{"cfg80211", "cfg80211_registered_device", "wiphy_idx"},
	{"mac80211", "ieee80211_sub_if_data", "dev"},
	{"mac80211", "ieee80211_sub_if_data", "wdev"},
	{"mac80211", "ieee80211_rx_data", "skb"},
	{"mac80211", "ieee80211_rx_data", "sdata"},
}

// describe looks at the running kernel and changes nothing.
func (k *kernel) describe() error {
	spec, err := k.types.Kernel()
	if err != nil {
		return err
	}
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return fmt.Errorf("ask for the kernel's name: %w", err)
	}
	k.Release, k.Arch = unix.ByteSliceToString(uts.Release[:]), runtime.GOARCH
	k.Lockdown = readLockdown()
	if err := checkPrivileges(); err != nil {
		k.Privileges = err.Error()
	} else {
		k.Denials = readDenials()
		if k.Lockdown == "" && forbidsReading() {
			k.Lockdown = lockedDown
		}
	}
	// recursion_misses came in the same release as atomics with fetch.
	k.Features.Fetch = hasMember(spec, "bpf_prog_info", "recursion_misses")
	k.Features.Recursion = k.Features.Fetch || hasMember(spec, "bpf_prog", "active")
	k.Features.FentryMisses = k.Features.Fetch
	k.Features.KprobeMisses = hasMember(spec, "bpf_link_info", "perf_event", "kprobe", "missed")
	k.Features.OwnCount = hasMember(spec, "net", "count")
	if err := k.describeFunctions(); err != nil {
		return err
	}
	k.describeTracepoints(spec)
	k.CgroupRoot, _ = cgroupMount()
	k.describeModules()
	return nil
}

// describeTracepoints finds the tracepoints of the table. One called X has the
// type btf_trace_X: a pointer to a function whose first argument isn't handed to
// programs (include/trace/bpf_probe.h).
func (k *kernel) describeTracepoints(spec *btf.Spec) {
	for i := range table {
		if table[i].hook != hookTracepoint {
			continue
		}
		for _, c := range table[i].functions {
			var of *btf.Typedef
			if err := spec.TypeByName("btf_trace_"+c.name, &of); err != nil {
				continue
			}
			pointer, ok := of.Type.(*btf.Pointer)
			if !ok {
				continue
			}
			if proto, ok := pointer.Target.(*btf.FuncProto); ok && len(proto.Params) > 0 {
				k.Tracepoints = append(k.Tracepoints, tracepoint{c.name, argTypes(proto.Params[1:])})
			}
		}
	}
}

// wantedFunctions are the table's, without what compilers put behind names.
func wantedFunctions() map[string]bool {
	wanted := map[string]bool{}
	for i := range table {
		if table[i].hook == hookTracepoint {
			continue
		}
		for _, f := range table[i].functions {
			wanted[baseName(f.name)] = true
		}
	}
	return wanted
}

// describeFunctions finds the functions of the table, and what else kallsyms
// tells.
func (k *kernel) describeFunctions() error {
	wanted := wantedFunctions()
	found, err := findSymbols(func(_ uint64, name []byte) bool {
		if i := bytes.IndexByte(name, '.'); i > 0 {
			name = name[:i]
		}
		switch string(name) {
		case "__per_cpu_offset", "register_kprobe", "within_notrace_func", "register_ftrace_direct", "register_ftrace_direct_multi":
			return true
		}
		return wanted[string(name)]
	})
	if err != nil {
		return err
	}
	for _, s := range found {
		switch s.name {
		case "__per_cpu_offset":
			k.perCPUOffset = s.addr
		case "register_kprobe":
			k.Features.Kprobe = true
		case "within_notrace_func":
			k.Features.KprobesNeedFtrace = true
		case "register_ftrace_direct", "register_ftrace_direct_multi":
			k.Features.Fentry = true
		default:
			if wanted[baseName(s.name)] && !strings.Contains(s.name, ".cold") {
				k.Functions = append(k.Functions, k.describeFunction(s))
			}
		}
	}
	slices.SortStableFunc(k.Functions, func(a, b function) int {
		return strings.Compare(a.Module+" "+a.Name, b.Module+" "+b.Name)
	})
	return nil
}

func (k *kernel) describeFunction(s symbol) function {
	return function{Name: s.name, Module: s.module, Args: k.args(baseName(s.name), s.module)}
}

// learnTraceable asks ftrace which of the functions it can get at, if it tells.
// That list is a megabyte, which the kernel makes anew each time: an eighth of
// the time that attaching takes.
func (k *kernel) learnTraceable() {
	traceable := readTraceable(wantedFunctions())
	if traceable == nil {
		return
	}
	for i := range k.Functions {
		f := &k.Functions[i]
		can := traceable[symbol{name: f.Name, module: f.Module}]
		f.Traceable = &can
	}
}

func (k *kernel) describeModules() {
	k.Types = []string{"vmlinux"}
	k.Offsets = map[string]uint32{}
	for _, module := range []string{"cfg80211", "mac80211"} {
		spec, err := k.spec(module)
		if err != nil {
			continue
		}
		k.Types = append(k.Types, module)
		for _, m := range members {
			if m.module != module {
				continue
			}
			if offset, ok := memberOffset(spec, m.structure, m.member); ok {
				k.Offsets[m.structure+"."+m.member] = offset
			}
		}
	}
}

// spec returns a module's types; those of a module that is built in are the
// kernel's.
func (k *kernel) spec(module string) (*btf.Spec, error) {
	if module == "" {
		return k.types.Kernel()
	}
	return k.types.Module(module)
}

// args returns the types of a function's arguments, nil if BTF doesn't have it
// or has several of that name.
func (k *kernel) args(name, module string) []string {
	spec, err := k.spec(module)
	if err != nil {
		return nil
	}
	var fn *btf.Func
	if err := spec.TypeByName(name, &fn); err != nil {
		return nil
	}
	proto, ok := fn.Type.(*btf.FuncProto)
	if !ok {
		return nil
	}
	return argTypes(proto.Params)
}

func argTypes(params []btf.FuncParam) []string {
	args := []string{}
	for _, p := range params {
		args = append(args, typeName(p.Type))
	}
	return args
}

// typeName spells a type as C does, without const and the like.
func typeName(t btf.Type) string {
	switch t := t.(type) {
	case *btf.Pointer:
		return typeName(t.Target) + " *"
	case *btf.Const:
		return typeName(t.Type)
	case *btf.Volatile:
		return typeName(t.Type)
	case *btf.Restrict:
		return typeName(t.Type)
	case *btf.TypeTag:
		return typeName(t.Type)
	case *btf.Struct:
		return "struct " + t.Name
	case *btf.Union:
		return "union " + t.Name
	case *btf.Fwd:
		return t.Kind.String() + " " + t.Name
	case *btf.Enum:
		return "enum " + t.Name
	case *btf.Void:
		return "void"
	default:
		return t.TypeName()
	}
}

func memberOffset(spec *btf.Spec, structure, member string) (uint32, bool) {
	var s *btf.Struct
	if err := spec.TypeByName(structure, &s); err != nil {
		return 0, false
	}
	for _, m := range s.Members {
		if m.Name == member && m.BitfieldSize == 0 {
			return m.Offset.Bytes(), true
		}
	}
	return 0, false
}

// hasMember reports whether a struct of the kernel has a member, at the end of
// a path through anonymous structs and unions.
func hasMember(spec *btf.Spec, name string, path ...string) bool {
	var s *btf.Struct
	if err := spec.TypeByName(name, &s); err != nil {
		return false
	}
	return memberPath(s.Members, path)
}

func memberPath(members []btf.Member, path []string) bool {
	for _, m := range members {
		below, isComposite := compositeMembers(m.Type)
		switch {
		case m.Name == path[0] && len(path) == 1:
			return true
		case m.Name == path[0] && isComposite && memberPath(below, path[1:]):
			return true
		case m.Name == "" && isComposite && memberPath(below, path):
			return true
		}
	}
	return false
}

func compositeMembers(t btf.Type) ([]btf.Member, bool) {
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		return t.Members, true
	case *btf.Union:
		return t.Members, true
	}
	return nil, false
}

// readTraceable returns which of the wanted functions ftrace can get at, nil if
// that can't be read: tracefs needs root, and need not be mounted.
func readTraceable(wanted map[string]bool) map[symbol]bool {
	for _, dir := range findTracefs() {
		f, err := os.Open(filepath.Join(dir, "available_filter_functions"))
		if err != nil {
			continue
		}
		defer f.Close()
		traceable, err := parseTraceable(f, wanted)
		if err != nil {
			return nil
		}
		return traceable
	}
	return nil
}

// findTracefs returns where tracefs is mounted. Just trying the usual places
// would mount it: looking into debugfs for it does (tracefs automount in
// kernel/trace/trace.c).
func findTracefs() (dirs []string) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == "tracefs" {
			dirs = append(dirs, fields[1])
		}
	}
	return dirs
}

// parseTraceable reads lines such as "ieee80211_if_add [mac80211]".
func parseTraceable(r io.Reader, wanted map[string]bool) (map[symbol]bool, error) {
	traceable := map[symbol]bool{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, module, _ := strings.Cut(lines.Text(), " ")
		if wanted[baseName(name)] {
			traceable[symbol{name: name, module: strings.Trim(module, "[]")}] = true
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(traceable) == 0 {
		return nil, errors.New("no function of interest: the list can't be what it should")
	}
	return traceable, nil
}

// lockedDown is the state of lockdown in which nothing can be traced.
const (
	lockedDown    = "confidentiality"
	whyLockedDown = "the kernel is locked down (confidentiality), which forbids to trace it"
)

// forbidsReading reports whether the kernel lets no program read its memory. That
// is what confidentiality means for tracing (LOCKDOWN_BPF_READ_KERNEL in
// bpf_tracing_func_proto), and it holds where securityfs isn't mounted to say so,
// too. A process that may load programs can ask; nothing is left behind. What is
// asked for is the older name of bpf_probe_read_kernel: the ebpf library uses it
// where the other is refused, and then doesn't understand the answer.
func forbidsReading() bool {
	return errors.Is(bpffeatures.HaveProgramHelper(ebpf.Kprobe, asm.FnProbeRead), ebpf.ErrNotSupported)
}

// readLockdown returns the chosen one of "none [integrity] confidentiality".
func readLockdown() string {
	data, err := os.ReadFile("/sys/kernel/security/lockdown")
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(data), "[")
	chosen, _, _ := strings.Cut(rest, "]")
	return chosen
}
