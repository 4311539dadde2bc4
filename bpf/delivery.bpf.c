/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Packets that mac80211 hands to the stack (net/mac80211/rx.c), counted by
 * namespace, interface and path, and if wanted recorded one by one.
 */
#include "common.h"
#include "device.h"

const volatile bool record_packets = false;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct nst_flow);
	__type(value, struct nst_count);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct nst_flow);
	__type(value, struct nst_base);
} flow_bases SEC(".maps");

/* The first packet of a flow: note where the device's own counters stood. */
static __noinline int flow_begin(struct nst_flow *flow)
{
	struct nst_count zero = {};
	struct nst_base base = {};

	if (!flow)
		return 0;
	rx_stats((struct net_device *)flow->dev, &base);
	bpf_map_update_elem(&flow_bases, flow, &base, BPF_NOEXIST);
	bpf_map_update_elem(&flows, flow, &zero, BPF_NOEXIST);
	return 0;
}

static __always_inline void packet_send(struct nst_flow *flow, struct sk_buff *skb, __u64 now,
					__u32 len)
{
	__u64 seq = next_seq(NST_PACKETS);
	unsigned char *data = BPF_CORE_READ(skb, data);
	struct nst_packet *p;
	__u16 protocol = 0;

	p = bpf_ringbuf_reserve(&packets, sizeof(*p), 0);
	if (!p) {
		count_lost(NST_DELIVER_SKB);
		return;
	}
	/* The Ethernet header is still there: eth_type_trans comes later. */
	bpf_probe_read_kernel(&protocol, sizeof(protocol), data + 12);
	p->seq = seq;
	p->time = now;
	p->flow = *flow;
	p->cpu = bpf_get_smp_processor_id();
	p->len = len;
	p->protocol = __builtin_bswap16(protocol);
	__builtin_memset(p->pad, 0, sizeof(p->pad));
	bpf_ringbuf_submit(p, wake_flags(&packets));
}

static __always_inline int deliver(struct net_device *dev, struct sk_buff *skb, __u32 path)
{
	struct net *net = BPF_CORE_READ(dev, nd_net.net);
	__u64 now = bpf_ktime_get_boot_ns();
	struct nst_flow flow = {};
	struct nst_count *count;
	struct nst_net ref;
	__u32 len;

	read_net(&ref, net);
	flow.net = ref.ptr;
	flow.cookie = ref.cookie;
	flow.inum = ref.inum;
	flow.dev = (__u64)dev;
	flow.ifindex = BPF_CORE_READ(dev, ifindex);
	flow.path = path;
	len = BPF_CORE_READ(skb, len);

	count = bpf_map_lookup_elem(&flows, &flow);
	if (!count) {
		flow_begin(&flow);
		count = bpf_map_lookup_elem(&flows, &flow);
	}
	if (count) {
		count->packets++;
		count->bytes += len;
		if (!count->first)
			count->first = now;
		count->last = now;
	} else {
		count_drop(NST_DROP_FLOWS);
	}
	if (record_packets)
		packet_send(&flow, skb, now, len);
	return 0;
}

/* ieee80211_deliver_skb(rx) */

static __always_inline int deliver_skb_enter(struct ieee80211_rx_data *rx)
{
	struct sk_buff *skb = NULL;
	struct net_device *dev;

	if (!hit(NST_DELIVER_SKB))
		return 0;
	dev = rx_delivery(rx, &skb);
	if (!dev)
		return 0;
	return deliver(dev, skb, NST_PATH_DELIVER_SKB);
}

SEC("fentry/ieee80211_deliver_skb")
int BPF_PROG(deliver_skb_fentry, struct ieee80211_rx_data *rx)
{
	return deliver_skb_enter(rx);
}

SEC("kprobe/ieee80211_deliver_skb")
int BPF_KPROBE(deliver_skb_kprobe, struct ieee80211_rx_data *rx)
{
	return deliver_skb_enter(rx);
}
