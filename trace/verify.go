// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"cmp"
	"errors"
	"slices"

	"github.com/nstrace/nstrace/event"
)

// Summary is what Verify found.
type Summary struct {
	// Bytes is the length of the file, Blocks how many blocks of it are readable
	// at least in their header.
	Bytes  int64
	Blocks int
	// Complete says that there is an end, so that the totals are known.
	Complete bool
	// Kinds has an account of each kind of record that is in the file, or that
	// was given to the writer.
	Kinds []KindSummary
	// UnknownBlocks counts blocks of kinds that a newer nstrace added.
	UnknownBlocks int
	// Damage lists what could not be read, in the order of the file.
	Damage []event.Damage
	// Sequences has an account of each CPU's sequence numbers.
	Sequences []SequenceSummary
}

// KindSummary is the account of one kind of record. In a complete file
// Written = Read + Skipped + Lost.
type KindSummary struct {
	Kind   string
	Blocks int
	// Stored and Raw are the bytes of the payloads, as they are in the file and
	// unpacked.
	Stored, Raw int64
	// Written is how many records the writer wrote, by the totals in the end; in
	// a file without one, as many as were found.
	Written uint64
	// Read is how many are readable, Skipped how many are in blocks of which
	// only the header is, Lost how many are gone with their block's header.
	Read, Skipped, Lost uint64
	// Unwritten is how many the writer was given and could not write.
	Unwritten uint64
}

// SequenceSummary is what the file says of one CPU's records in one ring.
type SequenceSummary struct {
	// Ring is "lifecycle", "packets" or "tasks".
	Ring string
	CPU  uint32
	// Records counts those that blocks with a readable header say they have,
	// Next is one more than the greatest sequence number.
	Records, Next uint64
	// Missing is how many sequence numbers below Next are nowhere: lost by the
	// kernel or with a block's header.
	Missing uint64
}

// Whole reports whether the file is as its writer closed it: complete, without
// damage, and with the records that the totals say.
func (s *Summary) Whole() bool {
	if !s.Complete || len(s.Damage) > 0 {
		return false
	}
	for _, k := range s.Kinds {
		if k.Written != k.Read {
			return false
		}
	}
	return true
}

// verifier reads everything once.
type verifier struct {
	r       *Reader
	s       *Summary
	kinds   [kindCount]KindSummary
	packets packetReader
	data    packetData
	// before is the last packets block.
	before *block
	seqs   map[seqKey]*SequenceSummary
	last   uint64
}

type seqKey struct {
	kind kind
	cpu  uint32
}

// Verify reads the whole file, packets too, and accounts for it. Its errors are
// those of reading the file itself: damage is what the Summary is about.
func (r *Reader) Verify() (*Summary, error) {
	v := &verifier{
		r: r, s: &Summary{Bytes: r.size, Blocks: len(r.blocks), Complete: r.end != nil},
		packets: packetReader{r: r}, seqs: make(map[seqKey]*SequenceSummary),
	}
	d := 0
	for i := range r.blocks {
		for ; d < len(r.damage) && r.damage[d].before <= i; d++ {
			v.s.Damage = append(v.s.Damage, r.damage[d].Damage)
		}
		if err := v.block(&r.blocks[i]); err != nil {
			return nil, err
		}
	}
	for ; d < len(r.damage); d++ {
		v.s.Damage = append(v.s.Damage, r.damage[d].Damage)
	}
	if r.tail != nil {
		tail := *r.tail
		tail.Time = v.last
		v.s.Damage = append(v.s.Damage, tail)
	}
	v.account()
	v.sequences()
	return v.s, nil
}

// block reads one block through.
func (v *verifier) block(b *block) error {
	if !b.kind.known() {
		v.s.UnknownBlocks++
		return v.outcome(b, 0, v.r.checkStored(b))
	}
	_ = v.r.readHeader(b) // what is wrong with it, reading b says
	k := &v.kinds[b.kind]
	k.Blocks++
	k.Stored += int64(b.stored)
	k.Raw += int64(b.raw)
	if err := v.ranges(b); err != nil {
		return err
	}
	var read int
	var err error
	switch b.kind {
	case kindPackets:
		v.before = b
		read, err = v.packets.block(b, func(*PacketBatch) error { return nil })
	case kindData:
		if err = v.r.openData(&v.data, b, v.before); err == nil {
			read = int(b.count)
		}
		v.data.close(v.r)
	case kindEnd: // read already, or it wouldn't be among the blocks
		read = 1
	default:
		read, err = v.records(b)
	}
	k.Read += uint64(read)
	k.Skipped += uint64(b.count) - uint64(read)
	if err == nil {
		v.last = max(v.last, b.last)
	}
	return v.outcome(b, read, err)
}

// records reads a block of what Replay delivers.
func (v *verifier) records(b *block) (int, error) {
	c, err := v.r.openBlock(b)
	if err != nil {
		return 0, err
	}
	defer v.r.closeBlock(c)
	_, err = c.recs.deliver(ignore{}, 1<<64-1, true)
	return c.recs.read(), err
}

// outcome notes err as damage, unless reading itself failed.
func (v *verifier) outcome(b *block, read int, err error) error {
	var ioErr *ioError
	if err == nil {
		return nil
	}
	if errors.As(err, &ioErr) {
		return err
	}
	d := v.r.describeLoss(b, read, err)
	d.Time = v.last
	v.s.Damage = append(v.s.Damage, *d)
	return nil
}

// ranges adds b's sequence ranges. That they are damaged, reading b says.
func (v *verifier) ranges(b *block) error {
	if !b.kind.sequenced() {
		return nil
	}
	rs, err := v.r.ranges(b, nil)
	var ioErr *ioError
	if errors.As(err, &ioErr) {
		return err
	}
	if err != nil {
		return nil
	}
	for _, r := range rs {
		key := seqKey{b.kind, r.cpu}
		s := v.seqs[key]
		if s == nil {
			s = &SequenceSummary{Ring: b.kind.String(), CPU: r.cpu}
			v.seqs[key] = s
		}
		s.Records += uint64(r.count)
		s.Next = max(s.Next, r.last+1)
	}
	return nil
}

// account compares what was read with the end's totals.
func (v *verifier) account() {
	for _, k := range totalKinds {
		s := v.kinds[k]
		s.Kind = k.String()
		s.Written = s.Read + s.Skipped
		if e := v.r.end; e != nil {
			s.Written, s.Unwritten = e.Totals.Written[s.Kind], e.Totals.Unwritten[s.Kind]
			if found := s.Read + s.Skipped; s.Written > found {
				s.Lost = s.Written - found
			}
		}
		if s.Blocks > 0 || s.Written > 0 || s.Unwritten > 0 {
			v.s.Kinds = append(v.s.Kinds, s)
		}
	}
}

func (v *verifier) sequences() {
	for _, s := range v.seqs {
		if s.Next > s.Records {
			s.Missing = s.Next - s.Records
		}
		v.s.Sequences = append(v.s.Sequences, *s)
	}
	slices.SortFunc(v.s.Sequences, func(a, b SequenceSummary) int {
		return cmp.Or(cmp.Compare(a.Ring, b.Ring), cmp.Compare(a.CPU, b.CPU))
	})
}

// ignore is a handler that does nothing.
type ignore struct{}

func (ignore) HandleRecording(*event.Recording) {}
func (ignore) HandleEvent(*event.Event)         {}
func (ignore) HandleStep(*event.Step)           {}
func (ignore) HandleTask(*event.Task)           {}
func (ignore) HandleCount(*event.Count)         {}
func (ignore) HandleName(*event.NameChange)     {}
func (ignore) HandleSymbol(*event.Symbol)       {}
func (ignore) HandleCgroup(*event.CgroupPath)   {}
func (ignore) HandleSnapshot(*event.Snapshot)   {}
func (ignore) HandleLoss(*event.Loss)           {}
func (ignore) HandleLedger(*event.Ledger)       {}
func (ignore) HandleDamage(*event.Damage)       {}
func (ignore) HandleEnd(*event.End)             {}
