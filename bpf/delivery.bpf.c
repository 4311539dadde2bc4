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

static __always_inline int deliver(struct nst_flow *flow, struct sk_buff *skb, __u32 len,
				   struct packet_bytes bytes, __u32 probe)
{
	__u64 now = bpf_ktime_get_boot_ns();
	struct nst_count *count;
	__u16 protocol = 0;
	__u32 index;

	/* The Ethernet header is still there: eth_type_trans comes later. */
	bpf_probe_read_kernel(&protocol, sizeof(protocol),
			      bytes.start + offsetof(struct ethhdr, h_proto));
	flow->protocol = protocol = ethertype(protocol);
	index = flow_index(flow);
	count = flow_count(index);
	if (count) {
		count_packet(count, 1, len, now);
		mark_leave(address_of(skb), index, now);
	}
	if (record_packets)
		packet_send(flow, protocol, now, len, bytes, probe);
	return 0;
}

/* For programs that are given pointers with their types. */
static __always_inline int deliver_typed(struct ieee80211_rx_data *rx, __u32 probe, __u16 path)
{
	struct nst_flow flow = {.path = path};
	struct net_device *dev;
	struct sk_buff *skb;

	if (!hit_alone(probe))
		return 0;
	dev = rx->sdata->dev;
	skb = rx->skb;
	flow_of(&flow, dev);
	return deliver(&flow, skb, skb->len,
		       (struct packet_bytes){.start = skb->data, .linear = skb->len - skb->data_len}, probe);
}

static __always_inline int deliver_probed(struct ieee80211_rx_data *rx, __u32 probe, __u16 path)
{
	struct nst_flow flow = {.path = path};
	struct packet_bytes bytes = {};
	struct sk_buff *skb = NULL;
	struct net_device *dev;
	__u32 len;

	if (!hit_alone(probe))
		return 0;
	dev = rx_delivery(rx, &skb);
	if (!dev)
		return 0;
	flow_probed(&flow, dev);
	len = BPF_CORE_READ(skb, len);
	bytes.start = BPF_CORE_READ(skb, data);
	if (snaplen)
		bytes.linear = len - BPF_CORE_READ(skb, data_len);
	return deliver(&flow, skb, len, bytes, probe);
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
