// SPDX-License-Identifier: Apache-2.0

package event

// Step is one subsystem's share of setting a namespace up (ops_init), or of
// tearing a batch of them down (ops_exit_list, where the kernel has it as a
// function). The steps of one set-up or tear-down come together, when it is
// over, in the order in which they ran. They have no sequence numbers of their
// own, since the kernel collects them and sends them with one record; the records
// are counted as the ring "steps" in the [Ledger], and in [Loss] if one is lost.
type Step struct {
	// Time is when the whole was over: at or after setup_net's or cleanup_net's
	// exit.
	Time uint64
	// Began is when this subsystem's turn began, Duration how long it took in
	// nanoseconds.
	Began, Duration uint64
	// Kind is KindSetupNet or KindCleanupNet.
	Kind Kind
	// TID is the thread that ran it.
	TID uint32
	// Net is the namespace that was set up; unknown for a tear-down, which is of
	// a batch.
	Net NetRef
	// Ops is the address of the struct pernet_operations, Fn that of its init
	// (of its exit for a tear-down), or of another function that it has. Symbols
	// have their names.
	Ops, Fn uint64
	// Ret is the errno of a failed init.
	Ret uint32
	// Skipped is how many further steps there were that didn't fit, on the last
	// one of a whole. If nothing did, it is on a step without Ops.
	Skipped uint32
}
