/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Packets that mac80211 hands to the stack (net/mac80211/rx.c), counted by
 * namespace, interface and path, and if wanted recorded one by one.
 */
#include "common.h"
#include "device.h"
#include "packet.h"

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

static __always_inline void send(struct nst_flow *flow, struct sk_buff *skb, __u64 now, __u32 len)
{
	struct packet_bytes bytes = {.start = BPF_CORE_READ(skb, data)};
	__u16 protocol = 0;

	if (snaplen)
		bytes.linear = len - BPF_CORE_READ(skb, data_len);
	/* The Ethernet header is still there: eth_type_trans comes later. */
	bpf_probe_read_kernel(&protocol, sizeof(protocol), bytes.start + 12);
	packet_send(flow, __builtin_bswap16(protocol), now, len, bytes, NST_DELIVER_SKB);
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
		send(&flow, skb, now, len);
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
