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

/* Whose packets a flow has, by its index: the address of their net_device, and their path. */
struct nst_owner {
	__u64 dev;
	__u64 path;
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NST_FLOWS);
	__type(key, __u32);
	__type(value, struct nst_owner);
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

/* Its lower half, which takes less: a copy of half a pointer is none any more. */
static __always_inline __u32 low_address_of(const void *pointer)
{
	__u32 low;

	asm volatile("%0 = %1" : "=w"(low) : "w"((__u32)(__u64)pointer));
	return low;
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

/* Whether mac80211 had the packets of a path before the stack. */
static __always_inline bool is_received(__u64 path)
{
	return path == NST_PATH_DELIVER_SKB || path == NST_PATH_RX_8023;
}

static __always_inline __u32 known_flow(struct nst_flow *flow)
{
	__u32 *index = bpf_map_lookup_elem(&flows, flow);

	return index ? *index : NST_NO_FLOW;
}

static __noinline __u32 flow_begin(struct nst_flow *flow)
{
	struct nst_base base = {};
	struct nst_owner owner = {};
	__u32 index;
	__u8 here = 1;

	if (!flow)
		return NST_NO_FLOW;
	/* Where ethertypes are told apart, the kernel has counted the packet already. */
	if (is_received(flow->path) && !flow->protocol)
		rx_stats((struct net_device *)flow->dev, &base);
	if (bpf_map_pop_elem(&free_flows, &index))
		return NST_NO_FLOW;
	if (base.valid)
		bpf_map_update_elem(&flow_bases, flow, &base, BPF_NOEXIST);
	owner.dev = flow->dev;
	owner.path = flow->path;
	bpf_map_update_elem(&flow_devices, &owner.dev, &here, BPF_ANY);
	bpf_map_update_elem(&flow_owners, &index, &owner, BPF_ANY);
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

/* Where the counter of a flow is for this CPU. */
static __always_inline __u32 flow_slot(__u32 index)
{
	return index + bpf_get_smp_processor_id() * NST_FLOWS;
}

static __always_inline struct nst_count *flow_count(__u32 index)
{
	__u32 slot = flow_slot(index);

	if (index >= NST_FLOWS)
		return NULL;
	return bpf_map_lookup_elem(&flow_counts, &slot);
}

/*
 * What each CPU found last. All that a packet costs is here: a hash of a flow takes
 * longer than all the rest, and the time of day a quarter of it.
 *
 * So what was found holds until the kernel's clock ticks, at most, and the time of
 * the first packet since then is taken for those that follow: what is said of the
 * last packet is up to a tick early. It also holds no longer than until any netdev
 * is registered, unregistered or moved. So the address of a netdev is all that has
 * to be compared: it isn't another's yet, nor in another namespace, since while it
 * is moved it is closed.
 */
#define NST_NOT_ENTERED (~0ULL)
#define NST_FOUND	64
struct nst_found {
	__u64 dev;
	__u64 key; /* of those that entered the stack: a mark's index and the ethertype */
	__u64 stamp;
	__u64 entered; /* for marks: see there */
	__u64 now;
	__u32 slot;
	__u32 pad;
	struct nst_flow flow;
};

/* The same for packets that the stack dropped: see stack.bpf.c. */
#define NST_DROPPED 16
struct nst_dropped {
	__u64 dev;
	__u64 net;
	__u64 reason;
	__u64 what; /* ifindex and ethertype */
	__u64 stamp;
	__u64 now;
	__u64 sum;
	__u32 slot;
	__u32 pad;
};

struct nst_cpu {
	__u64 hits[NST_KINDS];
	struct nst_found received[2][NST_FOUND]; /* by path, NST_PATH_DELIVER_SKB first */
	struct nst_found entered[NST_FOUND];
	struct nst_found others[NST_FOUND];
	struct nst_dropped dropped[NST_DROPPED];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct nst_cpu);
} cpus SEC(".maps");

static __always_inline struct nst_cpu *this_cpu(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&cpus, &zero);
}

static __always_inline void netdevs_change(void)
{
	__sync_fetch_and_add(&state.netdev_changes, 1);
}

/*
 * Until when something holds. The kernel's clock ticks, netdevs change, and the
 * recording ends (in the upper half): all three only go on.
 */
static __always_inline __u64 stamp(void)
{
	return bpf_jiffies64() + state.both;
}

/* Where among those found one is looked for: a net_device takes 8 KiB with what mac80211 adds. */
static __always_inline __u32 found_at(const struct net_device *dev, __u32 differs)
{
	return (low_address_of(dev) >> 13) + differs & NST_FOUND - 1;
}

/*
 * Begin to look for what a packet is counted by; false if it isn't to be. Should the
 * recording end just now, what is found doesn't hold.
 */
static __always_inline bool find_begin(struct nst_found *found, __u32 probe)
{
	found->dev = 0;
	found->stamp = stamp();
	return is_recorded(probe);
}

/*
 * Find the counter for packets of one path and ethertype that a netdev has in its
 * namespace, for the next ones as well; false if there is none, which is counted.
 */
static __noinline bool find_packets(struct nst_found *found, struct net_device *dev, __u16 path,
				    __u16 protocol)
{
	struct nst_count *count;
	struct nst_flow flow;
	struct nst_net id;
	__u32 index;

	if (!found)
		return false;
	read_net(&id, BPF_CORE_READ(dev, nd_net.net));
	found->flow = (struct nst_flow){
		.net = id.ptr,
		.cookie = id.cookie,
		.inum = id.inum,
		.dev = address_of(dev),
		.ifindex = BPF_CORE_READ(dev, ifindex),
		.path = path,
		.protocol = protocol,
	};
	found->entered = NST_NOT_ENTERED;
	found->now = bpf_ktime_get_boot_ns();
	flow = found->flow;
	index = find_flow(&flow);
	count = flow_count(index);
	if (!count)
		return false;
	if (!count->first)
		count->first = found->now;
	count->last = found->now;
	found->slot = flow_slot(index);
	found->dev = flow.dev;
	return true;
}

/*
 * Whether it is of that netdev, and holds still. Then the recording goes on, too.
 * To compare a number with a pointer the verifier allows, and to calculate with
 * pointers it doesn't.
 */
static __always_inline bool is_found(const struct nst_found *found, const struct net_device *dev)
{
	return found->dev == (__u64)dev && found->stamp == stamp();
}

static __always_inline struct nst_count *found_count(const struct nst_found *found)
{
	__u32 slot = found->slot;

	return bpf_map_lookup_elem(&flow_counts, &slot);
}

/*
 * Packets that mac80211 has and the stack hasn't, by the address of their sk_buff.
 * Those that never get there leave their mark behind, until another packet has the
 * same address or the mark is the oldest of its set. What an access point relays is
 * gone at once, and its sk_buff often the next that a monitor gets: so a mark holds
 * only for the device that it was left for.
 *
 * Most packets are of the same ethertype as the one before. So a mark has, instead
 * of what the stack's program would have to find, where it counted that one: the
 * ethertype, as the packet has it, and the slot of the counter, which is its CPU's.
 */
#define NST_MARK_WAYS 4
#define NST_MARK_SETS (1 << 10)
/* Instead of an index: what this machine sent, and a monitor gets, too. */
#define NST_MARK_SENT NST_FLOWS
struct nst_mark {
	__u64 skb;
	__u64 dev;
	__u64 entered;
	__u32 stamp;
	__u32 index; /* of the flow */
	__u64 len;
};
struct nst_marks {
	struct nst_mark way[NST_MARK_WAYS];
};
/* A variable, since to look into a map takes longer. */
struct nst_marks marks[NST_MARK_SETS];

static __always_inline struct nst_marks *marks_of(const struct sk_buff *skb)
{
	/* sk_buffs stand on cache lines; 2^32 divided by the golden ratio mixes the rest */
	return &marks[((low_address_of(skb) >> 6) * 0x9e3779b1U) >> 22];
}

/* Of a set whose first way another sk_buff has: the place for a mark of this one. */
static __noinline __u32 mark_room(struct sk_buff *skb)
{
	struct nst_marks *set = marks_of(skb);
	__u32 oldest = 0;
	int i;

#pragma unroll
	for (i = 0; i < NST_MARK_WAYS; i++) {
		if (!set->way[i].skb || set->way[i].skb == (__u64)skb)
			return i;
		if ((__s32)(set->way[i].stamp - set->way[oldest].stamp) < 0)
			oldest = i;
	}
	return oldest;
}

static __always_inline struct nst_mark *mark_place(struct sk_buff *skb)
{
	struct nst_marks *set = marks_of(skb);

	if (!set->way[0].skb || set->way[0].skb == (__u64)skb)
		return &set->way[0];
	return &set->way[mark_room(skb) % NST_MARK_WAYS];
}

/* Of a set in whose first way another sk_buff's mark is: where this one's is, or too far. */
static __noinline __u32 mark_search(struct sk_buff *skb)
{
	struct nst_marks *set = marks_of(skb);
	int i;

#pragma unroll
	for (i = 1; i < NST_MARK_WAYS; i++) {
		if (set->way[i].skb == (__u64)skb)
			return i;
	}
	return NST_MARK_WAYS;
}

/* The mark of an sk_buff, NULL if it has none. */
static __always_inline struct nst_mark *mark_of(struct sk_buff *skb)
{
	struct nst_marks *set = marks_of(skb);
	__u32 way;

	if (set->way[0].skb == (__u64)skb)
		return &set->way[0];
	way = mark_search(skb);
	return way < NST_MARK_WAYS ? &set->way[way] : NULL;
}

/* Take a mark away, and return its index. */
static __always_inline __u32 mark_take(struct nst_mark *mark)
{
	mark->skb = 0;
	return mark->index;
}

/* Whose flow that is, NULL if it isn't this device's. */
static __always_inline struct nst_owner *mark_owner(__u32 index, __u64 dev)
{
	struct nst_owner *owner;

	if (index >= NST_FLOWS)
		return NULL;
	owner = bpf_map_lookup_elem(&flow_owners, &index);
	return owner && owner->dev == dev ? owner : NULL;
}

#endif
