/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where the stack gets packets (net/core/dev.c), and where they end that it never
 * gets or doesn't want. All devices come by here: those of no interest have to be
 * told from the others at once.
 */
#include <linux/if_packet.h>
#include "flow.h"
#include "packet.h"

/* Not only wireless interfaces. */
const volatile bool all_devices = false;
/* Tracepoint kfree_skb says why (5.17 and later). */
const volatile bool have_drop_reason = false;
/* And for which socket the packet was, if it came so far (6.11 and later). */
const volatile bool have_drop_socket = false;

/*
 * Set a moment after the recording began, when no packet is on its way to the
 * stack any more that mac80211 had before.
 */
volatile __u32 stack_counts;

static __always_inline bool counts_unmarked(void)
{
	return stack_counts && recording == NST_RECORDING;
}

static __always_inline bool is_of_interest(struct net_device *dev)
{
	return all_devices || dev->ieee80211_ptr;
}

/* What the packet had for a length when it came, with its Ethernet header. */
static __always_inline __u32 frame_len(struct sk_buff *skb)
{
	__u16 mac = skb->mac_header;

	if (mac == (__u16)~0U) /* not set: skb_mac_header_was_set() */
		return skb->len;
	return skb->len + (address_of(skb->data) - address_of(skb->head)) - mac;
}

/* Where that begins, and how much of it isn't in pages. */
static __always_inline struct packet_bytes frame_bytes(struct sk_buff *skb, __u32 len)
{
	__u16 mac = skb->mac_header;
	__u64 start = mac == (__u16)~0U ? address_of(skb->data) : address_of(skb->head) + mac;

	return (struct packet_bytes){.start = (void *)start, .linear = len - skb->data_len};
}

/* How many packets GRO has made one of. */
static __always_inline __u32 segments(struct sk_buff *skb)
{
	struct skb_shared_info *shared;
	__u16 n;

	if (!skb->data_len)
		return 1;
	shared = (void *)(address_of(skb->head) + skb->end);
	n = BPF_CORE_READ(shared, gso_segs);
	return n ? n : 1;
}

/* A packet that nobody has seen before. */
static __always_inline int count_unmarked(struct sk_buff *skb, struct net_device *dev, __u16 path,
					  __u32 probe)
{
	struct nst_flow flow = {.path = path};
	__u64 now = bpf_ktime_get_boot_ns();
	__u32 len = frame_len(skb), n = segments(skb);
	struct nst_count *count;
	__u16 protocol;

	flow_of(&flow, dev);
	flow.protocol = protocol = __builtin_bswap16(skb->protocol);
	count = flow_count(flow_index(&flow));
	if (count) {
		count_packet(count, n, len, now);
		count->merged += n - 1;
	}
	if (record_packets)
		packet_send(&flow, protocol, now, len, frame_bytes(skb, len), probe);
	return 0;
}

/*
 * Tracepoint netif_rx(skb), where what comes from elsewhere than the driver's own
 * receive path waits for the stack. A monitor gets here what its radio has sent
 * (ieee80211_tx_monitor); rx_packets doesn't count that.
 */
SEC("tp_btf/netif_rx")
int BPF_PROG(netif_rx_tracepoint, struct sk_buff *skb)
{
	struct net_device *dev = skb->dev;
	struct wireless_dev *wdev;

	if (!is_of_interest(dev) || !hit(NST_NETIF_RX))
		return 0;
	wdev = dev->ieee80211_ptr;
	if (wdev && wdev->iftype == NL80211_IFTYPE_MONITOR)
		mark_leave(address_of(skb), NST_MARK_SENT, bpf_ktime_get_boot_ns());
	else
		mark_clear(address_of(skb)); /* it isn't the packet that left it */
	return 0;
}

/* Which way a packet came that mac80211 didn't have before. */
static __always_inline __u16 path_of(struct sk_buff *skb, __u32 mark)
{
	if (mark == NST_MARK_SENT)
		return NST_PATH_NETIF_RX;
	/* What it multicasts itself the stack also gets: dev_loopback_xmit. */
	if (BPF_CORE_READ_BITFIELD_PROBED(skb, pkt_type) == PACKET_LOOPBACK)
		return NST_PATH_LOOPBACK;
	return NST_PATH_STACK;
}

/* Tracepoint netif_receive_skb(skb), in __netif_receive_skb_core */
SEC("tp_btf/netif_receive_skb")
int BPF_PROG(receive_tracepoint, struct sk_buff *skb)
{
	struct net_device *dev = skb->dev;
	struct nst_count *count;
	__u32 index, n;

	if (!is_of_interest(dev) || !hit_alone(NST_RECEIVE))
		return 0;
	index = mark_take(address_of(skb), address_of(dev));
	if (index >= NST_FLOWS) {
		if (!counts_unmarked())
			return 0;
		return count_unmarked(skb, dev, path_of(skb, index), NST_RECEIVE);
	}
	count = flow_count(index);
	if (count) {
		n = segments(skb);
		count->entered += n;
		count->merged += n - 1;
		count->entered_bytes += frame_len(skb);
	}
	return 0;
}

/*
 * cfg80211_rx_control_port(dev, skb, ...): what authenticates goes to whoever asked
 * nl80211 for it, and past the stack.
 */
static __always_inline int control_port(struct sk_buff *skb, struct nst_flow *flow, __u32 len)
{
	struct nst_count *count;
	__u32 index;

	index = mark_take(address_of(skb), flow->dev);
	if (index >= NST_FLOWS) {
		if (!counts_unmarked())
			return 0;
		count = flow_count(flow_index(flow));
		if (count)
			count_packet(count, 1, len, bpf_ktime_get_boot_ns());
		return 0;
	}
	count = flow_count(index);
	if (count) {
		count->control++;
		count->control_bytes += len;
	}
	return 0;
}

SEC("fentry/cfg80211_rx_control_port")
int BPF_PROG(control_port_fentry, struct net_device *dev, struct sk_buff *skb)
{
	struct nst_flow flow = {.path = NST_PATH_CONTROL_PORT};

	if (!hit_alone(NST_CONTROL_PORT))
		return 0;
	flow_of(&flow, dev);
	flow.protocol = __builtin_bswap16(skb->protocol);
	return control_port(skb, &flow, frame_len(skb));
}

SEC("kprobe/cfg80211_rx_control_port")
int BPF_KPROBE(control_port_kprobe, struct net_device *dev, struct sk_buff *skb)
{
	struct nst_flow flow = {.path = NST_PATH_CONTROL_PORT};
	__u32 len;

	if (!hit_alone(NST_CONTROL_PORT))
		return 0;
	flow_probed(&flow, dev);
	flow.protocol = __builtin_bswap16(BPF_CORE_READ(skb, protocol));
	len = BPF_CORE_READ(skb, len) + (__u64)BPF_CORE_READ(skb, data) -
	      (__u64)BPF_CORE_READ(skb, head) - BPF_CORE_READ(skb, mac_header);
	return control_port(skb, &flow, len);
}

/*
 * cfg80211_send_layer2_update(dev, addr): when a station has come to an access
 * point, this makes up a packet of it and gives it to the stack, which others
 * learn from where the station is. No sk_buff tells that it is one of these, so
 * that they are only counted here. Its length is in the function.
 */
#define NST_STATION_UPDATE_LEN 20

static __always_inline int layer2_update(struct nst_flow *flow)
{
	struct nst_count *count;

	flow->protocol = ETH_P_802_2;
	count = flow_count(find_flow(flow));
	if (!count)
		return 0;
	/* In a task, which the receive path may interrupt. */
	__sync_fetch_and_add(&count->packets, 1);
	__sync_fetch_and_add(&count->bytes, NST_STATION_UPDATE_LEN);
	count->last = bpf_ktime_get_boot_ns();
	if (!count->first)
		count->first = count->last;
	return 0;
}

SEC("fentry/cfg80211_send_layer2_update")
int BPF_PROG(layer2_update_fentry, struct net_device *dev)
{
	struct nst_flow flow = {.path = NST_PATH_STATION_UPDATE};

	if (!hit(NST_STATION_UPDATE))
		return 0;
	flow_of(&flow, dev);
	return layer2_update(&flow);
}

SEC("kprobe/cfg80211_send_layer2_update")
int BPF_KPROBE(layer2_update_kprobe, struct net_device *dev)
{
	struct nst_flow flow = {.path = NST_PATH_STATION_UPDATE};

	if (!hit(NST_STATION_UPDATE))
		return 0;
	flow_probed(&flow, dev);
	return layer2_update(&flow);
}

/* A device by its number, as __dev_get_by_index finds it (net/core/dev.c). */
#define NST_HASHED_DEVICES 256 /* NETDEV_HASHENTRIES */
#define NST_DEVICES_ALIKE  64  /* as many with the same hash are looked at */

static __noinline __u64 device_at(struct net *net, int ifindex)
{
	struct hlist_head *table = BPF_CORE_READ(net, dev_index_head);
	struct hlist_node *node = NULL;
	struct net_device *dev;
	int i;

	bpf_probe_read_kernel(&node, sizeof(node), &table[ifindex & (NST_HASHED_DEVICES - 1)]);
	for (i = 0; i < NST_DEVICES_ALIKE && node; i++) {
		dev = (void *)node - bpf_core_field_offset(dev->index_hlist);
		if (BPF_CORE_READ(dev, ifindex) == ifindex)
			return (__u64)dev;
		node = BPF_CORE_READ(node, next);
	}
	return 0;
}

/*
 * The device that a packet came in by which isn't on it any more, as TCP knows it:
 * from the number that is left, in the namespace of the socket that it was for.
 */
static __always_inline __u64 device_left(unsigned long long *ctx, struct sk_buff *skb,
					 struct net_device *dev)
{
	struct sock *sk;

	/* In assembly for the same reason as fexit_ret. */
	asm volatile("%0 = *(u64 *)(%1 + 24)" : "=r"(sk) : "r"(ctx));
	if (!sk || BPF_CORE_READ(dev, ifindex) == skb->skb_iif)
		return 0;
	return device_at(BPF_CORE_READ(sk, __sk_common.skc_net.net), skb->skb_iif);
}

/*
 * Tracepoint kfree_skb(skb, location, reason, rx_sk): of packets that came in by a
 * device and are still on it. In some queues other things stand where skb->dev is
 * (include/linux/skbuff.h), so a device counts only if it is known for one. What a
 * socket has in its queue isn't on a device, nor for rx_sk when it is freed: it was
 * not the stack that dropped it.
 *
 * This runs anywhere, also interrupted by the receive path: so no cache here, and
 * atomic instructions.
 */
SEC("tp_btf/kfree_skb")
int kfree_skb_tracepoint(unsigned long long *ctx)
{
	struct sk_buff *skb = (void *)ctx[0];
	struct nst_flow flow = {.path = NST_PATH_DROPPED};
	struct net_device *dev;
	struct nst_count *count;
	__u64 address;

	if (!skb->skb_iif || !counts_unmarked())
		return 0;
	dev = skb->dev;
	address = address_of(dev);
	if (address && bpf_map_lookup_elem(&flow_devices, &address)) {
		if (skb->skb_iif != dev->ifindex)
			return 0;
		flow_of(&flow, dev);
	} else {
		address = have_drop_socket ? device_left(ctx, skb, dev) : 0;
		if (!address || !bpf_map_lookup_elem(&flow_devices, &address))
			return 0;
		flow_probed(&flow, (struct net_device *)address);
	}
	hit(NST_KFREE_SKB);
	flow.protocol = __builtin_bswap16(skb->protocol);
	/* In assembly for the same reason as fexit_ret. */
	if (have_drop_reason)
		asm volatile("%0 = *(u64 *)(%1 + 16)" : "=r"(flow.reason) : "r"(ctx));
	else
		asm volatile("%0 = *(u64 *)(%1 + 8)" : "=r"(flow.reason) : "r"(ctx));
	count = flow_count(find_flow(&flow));
	if (!count)
		return 0;
	__sync_fetch_and_add(&count->packets, segments(skb));
	__sync_fetch_and_add(&count->bytes, frame_len(skb));
	count->last = bpf_ktime_get_boot_ns();
	if (!count->first)
		count->first = count->last;
	return 0;
}
