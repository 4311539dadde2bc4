/* SPDX-License-Identifier: GPL-2.0 */
/* Pernet operations and their subsystems (net/core/net_namespace.c). */
#include "steps.h"

/* What names a subsystem best: the first of its functions that it has. */

static __always_inline __u64 ops_function(struct pernet_operations *ops)
{
	__u64 fn = (__u64)BPF_CORE_READ(ops, init);

	if (!fn)
		fn = (__u64)BPF_CORE_READ(ops, exit);
	if (!fn)
		fn = (__u64)BPF_CORE_READ(ops, exit_batch);
	return fn;
}

static __always_inline __u64 ops_exit_function(struct pernet_operations *ops)
{
	__u64 fn = (__u64)BPF_CORE_READ(ops, exit);

	if (!fn)
		fn = (__u64)BPF_CORE_READ(ops, exit_batch);
	if (!fn)
		fn = (__u64)BPF_CORE_READ(ops, init);
	return fn;
}

/*
 * (un)register_pernet_subsys(ops) and _device(ops): whoever calls them begins to
 * wait for pernet_ops_rwsem, which (un)register_pernet_operations is run with. The
 * call isn't seen to return: that takes it.
 */

static __always_inline int pernet_request(struct frame frame, __u32 probe, __u32 kind,
					  struct pernet_operations *ops)
{
	struct call call = {.assumed = true};
	struct nst_event *e;

	if (!hit(probe))
		return 0;
	call_begin(NST_PERNET_REQUEST, frame, &call);
	e = event_begin(NST_PERNET_REQUEST, NST_INSTANT, frame, NULL);
	if (e) {
		e->ops = (__u64)ops;
		e->fn = ops_function(ops);
		e->arg = kind;
		event_send(e);
	}
	return 0;
}

/* Since when the caller has been waiting, 0 if that wasn't seen. */
static __always_inline __u64 pernet_requested(struct frame frame)
{
	struct call *request = running(NST_PERNET_REQUEST, frame);
	__u64 start;

	if (!request)
		return 0;
	start = request->start;
	call_end(NST_PERNET_REQUEST, request);
	return start;
}

SEC("fentry/register_pernet_subsys")
int BPF_PROG(register_subsys_fentry, struct pernet_operations *ops)
{
	return pernet_request(fentry_frame(ctx, ops), NST_PERNET_REQUEST, NST_REGISTER_PERNET, ops);
}

SEC("kprobe/register_pernet_subsys")
int BPF_KPROBE(register_subsys_kprobe, struct pernet_operations *ops)
{
	return pernet_request(kprobe_frame(ctx), NST_PERNET_REQUEST, NST_REGISTER_PERNET, ops);
}

SEC("fentry/register_pernet_device")
int BPF_PROG(register_device_fentry, struct pernet_operations *ops)
{
	return pernet_request(fentry_frame(ctx, ops), NST_REGISTER_DEVICE, NST_REGISTER_PERNET,
			      ops);
}

SEC("kprobe/register_pernet_device")
int BPF_KPROBE(register_device_kprobe, struct pernet_operations *ops)
{
	return pernet_request(kprobe_frame(ctx), NST_REGISTER_DEVICE, NST_REGISTER_PERNET, ops);
}

SEC("fentry/unregister_pernet_subsys")
int BPF_PROG(unregister_subsys_fentry, struct pernet_operations *ops)
{
	return pernet_request(fentry_frame(ctx, ops), NST_UNREGISTER_SUBSYS, NST_UNREGISTER_PERNET,
			      ops);
}

SEC("kprobe/unregister_pernet_subsys")
int BPF_KPROBE(unregister_subsys_kprobe, struct pernet_operations *ops)
{
	return pernet_request(kprobe_frame(ctx), NST_UNREGISTER_SUBSYS, NST_UNREGISTER_PERNET, ops);
}

SEC("fentry/unregister_pernet_device")
int BPF_PROG(unregister_device_fentry, struct pernet_operations *ops)
{
	return pernet_request(fentry_frame(ctx, ops), NST_UNREGISTER_DEVICE, NST_UNREGISTER_PERNET,
			      ops);
}

SEC("kprobe/unregister_pernet_device")
int BPF_KPROBE(unregister_device_kprobe, struct pernet_operations *ops)
{
	return pernet_request(kprobe_frame(ctx), NST_UNREGISTER_DEVICE, NST_UNREGISTER_PERNET, ops);
}

/* register_pernet_operations(list, ops): runs ops->init on each namespace. */

static __always_inline int pernet_enter(struct frame frame, __u32 kind,
					struct pernet_operations *ops)
{
	__u64 requested = pernet_requested(frame);
	struct call call = {};
	struct nst_event *e;

	if (!hit(kind))
		return 0;
	call.object = (__u64)ops;
	call.arg = ops_function(ops);
	call_begin(kind, frame, &call);
	e = event_begin(kind, NST_ENTER, frame, &call);
	if (e) {
		e->arg = requested;
		e->ops = call.object;
		e->fn = call.arg;
		event_send(e);
	}
	return 0;
}

static __always_inline int pernet_exit(struct frame frame, __u32 kind, long ret)
{
	struct call *call = returning(kind, frame);
	struct nst_event *e = event_begin(kind, NST_EXIT, frame, call);

	if (e) {
		e->ret = errno_of(ret);
		if (call) {
			e->ops = call->object;
			e->fn = call->arg;
			e->count = call->count;
		}
		event_send(e);
	}
	call_end(kind, call);
	return 0;
}

SEC("fentry/register_pernet_operations")
int BPF_PROG(register_pernet_fentry, void *list, struct pernet_operations *ops)
{
	return pernet_enter(fentry_frame(ctx, ops), NST_REGISTER_PERNET, ops);
}

SEC("fexit/register_pernet_operations")
int BPF_PROG(register_pernet_fexit, void *list, struct pernet_operations *ops, int ret)
{
	return pernet_exit(fentry_frame(ctx, ops), NST_REGISTER_PERNET, ret);
}

SEC("kprobe/register_pernet_operations")
int BPF_KPROBE(register_pernet_kprobe, void *list, struct pernet_operations *ops)
{
	return pernet_enter(kprobe_frame(ctx), NST_REGISTER_PERNET, ops);
}

SEC("kretprobe/register_pernet_operations")
int BPF_KRETPROBE(register_pernet_kretprobe, long ret)
{
	return pernet_exit(kretprobe_frame(ctx), NST_REGISTER_PERNET, ret);
}

SEC("fentry/unregister_pernet_operations")
int BPF_PROG(unregister_pernet_fentry, struct pernet_operations *ops)
{
	return pernet_enter(fentry_frame(ctx, ops), NST_UNREGISTER_PERNET, ops);
}

SEC("fexit/unregister_pernet_operations")
int unregister_pernet_fexit(unsigned long long *ctx)
{
	return pernet_exit(fentry_frame(ctx, (void *)ctx[0]), NST_UNREGISTER_PERNET, 0);
}

SEC("kprobe/unregister_pernet_operations")
int BPF_KPROBE(unregister_pernet_kprobe, struct pernet_operations *ops)
{
	return pernet_enter(kprobe_frame(ctx), NST_UNREGISTER_PERNET, ops);
}

SEC("kretprobe/unregister_pernet_operations")
int unregister_pernet_kretprobe(struct pt_regs *ctx)
{
	return pernet_exit(kretprobe_frame(ctx), NST_UNREGISTER_PERNET, 0);
}

/*
 * ops_init(ops, net): one subsystem's init in one namespace. setup_net runs it
 * once for each subsystem, a registration once for each namespace.
 */

static __always_inline int ops_init_enter(struct frame frame, struct pernet_operations *ops)
{
	struct steps *s = steps_around(NST_OPS_INIT, frame);
	struct call visit = {};
	struct call *call;

	if (s) {
		if (hit(NST_OPS_INIT))
			step_enter(s, frame, ops, ops_function(ops));
		return 0;
	}
	call = running(NST_SETUP_NET, frame);
	if (call) {
		if (!hit(NST_OPS_INIT))
			return 0;
		call->count++;
		step_skipped(NST_OPS_INIT);
		return 0;
	}
	call = running(NST_REGISTER_PERNET, frame);
	if (!call || !hit(NST_OPS_INIT))
		return 0;
	call->count++;
	call_begin(NST_OPS_INIT, frame, &visit);
	return 0;
}

static __always_inline int ops_init_exit(struct frame frame, long ret)
{
	struct steps *s = steps_around(NST_OPS_INIT, frame);

	if (s)
		step_exit(s, frame, ret);
	else
		call_end(NST_OPS_INIT, returning(NST_OPS_INIT, frame));
	return 0;
}

SEC("fentry/ops_init")
int BPF_PROG(ops_init_fentry, struct pernet_operations *ops)
{
	return ops_init_enter(fentry_frame(ctx, ops), ops);
}

SEC("fexit/ops_init")
int BPF_PROG(ops_init_fexit, struct pernet_operations *ops, struct net *net, int ret)
{
	return ops_init_exit(fentry_frame(ctx, ops), ret);
}

SEC("kprobe/ops_init")
int BPF_KPROBE(ops_init_kprobe, struct pernet_operations *ops)
{
	return ops_init_enter(kprobe_frame(ctx), ops);
}

SEC("kretprobe/ops_init")
int BPF_KRETPROBE(ops_init_kretprobe, long ret)
{
	return ops_init_exit(kretprobe_frame(ctx), ret);
}

/*
 * ops_exit_list(ops, net_exit_list): one subsystem's exit in all namespaces of a
 * batch. Failed set-ups and unregistrations run it too, which nobody asks about.
 */

static __always_inline int ops_exit_enter(struct frame frame, struct pernet_operations *ops)
{
	struct steps *s = steps_around(NST_OPS_EXIT, frame);
	struct call *call;

	if (s) {
		if (hit(NST_OPS_EXIT))
			step_enter(s, frame, ops, ops_exit_function(ops));
		return 0;
	}
	call = running(NST_CLEANUP_NET, frame);
	if (!call || !hit(NST_OPS_EXIT))
		return 0;
	call->count++;
	step_skipped(NST_OPS_EXIT);
	return 0;
}

static __always_inline int ops_exit_exit(struct frame frame)
{
	struct steps *s = steps_around(NST_OPS_EXIT, frame);

	if (s)
		step_exit(s, frame, 0);
	return 0;
}

SEC("fentry/ops_exit_list")
int BPF_PROG(ops_exit_fentry, struct pernet_operations *ops)
{
	return ops_exit_enter(fentry_frame(ctx, ops), ops);
}

SEC("fexit/ops_exit_list")
int ops_exit_fexit(unsigned long long *ctx)
{
	return ops_exit_exit(fentry_frame(ctx, (void *)ctx[0]));
}

SEC("kprobe/ops_exit_list")
int BPF_KPROBE(ops_exit_kprobe, struct pernet_operations *ops)
{
	return ops_exit_enter(kprobe_frame(ctx), ops);
}

SEC("kretprobe/ops_exit_list")
int ops_exit_kretprobe(struct pt_regs *ctx)
{
	return ops_exit_exit(kretprobe_frame(ctx));
}
