// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/nstrace/nstrace/event"
)

// collector keeps what a reader delivers.
type collector struct {
	rec       *event.Recording
	events    []event.Event
	steps     []event.Step
	tasks     []event.Task
	cgroups   []event.CgroupPath
	counts    []event.Count
	names     []event.NameChange
	symbols   []event.Symbol
	snapshots []event.Snapshot
	losses    []event.Loss
	ledgers   []event.Ledger
	damage    []event.Damage
	end       *event.End
	// order has the time of each delivery, in their order.
	order []uint64
}

func (c *collector) HandleRecording(r *event.Recording) { v := *r; c.rec = &v }
func (c *collector) HandleEvent(e *event.Event) {
	c.events = append(c.events, *e)
	c.order = append(c.order, e.Time)
}

func (c *collector) HandleStep(s *event.Step) {
	c.steps = append(c.steps, *s)
	c.order = append(c.order, s.Time)
}

func (c *collector) HandleTask(t *event.Task) {
	c.tasks = append(c.tasks, *t)
	c.order = append(c.order, t.Time)
}

func (c *collector) HandleCgroup(g *event.CgroupPath) {
	c.cgroups = append(c.cgroups, *g)
	c.order = append(c.order, g.Time)
}

func (c *collector) HandleCount(n *event.Count) {
	c.counts = append(c.counts, *n)
	c.order = append(c.order, n.Time)
}

func (c *collector) HandleName(n *event.NameChange) {
	c.names = append(c.names, *n)
	c.order = append(c.order, n.Time)
}

func (c *collector) HandleSymbol(s *event.Symbol) {
	c.symbols = append(c.symbols, *s)
	c.order = append(c.order, s.Time)
}

func (c *collector) HandleSnapshot(s *event.Snapshot) {
	c.snapshots = append(c.snapshots, *s)
	c.order = append(c.order, s.Begin)
}

func (c *collector) HandleLoss(l *event.Loss) {
	c.losses = append(c.losses, *l)
	c.order = append(c.order, l.From)
}

func (c *collector) HandleLedger(l *event.Ledger) {
	c.ledgers = append(c.ledgers, *l)
	c.order = append(c.order, l.Time)
}
func (c *collector) HandleDamage(d *event.Damage) { c.damage = append(c.damage, *d) }
func (c *collector) HandleEnd(e *event.End)       { v := *e; c.end = &v }

// randomize fills v with values that use every bit and every field. Strings are
// hostile now and then.
func randomize(rng *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(rng.IntN(2) == 0)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if rng.IntN(4) > 0 {
			v.SetInt(int64(rng.Uint64()) >> rng.IntN(64))
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if rng.IntN(4) > 0 {
			v.SetUint(rng.Uint64() >> rng.IntN(64) & (1<<(v.Type().Bits()-1)<<1 - 1))
		}
	case reflect.String:
		hostile := []string{"", "eth0", "\xff\xfe", "a\x00b", "\U0010ff41\U0010ffff", "\xf4\x8f", "\ufffd", "\x1b[2J", "<&>\u2028\"", string(syncMagic[:])}
		v.SetString(hostile[rng.IntN(len(hostile))])
	case reflect.Struct:
		for i := range v.NumField() {
			randomize(rng, v.Field(i))
		}
	case reflect.Slice:
		n := rng.IntN(4)
		if n == 0 {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			randomize(rng, v.Index(i))
		}
	case reflect.Pointer:
		if rng.IntN(2) == 0 {
			v.Set(reflect.New(v.Type().Elem()))
			randomize(rng, v.Elem())
		}
	default:
		panic("teach randomize " + v.Kind().String())
	}
}

func random[T any](rng *rand.Rand) T {
	var t T
	randomize(rng, reflect.ValueOf(&t).Elem())
	return t
}

func byTime[T any](s []T, time func(*T) uint64) []T {
	s = slices.Clone(s)
	slices.SortStableFunc(s, func(a, b T) int { return cmp.Compare(time(&a), time(&b)) })
	return s
}

// Whatever the kernel says comes back as it was, in order of time, in every
// field there is: the test knows no field by its name.
func TestRoundTrip(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var want collector
		rec := random[event.Recording](rng)
		want.rec = &rec
		var file bytes.Buffer
		w, err := NewWriter(&file, rec)
		check(t, err)
		var packets []event.Packet
		for range rng.IntN(400) {
			switch rng.IntN(24) {
			default:
				e := random[event.Event](rng)
				want.events = append(want.events, e)
				check(t, w.Event(&e))
			case 0, 1:
				c := random[event.Count](rng)
				want.counts = append(want.counts, c)
				check(t, w.Count(&c))
			case 2, 3:
				p := random[event.Packet](rng)
				packets = append(packets, p)
				check(t, w.Packet(&p))
			case 4:
				n := random[event.NameChange](rng)
				want.names = append(want.names, n)
				check(t, w.Name(&n))
			case 5:
				s := random[event.Symbol](rng)
				want.symbols = append(want.symbols, s)
				check(t, w.Symbol(&s))
			case 6:
				s := random[event.Snapshot](rng)
				want.snapshots = append(want.snapshots, s)
				check(t, w.Snapshot(&s))
			case 7:
				l := random[event.Loss](rng)
				want.losses = append(want.losses, l)
				check(t, w.Loss(&l))
			case 8:
				l := random[event.Ledger](rng)
				want.ledgers = append(want.ledgers, l)
				check(t, w.Ledger(&l))
			case 9:
				check(t, w.Flush())
			case 10:
				s := random[event.Step](rng)
				want.steps = append(want.steps, s)
				check(t, w.Step(&s))
			case 11:
				k := random[event.Task](rng)
				want.tasks = append(want.tasks, k)
				check(t, w.Task(&k))
			case 12:
				g := random[event.CgroupPath](rng)
				want.cgroups = append(want.cgroups, g)
				check(t, w.Cgroup(&g))
			}
		}
		end := random[event.End](rng)
		want.end = &end
		check(t, w.Close(end))

		r, err := NewReader(bytes.NewReader(file.Bytes()), int64(file.Len()))
		check(t, err)
		var got collector
		check(t, r.Replay(&got, ReplayOptions{}))
		want.events = byTime(want.events, func(e *event.Event) uint64 { return e.Time })
		want.counts = byTime(want.counts, func(c *event.Count) uint64 { return c.Time })
		want.steps = byTime(want.steps, func(s *event.Step) uint64 { return s.Time })
		want.tasks = byTime(want.tasks, func(t *event.Task) uint64 { return t.Time })
		want.cgroups = byTime(want.cgroups, func(g *event.CgroupPath) uint64 { return g.Time })
		want.names = byTime(want.names, func(n *event.NameChange) uint64 { return n.Time })
		want.symbols = byTime(want.symbols, func(s *event.Symbol) uint64 { return s.Time })
		want.snapshots = byTime(want.snapshots, func(s *event.Snapshot) uint64 { return s.Begin })
		want.losses = byTime(want.losses, func(l *event.Loss) uint64 { return l.From })
		want.ledgers = byTime(want.ledgers, func(l *event.Ledger) uint64 { return l.Time })
		if !slices.IsSorted(got.order) {
			t.Fatalf("seed %d: not in the order of time", seed)
		}
		got.order = nil
		same(t, got, want)

		packets = byTime(packets, func(p *event.Packet) uint64 { return p.Time })
		var read content
		read.readPackets(t, r)
		same(t, read.packets, packets)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// same compares field by field and says which differs.
func same[T any](t *testing.T, got, want T) {
	t.Helper()
	sameValue(t, "", reflect.ValueOf(got), reflect.ValueOf(want))
}

func sameValue(t *testing.T, at string, got, want reflect.Value) {
	t.Helper()
	switch got.Kind() {
	case reflect.Struct:
		for i := range got.NumField() {
			sameValue(t, at+"."+got.Type().Field(i).Name, got.Field(i), want.Field(i))
		}
	case reflect.Slice:
		if got.Len() != want.Len() {
			t.Fatalf("%s: %d instead of %d", at, got.Len(), want.Len())
		}
		for i := range got.Len() {
			sameValue(t, at+"[]", got.Index(i), want.Index(i))
		}
	case reflect.Pointer:
		if got.IsNil() != want.IsNil() {
			t.Fatalf("%s: nil is %v instead of %v", at, got.IsNil(), want.IsNil())
		}
		if !got.IsNil() {
			sameValue(t, at, got.Elem(), want.Elem())
		}
	default:
		if !got.Equal(want) {
			t.Fatalf("%s: %#v instead of %#v", at, got, want)
		}
	}
}

// Times that are all as long before their rows' take no space at all.
func TestSameDistance(t *testing.T) {
	var file bytes.Buffer
	w, err := NewWriter(&file, sampleRecording)
	check(t, err)
	var want []event.Count
	for i := range uint64(3) {
		c := event.Count{Time: 1000 + 300*i*i, Packets: 1}
		c.Since = c.Time - 100
		want = append(want, c)
		check(t, w.Count(&c))
	}
	check(t, w.Close(sampleEnd))
	r, err := open(file.Bytes())
	check(t, err)
	var got collector
	check(t, r.Replay(&got, ReplayOptions{}))
	same(t, got.counts, want)
}
