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
	return stack_counts && state.recording == NST_RECORDING;
}

static __always_inline bool is_of_interest(struct net_device *dev)
{
	return dev->ieee80211_ptr || all_devices;
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
static __noinline int count_unmarked(struct sk_buff *skb, struct net_device *dev, __u16 path,
				     __u32 probe)
{
	__u16 protocol = __builtin_bswap16(skb->protocol);
	struct nst_cpu *cpu = this_cpu();
	__u32 len = frame_len(skb), n = segments(skb);
	struct nst_count *count = NULL;
	struct nst_found *found;

	if (!cpu)
		return 0;
	found = &cpu->others[found_at(dev, protocol ^ protocol >> 8)];
	if (!is_found(found, dev) || found->flow.path != path || found->flow.protocol != protocol) {
		if (!find_begin(found, NST_RECEIVE))
			return 0;
		if (find_packets(found, dev, path, protocol))
			count = found_count(found);
	} else {
		count = found_count(found);
	}
	if (count) {
		count->packets += n;
		count->bytes += len;
		count->merged += n - 1;
	}
	if (record_packets)
		packet_send(&found->flow, protocol, bpf_ktime_get_boot_ns(), len,
			    frame_bytes(skb, len), probe);
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
	struct nst_mark *mark;

	if (!is_of_interest(dev) || !hit(NST_NETIF_RX))
		return 0;
	wdev = dev->ieee80211_ptr;
	if (wdev && wdev->iftype == NL80211_IFTYPE_MONITOR) {
		mark = mark_place(skb);
		mark->skb = (__u64)skb;
		mark->entered = NST_NOT_ENTERED;
		mark->stamp = stamp();
		mark->index = NST_MARK_SENT;
	} else {
		mark = mark_of(skb);
		if (mark)
			mark->skb = 0; /* it isn't the packet that left it */
	}
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

/* Where among those found one is looked for: there are few flows, and IPv4, ARP and IPv6 apart. */
static __always_inline __u32 entered_at(__u32 index, __u16 protocol)
{
	__u32 at = (index << 2) + (protocol >> 8 & 3);

	barrier_var(at); /* or the compiler puts the bound where the verifier doesn't see it */
	return at & NST_FOUND - 1;
}

/*
 * Find where packets of an ethertype are counted that mac80211 had before for the
 * flow of that index. If there is no room, they are of the others of that flow,
 * which has no ethertype. False if it was another device's.
 */
static __noinline bool find_entered(struct nst_found *found, struct net_device *dev, __u32 index,
				    __u16 protocol)
{
	__u64 key = (__u64)index << 16 | protocol;
	struct nst_owner *owner;

	if (!found)
		return false;
	owner = mark_owner(index, address_of(dev));
	if (!owner)
		return false;
	if (!find_packets(found, dev, owner->path, __builtin_bswap16(protocol))) {
		found->slot = flow_slot(index);
		found->dev = address_of(dev);
	}
	found->key = key;
	return true;
}

/* Let the marks of the next packets of a device say where this one is counted. */
static __always_inline void expect_entered(struct nst_cpu *cpu, struct net_device *dev, __u32 index,
					   __u16 protocol, __u32 slot)
{
	struct nst_found *found;
	int i;

	for (i = 0; i < 2; i++) {
		found = &cpu->received[i][found_at(dev, 0)];
		if (found->dev == (__u64)dev && found->slot % NST_FLOWS == index)
			found->entered = (__u64)protocol << 32 | slot;
	}
}

/* A packet of which no mark says where it is counted. */
static __noinline int receive(struct sk_buff *skb, struct net_device *dev)
{
	__u32 index = NST_NO_FLOW, n;
	struct nst_found *found;
	struct nst_count *count;
	struct nst_mark *mark;
	struct nst_cpu *cpu;
	__u16 protocol;

	cpu = this_cpu();
	if (!cpu)
		return 0;
	mark = mark_of(skb);
	if (!mark)
		goto unmarked;
	index = mark_take(mark);
	if (index >= NST_FLOWS)
		goto unmarked;
	protocol = skb->protocol;
	found = &cpu->entered[entered_at(index, protocol)];
	if ((!is_found(found, dev) || found->key != ((__u64)index << 16 | protocol)) &&
	    (!find_begin(found, NST_RECEIVE) || !find_entered(found, dev, index, protocol)))
		goto unmarked;
	expect_entered(cpu, dev, index, protocol, found->slot);
	count = found_count(found);
	if (!count)
		return 0;
	if (!skb->data_len) {
		count->entered++;
		count->entered_bytes += mark->len;
		return 0;
	}
	/* GRO may have made one of several, of which only the first has a mark. */
	n = segments(skb);
	count->entered += n;
	count->merged += n - 1;
	count->entered_bytes += frame_len(skb);
	return 0;
unmarked:
	if (!is_recorded(NST_RECEIVE))
		return 0;
	cpu->hits[NST_RECEIVE]++;
	if (!counts_unmarked())
		return 0;
	return count_unmarked(skb, dev, path_of(skb, index), NST_RECEIVE);
}

/*
 * Tracepoint netif_receive_skb(skb), in __netif_receive_skb_core. Its hits are those
 * that are counted here, and the packets that mac80211 had before: what entered,
 * but for what was merged.
 */
SEC("tp_btf/netif_receive_skb")
int BPF_PROG(receive_tracepoint, struct sk_buff *skb)
{
	struct net_device *dev = skb->dev;
	struct nst_mark *mark = &marks_of(skb)->way[0];
	struct nst_count *count;
	__u32 slot;

	if (mark->skb == (__u64)skb && mark->dev == (__u64)dev) {
		slot = mark->entered;
		if (mark->entered >> 32 == skb->protocol && !skb->data_len &&
		    slot / NST_FLOWS == bpf_get_smp_processor_id()) {
			count = bpf_map_lookup_elem(&flow_counts, &slot);
			if (count) {
				mark->skb = 0;
				count->entered++;
				count->entered_bytes += mark->len;
				return 0;
			}
		}
	} else if (!is_of_interest(dev)) {
		return 0;
	}
	return receive(skb, dev);
}

/*
 * cfg80211_rx_control_port(dev, skb, ...): what authenticates goes to whoever asked
 * nl80211 for it, and past the stack.
 */
static __always_inline int control_port(struct sk_buff *skb, struct nst_flow *flow, __u32 len)
{
	struct nst_mark *mark = mark_of(skb);
	__u32 index = mark ? mark_take(mark) : NST_NO_FLOW;
	struct nst_count *count;

	if (!mark_owner(index, flow->dev)) {
		if (!counts_unmarked())
			return 0;
		count = flow_count(find_flow(flow));
		if (count) {
			count->packets++;
			count->bytes += len;
			count->last = bpf_ktime_get_boot_ns();
			if (!count->first)
				count->first = count->last;
		}
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
 * This runs anywhere, also interrupted by itself. So instructions are atomic, and
 * what was found has a sum, which isn't that of a mixture of two.
 */
#define NST_NO_SLOT 0xffffffffU

static __always_inline __u64 dropped_sum(const struct nst_dropped *d, __u32 slot)
{
	return (slot + 1) * 0x9e3779b97f4a7c15ULL ^ d->dev ^ d->net ^ d->reason ^ d->what ^
	       d->stamp;
}

/*
 * Where drops are counted of packets that came in by a device of that number, and
 * are still on it.
 */
static __noinline __u32 find_dropped(struct nst_dropped *found, struct net_device *dev,
				     __u64 reason, __u64 what)
{
	struct nst_dropped new = {.dev = address_of(dev), .reason = reason, .what = what};
	struct nst_flow flow = {.path = NST_PATH_DROPPED, .reason = reason};
	struct nst_count *count;
	__u32 index;

	if (!found || !bpf_map_lookup_elem(&flow_devices, &new.dev))
		return NST_NO_SLOT;
	new.stamp = stamp();
	new.now = bpf_ktime_get_boot_ns();
	if (!counts_unmarked())
		return NST_NO_SLOT;
	flow_probed(&flow, dev);
	flow.protocol = __builtin_bswap16(what);
	new.net = flow.net;
	if (flow.ifindex != what >> 16)
		return NST_NO_SLOT;
	index = find_flow(&flow);
	count = flow_count(index);
	if (!count)
		return NST_NO_SLOT;
	if (!count->first)
		count->first = new.now;
	new.slot = flow_slot(index);
	new.sum = dropped_sum(&new, new.slot);
	*found = new;
	return new.slot;
}

/* The same of those that came by a device which isn't on them any more. */
static __always_inline __u32 find_left(unsigned long long *ctx, struct sk_buff *skb,
				       struct net_device *dev, __u64 reason, __u16 protocol)
{
	__u64 address = have_drop_socket && counts_unmarked() ? device_left(ctx, skb, dev) : 0;
	struct nst_flow flow = {.path = NST_PATH_DROPPED, .reason = reason};
	struct nst_count *count;
	__u32 index;

	if (!address || !bpf_map_lookup_elem(&flow_devices, &address))
		return NST_NO_SLOT;
	flow_probed(&flow, (struct net_device *)address);
	flow.protocol = __builtin_bswap16(protocol);
	index = find_flow(&flow);
	count = flow_count(index);
	if (!count)
		return NST_NO_SLOT;
	if (!count->first)
		count->first = bpf_ktime_get_boot_ns();
	return flow_slot(index);
}

SEC("tp_btf/kfree_skb")
int kfree_skb_tracepoint(unsigned long long *ctx)
{
	struct sk_buff *skb = (void *)ctx[0];
	__u32 iif = skb->skb_iif, slot;
	struct nst_dropped *found;
	struct nst_count *count;
	struct net_device *dev;
	struct nst_cpu *cpu;
	__u64 reason, what, now;
	__u16 protocol;

	if (!iif)
		return 0;
	/* In assembly for the same reason as fexit_ret. */
	if (have_drop_reason)
		asm volatile("%0 = *(u64 *)(%1 + 16)" : "=r"(reason) : "r"(ctx));
	else
		asm volatile("%0 = *(u64 *)(%1 + 8)" : "=r"(reason) : "r"(ctx));
	cpu = this_cpu();
	if (!cpu)
		return 0;
	dev = skb->dev;
	protocol = skb->protocol;
	what = (__u64)iif << 16 | protocol;
	found = &cpu->dropped[(low_address_of(dev) >> 13) + (protocol >> 8) + (__u32)reason &
			      NST_DROPPED - 1];
	slot = found->slot;
	now = found->now;
	if (found->dev != (__u64)dev || found->stamp != stamp() || found->reason != reason ||
	    found->what != what || found->net != (__u64)dev->nd_net.net ||
	    found->sum != dropped_sum(found, slot)) {
		slot = find_dropped(found, dev, reason, what);
		if (slot == NST_NO_SLOT)
			slot = find_left(ctx, skb, dev, reason, protocol);
		now = bpf_ktime_get_boot_ns();
	}
	count = bpf_map_lookup_elem(&flow_counts, &slot);
	if (!count)
		return 0;
	__sync_fetch_and_add(&cpu->hits[NST_KFREE_SKB], 1);
	__sync_fetch_and_add(&count->packets, segments(skb));
	__sync_fetch_and_add(&count->bytes, frame_len(skb));
	count->last = now;
	return 0;
}
