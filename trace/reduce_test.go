// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/nstrace/nstrace/event"
)

// packetsFile is a file with n packets, and where each of its packets blocks begins.
func packetsFile(t testing.TB, n int) (file []byte, blocks []int64) {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, sampleRecording)
	check(t, err)
	for i := range n {
		p := samplePacket(i)
		check(t, w.Packet(&p))
	}
	check(t, w.Close(sampleEnd))
	r, err := open(out.Bytes())
	check(t, err)
	for i := range r.blocks {
		if r.blocks[i].kind == kindPackets {
			blocks = append(blocks, r.blocks[i].offset)
		}
	}
	return out.Bytes(), blocks
}

// TestReducePackets compares what several cores read with what one reads, and the
// order in which it comes.
func TestReducePackets(t *testing.T) {
	const n = 5*packetsPerBlock + 1000
	file, blocks := packetsFile(t, n)
	broken := append([]byte(nil), file...)
	broken[blocks[2]+headerLen+1000] ^= 4
	for _, c := range []struct {
		name   string
		file   []byte
		damage int
	}{{"whole", file, 0}, {"damaged", broken, 1}} {
		r, err := open(c.file)
		check(t, err)
		var want, got []uint64
		var wantDamage, gotDamage []event.Damage
		check(t, r.Packets(func(b *PacketBatch) error {
			want = append(want, b.Time...)
			return nil
		}, func(d *event.Damage) { wantDamage = append(wantDamage, *d) }))
		for _, workers := range []int{0, 1, 3, 16} {
			got, gotDamage = nil, nil
			check(t, ReducePackets(r, workers, func(times *[]uint64, b *PacketBatch) {
				*times = append(*times, b.Time...)
			}, func(times *[]uint64) error {
				got = append(got, *times...)
				*times = (*times)[:0]
				return nil
			}, func(d *event.Damage) { gotDamage = append(gotDamage, *d) }))
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s, %d workers: %d packets, not the %d that one after the other gives", c.name, workers, len(got), len(want))
			}
			if len(gotDamage) != c.damage || !reflect.DeepEqual(gotDamage, wantDamage) {
				t.Errorf("%s, %d workers: damage %v, want %v", c.name, workers, gotDamage, wantDamage)
			}
		}
	}
}

func TestReducePacketsStops(t *testing.T) {
	file, blocks := packetsFile(t, 6*packetsPerBlock)
	r, err := open(file)
	check(t, err)
	stop := errors.New("enough")
	merged := 0
	err = ReducePackets(r, 4, func(*int, *PacketBatch) {}, func(*int) error {
		merged++
		return stop
	}, nil)
	if !errors.Is(err, stop) || merged != 1 {
		t.Errorf("%v after %d blocks", err, merged)
	}
	// Without anybody to tell of damage, it is an error.
	file[blocks[1]+headerLen+1000] ^= 4
	r, err = open(file)
	check(t, err)
	if _, err := r.SumPackets(nil); err == nil {
		t.Error("a damaged block is no error")
	}
}

// TestSumPackets adds up packet by packet.
func TestSumPackets(t *testing.T) {
	const n = 2*packetsPerBlock + 77
	file, _ := packetsFile(t, n)
	want := make(map[event.Flow]event.PacketSum)
	for i := range n {
		p := samplePacket(i)
		s, ok := want[p.Flow]
		if !ok {
			s = event.PacketSum{Flow: p.Flow, First: p.Time}
		}
		s.Packets++
		s.Bytes += uint64(p.Length)
		s.First, s.Last = min(s.First, p.Time), max(s.Last, p.Time)
		want[p.Flow] = s
	}
	r, err := open(file)
	check(t, err)
	sums, err := r.SumPackets(nil)
	check(t, err)
	if len(sums) != len(want) || len(want) < 2 {
		t.Fatalf("%d flows, want %d", len(sums), len(want))
	}
	var before uint64
	for _, s := range sums {
		if s != want[s.Flow] {
			t.Errorf("got %+v, want %+v", s, want[s.Flow])
		}
		if s.First < before {
			t.Error("not in the order of their first packets")
		}
		before = s.First
	}
}
