/* SPDX-License-Identifier: GPL-2.0 */
/* The lives and moves of network interfaces of any kind (net/core/dev.c). */
#include "common.h"
#include "device.h"

/* register_netdevice(dev): 0 or an errno. */

static __always_inline int netdev_register_enter(struct net_device *dev)
{
	struct call call = {};

	if (!hit(NST_NETDEV_REGISTER))
		return 0;
	call.object = (__u64)dev;
	call_begin(NST_NETDEV_REGISTER, &call);
	return 0;
}

static __always_inline int netdev_register_exit(long ret)
{
	struct call *call = running(NST_NETDEV_REGISTER);
	struct call *if_add = running(NST_IF_ADD);
	struct nst_event *e;

	if (if_add && call)
		if_add->object = call->object;
	e = event_begin(NST_NETDEV_REGISTER, NST_EXIT, call);
	if (e) {
		e->ret = errno_of(ret);
		if (call)
			read_netdev(e, (struct net_device *)call->object);
		event_send(e);
	}
	call_end(NST_NETDEV_REGISTER);
	return 0;
}

SEC("fentry/register_netdevice")
int BPF_PROG(netdev_register_fentry, struct net_device *dev)
{
	return netdev_register_enter(dev);
}

SEC("fexit/register_netdevice")
int BPF_PROG(netdev_register_fexit, struct net_device *dev, int ret)
{
	return netdev_register_exit(ret);
}

SEC("kprobe/register_netdevice")
int BPF_KPROBE(netdev_register_kprobe, struct net_device *dev)
{
	return netdev_register_enter(dev);
}

SEC("kretprobe/register_netdevice")
int BPF_KRETPROBE(netdev_register_kretprobe, long ret)
{
	return netdev_register_exit(ret);
}

/*
 * netdev_unregister_kobject(dev): called once for each netdev that is
 * unregistered, after it was closed and taken off the lists, and for nothing
 * else (net/core/net-sysfs.c).
 */

static __always_inline int netdev_unregister_enter(struct net_device *dev)
{
	struct nst_event *e;

	if (!hit(NST_NETDEV_UNREGISTER))
		return 0;
	e = event_begin(NST_NETDEV_UNREGISTER, NST_INSTANT, NULL);
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
	return netdev_unregister_enter(dev);
}

SEC("kprobe/netdev_unregister_kobject")
int BPF_KPROBE(netdev_unregister_kprobe, struct net_device *dev)
{
	return netdev_unregister_enter(dev);
}

/* (__)dev_change_net_namespace(dev, net, pat, ...): closes and moves a netdev. */

static __always_inline int netdev_move_enter(struct net_device *dev, struct net *to)
{
	struct call call = {};
	struct nst_event *e;

	if (!hit(NST_NETDEV_MOVE))
		return 0;
	if (running(NST_PERNET_EXIT))
		inlined_switch_begin(BPF_CORE_READ(dev, ieee80211_ptr, wiphy), to);
	call.object = (__u64)dev;
	call.ifindex = BPF_CORE_READ(dev, ifindex);
	read_net(&call.net, BPF_CORE_READ(dev, nd_net.net));
	read_net(&call.net2, to);
	bpf_probe_read_kernel_str(call.name, sizeof(dev->name), dev->name);
	call_begin(NST_NETDEV_MOVE, &call);
	e = event_begin(NST_NETDEV_MOVE, NST_ENTER, &call);
	if (e) {
		read_netdev(e, dev);
		event_send(e);
	}
	return 0;
}

static __always_inline int netdev_move_exit(long ret)
{
	struct call *call = running(NST_NETDEV_MOVE);
	struct net_device *dev;
	struct nst_event *e;

	if (errno_of(ret))
		inlined_switch_error(errno_of(ret));
	e = event_begin(NST_NETDEV_MOVE, NST_EXIT, call);
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
	call_end(NST_NETDEV_MOVE);
	return 0;
}

SEC("fentry/__dev_change_net_namespace")
int BPF_PROG(netdev_move_fentry, struct net_device *dev, struct net *net)
{
	return netdev_move_enter(dev, net);
}

SEC("fexit/__dev_change_net_namespace")
int netdev_move_fexit(unsigned long long *ctx)
{
	return netdev_move_exit(fexit_ret(ctx, netdev_move_args));
}

SEC("kprobe/__dev_change_net_namespace")
int BPF_KPROBE(netdev_move_kprobe, struct net_device *dev, struct net *net)
{
	return netdev_move_enter(dev, net);
}

SEC("kretprobe/__dev_change_net_namespace")
int BPF_KRETPROBE(netdev_move_kretprobe, long ret)
{
	return netdev_move_exit(ret);
}

/* dev_change_name(dev, newname), netif_change_name on newer kernels */

static __always_inline int netdev_rename_enter(struct net_device *dev)
{
	struct call call = {};

	if (!hit(NST_NETDEV_RENAME))
		return 0;
	call.object = (__u64)dev;
	bpf_probe_read_kernel_str(call.name, sizeof(dev->name), dev->name);
	call_begin(NST_NETDEV_RENAME, &call);
	return 0;
}

static __always_inline int netdev_rename_exit(long ret)
{
	struct call *call = running(NST_NETDEV_RENAME);
	struct nst_event *e = event_begin(NST_NETDEV_RENAME, NST_EXIT, call);
	struct net_device *dev;

	if (!e)
		goto out;
	e->ret = errno_of(ret);
	if (call) {
		dev = (struct net_device *)call->object;
		read_netdev(e, dev);
		__builtin_memcpy(e->new_name, e->name, sizeof(dev->name));
		__builtin_memcpy(e->name, call->name, sizeof(call->name));
	}
	event_send(e);
out:
	call_end(NST_NETDEV_RENAME);
	return 0;
}

SEC("fentry/dev_change_name")
int BPF_PROG(netdev_rename_fentry, struct net_device *dev)
{
	return netdev_rename_enter(dev);
}

SEC("fexit/dev_change_name")
int BPF_PROG(netdev_rename_fexit, struct net_device *dev, const char *name, int ret)
{
	return netdev_rename_exit(ret);
}

SEC("kprobe/dev_change_name")
int BPF_KPROBE(netdev_rename_kprobe, struct net_device *dev)
{
	return netdev_rename_enter(dev);
}

SEC("kretprobe/dev_change_name")
int BPF_KRETPROBE(netdev_rename_kretprobe, long ret)
{
	return netdev_rename_exit(ret);
}
