/* SPDX-License-Identifier: GPL-2.0 */
/* The lives and moves of network interfaces of any kind (net/core/dev.c). */
#include "common.h"
#include "device.h"
#include "flow.h"

/* register_netdevice(dev): 0 or an errno. */

static __always_inline int netdev_register_enter(struct frame frame, struct net_device *dev)
{
	struct call call = {};

	netdevs_change();
	if (!hit(NST_NETDEV_REGISTER))
		return 0;
	call.object = (__u64)dev;
	call_begin(NST_NETDEV_REGISTER, frame, &call);
	return 0;
}

static __always_inline int netdev_register_exit(struct frame frame, long ret)
{
	struct call *call = returning(NST_NETDEV_REGISTER, frame);
	struct call *if_add = running(NST_IF_ADD, frame);
	struct nst_event *e;

	if (if_add && call)
		if_add->object = call->object;
	e = event_begin(NST_NETDEV_REGISTER, NST_EXIT, frame, call);
	if (e) {
		e->ret = errno_of(ret);
		if (call)
			read_netdev(e, (struct net_device *)call->object);
		event_send(e);
	}
	call_end(NST_NETDEV_REGISTER, call);
	return 0;
}

SEC("fentry/register_netdevice")
int BPF_PROG(netdev_register_fentry, struct net_device *dev)
{
	return netdev_register_enter(fentry_frame(ctx, dev), dev);
}

SEC("fexit/register_netdevice")
int BPF_PROG(netdev_register_fexit, struct net_device *dev, int ret)
{
	return netdev_register_exit(fentry_frame(ctx, dev), ret);
}

SEC("kprobe/register_netdevice")
int BPF_KPROBE(netdev_register_kprobe, struct net_device *dev)
{
	return netdev_register_enter(kprobe_frame(ctx), dev);
}

SEC("kretprobe/register_netdevice")
int BPF_KRETPROBE(netdev_register_kretprobe, long ret)
{
	return netdev_register_exit(kretprobe_frame(ctx), ret);
}

/*
 * netdev_unregister_kobject(dev): called once for each netdev that is
 * unregistered, after it was closed and taken off the lists, and for nothing
 * else (net/core/net-sysfs.c).
 */

static __always_inline int netdev_unregister_enter(struct frame frame, struct net_device *dev)
{
	struct nst_event *e;

	netdevs_change();
	if (!hit(NST_NETDEV_UNREGISTER))
		return 0;
	e = event_begin(NST_NETDEV_UNREGISTER, NST_INSTANT, frame, NULL);
	if (e) {
		read_netdev(e, dev);
		read_rx(e, dev);
		event_send(e);
	}
	return 0;
}

SEC("fentry/netdev_unregister_kobject")
int BPF_PROG(netdev_unregister_fentry, struct net_device *dev)
{
	return netdev_unregister_enter(fentry_frame(ctx, dev), dev);
}

SEC("kprobe/netdev_unregister_kobject")
int BPF_KPROBE(netdev_unregister_kprobe, struct net_device *dev)
{
	return netdev_unregister_enter(kprobe_frame(ctx), dev);
}

/* (__)dev_change_net_namespace(dev, net, pat, ...): closes and moves a netdev. */

static __always_inline int netdev_move_enter(struct frame frame, struct net_device *dev,
					     struct net *to)
{
	struct call call = {};
	struct nst_event *e;

	netdevs_change();
	if (!hit(NST_NETDEV_MOVE))
		return 0;
	if (running(NST_PERNET_EXIT, frame))
		inlined_switch_begin(frame, BPF_CORE_READ(dev, ieee80211_ptr, wiphy), to);
	call.object = (__u64)dev;
	call.ifindex = BPF_CORE_READ(dev, ifindex);
	read_net(&call.net, BPF_CORE_READ(dev, nd_net.net));
	read_net(&call.net2, to);
	bpf_probe_read_kernel_str(call.name, sizeof(dev->name), dev->name);
	call_begin(NST_NETDEV_MOVE, frame, &call);
	e = event_begin(NST_NETDEV_MOVE, NST_ENTER, frame, &call);
	if (e) {
		read_netdev(e, dev);
		event_send(e);
	}
	return 0;
}

static __always_inline int netdev_move_exit(struct frame frame, long ret)
{
	struct call *call = returning(NST_NETDEV_MOVE, frame);
	struct net_device *dev;
	struct nst_event *e;

	netdevs_change(); /* again: now it may be opened where it is */
	if (errno_of(ret))
		inlined_switch_error(frame, errno_of(ret));
	e = event_begin(NST_NETDEV_MOVE, NST_EXIT, frame, call);
	if (!e)
		goto out;
	e->ret = errno_of(ret);
	if (call) {
		dev = (struct net_device *)call->object;
		read_netdev(e, dev);
		e->new_ifindex = e->ifindex;
		__builtin_memcpy(e->new_name, e->name, sizeof(dev->name));
		e->net = call->net;
		e->ifindex = call->ifindex;
		__builtin_memcpy(e->name, call->name, sizeof(call->name));
		/* It was closed by the move and rtnl is still held: this is final. */
		read_rx(e, dev);
	}
	event_send(e);
out:
	call_end(NST_NETDEV_MOVE, call);
	return 0;
}

SEC("fentry/__dev_change_net_namespace")
int BPF_PROG(netdev_move_fentry, struct net_device *dev, struct net *net)
{
	return netdev_move_enter(fentry_frame(ctx, dev), dev, net);
}

SEC("fexit/__dev_change_net_namespace")
int netdev_move_fexit(unsigned long long *ctx)
{
	return netdev_move_exit(fentry_frame(ctx, (void *)ctx[0]),
				fexit_ret(ctx, netdev_move_args));
}

SEC("kprobe/__dev_change_net_namespace")
int BPF_KPROBE(netdev_move_kprobe, struct net_device *dev, struct net *net)
{
	return netdev_move_enter(kprobe_frame(ctx), dev, net);
}

SEC("kretprobe/__dev_change_net_namespace")
int BPF_KRETPROBE(netdev_move_kretprobe, long ret)
{
	return netdev_move_exit(kretprobe_frame(ctx), ret);
}

/* dev_change_name(dev, newname), netif_change_name on newer kernels */

static __always_inline int netdev_rename_enter(struct frame frame, struct net_device *dev,
					       const char *new_name)
{
	struct call call = {.arg = (__u64)new_name};

	if (!hit(NST_NETDEV_RENAME))
		return 0;
	call.object = (__u64)dev;
	bpf_probe_read_kernel_str(call.name, sizeof(dev->name), dev->name);
	call_begin(NST_NETDEV_RENAME, frame, &call);
	return 0;
}

static __always_inline int netdev_rename_exit(struct frame frame, long ret)
{
	struct call *call = returning(NST_NETDEV_RENAME, frame);
	struct nst_event *e = event_begin(NST_NETDEV_RENAME, NST_EXIT, frame, call);
	struct net_device *dev;

	if (!e)
		goto out;
	e->ret = errno_of(ret);
	if (call) {
		dev = (struct net_device *)call->object;
		read_netdev(e, dev);
		if (e->ret) /* what was asked for; else that may have been a pattern */
			bpf_probe_read_kernel_str(e->new_name, sizeof(dev->name),
						  (void *)call->arg);
		else
			__builtin_memcpy(e->new_name, e->name, sizeof(dev->name));
		__builtin_memcpy(e->name, call->name, sizeof(call->name));
	}
	event_send(e);
out:
	call_end(NST_NETDEV_RENAME, call);
	return 0;
}

SEC("fentry/dev_change_name")
int BPF_PROG(netdev_rename_fentry, struct net_device *dev, const char *new_name)
{
	return netdev_rename_enter(fentry_frame(ctx, dev), dev, new_name);
}

SEC("fexit/dev_change_name")
int BPF_PROG(netdev_rename_fexit, struct net_device *dev, const char *name, int ret)
{
	return netdev_rename_exit(fentry_frame(ctx, dev), ret);
}

SEC("kprobe/dev_change_name")
int BPF_KPROBE(netdev_rename_kprobe, struct net_device *dev, const char *new_name)
{
	return netdev_rename_enter(kprobe_frame(ctx), dev, new_name);
}

SEC("kretprobe/dev_change_name")
int BPF_KRETPROBE(netdev_rename_kretprobe, long ret)
{
	return netdev_rename_exit(kretprobe_frame(ctx), ret);
}
