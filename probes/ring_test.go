// SPDX-License-Identifier: Apache-2.0

package probes

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/nstrace/nstrace/event"
)

// needRoot skips a test that has to create maps or load programs. As root a
// missing feature fails it.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to use BPF")
	}
}

// fakeRing is a ring whose producer is the test.
type fakeRing struct {
	ring
	head uint64
}

// newHeapRing makes a ring of Go memory, in which the race detector sees whether
// reader and producer keep to the protocol. (In mapped memory it sees nothing.)
// Its data isn't mapped twice, so the producer writes everything twice.
func newHeapRing(size uint64) *fakeRing {
	return &fakeRing{ring: ring{
		name: "fake", size: size,
		consumer: new(uint64), producer: new(uint64), data: make([]byte, 2*size),
	}}
}

// newMappedRing makes a ring like kernel/bpf/ringbuf.c does, the data mapped
// twice in a row.
func newMappedRing(t testing.TB, size uint64) *fakeRing {
	t.Helper()
	page := uint64(os.Getpagesize())
	fd, err := unix.MemfdCreate("ring", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, int64(2*page+size)); err != nil {
		t.Fatal(err)
	}
	length := 2*page + 2*size
	base, err := unix.MmapPtr(-1, 0, nil, uintptr(length), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.MunmapPtr(base, uintptr(length)) })
	place := func(at, offset, n uint64) {
		_, err := unix.MmapPtr(fd, int64(offset), unsafe.Add(base, at), uintptr(n),
			unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED)
		if err != nil {
			t.Fatal(err)
		}
	}
	place(0, 0, 2*page+size)
	place(2*page+size, 2*page, size)
	return &fakeRing{ring: ring{
		name: "fake", size: size, consumer: (*uint64)(base), producer: (*uint64)(unsafe.Add(base, page)),
		data: unsafe.Slice((*byte)(unsafe.Add(base, 2*page)), 2*size),
	}}
}

func (f *fakeRing) header(position uint64) *uint32 {
	return (*uint32)(unsafe.Pointer(&f.data[position&(f.size-1)]))
}

// reserve makes room for a record, which is busy until commit; false if there is
// none.
func (f *fakeRing) reserve(n int) (position uint64, ok bool) {
	total := uint64(recordHeader+n+7) &^ 7
	if f.head+total-atomic.LoadUint64(f.consumer) > f.size {
		return 0, false
	}
	position = f.head
	f.head += total
	atomic.StoreUint32(f.header(position), uint32(n)|recordBusy)
	atomic.StoreUint64(f.producer, f.head)
	return position, true
}

func (f *fakeRing) commit(position uint64, record []byte, flags uint32) {
	for i, c := range record {
		at := (position + recordHeader + uint64(i)) & (f.size - 1)
		f.data[at], f.data[at+f.size] = c, c
	}
	atomic.StoreUint32(f.header(position), uint32(len(record))|flags)
}

func (f *fakeRing) put(t testing.TB, record string) {
	t.Helper()
	position, ok := f.reserve(len(record))
	if !ok {
		t.Fatalf("no room for %q", record)
	}
	f.commit(position, []byte(record), 0)
}

// all drains what there is, as strings; "nil" for what can't be read.
func (f *fakeRing) all() (records []string) {
	n := f.drain(func(record []byte) {
		if record == nil {
			records = append(records, "nil")
			return
		}
		records = append(records, string(record))
	})
	if n != len(records) {
		records = append(records, fmt.Sprintf("but drain says %d", n))
	}
	return records
}

func (f *fakeRing) wants(t *testing.T, want ...string) {
	t.Helper()
	if got := f.all(); !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func eachRing(t *testing.T, test func(t *testing.T, f *fakeRing)) {
	t.Run("mapped", func(t *testing.T) { test(t, newMappedRing(t, uint64(os.Getpagesize()))) })
	t.Run("heap", func(t *testing.T) { test(t, newHeapRing(4096)) })
}

func TestRingBusyAndDiscarded(t *testing.T) {
	eachRing(t, func(t *testing.T, f *fakeRing) {
		f.wants(t)
		f.put(t, "one")
		given, _ := f.reserve(3)
		f.commit(given, []byte("off"), recordDiscarded)
		f.put(t, "two")
		busy, _ := f.reserve(5)
		f.put(t, "four")
		f.wants(t, "one", "two")
		// What is behind a busy record waits for it, and its space is still taken.
		f.wants(t)
		if got := atomic.LoadUint64(f.consumer); got != busy {
			t.Errorf("the consumer is at %d, the busy record at %d", got, busy)
		}
		f.commit(busy, []byte("three"), 0)
		f.put(t, "")
		f.wants(t, "three", "four", "")
		if got := atomic.LoadUint64(f.consumer); got != f.head {
			t.Errorf("the consumer is at %d, the producer at %d", got, f.head)
		}
	})
}

// TestRingWraps goes round the ring many times with records that begin and end
// everywhere.
func TestRingWraps(t *testing.T) {
	eachRing(t, func(t *testing.T, f *fakeRing) {
		var want []string
		wrapped := 0
		for i := 0; f.head < 50*f.size; i++ {
			record := fmt.Sprintf("%d:%0*d", i, i%301, i)
			position, ok := f.reserve(len(record))
			if !ok {
				f.wants(t, want...)
				want = want[:0]
				if position, ok = f.reserve(len(record)); !ok {
					t.Fatal("an empty ring has no room")
				}
			}
			if position&(f.size-1)+recordHeader+uint64(len(record)) > f.size {
				wrapped++
			}
			f.commit(position, []byte(record), 0)
			want = append(want, record)
		}
		f.wants(t, want...)
		if wrapped == 0 {
			t.Error("no record went over the end of the ring: the test is none")
		}
	})
}

// TestRingStopsAtItsEnd sends a record from within the reading of each.
func TestRingStopsAtItsEnd(t *testing.T) {
	eachRing(t, func(t *testing.T, f *fakeRing) {
		f.put(t, "1")
		f.put(t, "2")
		n := f.drain(func(record []byte) { f.put(t, "later "+string(record)) })
		if n != 2 {
			t.Fatalf("drained %d records, want the 2 that were there", n)
		}
		f.wants(t, "later 1", "later 2")
	})
}

func TestRingCorrupt(t *testing.T) {
	const size = 4096
	for _, c := range []struct {
		name    string
		header  uint32
		corrupt func(f *fakeRing, at uint64)
	}{
		{name: "beyond the mapping", header: 1<<30 - 1},
		{name: "longer than the ring", header: size},
		{name: "beyond the producer", header: 24},
		{name: "discarded and too long", header: recordDiscarded | 1<<29},
		{name: "producer too far", header: 8, corrupt: func(f *fakeRing, _ uint64) {
			f.head += 1 << 50
			atomic.StoreUint64(f.producer, f.head)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachRing(t, func(t *testing.T, f *fakeRing) {
				f.put(t, "before")
				at, _ := f.reserve(8)
				f.commit(at, []byte("corrupt!"), 0)
				if c.corrupt != nil {
					f.wants(t, "before", "corrupt!")
					c.corrupt(f, at)
					f.wants(t, "nil")
				} else {
					atomic.StoreUint32(f.header(at), c.header)
					f.wants(t, "before", "nil")
				}
				// Reading goes on from the producer's position.
				f.put(t, "after")
				f.wants(t, "after")
			})
		})
	}
}

// TestRingRace lets a producer and the reader run against each other.
func TestRingRace(t *testing.T) {
	eachRing(t, func(t *testing.T, f *fakeRing) {
		const records = 100_000
		done := make(chan struct{})
		go func() {
			defer close(done)
			var record [64]byte
			for i := uint64(0); i < records; i++ {
				n := 8 + int(i*7%56)
				position, ok := f.reserve(n)
				for ; !ok; position, ok = f.reserve(n) {
					runtime.Gosched()
				}
				binary.NativeEndian.PutUint64(record[:], i)
				for j := 8; j < n; j++ {
					record[j] = byte(i)
				}
				flags := uint32(0)
				if i%5 == 0 {
					flags = recordDiscarded
				}
				f.commit(position, record[:n], flags)
			}
		}()
		var next uint64
		take := func(record []byte) {
			if next%5 == 0 {
				next++
			}
			got := binary.NativeEndian.Uint64(record)
			if got != next || len(record) != 8+int(got*7%56) {
				t.Errorf("got record %d of %d bytes, want record %d", got, len(record), next)
				next = got
			}
			for _, c := range record[8:] {
				if c != byte(got) {
					t.Errorf("record %d holds %x", got, record)
					break
				}
			}
			next++
		}
		for running := true; running; {
			select {
			case <-done:
				running = false
			default:
			}
			if f.drain(take) == 0 {
				runtime.Gosched()
			}
		}
		if next != records {
			t.Errorf("read up to record %d of %d", next, records)
		}
	})
}

// fill puts as many records of n bytes into a ring as there is room for.
func (f *fakeRing) fill(n int) (records int) {
	record := make([]byte, n)
	for {
		position, ok := f.reserve(n)
		if !ok {
			return records
		}
		f.commit(position, record, 0)
		records++
	}
}

func TestRingDoesNotAllocate(t *testing.T) {
	f := newMappedRing(t, 1<<16)
	records := f.fill(100)
	sum := 0
	take := func(record []byte) { sum += len(record) }
	allocs := testing.AllocsPerRun(10, func() {
		atomic.StoreUint64(f.consumer, 0)
		if n := f.drain(take); n != records {
			t.Fatalf("drained %d of %d", n, records)
		}
	})
	if allocs != 0 {
		t.Errorf("%d records cost %v allocations", records, allocs)
	}
}

// counterProgram numbers the system calls nr and sends a record of the number
// and the time for each, as nstrace's own programs do: the number is taken
// before space is reserved.
func counterProgram(t *testing.T, events, numbers *ebpf.Map, nr uint64, flags int32) {
	t.Helper()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.RawTracepoint, License: "GPL",
		Instructions: asm.Instructions{
			asm.LoadMem(asm.R1, asm.R1, 8, asm.DWord), // the call's number
			asm.JNE.Imm(asm.R1, int32(nr), "out"),
			asm.LoadMapValue(asm.R8, numbers.FD(), 0),
			asm.LoadMem(asm.R9, asm.R8, 0, asm.DWord),
			asm.Mov.Reg(asm.R1, asm.R9),
			asm.Add.Imm(asm.R1, 1),
			asm.StoreMem(asm.R8, 0, asm.R1, asm.DWord),
			asm.LoadMapPtr(asm.R1, events.FD()),
			asm.Mov.Imm(asm.R2, 16),
			asm.Mov.Imm(asm.R3, 0),
			asm.FnRingbufReserve.Call(),
			asm.JEq.Imm(asm.R0, 0, "out"),
			asm.Mov.Reg(asm.R6, asm.R0),
			asm.StoreMem(asm.R6, 0, asm.R9, asm.DWord),
			asm.FnKtimeGetBootNs.Call(),
			asm.StoreMem(asm.R6, 8, asm.R0, asm.DWord),
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Imm(asm.R2, flags),
			asm.FnRingbufSubmit.Call(),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
			asm.Return(),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { prog.Close() })
	l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: "sys_enter", Program: prog})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

func newMap(t *testing.T, spec *ebpf.MapSpec) *ebpf.Map {
	t.Helper()
	m, err := ebpf.NewMap(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// kernelRing is a ring into which the kernel puts a record for each call.
func kernelRing(t *testing.T, flags int32) (r *ring, call func(), numbers *ebpf.Map) {
	t.Helper()
	needRoot(t)
	events := newMap(t, &ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: uint32(os.Getpagesize())})
	numbers = newMap(t, &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	r, err := newRing("test", events)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	// A system call that doesn't exist, of this process only. Thread numbers
	// would be another namespace's in a container.
	nr := uint64(1<<28 | os.Getpid())
	counterProgram(t, events, numbers, nr, flags)
	call = func() {
		if _, _, errno := unix.RawSyscall(uintptr(nr), 0, 0, 0); errno == 0 {
			t.Fatal("a system call that doesn't exist succeeded")
		}
	}
	return r, call, numbers
}

const rbNoWakeup, rbForceWakeup = 1, 2 // BPF_RB_*

// TestRingOfTheKernel reads a real ring, round and round: every call is exactly
// one record.
func TestRingOfTheKernel(t *testing.T) {
	r, call, _ := kernelRing(t, rbNoWakeup)
	var next, last uint64
	take := func(record []byte) {
		if len(record) != 16 {
			t.Fatalf("a record of %d bytes", len(record))
		}
		number, time := binary.NativeEndian.Uint64(record), binary.NativeEndian.Uint64(record[8:])
		if number != next || time < last {
			t.Fatalf("got record %d at %d after %d, want record %d", number, time, last, next)
		}
		next, last = number+1, time
	}
	const calls = 100
	for round := range 100 {
		for range calls {
			call()
		}
		if n := r.drain(take); n != calls {
			t.Fatalf("round %d: %d calls gave %d records", round, calls, n)
		}
	}
}

// TestRingOfTheKernelOverflows lets a real ring run full: what is missing is
// known exactly.
func TestRingOfTheKernelOverflows(t *testing.T) {
	r, call, numbers := kernelRing(t, rbNoWakeup)
	room := r.size / (recordHeader + 16)
	s := sequence{ring: "test"}
	var losses uint64
	loss := func(l *event.Loss) { losses += l.Count }
	received := uint64(0)
	take := func(record []byte) {
		received++
		s.saw(0, binary.NativeEndian.Uint64(record), binary.NativeEndian.Uint64(record[8:]))
	}
	calls := 3 * room
	for range 3 {
		for range calls {
			call()
		}
		r.drain(take)
		s.settle(false, loss)
	}
	var sent uint64
	if err := numbers.Lookup(uint32(0), &sent); err != nil {
		t.Fatal(err)
	}
	s.settle(true, loss)
	s.tail(0, sent, 1, loss)
	// The kernel never lets a ring run quite full.
	if sent != 3*calls || received > 3*room || received < 3*(room-1) {
		t.Errorf("sent %d, received %d with room for 3 times %d", sent, received, room)
	}
	if received+s.lost != sent || losses != s.lost {
		t.Errorf("sent %d, received %d, lost %d, told of %d", sent, received, s.lost, losses)
	}
}

// TestWaiterWakesUp can only end if wait does.
func TestWaiterWakesUp(t *testing.T) {
	r, call, _ := kernelRing(t, rbForceWakeup)
	w, err := newWaiter(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	call()
	if err := w.wait(-1); err != nil {
		t.Fatal(err)
	}
	if n := r.drain(func([]byte) {}); n != 1 {
		t.Errorf("%d records", n)
	}
}

func TestWaiterIsWoken(t *testing.T) {
	w, err := newWaiter()
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	w.wake() // before: isn't forgotten
	if err := w.wait(-1); err != nil {
		t.Fatal(err)
	}
	go w.wake()
	if err := w.wait(-1); err != nil {
		t.Fatal(err)
	}
	if err := w.wait(0); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkRingDrain(b *testing.B) {
	f := newMappedRing(b, 1<<20)
	records := f.fill(int(unsafe.Sizeof(bpfNstEvent{})))
	sum := 0
	take := func(record []byte) { sum += len(record) }
	b.ReportAllocs()
	drained := 0
	for b.Loop() {
		atomic.StoreUint64(f.consumer, 0)
		drained += f.drain(take)
	}
	if drained != b.N*records || sum == 0 {
		b.Fatalf("drained %d of %d", drained, b.N*records)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(drained), "ns/record")
}
