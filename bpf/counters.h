/* SPDX-License-Identifier: GPL-2.0 */
/* What is counted: calls of the probed functions, and what became of them. */
#ifndef NSTRACE_COUNTERS_H
#define NSTRACE_COUNTERS_H

#include "kernel.h"
#include "record.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NST_KINDS);
	__type(key, __u32);
	__type(value, struct nst_probe_stats);
} probe_stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NST_DROPS);
	__type(key, __u32);
	__type(value, __u64);
} drops SEC(".maps");

/*
 * recording is set while the recording runs (enum nst_recording). Attaching and
 * detaching take their time, one probe after the other; this lets all of them begin
 * and end at once.
 *
 * While the snapshot at the end is taken, tasks go on coming and going, and that
 * looks at links, which gives namespaces numbers for each other. So that it can be
 * compared with, these are recorded until it is complete.
 *
 * netdev_changes counts how often a netdev was registered, unregistered or moved.
 * It stands beside the other for the sake of the programs for packets, which can
 * look at both at once: see stamp() in flow.h. nstrace, which writes both, may lose
 * a change.
 */
volatile union {
	struct {
		__u32 netdev_changes;
		__u32 recording;
	};
	__u64 both;
} state;

static __always_inline bool is_late(__u32 probe)
{
	switch (probe) {
	case NST_TASK_SWITCH:
	case NST_TASK_FORK:
	case NST_TASK_EXEC:
	case NST_TASK_EXIT:
	case NST_NSID:
	case NST_NSID_REQUEST:
	case NST_NSID_NOTIFY:
	case NST_NET_BY_FD:
	case NST_NETIF_RX:
	case NST_RECEIVE:
	case NST_CONTROL_PORT:
		return true;
	}
	return false;
}

static __always_inline bool is_recorded(__u32 probe)
{
	return state.recording == NST_RECORDING ||
	       (state.recording == NST_CLOSING && is_late(probe));
}

/* Count a call of a probed function; false if nobody wants to know. */
static __always_inline bool hit(__u32 probe)
{
	struct nst_probe_stats *stats;

	if (!is_recorded(probe))
		return false;
	stats = bpf_map_lookup_elem(&probe_stats, &probe);
	if (stats)
		__sync_fetch_and_add(&stats->hits, 1);
	return true;
}

/* The same for programs that none interrupts that counts the same. */
static __always_inline bool hit_alone(__u32 probe)
{
	struct nst_probe_stats *stats;

	if (!is_recorded(probe))
		return false;
	stats = bpf_map_lookup_elem(&probe_stats, &probe);
	if (stats)
		stats->hits++;
	return true;
}

static __always_inline void count_lost(__u32 probe)
{
	struct nst_probe_stats *stats = bpf_map_lookup_elem(&probe_stats, &probe);

	if (stats)
		__sync_fetch_and_add(&stats->lost, 1);
}

static __always_inline void count_return(__u32 probe, enum nst_return what)
{
	struct nst_probe_stats *stats = bpf_map_lookup_elem(&probe_stats, &probe);

	if (stats)
		__sync_fetch_and_add(&stats->returns[what], 1);
}

static __always_inline void count_drop(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&drops, &what);

	if (n)
		__sync_fetch_and_add(n, 1);
}

#endif
