/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The numbers under which network namespaces know each other
 * (net/core/net_namespace.c).
 *
 * All that give one out or take one back tell rtnetlink's listeners with
 * rtnl_net_notifyid(net, cmd, id, ...), which doesn't say whose it is. That is
 * known from the function it is called by.
 */
#include <linux/rtnetlink.h>
#include "common.h"

/* What a record of a number says it is: event.KindNsid. */
#define NSID_GIVEN     0
#define NSID_REQUESTED 1
#define NSID_REMOVED   2

/*
 * peernet2id_alloc(net, peer, gfp): the number of a peer in net, and a new one if
 * it has none. Whoever lists interfaces comes by here.
 */

static __always_inline int nsid_enter(struct frame frame, struct net *net, struct net *peer)
{
	struct call call = {};

	if (!hit(NST_NSID))
		return 0;
	read_net(&call.net, net);
	read_net(&call.net2, peer);
	call_begin(NST_NSID, frame, &call);
	return 0;
}

static __always_inline int nsid_exit(struct frame frame)
{
	call_end(NST_NSID, returning(NST_NSID, frame));
	return 0;
}

SEC("fentry/peernet2id_alloc")
int BPF_PROG(nsid_fentry, struct net *net, struct net *peer)
{
	return nsid_enter(fentry_frame(ctx, net), net, peer);
}

SEC("fexit/peernet2id_alloc")
int nsid_fexit(unsigned long long *ctx)
{
	return nsid_exit(fentry_frame(ctx, (void *)ctx[0]));
}

SEC("kprobe/peernet2id_alloc")
int BPF_KPROBE(nsid_kprobe, struct net *net, struct net *peer)
{
	return nsid_enter(kprobe_frame(ctx), net, peer);
}

SEC("kretprobe/peernet2id_alloc")
int nsid_kretprobe(struct pt_regs *ctx)
{
	return nsid_exit(kretprobe_frame(ctx));
}

/* rtnl_net_notifyid(net, cmd, id, ...) */

static __always_inline int nsid_notify_enter(struct frame frame, struct net *net, int cmd, int id)
{
	struct call *request;
	struct nst_event *e;

	if (!hit(NST_NSID_NOTIFY))
		return 0;
	request = running(NST_NSID_REQUEST, frame);
	if (request && cmd == RTM_NEWNSID) {
		/* Told when the request is over. */
		request->ifindex = id;
		request->count = 1;
		return 0;
	}
	e = event_begin(NST_NSID, NST_INSTANT, frame, running(NST_NSID, frame));
	if (!e)
		return 0;
	read_net(&e->net, net);
	e->start = 0;
	e->nsid = id;
	e->arg = NSID_GIVEN;
	if (cmd == RTM_DELNSID) {
		__builtin_memset(&e->net2, 0, sizeof(e->net2));
		e->arg = NSID_REMOVED;
	}
	event_send(e);
	return 0;
}

SEC("fentry/rtnl_net_notifyid")
int BPF_PROG(nsid_notify_fentry, struct net *net, int cmd, int id)
{
	return nsid_notify_enter(fentry_frame(ctx, net), net, cmd, id);
}

SEC("kprobe/rtnl_net_notifyid")
int BPF_KPROBE(nsid_notify_kprobe, struct net *net, int cmd, int id)
{
	return nsid_notify_enter(kprobe_frame(ctx), net, cmd, id);
}

/*
 * rtnl_net_newid(skb, nlh, extack): somebody asks for a number for the namespace
 * of a file or a process.
 */

static __always_inline int nsid_request_enter(struct frame frame, struct sk_buff *skb)
{
	struct call call = {};

	if (!hit(NST_NSID_REQUEST))
		return 0;
	read_net(&call.net, BPF_CORE_READ(skb, sk, __sk_common.skc_net.net));
	call_begin(NST_NSID_REQUEST, frame, &call);
	return 0;
}

static __always_inline int nsid_request_exit(struct frame frame, long ret)
{
	struct call *call = returning(NST_NSID_REQUEST, frame);
	struct nst_event *e = event_begin(NST_NSID, NST_EXIT, frame, call);

	if (e) {
		e->ifindex = 0;
		e->arg = NSID_REQUESTED;
		e->nsid = call && call->count ? call->ifindex : -1;
		e->ret = errno_of(ret);
		event_send(e);
	}
	call_end(NST_NSID_REQUEST, call);
	return 0;
}

SEC("fentry/rtnl_net_newid")
int BPF_PROG(nsid_request_fentry, struct sk_buff *skb)
{
	return nsid_request_enter(fentry_frame(ctx, skb), skb);
}

SEC("fexit/rtnl_net_newid")
int BPF_PROG(nsid_request_fexit, struct sk_buff *skb, void *nlh, void *extack, int ret)
{
	return nsid_request_exit(fentry_frame(ctx, skb), ret);
}

SEC("kprobe/rtnl_net_newid")
int BPF_KPROBE(nsid_request_kprobe, struct sk_buff *skb)
{
	return nsid_request_enter(kprobe_frame(ctx), skb);
}

SEC("kretprobe/rtnl_net_newid")
int BPF_KRETPROBE(nsid_request_kretprobe, long ret)
{
	return nsid_request_exit(kretprobe_frame(ctx), ret);
}

/*
 * get_net_ns_by_fd(fd): of interest within such a request only, where it says
 * which namespace was meant. The same of get_net_ns_by_pid is in request.bpf.c.
 */

static __always_inline int net_by_fd_enter(struct frame frame)
{
	struct call call = {};

	if (!running(NST_NSID_REQUEST, frame) || !hit(NST_NET_BY_FD))
		return 0;
	call_begin(NST_NET_BY_FD, frame, &call);
	return 0;
}

static __always_inline int net_by_fd_exit(struct frame frame, struct net *net)
{
	struct call *request = running(NST_NSID_REQUEST, frame);

	if (!request)
		return 0;
	if ((__u64)net < (__u64)-NST_MAX_ERRNO)
		read_net(&request->net2, net);
	call_end(NST_NET_BY_FD, returning(NST_NET_BY_FD, frame));
	return 0;
}

SEC("fentry/get_net_ns_by_fd")
int BPF_PROG(net_by_fd_fentry, int fd)
{
	return net_by_fd_enter(fentry_frame(ctx, (void *)(long)fd));
}

SEC("fexit/get_net_ns_by_fd")
int BPF_PROG(net_by_fd_fexit, int fd, struct net *net)
{
	return net_by_fd_exit(fentry_frame(ctx, (void *)(long)fd), net);
}

SEC("kprobe/get_net_ns_by_fd")
int net_by_fd_kprobe(struct pt_regs *ctx)
{
	return net_by_fd_enter(kprobe_frame(ctx));
}

SEC("kretprobe/get_net_ns_by_fd")
int BPF_KRETPROBE(net_by_fd_kretprobe, struct net *net)
{
	return net_by_fd_exit(kretprobe_frame(ctx), net);
}
