// SPDX-License-Identifier: Apache-2.0

package probes

import "github.com/nstrace/nstrace/event"

// sequence finds the gaps in one ring's sequence numbers, CPU by CPU.
//
// A number is taken before ring space is reserved. Between the two the program
// can be preempted, so numbers of one CPU may arrive out of order by a little; a
// gap is taken for a loss only when it has stayed open through two whole drains
// of the ring begun after it appeared: a loss told late does no harm, a false one
// does. What comes later still stays counted as lost.
type sequence struct {
	ring string
	cpus []cpuSequence
	// drains counts the drains that are over.
	drains uint64
	lost   uint64
}

type cpuSequence struct {
	next uint64 // one more than the highest number seen
	last uint64 // the time of the latest record
	gaps []gap
}

// gap is the numbers first … first+count-1 that haven't come.
type gap struct {
	first, count uint64
	from, to     uint64 // times of the records around it
	drain        uint64 // when it was found
}

// saw notes a record.
func (s *sequence) saw(cpu uint32, seq, time uint64) {
	for uint32(len(s.cpus)) <= cpu {
		s.cpus = append(s.cpus, cpuSequence{})
	}
	c := &s.cpus[cpu]
	switch {
	case seq == c.next:
		c.next++
	case seq > c.next:
		c.gaps = append(c.gaps, gap{c.next, seq - c.next, c.last, time, s.drains})
		c.next = seq + 1
	default:
		c.late(seq)
	}
	if time > c.last {
		c.last = time
	}
}

// late takes a number out of the gap it had left.
func (c *cpuSequence) late(seq uint64) {
	for i := range c.gaps {
		g := &c.gaps[i]
		if seq < g.first || seq >= g.first+g.count {
			continue
		}
		before, after := seq-g.first, g.first+g.count-1-seq
		rest := *g
		g.count = before
		rest.first, rest.count = seq+1, after
		if after > 0 {
			c.gaps = append(c.gaps, rest)
		}
		return
	}
}

// settle reports the gaps that are losses by now; all of them if final.
func (s *sequence) settle(final bool, report func(*event.Loss)) {
	for cpu := range s.cpus {
		c := &s.cpus[cpu]
		open := c.gaps[:0]
		for _, g := range c.gaps {
			if !final && g.drain+1 >= s.drains {
				open = append(open, g)
				continue
			}
			if g.count > 0 {
				s.lost += g.count
				report(&event.Loss{Ring: s.ring, CPU: uint32(cpu), From: g.from, To: g.to, Count: g.count})
			}
		}
		c.gaps = open
	}
	s.drains++
}

// tail reports what a CPU lost after the last record that came: sent is how far
// its sequence got in the kernel.
func (s *sequence) tail(cpu int, sent, now uint64, report func(*event.Loss)) {
	for len(s.cpus) <= cpu {
		s.cpus = append(s.cpus, cpuSequence{})
	}
	c := &s.cpus[cpu]
	if sent <= c.next {
		return
	}
	n := sent - c.next
	c.next = sent
	s.lost += n
	report(&event.Loss{Ring: s.ring, CPU: uint32(cpu), From: c.last, To: now, Count: n})
}
