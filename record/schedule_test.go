// SPDX-License-Identifier: Apache-2.0

package record

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nstrace/nstrace/event"
)

var noon = time.Date(2025, 1, 1, 12, 0, 0, 0, time.UTC)

func TestRhythm(t *testing.T) {
	const every = 100 * time.Millisecond
	var r rhythm
	for _, c := range []struct {
		at   time.Duration
		want bool
	}{
		{0, true}, // the first time
		{0, false},
		{99 * time.Millisecond, false},
		{100 * time.Millisecond, true},
		{199 * time.Millisecond, false},
		{750 * time.Millisecond, true}, // late: once, not six times
		{751 * time.Millisecond, false},
		{849 * time.Millisecond, false},
		{850 * time.Millisecond, true},
	} {
		if got := r.now(noon.Add(c.at), every); got != c.want {
			t.Errorf("after %v: got %v, want %v", c.at, got, c.want)
		}
	}
}

// TestScheduleInterval: often while something happens and for a while after,
// then less often; never so rarely that a kill could cost more than 250 ms.
func TestScheduleInterval(t *testing.T) {
	var d schedule
	for _, c := range []struct {
		at   time.Duration
		seen uint64
		want time.Duration
	}{
		{0, 0, idleInterval},
		{time.Second, 1, busyInterval},
		{time.Second + idleAfter - 1, 1, busyInterval},
		{time.Second + idleAfter, 1, idleInterval},
		{time.Hour, 1, idleInterval},
		{time.Hour + 1, 2, busyInterval},
		{time.Hour + idleAfter, 3, busyInterval},
		{time.Hour + 2*idleAfter, 3, idleInterval},
	} {
		now := noon.Add(c.at)
		d.saw(c.seen, now)
		d.count.last = now // read just now
		if got := d.interval(now); got != c.want {
			t.Errorf("after %v, %d seen: got %v, want %v", c.at, c.seen, got, c.want)
		}
	}
	if flushInterval+busyInterval > 250*time.Millisecond || idleInterval > 250*time.Millisecond {
		t.Errorf("flushed every %v, looked at every %v or %v", flushInterval, busyInterval, idleInterval)
	}
}

// TestScheduleReading: while something happens, the next round comes when the
// counters are to be read, whatever the rounds take.
func TestScheduleReading(t *testing.T) {
	d := schedule{active: noon}
	d.count.now(noon, countInterval)
	for _, c := range []struct{ after, want time.Duration }{
		{0, busyInterval},
		{countInterval - busyInterval, busyInterval},
		{countInterval - busyInterval + 7*time.Millisecond, busyInterval - 7*time.Millisecond},
		{countInterval - 1, time.Millisecond},
		{countInterval + 9*time.Millisecond, time.Millisecond},
		{idleAfter, idleInterval},
	} {
		if got := d.interval(noon.Add(c.after)); got != c.want {
			t.Errorf("%v after a reading: got %v, want %v", c.after, got, c.want)
		}
	}
}

// TestScheduleAccounting: a ledger while things happen, and one more after the
// last of them.
func TestScheduleAccounting(t *testing.T) {
	var d schedule
	for _, c := range []struct {
		at   time.Duration
		seen uint64
		want bool
	}{
		{0, 0, false}, // nothing to account for
		{time.Hour, 0, false},
		{time.Hour, 5, true},
		{time.Hour + time.Second, 6, false}, // too early
		{time.Hour + ledgerInterval, 6, true},
		{time.Hour + 2*ledgerInterval, 6, false}, // said already
		{time.Hour + 9*ledgerInterval, 7, true},
	} {
		now := noon.Add(c.at)
		d.saw(c.seen, now)
		if got := d.accounting(now); got != c.want {
			t.Errorf("after %v, %d seen: got %v, want %v", c.at, c.seen, got, c.want)
		}
	}
}

// TestNameQueue: names arrive once, and in the order of each sender.
func TestNameQueue(t *testing.T) {
	const senders, each = 4, 1000
	var q nameQueue
	if got := q.take(); len(got) != 0 {
		t.Fatalf("an empty queue has %+v", got)
	}
	var all sync.WaitGroup
	for sender := range senders {
		all.Go(func() {
			for i := range each {
				q.add(event.NameChange{Inum: uint32(sender), Time: uint64(i)})
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	got := make([][]uint64, senders)
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		for _, n := range q.take() {
			got[n.Inum] = append(got[n.Inum], n.Time)
		}
	}
	for sender, times := range got {
		if len(times) != each || !slices.IsSorted(times) {
			t.Errorf("sender %d: %d of %d names, in order: %v", sender, len(times), each, slices.IsSorted(times))
		}
	}
	if left := q.take(); len(left) != 0 {
		t.Errorf("%d names are left", len(left))
	}
}
