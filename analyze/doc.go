// SPDX-License-Identifier: Apache-2.0

// Package analyze turns what the kernel said into what happened: events in,
// model out. It is pure and deterministic: no I/O, no clock, and the same trace
// gives the same model on any machine.
//
// # Terms
//
//   - life: one namespace, netdev or wiphy from its birth to its end. Pointers,
//     inums, ifindexes, names and PIDs are labels that successive lives share.
//   - stay: one life in one namespace, from its arrival to its departure.
//   - inferred: concluded from something else, because the event itself is
//     missing (lost, or before the recording began).
//   - opening and closing snapshot: what user space was told at the beginning
//     and at the end of the recording.
//
// # How lives are told apart
//
// A namespace is found by its cookie if it has one, else by its address, else by
// its inum among those alive. An address begins a new life at setup_net and when
// it turns up with another cookie or inum. A netdev is found by its address,
// else by the number it has in its namespace. A wiphy is found by its index.
// Whoever is spoken of without ever having been introduced gets a life marked
// as inferred.
//
// A snapshot takes time to make while things go on changing, so it is applied
// only once everything that happened meanwhile is known, and where the two
// disagree the events are right.
//
// All times are nanoseconds of CLOCK_BOOTTIME, as in package event; 0 is
// "unknown" or, for the beginning of a stay, "before the recording".
package analyze
