/* SPDX-License-Identifier: GPL-2.0 */
/* Reading a netdev or a wiphy into a record. */
#ifndef NSTRACE_DEVICE_H
#define NSTRACE_DEVICE_H

#include "common.h"
#include "layout.h"

/* Bound of a loop over CPUs; on a machine with more, counters are unknown. */
#define NST_MAX_CPUS 256

/* Address of the kernel's __per_cpu_offset[], 0 if it isn't known. */
const volatile __u64 per_cpu_offset = 0;
const volatile __u32 possible_cpus = 0;

/* dev_name(&wiphy->dev) */
static __always_inline void read_wiphy_name(char *to, struct wiphy *wiphy)
{
	const char *name = BPF_CORE_READ(wiphy, dev.init_name);

	if (!name)
		name = BPF_CORE_READ(wiphy, dev.kobj.name);
	bpf_probe_read_kernel_str(to, sizeof(((struct nst_event *)0)->wiphy_name), name);
}

static __always_inline void read_wiphy(struct nst_event *e, struct wiphy *wiphy)
{
	e->wiphy = (__u64)wiphy;
	if (!wiphy)
		return;
	read_wiphy_name(e->wiphy_name, wiphy);
	e->wiphy_index = wiphy_index(wiphy, e->wiphy_name);
}

static __always_inline void read_wdev(struct nst_event *e, struct wireless_dev *wdev)
{
	e->wdev = (__u64)wdev;
	e->wdev_id = BPF_CORE_READ(wdev, identifier);
	e->iftype = BPF_CORE_READ(wdev, iftype);
	read_wiphy(e, BPF_CORE_READ(wdev, wiphy));
}

static __always_inline void read_netdev(struct nst_event *e, struct net_device *dev)
{
	struct wireless_dev *wdev = BPF_CORE_READ(dev, ieee80211_ptr);
	const struct rtnl_link_ops *ops = BPF_CORE_READ(dev, rtnl_link_ops);

	e->dev = (__u64)dev;
	e->ifindex = BPF_CORE_READ(dev, ifindex);
	e->dev_type = BPF_CORE_READ(dev, type);
	read_net(&e->net, BPF_CORE_READ(dev, nd_net.net));
	bpf_probe_read_kernel_str(e->name, sizeof(dev->name), dev->name);
	if (ops)
		bpf_probe_read_kernel_str(e->link_kind, sizeof(e->link_kind),
					  BPF_CORE_READ(ops, kind));
	if (wdev)
		read_wdev(e, wdev);
}

/*
 * When a namespace dies, cfg80211_pernet_exit sends its radios home with
 * cfg80211_switch_netns. Compilers may make the one part of the other; then no
 * call of cfg80211_switch_netns is seen and these make up for it: it begins as
 * the first of the radio's netdevs moves and ends as the radio is renamed, which
 * puts it at its new place in sysfs. Such a call is assumed, with the frame of
 * the call of cfg80211_pernet_exit.
 */

static __always_inline void inlined_switch_end(struct frame frame)
{
	struct call *call = running(NST_WIPHY_SWITCH, frame);
	struct nst_event *e;

	if (!call || !call->assumed)
		return;
	e = event_begin(NST_WIPHY_SWITCH, NST_EXIT, frame, call);
	if (e) {
		e->ret = call->count;
		read_wiphy(e, (struct wiphy *)call->object);
		event_send(e);
	}
	call_end(NST_WIPHY_SWITCH, call);
}

static __always_inline void inlined_switch_begin(struct frame frame, struct wiphy *wiphy,
						 struct net *to)
{
	struct call *dying = running(NST_PERNET_EXIT, frame);
	struct call *last = running(NST_WIPHY_SWITCH, frame);
	struct call call = {};
	struct nst_event *e;

	if (!dying || !wiphy)
		return;
	if (last && (!last->assumed || last->object == (__u64)wiphy))
		return;
	inlined_switch_end(frame); /* the radio before failed to move */
	call.object = (__u64)wiphy;
	call.assumed = 1;
	call.net = dying->net;
	read_net(&call.net2, to);
	call_begin(NST_WIPHY_SWITCH, (struct frame){.at = dying->at, .mark = dying->mark}, &call);
	e = event_begin(NST_WIPHY_SWITCH, NST_ENTER, frame, &call);
	if (e) {
		read_wiphy(e, wiphy);
		event_send(e);
	}
}

/* One of its netdevs could not be moved: so can't the radio. */
static __always_inline void inlined_switch_error(struct frame frame, __u32 err)
{
	struct call *call = running(NST_WIPHY_SWITCH, frame);

	if (call && call->assumed)
		call->count = err;
}

/* One CPU's receive counters, wherever this kernel's type has them. */
static __always_inline void add_cpu_stats(void *stats, __u64 *packets, __u64 *bytes)
{
	struct pcpu_sw_netstats *s = stats;
	struct pcpu_sw_netstats___bare *bare = stats;
	__u64 p = 0, b = 0;

	if (bpf_core_field_exists(s->rx_packets)) {
		bpf_core_read(&p, sizeof(p), &s->rx_packets);
		bpf_core_read(&b, sizeof(b), &s->rx_bytes);
	} else {
		bpf_core_read(&p, sizeof(p), &bare->rx_packets);
		bpf_core_read(&b, sizeof(b), &bare->rx_bytes);
	}
	*packets += p;
	*bytes += b;
}

/*
 * What `ip -s link` would show as received by a wireless netdev: mac80211 keeps
 * it in dev->tstats, one per CPU. Other devices use the same pointer for other
 * things (it is in a union), and drivers without mac80211 keep theirs elsewhere
 * and have none. False if it can't be known.
 */
static __noinline bool rx_stats(struct net_device *dev, struct nst_base *sum)
{
	void *stats = BPF_CORE_READ(dev, tstats);
	__u64 packets = 0, bytes = 0, offset;
	__u32 cpu;

	if (!sum || !stats || !per_cpu_offset || !possible_cpus || possible_cpus > NST_MAX_CPUS ||
	    !BPF_CORE_READ(dev, ieee80211_ptr))
		return false;
	for (cpu = 0; cpu < NST_MAX_CPUS; cpu++) {
		if (cpu >= possible_cpus)
			break;
		if (bpf_probe_read_kernel(&offset, sizeof(offset),
					  (void *)(per_cpu_offset + cpu * sizeof(offset))))
			return false;
		add_cpu_stats(stats + offset, &packets, &bytes);
	}
	sum->packets = packets;
	sum->bytes = bytes;
	sum->valid = 1;
	return true;
}

static __always_inline void read_rx(struct nst_event *e, struct net_device *dev)
{
	struct nst_base rx = {};

	if (!rx_stats(dev, &rx))
		return;
	e->rx_packets = rx.packets;
	e->rx_bytes = rx.bytes;
	e->flags |= NST_RX;
}

#endif
