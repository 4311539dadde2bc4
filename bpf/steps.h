/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What each subsystem takes of setting a namespace up or tearing one down. There
 * are some fifty, so they are collected while it goes on and sent with one record
 * when it is over.
 */
#ifndef NSTRACE_STEPS_H
#define NSTRACE_STEPS_H

#include "common.h"

/* How many are kept of one set-up or tear-down; the rest is counted. */
#define NST_MAX_STEPS 128

struct steps {
	__u32 at;      /* the frame of setup_net or cleanup_net */
	__u32 running; /* the step behind those counted has begun, */
	__u32 step_at; /* in a call with this frame */
	__u32 pad;
	__u64 step_mark;
	struct nst_steps record; /* all of it is sent from here on */
	struct nst_step step[NST_MAX_STEPS];
};

/* By thread: as many as may be set up at one time. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct steps);
} steps_of SEC(".maps");

/* A new one: too large for the stack. */
static const struct steps no_steps;

/*
 * From now on the calls of probe's function in this thread are collected, if they
 * are within the one at frame. Where the table is full they are not, but counted.
 */
static __always_inline void steps_begin(__u32 probe, struct frame frame)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct steps *s;

	/* One that is there already is stale: its end was missed. */
	if (bpf_map_update_elem(&steps_of, &tid, &no_steps, BPF_ANY))
		return;
	s = bpf_map_lookup_elem(&steps_of, &tid);
	if (!s)
		return;
	s->at = frame.at;
	s->record.kind = probe;
}

/* What a call of probe's function at frame is to be collected in, if anything. */
static __always_inline struct steps *steps_around(__u32 probe, struct frame frame)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct steps *s = bpf_map_lookup_elem(&steps_of, &tid);

	return s && s->record.kind == probe && is_below(frame.at, s->at) ? s : NULL;
}

/*
 * The running step is over. If nobody saw it return, it was over when the next one
 * began: they come one right after the other.
 */
static __noinline int step_over(struct steps *s, enum nst_return how, __u32 ret)
{
	struct nst_step *step;
	__u32 n;

	if (!s)
		return 0;
	n = s->record.count;
	s->running = 0;
	count_return(s->record.kind, how);
	if (n >= NST_MAX_STEPS)
		return 0;
	step = &s->step[n];
	step->duration = bpf_ktime_get_boot_ns() - step->began;
	step->ret = ret;
	s->record.count = n + 1;
	return 0;
}

static __always_inline void step_skipped(__u32 probe)
{
	count_drop(NST_DROP_CALLS);
	count_return(probe, NST_RETURN_UNEXPECTED);
}

static __always_inline void step_enter(struct steps *s, struct frame frame,
				       struct pernet_operations *ops, __u64 fn)
{
	struct nst_step *step;
	__u32 n;

	if (s->running)
		step_over(s, NST_RETURN_MISSED, 0);
	n = s->record.count;
	if (n >= NST_MAX_STEPS) {
		s->record.skipped++;
		step_skipped(s->record.kind);
		return;
	}
	step = &s->step[n];
	step->ops = (__u64)ops;
	step->fn = fn;
	s->running = 1;
	s->step_at = frame.at;
	s->step_mark = frame.mark;
	step->began = bpf_ktime_get_boot_ns();
}

static __always_inline void step_exit(struct steps *s, struct frame frame, long ret)
{
	if (s->running && s->step_at == frame.at && s->step_mark == frame.mark)
		step_over(s, NST_RETURN_SEEN, errno_of(ret));
	else
		count_return(s->record.kind, NST_RETURN_STRAY);
}

/* Is so little room left in the ring that it is better kept for the story itself? */
static __always_inline bool ring_is_half_full(void)
{
	return bpf_ringbuf_query(&lifecycle, BPF_RB_AVAIL_DATA) >
	       bpf_ringbuf_query(&lifecycle, BPF_RB_RING_SIZE) / 2;
}

/* Send a record with as many steps as it says there are behind it. */
static __always_inline void steps_send(struct nst_steps *record, struct call *call)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	__u32 n = record->count;

	record->seq = next_seq(NST_STEPS);
	record->time = bpf_ktime_get_boot_ns();
	record->cpu = bpf_get_smp_processor_id();
	record->pid = pid_tgid >> 32;
	record->tid = pid_tgid;
	read_net(&record->net, (struct net *)call->net.ptr);
	if (n > NST_MAX_STEPS)
		n = NST_MAX_STEPS;
	if (ring_is_half_full() ||
	    bpf_ringbuf_output(&lifecycle, record, sizeof(*record) + n * sizeof(struct nst_step),
			       wake_flags(&lifecycle)))
		count_lost(record->kind);
}

/*
 * call, of setup_net or cleanup_net, is over; NULL if its entry wasn't seen. ret
 * is its errno, and that of its last step.
 */
static __always_inline void steps_end(__u32 probe, struct call *call, __u32 ret)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct steps *s = bpf_map_lookup_elem(&steps_of, &tid);

	if (s && s->running)
		step_over(s, NST_RETURN_MISSED, ret);
	if (!call || !is_recorded(probe)) {
		/* What there is, is stale, or nobody wants it. */
	} else if (!s) {
		struct nst_steps record = {.kind = probe, .skipped = call->count};

		if (call->count)
			steps_send(&record, call);
	} else if (s->record.count + s->record.skipped) {
		steps_send(&s->record, call);
	}
	if (s)
		bpf_map_delete_elem(&steps_of, &tid);
}

#endif
