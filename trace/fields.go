// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"fmt"

	"github.com/nstrace/nstrace/event"
)

// fieldType is how a column's values are to be read.
type fieldType string

const (
	typeUint   fieldType = "uint"
	typeInt    fieldType = "int" // zigzag
	typeBool   fieldType = "bool"
	typeString fieldType = "string" // a number of the block's strings
	typeBytes  fieldType = "bytes"
)

// fieldInfo is one row of the field table in the head of the file.
type fieldInfo struct {
	ID   uint32    `json:"id"`
	Name string    `json:"name"`
	Type fieldType `json:"type"`
	// Width is in bytes, 0 for strings.
	Width int `json:"width,omitempty"`
	// Of is "flow" for a column that has a row per flow of the block.
	Of string `json:"of,omitempty"`
}

// fieldTable has the columns of each columnar kind by the kind's name.
type fieldTable map[string][]fieldInfo

// maxFields is how many columns a kind may have.
const maxFields = 1024

// field is one column of rows of type T: how it is named in the file, and how
// its values get out of rows and into them.
type field[T any] struct {
	name  string
	typ   fieldType
	width int
	// before says that the values are times, likely shortly before the row's.
	before bool
	// get reads rows[order[i]] into dst[i]; set is its opposite, in order.
	get func(rows []T, order []uint32, dst []uint64)
	set func(rows []T, src []uint64)
	// str is the field's place, for strings.
	str func(*T) *string
}

// max is the largest value the field can take.
func (f *field[T]) max() uint64 {
	if f.typ == typeBool {
		return 1
	}
	return 1<<(8*f.width-1)<<1 - 1 // width 8 would overflow a single shift
}

func number[T any, N ~uint8 | ~uint16 | ~uint32 | ~uint64](name string, width int, at func(*T) *N) field[T] {
	return field[T]{
		name: name, typ: typeUint, width: width,
		get: func(rows []T, order []uint32, dst []uint64) {
			for i, j := range order {
				dst[i] = uint64(*at(&rows[j]))
			}
		},
		set: func(rows []T, src []uint64) {
			for i, v := range src {
				*at(&rows[i]) = N(v)
			}
		},
	}
}

func signed[T any](name string, at func(*T) *int32) field[T] {
	return field[T]{
		name: name, typ: typeInt, width: 4,
		get: func(rows []T, order []uint32, dst []uint64) {
			for i, j := range order {
				v := *at(&rows[j])
				dst[i] = uint64(uint32(v<<1) ^ uint32(v>>31))
			}
		},
		set: func(rows []T, src []uint64) {
			for i, v := range src {
				*at(&rows[i]) = int32(uint32(v)>>1) ^ -int32(uint32(v)&1)
			}
		},
	}
}

func boolean[T any](name string, at func(*T) *bool) field[T] {
	return field[T]{
		name: name, typ: typeBool, width: 1,
		get: func(rows []T, order []uint32, dst []uint64) {
			for i, j := range order {
				dst[i] = 0
				if *at(&rows[j]) {
					dst[i] = 1
				}
			}
		},
		set: func(rows []T, src []uint64) {
			for i, v := range src {
				*at(&rows[i]) = v != 0
			}
		},
	}
}

func text[T any](name string, at func(*T) *string) field[T] {
	return field[T]{name: name, typ: typeString, str: at}
}

// when is a time that is likely shortly before the row's own.
func when[T any](name string, at func(*T) *uint64) field[T] {
	f := number(name, 8, at)
	f.before = true
	return f
}

func netRef[T any](name string, at func(*T) *event.NetRef) []field[T] {
	return []field[T]{
		number(name+".ptr", 8, func(t *T) *uint64 { return &at(t).Ptr }),
		number(name+".cookie", 8, func(t *T) *uint64 { return &at(t).Cookie }),
		number(name+".inum", 4, func(t *T) *uint32 { return &at(t).Inum }),
	}
}

func flow[T any](at func(*T) *event.Flow) []field[T] {
	return append(netRef("net", func(t *T) *event.NetRef { return &at(t).Net }),
		number("dev", 8, func(t *T) *uint64 { return &at(t).Dev }),
		signed("ifindex", func(t *T) *int32 { return &at(t).Ifindex }),
		number("path", 1, func(t *T) *event.Path { return &at(t).Path }),
	)
}

func join[T any](parts ...[]field[T]) []field[T] {
	var all []field[T]
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// The names that the format itself knows: of the columns that others refer to.
const (
	nameTime  = "time"
	nameCPU   = "cpu"
	nameSeq   = "seq"
	nameBytes = "bytes"
	ofFlow    = "flow"
)

// The columns. Names are part of the file: never rename, never use one for
// something else. New ones can be added anywhere.
var (
	eventFields = join(
		[]field[event.Event]{
			number(nameTime, 8, func(e *event.Event) *uint64 { return &e.Time }),
			number(nameCPU, 4, func(e *event.Event) *uint32 { return &e.CPU }),
			number(nameSeq, 8, func(e *event.Event) *uint64 { return &e.Seq }),
			when("start", func(e *event.Event) *uint64 { return &e.Start }),
			number("kind", 2, func(e *event.Event) *event.Kind { return &e.Kind }),
			number("phase", 1, func(e *event.Event) *event.Phase { return &e.Phase }),
			number("flags", 1, func(e *event.Event) *event.Flags { return &e.Flags }),
			number("pid", 4, func(e *event.Event) *uint32 { return &e.PID }),
			number("tid", 4, func(e *event.Event) *uint32 { return &e.TID }),
			number("within", 4, func(e *event.Event) *uint32 { return &e.Within }),
			text("comm", func(e *event.Event) *string { return &e.Comm }),
			number("ret", 4, func(e *event.Event) *uint32 { return &e.Ret }),
			number("dev", 8, func(e *event.Event) *uint64 { return &e.Dev }),
			number("wiphy", 8, func(e *event.Event) *uint64 { return &e.Wiphy }),
			signed("wiphy_index", func(e *event.Event) *int32 { return &e.WiphyIndex }),
			signed("ifindex", func(e *event.Event) *int32 { return &e.Ifindex }),
			signed("new_ifindex", func(e *event.Event) *int32 { return &e.NewIfindex }),
			number("iftype", 4, func(e *event.Event) *uint32 { return &e.Iftype }),
			number("dev_type", 4, func(e *event.Event) *uint32 { return &e.DevType }),
			text("name", func(e *event.Event) *string { return &e.Name }),
			text("new_name", func(e *event.Event) *string { return &e.NewName }),
			text("wiphy_name", func(e *event.Event) *string { return &e.WiphyName }),
			text("link_kind", func(e *event.Event) *string { return &e.LinkKind }),
			number("rx_packets", 8, func(e *event.Event) *uint64 { return &e.RxPackets }),
			number("rx_bytes", 8, func(e *event.Event) *uint64 { return &e.RxBytes }),
			number("ops", 8, func(e *event.Event) *uint64 { return &e.Ops }),
			number("fn", 8, func(e *event.Event) *uint64 { return &e.Fn }),
			number("count", 8, func(e *event.Event) *uint64 { return &e.Count }),
			number("user_ns", 4, func(e *event.Event) *uint32 { return &e.UserNS }),
			number("caller_user_ns", 4, func(e *event.Event) *uint32 { return &e.CallerUserNS }),
			number("arg", 8, func(e *event.Event) *uint64 { return &e.Arg }),
			number("stage", 1, func(e *event.Event) *event.Stage { return &e.Stage }),
			number("target_pid", 4, func(e *event.Event) *uint32 { return &e.TargetPID }),
			signed("nsid", func(e *event.Event) *int32 { return &e.Nsid }),
			number("wdev", 8, func(e *event.Event) *uint64 { return &e.Wdev }),
			number("wdev_id", 4, func(e *event.Event) *uint32 { return &e.WdevID }),
			text("driver", func(e *event.Event) *string { return &e.Driver }),
			text("path", func(e *event.Event) *string { return &e.Path }),
		},
		netRef("caller", func(e *event.Event) *event.NetRef { return &e.Caller }),
		netRef("net", func(e *event.Event) *event.NetRef { return &e.Net }),
		netRef("net2", func(e *event.Event) *event.NetRef { return &e.Net2 }),
	)

	stepFields = join(
		[]field[event.Step]{
			number(nameTime, 8, func(s *event.Step) *uint64 { return &s.Time }),
			when("began", func(s *event.Step) *uint64 { return &s.Began }),
			number("duration", 8, func(s *event.Step) *uint64 { return &s.Duration }),
			number("kind", 2, func(s *event.Step) *event.Kind { return &s.Kind }),
			number("tid", 4, func(s *event.Step) *uint32 { return &s.TID }),
			number("ops", 8, func(s *event.Step) *uint64 { return &s.Ops }),
			number("fn", 8, func(s *event.Step) *uint64 { return &s.Fn }),
			number("ret", 4, func(s *event.Step) *uint32 { return &s.Ret }),
			number("skipped", 4, func(s *event.Step) *uint32 { return &s.Skipped }),
		},
		netRef("net", func(s *event.Step) *event.NetRef { return &s.Net }),
	)

	taskFields = join(
		[]field[event.Task]{
			number(nameTime, 8, func(t *event.Task) *uint64 { return &t.Time }),
			number(nameCPU, 4, func(t *event.Task) *uint32 { return &t.CPU }),
			number(nameSeq, 8, func(t *event.Task) *uint64 { return &t.Seq }),
			number("op", 1, func(t *event.Task) *event.TaskOp { return &t.Op }),
			number("pid", 4, func(t *event.Task) *uint32 { return &t.PID }),
			number("tid", 4, func(t *event.Task) *uint32 { return &t.TID }),
			number("parent", 4, func(t *event.Task) *uint32 { return &t.Parent }),
			number("threads", 4, func(t *event.Task) *uint32 { return &t.Threads }),
			number("behind", 4, func(t *event.Task) *uint32 { return &t.Behind }),
			boolean("behind_known", func(t *event.Task) *bool { return &t.BehindKnown }),
			text("comm", func(t *event.Task) *string { return &t.Comm }),
			number("mnt", 4, func(t *event.Task) *uint32 { return &t.Others.Mnt }),
			number("pid_ns", 4, func(t *event.Task) *uint32 { return &t.Others.PID }),
			number("uts", 4, func(t *event.Task) *uint32 { return &t.Others.UTS }),
			number("ipc", 4, func(t *event.Task) *uint32 { return &t.Others.IPC }),
			number("cgroup_ns", 4, func(t *event.Task) *uint32 { return &t.Others.Cgroup }),
			number("time_ns", 4, func(t *event.Task) *uint32 { return &t.Others.Time }),
			number("user_ns", 4, func(t *event.Task) *uint32 { return &t.Others.User }),
			number("cgroup", 8, func(t *event.Task) *uint64 { return &t.Cgroup }),
		},
		netRef("net", func(t *event.Task) *event.NetRef { return &t.Net }),
		netRef("from", func(t *event.Task) *event.NetRef { return &t.From }),
	)

	countFields = join(
		[]field[event.Count]{
			number(nameTime, 8, func(c *event.Count) *uint64 { return &c.Time }),
			when("first", func(c *event.Count) *uint64 { return &c.First }),
			when("last", func(c *event.Count) *uint64 { return &c.Last }),
			when("since", func(c *event.Count) *uint64 { return &c.Since }),
			number("packets", 8, func(c *event.Count) *uint64 { return &c.Packets }),
			number("bytes", 8, func(c *event.Count) *uint64 { return &c.Bytes }),
			boolean("entered_known", func(c *event.Count) *bool { return &c.EnteredKnown }),
			number("entered", 8, func(c *event.Count) *uint64 { return &c.Entered }),
			number("entered_bytes", 8, func(c *event.Count) *uint64 { return &c.EnteredBytes }),
			number("control", 8, func(c *event.Count) *uint64 { return &c.Control }),
			number("control_bytes", 8, func(c *event.Count) *uint64 { return &c.ControlBytes }),
			number("merged", 8, func(c *event.Count) *uint64 { return &c.Merged }),
			number("protocol", 2, func(c *event.Count) *uint16 { return &c.Protocol }),
			text("reason", func(c *event.Count) *string { return &c.Reason }),
			number("where", 8, func(c *event.Count) *uint64 { return &c.Where }),
			boolean("base", func(c *event.Count) *bool { return &c.Base }),
			number("base_packets", 8, func(c *event.Count) *uint64 { return &c.BasePackets }),
			number("base_bytes", 8, func(c *event.Count) *uint64 { return &c.BaseBytes }),
		},
		flow(func(c *event.Count) *event.Flow { return &c.Flow }),
	)

	packetFields = []field[packetRow]{
		number(nameTime, 8, func(p *packetRow) *uint64 { return &p.time }),
		number(nameCPU, 4, func(p *packetRow) *uint32 { return &p.cpu }),
		number(nameSeq, 8, func(p *packetRow) *uint64 { return &p.seq }),
		number("flow", 4, func(p *packetRow) *uint32 { return &p.flow }),
		number("length", 4, func(p *packetRow) *uint32 { return &p.length }),
		number("protocol", 2, func(p *packetRow) *uint16 { return &p.protocol }),
	}

	// nameBytes is behind the others: how long each packet's are, they say.
	dataFields = []field[dataRow]{
		number("block", 4, func(d *dataRow) *uint32 { return &d.block }),
		number("packet", 4, func(d *dataRow) *uint32 { return &d.packet }),
		number("length", 4, func(d *dataRow) *uint32 { return &d.length }),
	}
	bytesField = []field[dataRow]{{name: nameBytes, typ: typeBytes}}

	flowFields = flow(func(f *event.Flow) *event.Flow { return f })

	indexFields = []field[blockInfo]{
		number("offset", 8, func(b *blockInfo) *uint64 { return &b.offset }),
		number("length", 8, func(b *blockInfo) *uint64 { return &b.length }),
		number("number", 4, func(b *blockInfo) *uint32 { return &b.number }),
		number("kind", 1, func(b *blockInfo) *kind { return &b.kind }),
		number("count", 4, func(b *blockInfo) *uint32 { return &b.count }),
		number("first", 8, func(b *blockInfo) *uint64 { return &b.first }),
		number("last", 8, func(b *blockInfo) *uint64 { return &b.last }),
	}
)

// packetRow is a packet as the file has it.
type packetRow struct {
	time, seq    uint64
	cpu          uint32
	flow, length uint32
	protocol     uint16
}

// dataRow is a packet that has bytes, of a block of them.
type dataRow struct{ block, packet, length uint32 }

// blockInfo is a block as the index has it.
type blockInfo struct {
	offset, length uint64
	number         uint32
	kind           kind
	count          uint32
	first, last    uint64
}

// ids are the field ids that a writer gives: the position plus one.
func describe[T any](fields []field[T], firstID int, of string) []fieldInfo {
	infos := make([]fieldInfo, len(fields))
	for i, f := range fields {
		infos[i] = fieldInfo{ID: uint32(firstID + i), Name: f.name, Type: f.typ, Width: f.width, Of: of}
	}
	return infos
}

// firstFlowID is the id of the first column of a packets block's flows.
const firstFlowID = 64

// bytesID is the id of the bytes of a packetdata block.
const bytesID = 64

// ownFields is the field table of the files this package writes.
func ownFields() fieldTable {
	return fieldTable{
		kindLifecycle.String(): describe(eventFields, 1, ""),
		kindCounts.String():    describe(countFields, 1, ""),
		kindSteps.String():     describe(stepFields, 1, ""),
		kindTasks.String():     describe(taskFields, 1, ""),
		kindPackets.String():   append(describe(packetFields, 1, ""), describe(flowFields, firstFlowID, ofFlow)...),
		kindData.String():      append(describe(dataFields, 1, ""), describe(bytesField, bytesID, "")...),
		kindIndex.String():     describe(indexFields, 1, ""),
	}
}

// fieldMap finds the column of a field id in a file: its position among the
// fields this package knows.
type fieldMap map[uint64]int

// mapFields relates a file's fields to those this package knows, by name.
func mapFields[T any](infos []fieldInfo, fields []field[T], of string) (fieldMap, error) {
	if len(infos) > maxFields {
		return nil, fmt.Errorf("field table has %d columns of one kind, more than %d", len(infos), maxFields)
	}
	byName := make(map[string]int, len(fields))
	for i, f := range fields {
		byName[f.name] = i
	}
	ids := make(map[uint32]bool, len(infos))
	m := make(fieldMap, len(fields))
	for _, in := range infos {
		if ids[in.ID] {
			return nil, fmt.Errorf("field table has column id %d twice", in.ID)
		}
		ids[in.ID] = true
		i, ok := byName[in.Name]
		if !ok || in.Of != of {
			continue
		}
		// A wider integer is fine as long as its values fit.
		if in.Type != fields[i].typ {
			return nil, fmt.Errorf("%w: column %q is of type %q, this nstrace knows it as %q: use the nstrace that wrote the file",
				ErrVersion, in.Name, in.Type, fields[i].typ)
		}
		m[uint64(in.ID)] = i
	}
	return m, nil
}
