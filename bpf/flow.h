/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Counting packets by flow, and following a packet from where mac80211 has it to
 * where the stack gets it, so that it counts once.
 *
 * The programs run with bottom halves off, as all of the receive path does: on one
 * CPU none of them interrupts another, and counters need no atomic instructions.
 * The exception is the one for dropped packets: see stack.bpf.c.
 */
#ifndef NSTRACE_FLOW_H
#define NSTRACE_FLOW_H

#include <linux/if_ether.h>
#include "common.h"
#include "device.h"

/* Which flows there are, each with the index of its counter. */
#define NST_FLOWS 4096
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NST_FLOWS);
	__type(key, struct nst_flow);
	__type(value, __u32);
} flows SEC(".maps");

/*
 * The counters of all flows for the first CPU, then for the second, and so on:
 * nstrace makes it as large as it has to be. It isn't a per-CPU array since it is
 * read as memory: in bpf(2) for a map, the kernel lets kprobes of this CPU pass.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, NST_FLOWS);
	__type(key, __u32);
	__type(value, struct nst_count);
} flow_counts SEC(".maps");

/* The indices that are free: filled by nstrace, which also returns them. */
struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, NST_FLOWS);
	__uint(value_size, sizeof(__u32));
} free_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NST_FLOWS);
	__type(key, struct nst_flow);
	__type(value, struct nst_base);
} flow_bases SEC(".maps");

/* The device of each flow, by its index: the address of its net_device. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NST_FLOWS);
	__type(key, __u32);
	__type(value, __u64);
} flow_owners SEC(".maps");

/* The devices of all flows, by the address of their net_device. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, NST_FLOWS);
	__type(key, __u64);
	__type(value, __u8);
} flow_devices SEC(".maps");

/* How many flows were ever made: nstrace needs to look for new ones if it changes. */
volatile __u32 flows_made;
/* Changed by nstrace when it has taken flows out: what is remembered of them is void. */
volatile __u32 flow_generation;

/*
 * What each CPU last found, since a hash of a flow takes longer than all the rest.
 * Before 6.10, to look into a per-CPU array is a call, and into an array none.
 */
#define NST_CACHED 16
struct nst_cached {
	struct nst_flow flow;
	__u32 index;
	__u32 generation;
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nst_cached[NST_CACHED]);
} flow_cache SEC(".maps");

#define NST_NO_FLOW 0xffffffffU

/*
 * The address as a number. The verifier minds what is calculated with pointers, but
 * not that bytes are swapped, and then it knows them for pointers no more.
 */
static __always_inline __u64 address_of(const void *pointer)
{
	__u64 address = (__u64)pointer;

	asm volatile("%0 = be64 %0\n%0 = be64 %0" : "+r"(address));
	return address;
}

static __always_inline bool same_flow(const struct nst_flow *a, const struct nst_flow *b)
{
	const __u64 *x = (void *)a, *y = (void *)b;
	__u64 differ = 0;
	int i;

#pragma unroll
	for (i = 0; i < sizeof(*a) / sizeof(*x); i++)
		differ |= x[i] ^ y[i];
	return !differ;
}

/*
 * Whoever sends over the air chooses the ethertype, so the flows of those that
 * aren't expected are limited; the others have 0 in common.
 */
#define NST_UNCOMMON_FLOWS 512
volatile __u32 uncommon_flows;

static __always_inline bool is_common(__u16 protocol)
{
	switch (protocol) {
	case 0:
	case ETH_P_802_2:
	case ETH_P_IP:
	case ETH_P_ARP:
	case ETH_P_IPV6:
	case ETH_P_PAE:
	case ETH_P_8021Q:
	case ETH_P_PREAUTH:
		return true;
	}
	return false;
}

static __always_inline __u32 known_flow(struct nst_flow *flow)
{
	__u32 *index = bpf_map_lookup_elem(&flows, flow);

	return index ? *index : NST_NO_FLOW;
}

static __noinline __u32 flow_begin(struct nst_flow *flow)
{
	struct nst_base base = {};
	__u32 index;
	__u8 here = 1;
	__u64 dev;

	if (!flow)
		return NST_NO_FLOW;
	/* Further on, the kernel has counted the packet already. */
	if (flow->path == NST_PATH_DELIVER_SKB || flow->path == NST_PATH_RX_8023)
		rx_stats((struct net_device *)flow->dev, &base);
	if (bpf_map_pop_elem(&free_flows, &index))
		return NST_NO_FLOW;
	if (base.valid)
		bpf_map_update_elem(&flow_bases, flow, &base, BPF_NOEXIST);
	dev = flow->dev;
	bpf_map_update_elem(&flow_devices, &dev, &here, BPF_ANY);
	bpf_map_update_elem(&flow_owners, &index, &dev, BPF_ANY);
	if (bpf_map_update_elem(&flows, flow, &index, BPF_NOEXIST)) {
		bpf_map_push_elem(&free_flows, &index, 0);
		return known_flow(flow); /* another CPU was quicker */
	}
	__sync_fetch_and_add(&flows_made, 1);
	if (!is_common(flow->protocol))
		__sync_fetch_and_add(&uncommon_flows, 1);
	return index;
}

/* The index of a flow's counter; NST_NO_FLOW if there is none left, which is counted. */
static __noinline __u32 find_flow(struct nst_flow *flow)
{
	__u32 index;

	if (!flow)
		return NST_NO_FLOW;
	index = known_flow(flow);
	if (index == NST_NO_FLOW && !is_common(flow->protocol) &&
	    uncommon_flows >= NST_UNCOMMON_FLOWS) {
		flow->protocol = 0;
		index = known_flow(flow);
	}
	if (index == NST_NO_FLOW)
		index = flow_begin(flow);
	if (index == NST_NO_FLOW)
		count_drop(NST_DROP_FLOWS);
	return index;
}

/* The same, quicker for what came before. */
static __always_inline __u32 flow_index(struct nst_flow *flow)
{
	__u32 at = (flow->dev >> 6 ^ flow->dev >> 12 ^ flow->protocol ^ flow->protocol >> 8 ^
		    flow->path) %
		   NST_CACHED;
	__u32 cpu = bpf_get_smp_processor_id(), index;
	struct nst_cached *cached = bpf_map_lookup_elem(&flow_cache, &cpu);

	if (!cached)
		return NST_NO_FLOW;
	cached += at;
	if (cached->generation == flow_generation && same_flow(&cached->flow, flow))
		return cached->index;
	index = find_flow(flow);
	if (index != NST_NO_FLOW) {
		cached->flow = *flow;
		cached->index = index;
		cached->generation = flow_generation;
	}
	return index;
}

/* Where a packet is: for programs that are given pointers with their types. */
static __always_inline void flow_of(struct nst_flow *flow, struct net_device *dev)
{
	struct net *net = dev->nd_net.net;

	flow->net = address_of(net);
	if (bpf_core_field_exists(net->net_cookie)) {
		flow->cookie = net->net_cookie;
	} else {
		struct nst_net early;

		read_net(&early, net);
		flow->cookie = early.cookie;
	}
	flow->inum = net->ns.inum;
	flow->dev = address_of(dev);
	flow->ifindex = dev->ifindex;
}

/* The same for the others. */
static __always_inline void flow_probed(struct nst_flow *flow, struct net_device *dev)
{
	struct nst_net net;

	read_net(&net, BPF_CORE_READ(dev, nd_net.net));
	flow->net = net.ptr;
	flow->cookie = net.cookie;
	flow->inum = net.inum;
	flow->dev = (__u64)dev;
	flow->ifindex = BPF_CORE_READ(dev, ifindex);
}

static __always_inline struct nst_count *flow_count(__u32 index)
{
	if (index >= NST_FLOWS)
		return NULL;
	index += bpf_get_smp_processor_id() * NST_FLOWS;
	return bpf_map_lookup_elem(&flow_counts, &index);
}

static __always_inline void count_packet(struct nst_count *count, __u64 packets, __u64 bytes,
					 __u64 now)
{
	count->packets += packets;
	count->bytes += bytes;
	if (!count->first)
		count->first = now;
	count->last = now;
}

/*
 * Packets that mac80211 has and the stack hasn't, by the address of their sk_buff.
 * Those that never get there leave their mark behind, until another packet has the
 * same address or the mark is the oldest of its set. What an access point relays is
 * gone at once, and its sk_buff often the next that a monitor gets: so a mark holds
 * only for the device that it was left for.
 *
 * A mark is the address with the index of the flow in its upper bits, which are
 * the same for all sk_buffs: so it is written at once.
 */
#define NST_MARK_WAYS  4
#define NST_MARK_SETS  (1 << 10)
#define NST_MARK_SHIFT 48
#define NST_MARK_INDEX ((__u64)(2 * NST_FLOWS - 1) << NST_MARK_SHIFT)
/* Instead of an index: what this machine sent, and a monitor gets, too. */
#define NST_MARK_SENT NST_FLOWS
struct nst_mark {
	__u64 tag;
	__u64 time;
};
struct nst_marks {
	struct nst_mark way[NST_MARK_WAYS];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NST_MARK_SETS);
	__type(key, __u32);
	__type(value, struct nst_marks);
} marks SEC(".maps");

static __always_inline struct nst_marks *marks_of(__u64 skb)
{
	/* sk_buffs stand on cache lines; 2^32 divided by the golden ratio mixes the rest */
	__u32 set = ((__u32)(skb >> 6) * 0x9e3779b1U) >> 22;

	return bpf_map_lookup_elem(&marks, &set);
}

static __always_inline bool is_mark_of(__u64 tag, __u64 skb)
{
	return !((tag ^ skb) & ~NST_MARK_INDEX);
}

static __always_inline void mark_leave(__u64 skb, __u32 index, __u64 now)
{
	struct nst_marks *set = marks_of(skb);
	struct nst_mark *mark;
	int i;

	if (!set)
		return;
	mark = &set->way[0];
#pragma unroll
	for (i = 0; i < NST_MARK_WAYS; i++) {
		if (!set->way[i].tag || is_mark_of(set->way[i].tag, skb)) {
			mark = &set->way[i];
			break;
		}
		if (set->way[i].time < mark->time)
			mark = &set->way[i];
	}
	mark->tag = skb ^ (__u64)index << NST_MARK_SHIFT;
	mark->time = now;
}

/* Take the mark of an sk_buff away, and return it; NST_NO_FLOW if it has none. */
static __always_inline __u32 mark_clear(__u64 skb)
{
	struct nst_marks *set = marks_of(skb);
	__u64 tag;
	int i;

	if (!set)
		return NST_NO_FLOW;
#pragma unroll
	for (i = 0; i < NST_MARK_WAYS; i++) {
		tag = set->way[i].tag;
		if (tag && is_mark_of(tag, skb)) {
			set->way[i].tag = 0;
			return (tag ^ skb) >> NST_MARK_SHIFT;
		}
	}
	return NST_NO_FLOW;
}

/*
 * The index of the flow that a packet of this device was counted by already, else
 * NST_MARK_SENT or NST_NO_FLOW.
 */
static __always_inline __u32 mark_take(__u64 skb, __u64 dev)
{
	__u32 index = mark_clear(skb);
	__u64 *owner;

	if (index >= NST_FLOWS)
		return index;
	owner = bpf_map_lookup_elem(&flow_owners, &index);
	return owner && *owner == dev ? index : NST_NO_FLOW;
}

#endif
