/* SPDX-License-Identifier: GPL-2.0 */
/* The lives of network namespaces (net/core/net_namespace.c). */
#include "steps.h"

/*
 * copy_net_ns(flags, user_ns, old_net): the new namespace or an errno. It runs
 * whenever a task gets namespaces of any kind (create_new_namespaces).
 */

#define CLONE_NEWNET 0x40000000 /* include/uapi/linux/sched.h */

static __always_inline int copy_net_enter(struct frame frame, unsigned long flags,
					  struct user_namespace *user_ns)
{
	struct call call = {};
	struct nst_event *e;

	if (!(flags & CLONE_NEWNET))
		return 0;
	if (!hit(NST_COPY_NET))
		return 0;
	call.arg = BPF_CORE_READ(user_ns, ns.inum);
	call_begin(NST_COPY_NET, frame, &call);
	e = event_begin(NST_COPY_NET, NST_ENTER, frame, &call);
	if (e) {
		e->user_ns = call.arg;
		event_send(e);
	}
	return 0;
}

static __always_inline int copy_net_exit(struct frame frame, struct call *call, struct net *ret)
{
	struct nst_event *e = event_begin(NST_COPY_NET, NST_EXIT, frame, call);

	if (e) {
		if (call)
			e->user_ns = call->arg;
		e->ret = errno_of_pointer(ret);
		if (!e->ret)
			read_net(&e->net, ret);
		event_send(e);
	}
	call_end(NST_COPY_NET, call);
	return 0;
}

SEC("fentry/copy_net_ns")
int BPF_PROG(copy_net_fentry, unsigned long flags, struct user_namespace *user_ns)
{
	return copy_net_enter(fentry_frame(ctx, user_ns), flags, user_ns);
}

SEC("fexit/copy_net_ns")
int BPF_PROG(copy_net_fexit, unsigned long flags, struct user_namespace *user_ns)
{
	struct frame frame = fentry_frame(ctx, user_ns);
	struct net *ret = NULL;

	if (!(flags & CLONE_NEWNET))
		return 0;
	/* The verifier takes it for a pointer, whatever is done to tell an error. */
	bpf_probe_read_kernel(&ret, sizeof(ret), &ctx[3]);
	return copy_net_exit(frame, returning(NST_COPY_NET, frame), ret);
}

SEC("kprobe/copy_net_ns")
int BPF_KPROBE(copy_net_kprobe, unsigned long flags, struct user_namespace *user_ns)
{
	return copy_net_enter(kprobe_frame(ctx), flags, user_ns);
}

/* Without its entry this return could be that of any copy. */
SEC("kretprobe/copy_net_ns")
int BPF_KRETPROBE(copy_net_kretprobe, struct net *ret)
{
	struct frame frame = kretprobe_frame(ctx);
	struct call *call = returning(NST_COPY_NET, frame);

	return call ? copy_net_exit(frame, call, ret) : 0;
}

/* setup_net(net[, user_ns]): 0 or an errno. The inum is valid once it returns. */

static __always_inline int setup_net_enter(struct frame frame, struct net *net)
{
	struct call *request = running(NST_COPY_NET, frame);
	struct call call = {};
	struct nst_event *e;

	if (!hit(NST_SETUP_NET))
		return 0;
	read_net(&call.net, net);
	/* A recycled struct net may still hold its last life's numbers. */
	call.net.inum = 0;
	call.net.cookie = 0;
	call_begin(NST_SETUP_NET, frame, &call);
	e = event_begin(NST_SETUP_NET, NST_ENTER, frame, &call);
	if (e) {
		e->arg = request ? request->start : 0;
		event_send(e);
	}
	steps_begin(NST_OPS_INIT, frame);
	return 0;
}

static __always_inline int setup_net_exit(struct frame frame, long ret)
{
	struct call *call = returning(NST_SETUP_NET, frame);
	struct nst_event *e = event_begin(NST_SETUP_NET, NST_EXIT, frame, call);

	if (e) {
		e->ret = errno_of(ret);
		if (call)
			read_net(&e->net, (struct net *)call->net.ptr);
		event_send(e);
	}
	steps_end(NST_OPS_INIT, call, errno_of(ret));
	call_end(NST_SETUP_NET, call);
	return 0;
}

SEC("fentry/setup_net")
int BPF_PROG(setup_net_fentry, struct net *net)
{
	return setup_net_enter(fentry_frame(ctx, net), net);
}

SEC("fexit/setup_net")
int setup_net_fexit(unsigned long long *ctx)
{
	return setup_net_exit(fentry_frame(ctx, (void *)ctx[0]), fexit_ret(ctx, setup_net_args));
}

SEC("kprobe/setup_net")
int BPF_KPROBE(setup_net_kprobe, struct net *net)
{
	return setup_net_enter(kprobe_frame(ctx), net);
}

SEC("kretprobe/setup_net")
int BPF_KRETPROBE(setup_net_kretprobe, long ret)
{
	return setup_net_exit(kretprobe_frame(ctx), ret);
}

/*
 * __put_net(net): the last reference is gone, clean-up is queued. Compilers like
 * to inline it into netns_put(ns), by which open files and mounts drop theirs, so
 * that is looked at as well: did it leave a reference?
 */

static __always_inline void put_net_send(struct frame frame, struct net *net, __u64 start)
{
	struct nst_event *e = event_begin(NST_PUT_NET, NST_INSTANT, frame, NULL);

	if (e) {
		/* The clean-up may begin before netns_put returns. */
		e->start = start;
		read_net(&e->net, net);
		event_send(e);
	}
}

static __always_inline int put_net_enter(struct frame frame, struct net *net)
{
	struct call *netns_put = running(NST_NETNS_PUT, frame);

	if (!hit(NST_PUT_NET))
		return 0;
	if (netns_put)
		netns_put->object = 0; /* it needn't look any more */
	put_net_send(frame, net, 0);
	return 0;
}

SEC("fentry/__put_net")
int BPF_PROG(put_net_fentry, struct net *net)
{
	return put_net_enter(fentry_frame(ctx, net), net);
}

SEC("kprobe/__put_net")
int BPF_KPROBE(put_net_kprobe, struct net *net)
{
	return put_net_enter(kprobe_frame(ctx), net);
}

static __always_inline int netns_put_enter(struct frame frame, struct ns_common *ns)
{
	struct net *net = (void *)ns - bpf_core_field_offset(struct net, ns);
	struct call call = {};

	/* Only a drop from one reference can be the last, or a race with it. */
	if (net_references(net) > 2)
		return 0;
	if (!hit(NST_NETNS_PUT))
		return 0;
	call.object = (__u64)net;
	call_begin(NST_NETNS_PUT, frame, &call);
	return 0;
}

static __always_inline int netns_put_exit(struct frame frame)
{
	struct call *call = returning(NST_NETNS_PUT, frame);
	struct net *net;

	if (!call)
		return 0;
	net = (struct net *)call->object;
	if (net && net_references(net) == 0)
		put_net_send(frame, net, call->start);
	call_end(NST_NETNS_PUT, call);
	return 0;
}

SEC("fentry/netns_put")
int BPF_PROG(netns_put_fentry, struct ns_common *ns)
{
	return netns_put_enter(fentry_frame(ctx, ns), ns);
}

SEC("fexit/netns_put")
int netns_put_fexit(unsigned long long *ctx)
{
	return netns_put_exit(fentry_frame(ctx, (void *)ctx[0]));
}

SEC("kprobe/netns_put")
int BPF_KPROBE(netns_put_kprobe, struct ns_common *ns)
{
	return netns_put_enter(kprobe_frame(ctx), ns);
}

SEC("kretprobe/netns_put")
int netns_put_kretprobe(struct pt_regs *ctx)
{
	return netns_put_exit(kretprobe_frame(ctx));
}

/* cleanup_net(work): tears down all namespaces that were put by now. */

static __always_inline int cleanup_net_enter(struct frame frame)
{
	struct call call = {};
	struct nst_event *e;

	if (!hit(NST_CLEANUP_NET))
		return 0;
	call_begin(NST_CLEANUP_NET, frame, &call);
	e = event_begin(NST_CLEANUP_NET, NST_ENTER, frame, &call);
	if (e)
		event_send(e);
	steps_begin(NST_OPS_EXIT, frame);
	return 0;
}

static __always_inline int cleanup_net_exit(struct frame frame)
{
	struct call *call = returning(NST_CLEANUP_NET, frame);
	struct nst_event *e = event_begin(NST_CLEANUP_NET, NST_EXIT, frame, call);

	if (e)
		event_send(e);
	steps_end(NST_OPS_EXIT, call, 0);
	call_end(NST_CLEANUP_NET, call);
	return 0;
}

SEC("fentry/cleanup_net")
int cleanup_net_fentry(unsigned long long *ctx)
{
	return cleanup_net_enter(fentry_frame(ctx, (void *)ctx[0]));
}

SEC("fexit/cleanup_net")
int cleanup_net_fexit(unsigned long long *ctx)
{
	return cleanup_net_exit(fentry_frame(ctx, (void *)ctx[0]));
}

SEC("kprobe/cleanup_net")
int cleanup_net_kprobe(struct pt_regs *ctx)
{
	return cleanup_net_enter(kprobe_frame(ctx));
}

SEC("kretprobe/cleanup_net")
int cleanup_net_kretprobe(struct pt_regs *ctx)
{
	return cleanup_net_exit(kretprobe_frame(ctx));
}

/*
 * net_free(net), net_drop_ns(net) or net_passive_dec(net): drops a passive
 * reference. cleanup_net does it last, once for each namespace, right after it
 * took that off its list of the dying. Others do it meanwhile, even in this very
 * thread: a kernel's own sockets as they are freed, sysfs, nsfs.
 */

static __always_inline int free_net_enter(struct frame frame, struct net *net)
{
	struct call *batch = running(NST_CLEANUP_NET, frame);
	struct nst_event *e;

	if (!batch || !net)
		return 0;
	if (BPF_CORE_READ(net, exit_list.next) !=
	    (void *)net + bpf_core_field_offset(struct net, exit_list))
		return 0;
	if (!hit(NST_FREE_NET))
		return 0;
	e = event_begin(NST_FREE_NET, NST_INSTANT, frame, NULL);
	if (e) {
		e->start = batch->start;
		read_net(&e->net, net);
		event_send(e);
	}
	return 0;
}

SEC("fentry/net_passive_dec")
int BPF_PROG(free_net_fentry, struct net *net)
{
	return free_net_enter(fentry_frame(ctx, net), net);
}

SEC("kprobe/net_passive_dec")
int BPF_KPROBE(free_net_kprobe, struct net *net)
{
	return free_net_enter(kprobe_frame(ctx), net);
}
