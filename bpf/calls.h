/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Running calls of probed functions, remembered from their entry to their
 * return, so that no return is ever taken for that of another call.
 *
 * The kernel may run no program at an entry or a return: kretprobes have a
 * limited number of instances, and a program doesn't run where another one, or
 * itself, is running already. Then a call stays behind in the table, and the
 * next return of the same function in the same thread may be another call's. So
 * a call is known by where on the stack its frame is, and by a mark: something
 * that is the same at the entry and the return of one call and hardly of
 * another. And since stacks nest, each entry and return proves that calls below
 * it on the stack are over: their returns were missed, and are counted.
 */
#ifndef NSTRACE_CALLS_H
#define NSTRACE_CALLS_H

#include "counters.h"

/* How many calls of one function a thread may be in: one runs within another. */
#define NST_DEPTH 4
/* No kernel's stacks are larger (THREAD_SIZE in arch/.../asm). */
#define NST_STACK (1 << 16)
/* What a return has taken off the stack: the address it returned to. */
#if defined(__TARGET_ARCH_x86)
#define NST_RETURN_SLOT 8
#elif defined(__TARGET_ARCH_arm64)
#define NST_RETURN_SLOT 0
#endif

/* The frame of a call of a probed function, which a program was run for. */
struct frame {
	__u32 at; /* where it is on the stack: the low half of its address */
	__u64 mark;
};

/* In assembly, since compilers shift pointers to and fro, which no verifier likes. */
static __always_inline __u32 low_half(const void *pointer)
{
	__u32 low;

	asm volatile("%0 = %1" : "=w"(low) : "w"((__u32)(__u64)pointer));
	return low;
}

/*
 * The programs on a trampoline get the same place in its frame for a context at
 * the entry and the return. The mark is an argument, which fexit is given again.
 */
static __always_inline struct frame fentry_frame(void *ctx, const void *argument)
{
	return (struct frame){.at = low_half(ctx), .mark = low_half(argument)};
}

/* What a function must leave as it finds it: that says who called, and from where. */
static __always_inline __u64 callee_saved(struct pt_regs *ctx)
{
#define MIX(h, reg) (((h) << 13 | (h) >> 51) ^ (__u64)(reg))
	__u64 h = 0;
#if defined(__TARGET_ARCH_x86)
	h = MIX(h, ctx->rbx);
	h = MIX(h, ctx->rbp);
	h = MIX(h, ctx->r12);
	h = MIX(h, ctx->r13);
	h = MIX(h, ctx->r14);
	h = MIX(h, ctx->r15);
#elif defined(__TARGET_ARCH_arm64)
	const struct user_pt_regs *regs = (void *)ctx;
	int i;

#pragma unroll
	for (i = 19; i <= 29; i++)
		h = MIX(h, regs->regs[i]);
#endif
#undef MIX
	return h;
}

static __always_inline struct frame kprobe_frame(struct pt_regs *ctx)
{
	return (struct frame){.at = PT_REGS_SP(ctx), .mark = callee_saved(ctx)};
}

static __always_inline struct frame kretprobe_frame(struct pt_regs *ctx)
{
	return (struct frame){.at = PT_REGS_SP(ctx) - NST_RETURN_SLOT, .mark = callee_saved(ctx)};
}

/* Calls of one function in one thread: those of a greater depth run within. */
struct call_key {
	__u32 tid;
	__u16 kind;
	__u16 depth;
};
struct call {
	__u64 start;
	struct nst_net net;
	struct nst_net net2;
	__u64 object; /* net_device, wiphy or pernet_operations */
	__u64 arg;
	__u64 count;
	__s32 ifindex;
	char name[64];
	__u32 at; /* its frame */
	__u64 mark;
	__u16 depth;
	__u16 assumed; /* no program saw its entry, and none will see its return */
	__u32 pad;
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct call_key);
	__type(value, struct call);
} calls SEC(".maps");

static __always_inline struct call_key call_key(__u32 kind)
{
	return (struct call_key){.tid = bpf_get_current_pid_tgid(), .kind = kind};
}

/*
 * Is a frame at inner below one at outer? Not if it is on another stack: an
 * interrupt has nothing to do with what the thread is doing.
 */
static __always_inline bool is_below(__u32 inner, __u32 outer)
{
	return outer - inner - 1 < NST_STACK - 1;
}

static __noinline struct call *find_call(__u32 kind, __u32 at, __u64 mark)
{
	struct call_key key = call_key(kind);
	struct call *found = NULL;
	struct call *call;
	__u32 depth;

	for (depth = 0; depth < NST_DEPTH; depth++) {
		key.depth = depth;
		call = bpf_map_lookup_elem(&calls, &key);
		/* The last thing a function does may be to jump into another. */
		if (!call || !(is_below(at, call->at) || (at == call->at && mark == call->mark)))
			break;
		found = call;
	}
	return found;
}

/* The innermost call of this kind that a call at frame is part of, if any. */
static __always_inline struct call *running(__u32 kind, struct frame frame)
{
	return find_call(kind, frame.at, frame.mark);
}

/* Forget this thread's calls of a kind from a depth on: they returned unseen. */
static __noinline int forget_calls(__u32 kind, __u32 depth)
{
	struct call_key key = call_key(kind);
	struct call *call;

	for (; depth < NST_DEPTH; depth++) {
		key.depth = depth;
		call = bpf_map_lookup_elem(&calls, &key);
		if (!call)
			break;
		if (!call->assumed)
			count_return(kind, NST_RETURN_MISSED);
		bpf_map_delete_elem(&calls, &key);
	}
	return 0;
}

/*
 * Forget this thread's calls of a kind that are over if a call begins at a
 * frame. Returns the new one's depth, NST_DEPTH if that is too deep.
 */
static __noinline __u32 unwind(__u32 kind, __u32 at)
{
	struct call_key key = call_key(kind);
	struct call *call;
	__u32 depth;

	for (depth = 0; depth < NST_DEPTH; depth++) {
		key.depth = depth;
		call = bpf_map_lookup_elem(&calls, &key);
		if (!call)
			break;
		if (!is_below(at, call->at)) {
			forget_calls(kind, depth);
			break;
		}
	}
	return depth;
}

static __always_inline void call_begin(__u32 kind, struct frame frame, struct call *call)
{
	struct call_key key = call_key(kind);

	call->start = bpf_ktime_get_boot_ns();
	call->at = frame.at;
	call->mark = frame.mark;
	call->depth = key.depth = unwind(kind, frame.at);
	if (key.depth < NST_DEPTH && !bpf_map_update_elem(&calls, &key, call, BPF_ANY))
		return;
	count_drop(NST_DROP_CALLS);
	if (!call->assumed)
		count_return(kind, NST_RETURN_UNEXPECTED);
}

static __noinline struct call *find_returning(__u32 kind, __u32 at, __u64 mark)
{
	struct call_key key = call_key(kind);
	struct call *call;
	__u32 depth;

	for (depth = 0; depth < NST_DEPTH; depth++) {
		key.depth = depth;
		call = bpf_map_lookup_elem(&calls, &key);
		if (!call)
			return NULL;
		if (is_below(at, call->at))
			continue;
		if (at == call->at && mark == call->mark) {
			forget_calls(kind, depth + 1);
			return call;
		}
		forget_calls(kind, depth);
		return NULL;
	}
	return NULL;
}

/* The call that returns, NULL if its entry wasn't seen. */
static __always_inline struct call *returning(__u32 kind, struct frame frame)
{
	return find_returning(kind, frame.at, frame.mark);
}

/* The call that returning() found is over, and so is the use of what it points to. */
static __always_inline void call_end(__u32 kind, struct call *call)
{
	struct call_key key = call_key(kind);

	if (!call) {
		if (is_recorded(kind))
			count_return(kind, NST_RETURN_STRAY);
		return;
	}
	if (!call->assumed)
		count_return(kind, NST_RETURN_SEEN);
	key.depth = call->depth;
	bpf_map_delete_elem(&calls, &key);
}

#endif
