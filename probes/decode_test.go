// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf/btf"

	"github.com/nstrace/nstrace/event"
)

// The records of a ring begin at multiples of 8 bytes, and their structures need
// no more; so these tests take structures, or copy bytes into words.

func recordOf[T any](r *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(r)), unsafe.Sizeof(*r))
}

// aligned copies record to where a ring could have it.
func aligned(record []byte) []byte {
	words := make([]uint64, len(record)/8+1)
	b := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), 8*len(words))[:len(record):len(record)]
	copy(b, record)
	return b
}

// field is a leaf of a structure: its path is like "Net.Inum".
type field struct {
	path  string
	value reflect.Value
}

// leaves lists the fields of the structure v, and those of the structures in
// it, without the prefixes of embedded ones.
func leaves(v reflect.Value, prefix string) (all []field) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		switch {
		case f.Name == "_":
		case f.Type.Kind() == reflect.Struct && f.Anonymous:
			all = append(all, leaves(v.Field(i), prefix)...)
		case f.Type.Kind() == reflect.Struct:
			all = append(all, leaves(v.Field(i), prefix+f.Name+".")...)
		default:
			all = append(all, field{prefix + f.Name, v.Field(i)})
		}
	}
	return all
}

// set gives a field of a record a value and returns what an event's field should
// hold then. Small ones where not all values are valid.
func set(f field) any {
	switch f.value.Kind() {
	case reflect.Array: // a string
		for i, c := range f.path {
			f.value.Index(i).SetInt(int64(c))
		}
		return f.path
	case reflect.Int32:
		f.value.SetInt(math.MinInt32 + 7)
		return int64(math.MinInt32 + 7)
	}
	n := uint64(math.MaxUint64) >> (64 - f.value.Type().Bits())
	switch f.path {
	case "Kind", "Flow.Path", "Phase", "Stage", "Op":
		n = 2
	case "Cpu":
		n = maxCPUs - 1
	}
	f.value.SetUint(n)
	return n
}

func get(v reflect.Value) any {
	switch {
	case v.CanUint():
		return v.Uint()
	case v.CanInt():
		return v.Int()
	case v.Kind() == reflect.Slice: // as many as the record says
		return uint64(v.Len())
	}
	return v.String()
}

// everyField sets the fields of a record one after the other, decodes it, and
// wants exactly the field of the same name to change. In the end every field of
// what is decoded must have been reached, but for those of elsewhere. What is
// renamed to "" is for others.
func everyField[R, E any](t *testing.T, base R, decode func(*R) *E, rename map[string]string, elsewhere ...string) {
	t.Helper()
	r := base
	zero := *decode(&r)
	reached := map[string]bool{}
	for i := range leaves(reflect.ValueOf(&r).Elem(), "") {
		r = base
		from := leaves(reflect.ValueOf(&r).Elem(), "")[i]
		last := from.path[strings.LastIndexByte(from.path, '.')+1:]
		if last == "Pad" {
			continue
		}
		to := from.path
		if name, ok := rename[to]; ok {
			to = name
		}
		if to == "" {
			continue
		}
		want := set(from)
		got := *decode(&r)
		before := leaves(reflect.ValueOf(&zero).Elem(), "")
		for j, f := range leaves(reflect.ValueOf(&got).Elem(), "") {
			is, was := get(f.value), get(before[j].value)
			switch {
			case f.path == to:
				reached[to] = true
				if is != want {
					t.Errorf("%s: got %v, want %v", to, is, want)
				}
			case is != was:
				t.Errorf("%s changed %s from %v to %v", from.path, f.path, was, is)
			}
		}
		if !reached[to] {
			t.Errorf("nothing takes %s", from.path)
		}
	}
	for _, f := range leaves(reflect.ValueOf(&zero).Elem(), "") {
		if !reached[f.path] && !slices.Contains(elsewhere, f.path) {
			t.Errorf("nothing sets %s", f.path)
		}
	}
}

// A packet's bytes are those behind its record, of which the room may have more,
// but not less.
func TestDecodePacketBytes(t *testing.T) {
	var d decoder
	record := aligned(append(recordOf(&bpfNstPacket{Captured: 5, Len: 1500}), "abcdefgh"...))
	p, ok := d.packetRecord(record)
	if !ok || string(p.Data) != "abcde" || p.Length != 1500 {
		t.Fatalf("got %+v", p)
	}
	if p, ok := d.packetRecord(record[:len(record)-4]); ok || d.undecoded != 1 {
		t.Errorf("a record that ends within its bytes: %+v", p)
	}
	if p, ok := d.packetRecord(aligned(recordOf(&bpfNstPacket{}))); !ok || p.Data != nil {
		t.Errorf("without bytes: %+v", p)
	}
}

func TestDecodeEveryField(t *testing.T) {
	t.Run("lifecycle", func(t *testing.T) {
		var d decoder
		decode := func(r *bpfNstEvent) *event.Event {
			e, ok := d.lifecycle(recordOf(r))
			if !ok {
				t.Fatalf("not decoded: %+v", r)
			}
			return e
		}
		rename := map[string]string{"Cpu": "CPU", "Pid": "PID", "Tid": "TID", "UserNs": "UserNS", "TargetPid": "TargetPID", "CallerUserNs": "CallerUserNS", "WdevId": "WdevID"}
		everyField(t, bpfNstEvent{Kind: 1}, decode, rename, "Driver", "Path")
		r := bpfNstEvent{Kind: uint16(bpfNstKindNST_WIPHY_REGISTER), NewName: [64]int8{'a'}, WiphyName: [64]int8{'b'}}
		if e := decode(&r); e.Driver != "a" || e.NewName != "" || e.WiphyName != "b" || e.Path != "" {
			t.Errorf("wiphy_register: %+v", e)
		}
		r = bpfNstEvent{Kind: uint16(bpfNstKindNST_SYSCTL), NewName: [64]int8{'a', '\n'}, WiphyName: [64]int8{'b'}, Name: [64]int8{'c', '\n', '\n'}}
		if e := decode(&r); e.Path != "b" || e.WiphyName != "" || e.NewName != "a" || e.Driver != "" || e.Name != "c\n" {
			t.Errorf("sysctl: %+v", e)
		}
	})
	t.Run("task", func(t *testing.T) {
		var d decoder
		everyField(t, bpfNstTask{Op: 1}, func(r *bpfNstTask) *event.Task {
			e, ok := d.task(recordOf(r))
			if !ok {
				t.Fatalf("not decoded: %+v", r)
			}
			return e
		}, map[string]string{
			"Cpu": "CPU", "Pid": "PID", "Tid": "TID", "MntNs": "Others.Mnt", "PidNs": "Others.PID", "UtsNs": "Others.UTS",
			"IpcNs": "Others.IPC", "CgroupNs": "Others.Cgroup", "TimeNs": "Others.Time", "UserNs": "Others.User", "Behind": "",
		}, "Behind", "BehindKnown")
		for _, c := range []struct {
			behind, want uint32
			known        bool
		}{{0, 0, true}, {3, 3, true}, {behindUnknown, 0, false}} {
			if e, _ := d.task(recordOf(&bpfNstTask{Op: 1, Behind: c.behind})); e.Behind != c.want || e.BehindKnown != c.known {
				t.Errorf("%d threads behind: got %d, %v", c.behind, e.Behind, e.BehindKnown)
			}
		}
	})
	t.Run("packet", func(t *testing.T) {
		var d decoder
		everyField(t, bpfNstPacket{}, func(r *bpfNstPacket) *event.Packet {
			p, ok := d.packetRecord(recordOf(r))
			if !ok {
				t.Fatalf("not decoded: %+v", r)
			}
			return p
		}, map[string]string{
			"Captured": "", "Cpu": "CPU", "Len": "Length", "Flow.Net": "Net.Ptr", "Flow.Cookie": "Net.Cookie", "Flow.Inum": "Net.Inum",
			"Flow.Dev": "Dev", "Flow.Ifindex": "Ifindex", "Flow.Path": "Path", "Flow.Protocol": "Protocol", "Flow.Reason": "",
		}, "Data")
	})
}

func TestDecodeNonsense(t *testing.T) {
	valid := bpfNstEvent{Kind: 1}
	last := bpfNstEvent{Kind: uint16(event.KindCount) - 1, Phase: uint8(event.PhaseExit), Cpu: maxCPUs - 1}
	for _, c := range []struct {
		name   string
		record []byte
		ok     bool
	}{
		{"valid", recordOf(&valid), true},
		{"the last of everything", recordOf(&last), true},
		{"longer", aligned(append(recordOf(&valid)[:len(recordOf(&valid)):len(recordOf(&valid))], 1, 2, 3)), true},
		{"nothing", nil, false},
		{"empty", []byte{}, false},
		{"short", recordOf(&valid)[:len(recordOf(&valid))-1], false},
		{"kind 0", recordOf(&bpfNstEvent{}), false},
		{"kind too high", recordOf(&bpfNstEvent{Kind: uint16(event.KindCount)}), false},
		{"kind of a probe without events", recordOf(&bpfNstEvent{Kind: uint16(bpfNstKindNST_OPS_INIT)}), false},
		{"highest kind", recordOf(&bpfNstEvent{Kind: math.MaxUint16}), false},
		{"phase", recordOf(&bpfNstEvent{Kind: 1, Phase: uint8(event.PhaseExit) + 1}), false},
		{"cpu", recordOf(&bpfNstEvent{Kind: 1, Cpu: math.MaxUint32}), false},
	} {
		var d decoder
		e, ok := d.lifecycle(c.record)
		if ok != c.ok || (e != nil) != c.ok || (d.undecoded == 0) != c.ok {
			t.Errorf("%s: got %+v, %v, %d undecoded", c.name, e, ok, d.undecoded)
		}
	}
	task := bpfNstTask{Op: uint32(event.TaskOpCount) - 1}
	for _, c := range []struct {
		name   string
		record []byte
		ok     bool
	}{
		{"valid", recordOf(&task), true},
		{"nothing", nil, false},
		{"short", recordOf(&task)[:len(recordOf(&task))-1], false},
		{"cpu", recordOf(&bpfNstTask{Op: 1, Cpu: maxCPUs}), false},
		{"no operation", recordOf(&bpfNstTask{}), false},
		{"operation", recordOf(&bpfNstTask{Op: uint32(event.TaskOpCount)}), false},
	} {
		var d decoder
		e, ok := d.task(c.record)
		if ok != c.ok || (e != nil) != c.ok || (d.undecoded == 0) != c.ok {
			t.Errorf("task, %s: got %+v, %v, %d undecoded", c.name, e, ok, d.undecoded)
		}
	}
	packet := bpfNstPacket{}
	for _, c := range []struct {
		name   string
		record []byte
		ok     bool
	}{
		{"valid", recordOf(&packet), true},
		{"nothing", nil, false},
		{"short", recordOf(&packet)[:len(recordOf(&packet))-1], false},
		{"cpu", recordOf(&bpfNstPacket{Cpu: maxCPUs}), false},
		{"path", recordOf(&bpfNstPacket{Flow: bpfNstFlow{Path: 1 << 8}}), false},
	} {
		var d decoder
		p, ok := d.packetRecord(c.record)
		if ok != c.ok || (p != nil) != c.ok || (d.undecoded == 0) != c.ok {
			t.Errorf("packet, %s: got %+v, %v, %d undecoded", c.name, p, ok, d.undecoded)
		}
	}
}

func TestDecodeStrings(t *testing.T) {
	var d decoder
	r := bpfNstEvent{Kind: 1}
	full := strings.Repeat("x", len(r.Comm))
	for i := range full {
		r.Comm[i] = int8(full[i])
	}
	r.Name = [64]int8{'a', 'b', 0, 'c'} // what is behind the end is nothing
	r.WiphyName = [64]int8{-1, -128, '\n', 127}
	e, ok := d.lifecycle(recordOf(&r))
	if !ok || e.Comm != full || e.Name != "ab" || e.WiphyName != "\xff\x80\n\x7f" || e.NewName != "" || e.LinkKind != "" {
		t.Errorf("got %q", []string{e.Comm, e.Name, e.WiphyName, e.NewName, e.LinkKind})
	}
	// The record's memory is used again; a name isn't.
	name := e.Name
	r.Name = [64]int8{'z', 'z'}
	if name != "ab" {
		t.Errorf("the name became %q", name)
	}
}

func TestInternerIsBounded(t *testing.T) {
	var in interner
	for i := range 3 * internerBound {
		name := fmt.Sprintf("%016x", i)
		b := make([]int8, 16)
		for j := range b {
			b[j] = int8(name[j])
		}
		if got := in.string(b); got != name {
			t.Fatalf("got %q, want %q", got, name)
		}
		if len(in.known) > internerBound {
			t.Fatalf("keeps %d strings", len(in.known))
		}
	}
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	var d decoder
	events := make([]bpfNstEvent, 100)
	for i := range events {
		events[i] = bpfNstEvent{
			Kind: 1, Comm: [16]int8{'i', 'p'}, Name: [64]int8{'w', int8('0' + i%10)},
			NewName: [64]int8{'e', int8('0' + i%7)}, WiphyName: [64]int8{'p'}, LinkKind: [16]int8{'v'},
		}
	}
	packet, task := bpfNstPacket{}, bpfNstTask{Op: 1, Comm: [16]int8{'s', 'h'}}
	all := func() {
		for i := range events {
			if _, ok := d.lifecycle(recordOf(&events[i])); !ok {
				t.Fatal("not decoded")
			}
			if _, ok := d.packetRecord(recordOf(&packet)); !ok {
				t.Fatal("not decoded")
			}
			if _, ok := d.task(recordOf(&task)); !ok {
				t.Fatal("not decoded")
			}
		}
	}
	all() // every name once
	if n := testing.AllocsPerRun(10, all); n != 0 {
		t.Errorf("%v allocations for %d events of known names", n, len(events))
	}
}

// TestNumbers compares the numbers of the programs, as the compiler saw them,
// with those of package event.
func TestNumbers(t *testing.T) {
	spec, err := loadBpf()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		enum string
		want map[string]int
	}{
		{"nst_kind", map[string]int{
			"NST_SETUP_NET": int(event.KindSetupNet), "NST_PUT_NET": int(event.KindPutNet),
			"NST_CLEANUP_NET": int(event.KindCleanupNet), "NST_FREE_NET": int(event.KindFreeNet),
			"NST_REGISTER_PERNET": int(event.KindRegisterPernet), "NST_UNREGISTER_PERNET": int(event.KindUnregisterPernet),
			"NST_WIPHY_NEW": int(event.KindWiphyNew), "NST_WIPHY_REGISTER": int(event.KindWiphyRegister),
			"NST_WIPHY_UNREGISTER": int(event.KindWiphyUnregister), "NST_WIPHY_FREE": int(event.KindWiphyFree),
			"NST_WIPHY_RENAME": int(event.KindWiphyRename), "NST_WIPHY_SWITCH": int(event.KindWiphySwitch),
			"NST_IF_ADD": int(event.KindIfAdd), "NST_IF_REMOVE": int(event.KindIfRemove),
			"NST_NETDEV_REGISTER": int(event.KindNetdevRegister), "NST_NETDEV_UNREGISTER": int(event.KindNetdevUnregister),
			"NST_NETDEV_MOVE": int(event.KindNetdevMove), "NST_NETDEV_RENAME": int(event.KindNetdevRename),
			"NST_COPY_NET": int(event.KindCopyNet), "NST_PERNET_REQUEST": int(event.KindPernetRequest),
			"NST_NL80211": int(event.KindNL80211), "NST_NET_BY_PID": int(event.KindNetByPID), "NST_NSID": int(event.KindNsid),
			"NST_SYSCTL": int(event.KindSysctl), "NST_WDEV_UNREGISTER": int(event.KindWdevUnregister),
			"NST_RTNETLINK": int(event.KindRTNetlink), "NST_WDEV_REGISTER": int(event.KindWdevRegister),
		}},
		{"nst_phase", map[string]int{
			"NST_INSTANT": int(event.PhaseInstant), "NST_ENTER": int(event.PhaseEnter), "NST_EXIT": int(event.PhaseExit),
		}},
		{"nst_task_op", map[string]int{
			"NST_OP_FORK": int(event.TaskFork), "NST_OP_SWITCH": int(event.TaskSwitch), "NST_OP_EXEC": int(event.TaskExec), "NST_OP_EXIT": int(event.TaskExit),
			"NST_OP_BEHIND": int(event.TaskBehind),
		}},
		{"nst_flag", map[string]int{"NST_RX": int(event.FlagRx), "NST_NO_ENTRY": int(event.FlagNoEntry), "NST_CAN_SWITCH": int(event.FlagCanSwitch), "NST_NET_ADMIN": int(event.FlagNetAdmin), "NST_STAYED": int(event.FlagStayed)}},
		{"nst_stage", map[string]int{
			"NST_STAGE_REFUSED": int(event.StageRefused), "NST_STAGE_PRE_DOIT": int(event.StagePreDoit), "NST_STAGE_HANDLED": int(event.StageHandled),
		}},
		{"nst_path", map[string]int{
			"NST_PATH_DELIVER_SKB": int(event.PathDeliverSKB), "NST_PATH_RX_8023": int(event.PathRx8023), "NST_PATH_STACK": int(event.PathStack),
			"NST_PATH_CONTROL_PORT": int(event.PathControlPort), "NST_PATH_DROPPED": int(event.PathDropped),
			"NST_PATH_LOOPBACK": int(event.PathLoopback), "NST_PATH_STATION_UPDATE": int(event.PathStationUpdate),
			"NST_PATH_NETIF_RX": int(event.PathNetifRx),
		}},
	} {
		var enum *btf.Enum
		if err := spec.Types.TypeByName(c.enum, &enum); err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, v := range enum.Values {
			want, ok := c.want[v.Name]
			switch {
			case ok && v.Value != uint64(want):
				t.Errorf("%s is %d, package event says %d", v.Name, v.Value, want)
			case ok:
				found++
			case c.enum != "nst_kind":
				t.Errorf("%s %s is none of package event's", c.enum, v.Name)
			case v.Value < 32:
				// Kinds from 32 on send no event.
				t.Errorf("%s %s sends events, but package event has no kind for it", c.enum, v.Name)
			}
		}
		if found < len(c.want) {
			t.Errorf("%s has only %d of %v", c.enum, found, c.want)
		}
		if c.enum == "nst_kind" && len(c.want) != int(event.KindCount)-1 {
			t.Errorf("package event has %d kinds, this test %d", event.KindCount-1, len(c.want))
		}
	}
	if event.KindCount > 32 {
		t.Errorf("%d kinds don't fit the mask of event.Within", event.KindCount)
	}
}

// TestEveryKindHasItsProbe: the numbers that count hits are those of the kinds,
// and their names are the same.
func TestEveryKindHasItsProbe(t *testing.T) {
	probes := map[event.Kind]string{}
	for _, p := range table {
		if p.id < bpfNstKind(event.KindCount) {
			probes[event.Kind(p.id)] = p.name
		}
	}
	for k := event.KindNone + 1; k < event.KindCount; k++ {
		if probes[k] != k.String() {
			t.Errorf("the probe of kind %d, %s, is %q", k, k, probes[k])
		}
	}
}

func FuzzDecode(f *testing.F) {
	valid := bpfNstEvent{Kind: 3, Phase: 2, Comm: [16]int8{'i', 'p'}}
	f.Add(recordOf(&valid))
	f.Add([]byte{})
	f.Add(make([]byte, unsafe.Sizeof(bpfNstPacket{})))
	f.Add(recordOf(&bpfNstTask{Op: 1}))
	f.Fuzz(func(t *testing.T, record []byte) {
		record = aligned(record)
		var d decoder
		want := uint64(0)
		if e, ok := d.lifecycle(record); !ok {
			want++
		} else if e.Kind == event.KindNone || e.Kind >= event.KindCount || len(e.Comm) > 16 || len(e.Name) > 64 || strings.Contains(e.Name, "\x00") {
			t.Errorf("got %+v", e)
		}
		if p, ok := d.packetRecord(record); !ok {
			want++
		} else if p.Path >= event.PathCount {
			t.Errorf("got %+v", p)
		}
		if e, ok := d.task(record); !ok {
			want++
		} else if e.Op == event.TaskNone || e.Op >= event.TaskOpCount || len(e.Comm) > 16 {
			t.Errorf("got %+v", e)
		}
		if d.undecoded != want {
			t.Errorf("%d undecoded, want %d", d.undecoded, want)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	var d decoder
	r := bpfNstEvent{Kind: 1, Comm: [16]int8{'i', 'p'}, Name: [64]int8{'w', 'l', 'a', 'n', '0'}, WiphyName: [64]int8{'p', 'h', 'y', '0'}}
	record := recordOf(&r)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := d.lifecycle(record); !ok {
			b.Fatal("not decoded")
		}
	}
}
