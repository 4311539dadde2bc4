/* SPDX-License-Identifier: GPL-2.0 */
/* What every program needs: the rings, sequence numbers and the sending of a record. */
#ifndef NSTRACE_COMMON_H
#define NSTRACE_COMMON_H

#include "calls.h"
#include "net.h"

/* Sizes are set by nstrace before loading; these are for lack of better. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} lifecycle SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} packets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} tasks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, NST_RINGS);
	__type(key, __u32);
	__type(value, __u64);
} sequence SEC(".maps");

/*
 * How many arguments the functions take whose number differs from kernel to
 * kernel; fexit finds the return value behind the last one.
 */
const volatile __u32 setup_net_args = 1;
const volatile __u32 netdev_move_args = 4;

/*
 * In assembly, because a compiler would join the branches into one load from
 * ctx plus something, and the verifier wants a constant offset.
 */
static __always_inline long fexit_ret(unsigned long long *ctx, __u32 args)
{
	long ret = 0;

	if (args == 1)
		asm volatile("%0 = *(u64 *)(%1 + 8)" : "=r"(ret) : "r"(ctx));
	else if (args == 2)
		asm volatile("%0 = *(u64 *)(%1 + 16)" : "=r"(ret) : "r"(ctx));
	else if (args == 3)
		asm volatile("%0 = *(u64 *)(%1 + 24)" : "=r"(ret) : "r"(ctx));
	else if (args == 4)
		asm volatile("%0 = *(u64 *)(%1 + 32)" : "=r"(ret) : "r"(ctx));
	else if (args == 5)
		asm volatile("%0 = *(u64 *)(%1 + 40)" : "=r"(ret) : "r"(ctx));
	return ret;
}

/*
 * The next number of this CPU's sequence. Taken before space is reserved, so
 * that a record that finds none leaves a gap. fentry programs can be preempted
 * (5.12 and later), hence the atomic; 5.10 has no atomic that returns a value
 * but runs these programs with preemption off. There nstrace clears have_fetch
 * and blunts the instruction, which is then dead code.
 */
const volatile bool have_fetch = true;

static __always_inline __u64 next_seq(__u32 ring)
{
	__u64 *seq = bpf_map_lookup_elem(&sequence, &ring);
	__u64 n;

	if (!seq)
		return 0;
	if (have_fetch)
		return __sync_fetch_and_add(seq, 1);
	n = *(volatile __u64 *)seq;
	*(volatile __u64 *)seq = n + 1;
	return n;
}

/*
 * The reader looks by itself some times a second, so records don't wake it,
 * except when they come so fast that the ring would fill meanwhile: when it is
 * full to a quarter.
 */
static __always_inline __u64 wake_flags(void *ring)
{
	if (bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) >=
	    bpf_ringbuf_query(ring, BPF_RB_RING_SIZE) / 4)
		return BPF_RB_FORCE_WAKEUP;
	return BPF_RB_NO_WAKEUP;
}

/* Which of the calls that explain other events a call at frame is part of. */
static __always_inline __u32 within(struct frame frame)
{
	__u32 mask = 0;

	if (running(NST_CLEANUP_NET, frame))
		mask |= 1 << NST_CLEANUP_NET;
	if (running(NST_WIPHY_SWITCH, frame))
		mask |= 1 << NST_WIPHY_SWITCH;
	if (running(NST_SETUP_NET, frame))
		mask |= 1 << NST_SETUP_NET;
	if (running(NST_IF_ADD, frame))
		mask |= 1 << NST_IF_ADD;
	return mask;
}

/* Begin a record; NULL if the ring is full, which is then counted. */
static __always_inline struct nst_event *event_begin(__u32 kind, __u8 phase, struct frame frame,
						     struct call *call)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct task_struct *task;
	struct nst_event *e;
	__u64 seq;

	if (!is_recorded(kind))
		return NULL;
	seq = next_seq(NST_LIFECYCLE);
	e = bpf_ringbuf_reserve(&lifecycle, sizeof(*e), 0);
	if (!e) {
		count_lost(kind);
		return NULL;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->seq = seq;
	e->time = bpf_ktime_get_boot_ns();
	e->cpu = bpf_get_smp_processor_id();
	e->kind = kind;
	e->phase = phase;
	e->pid = pid_tgid >> 32;
	e->tid = pid_tgid;
	e->within = within(frame) & ~(1U << (kind & 31));
	e->wiphy_index = -1;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	task = (void *)bpf_get_current_task();
	read_net(&e->caller, BPF_CORE_READ(task, nsproxy, net_ns));
	if (call) {
		e->start = call->start;
		e->net = call->net;
		e->net2 = call->net2;
		e->ifindex = call->ifindex;
	} else if (phase == NST_EXIT) {
		e->flags |= NST_NO_ENTRY;
	}
	return e;
}

static __always_inline void event_send(struct nst_event *e)
{
	bpf_ringbuf_submit(e, wake_flags(&lifecycle));
}

/* The errno of a function that returns an int: negative or 0. */
static __always_inline __u32 errno_of(long ret)
{
	int err = ret;

	return err < 0 ? -err : 0;
}

/* The same of one that returns a pointer or ERR_PTR() (include/linux/err.h). */
static __always_inline __u32 errno_of_pointer(const void *ret)
{
	const long max_errno = 4095;
	long err = (long)ret;

	return err < 0 && err >= -max_errno ? -err : 0;
}

#endif
