// SPDX-License-Identifier: Apache-2.0

// Package record runs a recording: it attaches the probes, looks at what is
// there, writes what happens to a trace file, and stops in an order that leaves
// nothing behind: silence the probes, drain the rings, read the counters, take
// the closing snapshot, write the totals, close, detach.
package record
