// SPDX-License-Identifier: Apache-2.0

package event

// Handler takes what a trace holds, one thing at a time. Whoever delivers
// promises the order of time (of Event.Time, Count.Time, Snapshot.Begin and so
// on; ties in file order), the Recording first and the End, if the recording
// has one, last. The pointed-to values are the deliverer's: a handler copies
// what it keeps.
type Handler interface {
	HandleRecording(*Recording)
	HandleEvent(*Event)
	HandleStep(*Step)
	HandleTask(*Task)
	HandleCount(*Count)
	HandleName(*NameChange)
	HandleSymbol(*Symbol)
	HandleCgroup(*CgroupPath)
	HandleSnapshot(*Snapshot)
	HandleLoss(*Loss)
	HandleLedger(*Ledger)
	HandleDamage(*Damage)
	HandleEnd(*End)
}

// Damage is a part of a trace file that could not be read.
type Damage struct {
	// Offset and Length are in bytes of the file.
	Offset, Length int64
	// Time is the last time read before it, 0 if it is at the beginning.
	Time uint64
	// Truncated says that the file ends here without an end block: the
	// recording didn't finish, or the file was cut.
	Truncated bool
	// Records is how many records were in it, -1 if unknown.
	Records int64
	// Reason says what was wrong.
	Reason string
}
