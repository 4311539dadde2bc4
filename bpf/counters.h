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
 * Set while the recording runs. Attaching and detaching take their time, one
 * probe after the other; this lets all of them begin and end at once.
 */
volatile __u32 recording;

/* Count a call of a probed function; false if nobody wants to know. */
static __always_inline bool hit(__u32 probe)
{
	struct nst_probe_stats *stats;

	if (!recording)
		return false;
	stats = bpf_map_lookup_elem(&probe_stats, &probe);
	if (stats)
		__sync_fetch_and_add(&stats->hits, 1);
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
