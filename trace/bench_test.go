// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/nstrace/nstrace/event"
)

// countingWriter counts bytes and forgets them.
type countingWriter struct{ n int64 }

func (w *countingWriter) Write(b []byte) (int, error) {
	w.n += int64(len(b))
	return len(b), nil
}

const benchSize = 256 << 10

func benchEvents() []event.Event {
	rng := rand.New(rand.NewPCG(1, 2))
	es := make([]event.Event, benchSize)
	var at uint64 = 1 << 50
	for i := range es {
		e := sampleEvent(i)
		at += uint64(rng.ExpFloat64() * 20000)
		e.Time = at
		if e.Start != 0 {
			e.Start = at - uint64(5000+rng.ExpFloat64()*30000)
		}
		if e.RxBytes != 0 {
			e.RxPackets = uint64(rng.IntN(100000))
			e.RxBytes = e.RxPackets*700 + uint64(rng.IntN(1000))
		}
		es[i] = e
	}
	return es
}

func benchPackets() []event.Packet {
	ps := make([]event.Packet, benchSize)
	rng := rand.New(rand.NewPCG(1, 2))
	var at uint64 = 1 << 50
	var seqs [4]uint64
	for i := range ps {
		p := samplePacket(rng.IntN(1000))
		p.Data = nil
		at += uint64(rng.ExpFloat64() * 2000) // half a million a second
		p.Time, p.CPU = at, uint32(rng.IntN(4))
		p.Seq = seqs[p.CPU]
		seqs[p.CPU]++
		if p.Length = 1514; rng.IntN(3) == 0 {
			p.Length = 60 + uint32(rng.IntN(1400))
		}
		ps[i] = p
	}
	return ps
}

func perSecond(b *testing.B, n int, what string) {
	b.ReportMetric(float64(n)/b.Elapsed().Seconds()/1e6, "M"+what+"/s")
}

func BenchmarkWriteEvents(b *testing.B) {
	es := benchEvents()
	var out countingWriter
	w, err := NewWriter(&out, sampleRecording)
	check(b, err)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if err := w.Event(&es[n%len(es)]); err != nil { // check would cost more than Event
			b.Fatal(err)
		}
		n++
	}
	check(b, w.Flush())
	b.ReportMetric(float64(out.n)/float64(n), "B/event")
	perSecond(b, n, "events")
}

func BenchmarkWritePackets(b *testing.B) {
	ps := benchPackets()
	var out countingWriter
	w, err := NewWriter(&out, sampleRecording)
	check(b, err)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if err := w.Packet(&ps[n%len(ps)]); err != nil {
			b.Fatal(err)
		}
		n++
	}
	check(b, w.Flush())
	b.ReportMetric(float64(out.n)/float64(n), "B/packet")
	perSecond(b, n, "packets")
}

func benchFile(b *testing.B, write func(w *Writer)) *Reader {
	var out bytes.Buffer
	w, err := NewWriter(&out, sampleRecording)
	check(b, err)
	write(w)
	check(b, w.Close(sampleEnd))
	r, err := open(out.Bytes())
	check(b, err)
	return r
}

func BenchmarkReplay(b *testing.B) {
	es := benchEvents()
	r := benchFile(b, func(w *Writer) {
		for i := range es {
			check(b, w.Event(&es[i]))
		}
	})
	b.ReportAllocs()
	n := 0
	h := &watcher{fn: func() { n++ }}
	for b.Loop() {
		check(b, r.Replay(h, ReplayOptions{}))
	}
	b.ReportMetric(float64(r.size)/benchSize, "B/event")
	perSecond(b, n, "events")
}

func BenchmarkScanPackets(b *testing.B) {
	ps := benchPackets()
	r := benchFile(b, func(w *Writer) {
		for i := range ps {
			check(b, w.Packet(&ps[i]))
		}
	})
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		check(b, r.Packets(func(p *PacketBatch) error {
			n += p.Len()
			return nil
		}, nil))
	}
	b.ReportMetric(float64(r.size)/benchSize, "B/packet")
	perSecond(b, n, "packets")
}

// BenchmarkOrderedPackets reads packets with 128 bytes of each.
func BenchmarkOrderedPackets(b *testing.B) {
	ps := benchPackets()
	rng := rand.New(rand.NewPCG(3, 4))
	r := benchFile(b, func(w *Writer) {
		data := make([]byte, 128)
		for i := range ps {
			for j := 34; j < len(data); j++ { // headers hardly differ
				data[j] = byte(rng.Uint32())
			}
			ps[i].Data = data
			check(b, w.Packet(&ps[i]))
		}
	})
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		check(b, r.OrderedPackets(func(*event.Packet) error {
			n++
			return nil
		}, nil))
	}
	b.ReportMetric(float64(r.size)/benchSize, "B/packet")
	perSecond(b, n, "packets")
}

func BenchmarkSumPackets(b *testing.B) {
	ps := benchPackets()
	r := benchFile(b, func(w *Writer) {
		for i := range ps {
			check(b, w.Packet(&ps[i]))
		}
	})
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		sums, err := r.SumPackets(nil)
		check(b, err)
		for _, s := range sums {
			n += int(s.Packets)
		}
	}
	perSecond(b, n, "packets")
}
