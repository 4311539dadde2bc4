/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Packets that mac80211 has received for an interface (net/mac80211/rx.c). Most go
 * on to the stack, see stack.bpf.c; it counts them in the device's rx_packets in
 * any case.
 */
#include "flow.h"
#include "layout.h"
#include "packet.h"

static __always_inline __u16 ethertype(__u16 protocol)
{
	protocol = __builtin_bswap16(protocol);
	return protocol < ETH_P_802_3_MIN ? ETH_P_802_2 : protocol;
}

static __always_inline void deliver_record(struct nst_flow *flow, struct packet_bytes bytes,
					   __u32 len, __u32 probe)
{
	__u16 protocol = 0;

	/* The Ethernet header is still there: eth_type_trans comes later. */
	bpf_probe_read_kernel(&protocol, sizeof(protocol),
			      bytes.start + offsetof(struct ethhdr, h_proto));
	packet_send(flow, ethertype(protocol), bpf_ktime_get_boot_ns(), len, bytes, probe);
}

/*
 * The ethertype isn't counted here, where it would have to be read from the packet:
 * the stack knows it. Returns what the packet is of, for its record.
 */
static __always_inline struct nst_flow *deliver(struct net_device *dev, struct sk_buff *skb,
						__u32 len, __u32 probe, __u16 path)
{
	struct nst_cpu *cpu = this_cpu();
	struct nst_count *count = NULL;
	struct nst_found *found;
	struct nst_mark *mark;

	if (!cpu)
		return NULL;
	found = &cpu->received[path - NST_PATH_DELIVER_SKB][found_at(dev, 0)];
	if (!is_found(found, dev)) {
		if (!find_begin(found, probe))
			return NULL;
		if (find_packets(found, dev, path, 0))
			count = found_count(found);
	} else {
		count = found_count(found);
	}
	cpu->hits[probe]++;
	if (count) {
		count->packets++;
		count->bytes += len;
		mark = mark_place(skb);
		mark->skb = (__u64)skb;
		mark->dev = (__u64)dev;
		mark->entered = found->entered;
		mark->stamp = found->stamp;
		mark->index = found->slot % NST_FLOWS;
		mark->len = len;
	}
	return &found->flow;
}

/* For programs that are given pointers with their types. */
static __always_inline int deliver_typed(struct ieee80211_rx_data *rx, __u32 probe, __u16 path)
{
	struct net_device *dev = rx->sdata->dev;
	struct sk_buff *skb = rx->skb;
	__u32 len = skb->len;
	struct nst_flow *flow = deliver(dev, skb, len, probe, path);
	struct packet_bytes bytes;

	if (record_packets && flow) {
		bytes = (struct packet_bytes){.start = skb->data, .linear = len - skb->data_len};
		deliver_record(flow, bytes, len, probe);
	}
	return 0;
}

static __always_inline int deliver_probed(struct ieee80211_rx_data *rx, __u32 probe, __u16 path)
{
	struct packet_bytes bytes = {};
	struct sk_buff *skb = NULL;
	struct net_device *dev;
	struct nst_flow *flow;
	__u32 len;

	if (!is_recorded(probe))
		return 0;
	dev = rx_delivery(rx, &skb);
	if (!dev)
		return 0;
	len = BPF_CORE_READ(skb, len);
	flow = deliver(dev, skb, len, probe, path);
	if (record_packets && flow) {
		bytes.start = BPF_CORE_READ(skb, data);
		if (snaplen)
			bytes.linear = len - BPF_CORE_READ(skb, data_len);
		deliver_record(flow, bytes, len, probe);
	}
	return 0;
}

/* ieee80211_deliver_skb(rx) */

SEC("fentry/ieee80211_deliver_skb")
int BPF_PROG(deliver_skb_fentry, struct ieee80211_rx_data *rx)
{
	return deliver_typed(rx, NST_DELIVER_SKB, NST_PATH_DELIVER_SKB);
}

SEC("kprobe/ieee80211_deliver_skb")
int BPF_KPROBE(deliver_skb_kprobe, struct ieee80211_rx_data *rx)
{
	return deliver_probed(rx, NST_DELIVER_SKB, NST_PATH_DELIVER_SKB);
}

/*
 * ieee80211_rx_8023(rx, fast_rx, orig_len): frames that are Ethernet already, made
 * so by the hardware or by mac80211's fast path.
 */

SEC("fentry/ieee80211_rx_8023")
int BPF_PROG(rx_8023_fentry, struct ieee80211_rx_data *rx)
{
	return deliver_typed(rx, NST_RX_8023, NST_PATH_RX_8023);
}

SEC("kprobe/ieee80211_rx_8023")
int BPF_KPROBE(rx_8023_kprobe, struct ieee80211_rx_data *rx)
{
	return deliver_probed(rx, NST_RX_8023, NST_PATH_RX_8023);
}
