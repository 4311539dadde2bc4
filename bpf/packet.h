/* SPDX-License-Identifier: GPL-2.0 */
/* Records of single packets: which are wanted, and what they have of each. */
#ifndef NSTRACE_PACKET_H
#define NSTRACE_PACKET_H

#include "common.h"

const volatile bool record_packets = false;

/* How many bytes of each are wanted: up to what a record can say that it has. */
#define NST_MAX_SNAPLEN 65535
const volatile __u32 snaplen = 0;

/* Whether only those are wanted that are in the map of that name. */
const volatile bool select_netns = false;
const volatile bool select_devices = false;
const volatile bool select_ethertypes = false;

/* By inum. nstrace changes it as names of namespaces come and go. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u8);
} packet_netns SEC(".maps");

struct nst_device_name {
	char name[16]; /* IFNAMSIZ */
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct nst_device_name);
	__type(value, __u8);
} packet_devices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u8);
} packet_ethertypes SEC(".maps");

/* Where a packet's bytes begin, with its Ethernet header, and how many can be read. */
struct packet_bytes {
	const unsigned char *start;
	__u32 linear;
};

static __always_inline bool packet_wanted(const struct nst_flow *flow, __u16 protocol)
{
	__u32 inum = flow->inum, ethertype = protocol;
	struct net_device *dev = (void *)flow->dev;
	struct nst_device_name device = {};

	if (select_ethertypes && !bpf_map_lookup_elem(&packet_ethertypes, &ethertype))
		return false;
	if (select_netns && !bpf_map_lookup_elem(&packet_netns, &inum))
		return false;
	if (!select_devices)
		return true;
	/* As it is called now. Behind the end of the name the kernel may have anything. */
	bpf_probe_read_kernel_str(device.name, sizeof(device.name), dev->name);
	return bpf_map_lookup_elem(&packet_devices, &device);
}

/*
 * Send a record with n bytes if they fit into the room, which is a constant: before
 * 6.0, the kernel wants to know how much is reserved before a program runs.
 */
static __always_inline bool packet_fits(const struct nst_packet *packet, const void *start, __u32 n,
					const __u32 room, __u32 probe)
{
	struct nst_packet *p;

	/* Or a compiler, who knows n from before, would leave the test out. */
	asm volatile("" : "+r"(n));
	if (n > room)
		return false;
	p = bpf_ringbuf_reserve(&packets, sizeof(*p) + room, 0);
	if (!p) {
		count_lost(probe);
		return true;
	}
	*p = *packet;
	p->captured = n;
	if (bpf_probe_read_kernel(p + 1, n, start))
		p->captured = 0;
	bpf_ringbuf_submit(p, wake_flags(&packets));
	return true;
}

static __noinline int packet_send_bytes(const struct nst_packet *packet, const void *start, __u32 n,
					__u32 probe)
{
	if (!packet)
		return 0;
	return packet_fits(packet, start, n, 64, probe) ||
	       packet_fits(packet, start, n, 128, probe) ||
	       packet_fits(packet, start, n, 256, probe) ||
	       packet_fits(packet, start, n, 512, probe) ||
	       packet_fits(packet, start, n, 1024, probe) ||
	       packet_fits(packet, start, n, 1536, probe) ||
	       packet_fits(packet, start, n, 2048, probe) ||
	       packet_fits(packet, start, n, 4096, probe) ||
	       packet_fits(packet, start, n, 8192, probe) ||
	       packet_fits(packet, start, n, 16384, probe) ||
	       packet_fits(packet, start, n, 32768, probe) ||
	       packet_fits(packet, start, n, NST_MAX_SNAPLEN, probe);
}

/*
 * Of a large ring it is enough to look now and then whether the reader must be woken:
 * a mask of sequence numbers, set by nstrace.
 */
const volatile __u32 packet_wake = 0;

static __always_inline __u64 packet_wake_flags(__u64 seq)
{
	return seq & packet_wake ? BPF_RB_NO_WAKEUP : wake_flags(&packets);
}

static __always_inline void packet_fill(struct nst_packet *p, const struct nst_flow *flow,
					__u64 seq, __u64 now, __u16 protocol, __u32 len)
{
	p->seq = seq;
	p->time = now;
	p->flow = *flow;
	p->flow.protocol = protocol; /* not that of the key, which may lack it */
	p->cpu = bpf_get_smp_processor_id();
	p->len = len;
	p->captured = 0;
	p->pad = 0;
}

/* What isn't wanted has no number, so it isn't missing. */
static __always_inline void packet_send(struct nst_flow *flow, __u16 protocol, __u64 now, __u32 len,
					struct packet_bytes bytes, __u32 probe)
{
	struct nst_packet packet, *p;
	__u64 seq;

	if (!packet_wanted(flow, protocol))
		return;
	seq = next_seq(NST_PACKETS);
	if (snaplen) {
		packet_fill(&packet, flow, seq, now, protocol, len);
		packet_send_bytes(&packet, bytes.start,
				  bytes.linear < snaplen ? bytes.linear : snaplen, probe);
		return;
	}
	/* The quick way, which has nothing but the record. */
	p = bpf_ringbuf_reserve(&packets, sizeof(*p), 0);
	if (!p) {
		count_lost(probe);
		return;
	}
	packet_fill(p, flow, seq, now, protocol, len);
	bpf_ringbuf_submit(p, packet_wake_flags(seq));
}

#endif
