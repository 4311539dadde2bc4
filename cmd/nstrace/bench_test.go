// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/nstrace/nstrace/analyze/story"
	"github.com/nstrace/nstrace/event"
	"github.com/nstrace/nstrace/trace"
)

// writing is a handler that writes what it is told into a trace.
type writing struct {
	*trace.Writer
	b   testing.TB
	end event.End
}

func (w *writing) check(err error) {
	if err != nil {
		w.b.Fatal(err)
	}
}
func (w *writing) HandleRecording(*event.Recording) {} // the writer was made of it
func (w *writing) HandleEvent(e *event.Event)       { w.check(w.Event(e)) }
func (w *writing) HandleStep(s *event.Step)         { w.check(w.Step(s)) }
func (w *writing) HandleTask(t *event.Task)         { w.check(w.Task(t)) }
func (w *writing) HandleCount(c *event.Count)       { w.check(w.Count(c)) }
func (w *writing) HandleName(n *event.NameChange)   { w.check(w.Name(n)) }
func (w *writing) HandleSymbol(s *event.Symbol)     { w.check(w.Symbol(s)) }
func (w *writing) HandleCgroup(c *event.CgroupPath) { w.check(w.Cgroup(c)) }
func (w *writing) HandleSnapshot(s *event.Snapshot) { w.check(w.Snapshot(s)) }
func (w *writing) HandleLoss(l *event.Loss)         { w.check(w.Loss(l)) }
func (w *writing) HandleLedger(l *event.Ledger)     { w.check(w.Ledger(l)) }
func (w *writing) HandleDamage(d *event.Damage)     { w.b.Fatalf("a story has no damage: %+v", d) }
func (w *writing) HandleEnd(e *event.End)           { w.end = *e }

// writeHost writes the recording of a machine that runs one short-lived
// container after the other, a hundred at a time, each with a veth of its own,
// and moves a radio about every thousandth time. It returns how many events there
// are, at least n.
func writeHost(b *testing.B, path string, n uint64) uint64 {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	tw, err := trace.NewWriter(f, event.Recording{Host: "bench", CPUs: 2, InitNet: story.Initial.Inum, Began: 1000 * story.MS, Delivery: "count"})
	if err != nil {
		b.Fatal(err)
	}
	w := &writing{Writer: tw, b: b}
	s := story.New(w)
	radio := &story.Phy{Ptr: 0x77, Index: 0, Name: "phy0"}
	wlan := story.Netdev{Ptr: 0x770, Net: story.Initial, Ifindex: 2, Name: "wlan0", Phy: radio}
	s.Radio(radio, story.Initial, wlan)
	const atOnce = 100
	var living [atOnce]struct {
		ref     event.NetRef
		in, out story.Netdev
	}
	for i := uint64(0); s.Sent() < n; i++ {
		c := &living[i%atOnce]
		s.By(uint32(1000+i%30000), []string{"dockerd", "unshare", "ip"}[i%3])
		if i >= atOnce {
			s.Cleanup(c.ref, func() { s.Unregister(c.in) })
			s.Unregister(c.out)
		}
		c.ref = event.NetRef{Ptr: 0x100000 + i%(atOnce+20)*0x2000, Cookie: 100 + i, Inum: 4026532000 + uint32(i%(atOnce+1))}
		s.Setup(c.ref)
		c.out = story.Netdev{Ptr: 0x9000000 + i%atOnce*0x1000, Net: story.Initial, Ifindex: int32(100 + 2*i), Name: fmt.Sprintf("veth%06x", i), Kind: "veth"}
		c.in = story.Netdev{Ptr: 0x8000000 + i%atOnce*0x1000, Net: story.Initial, Ifindex: int32(101 + 2*i), Name: "tmp", Kind: "veth"}
		s.Register(c.out)
		s.Register(c.in)
		c.in = s.Move(c.in, c.ref, story.Outcome{})
		if i%1000 == 500 {
			for _, to := range []event.NetRef{c.ref, story.Initial} {
				s.Switch(radio, wlan.Net, to, story.Outcome{}, func() { wlan = s.Move(wlan, to, story.Outcome{}) })
			}
		}
	}
	s.End()
	if err := tw.Close(w.end); err != nil {
		b.Fatal(err)
	}
	return s.Sent()
}

// BenchmarkTenMillion reports on a recording of ten million lifecycle events with
// the program itself: its rate, and the memory it takes at most.
func BenchmarkTenMillion(b *testing.B) {
	dir := b.TempDir()
	file, program := filepath.Join(dir, "host.nst"), filepath.Join(dir, "nstrace")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	events := writeHost(b, file, 10_000_000)
	st, err := os.Stat(file)
	if err != nil {
		b.Fatal(err)
	}
	var peak int64
	for b.Loop() {
		cmd := exec.Command(program, "report", file)
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
		peak = max(peak, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
	}
	b.ReportMetric(float64(events)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mevents/s")
	b.ReportMetric(float64(peak)/1024, "MiB-peak")
	b.ReportMetric(float64(st.Size())/float64(events), "B/event")
}
