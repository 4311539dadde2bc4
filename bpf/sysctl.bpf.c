/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Writes to files below /proc/sys/net.
 *
 * A program of this type may refuse them, and this one never does. It runs
 * before the write is carried out, so what becomes of that isn't known.
 */
#include "common.h"

static __always_inline bool is_net_sysctl(const char *path)
{
	return path[0] == 'n' && path[1] == 'e' && path[2] == 't' && path[3] == '/';
}

/*
 * Whoever writes sysctls in a loop, as anybody may in a namespace of his own,
 * must not push out what others do: half of the ring is theirs.
 */
static __always_inline bool is_half_full(void *ring)
{
	return bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) >=
	       bpf_ringbuf_query(ring, BPF_RB_RING_SIZE) / 2;
}

/* Not all that other programs can ask about the running task can be asked here. */
static __always_inline void read_writer(struct nst_event *e, struct task_struct *task)
{
	e->pid = BPF_CORE_READ(task, tgid);
	e->tid = BPF_CORE_READ(task, pid);
	bpf_core_read_str(e->comm, sizeof(e->comm), &task->comm);
	read_net(&e->caller, BPF_CORE_READ(task, nsproxy, net_ns));
	e->net = e->caller;
}

SEC("cgroup/sysctl")
int sysctl_cgroup(struct bpf_sysctl *ctx)
{
	struct nst_event *e = NULL;
	char path[64] = {};
	__u64 seq;

	if (!ctx->write || !is_recorded(NST_SYSCTL))
		return 1;
	bpf_sysctl_get_name(ctx, path, sizeof(path), 0);
	if (!is_net_sysctl(path) || !hit(NST_SYSCTL))
		return 1;
	seq = next_seq(NST_LIFECYCLE);
	if (!is_half_full(&lifecycle))
		e = bpf_ringbuf_reserve(&lifecycle, sizeof(*e), 0);
	if (!e) {
		count_lost(NST_SYSCTL);
		return 1;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->seq = seq;
	e->time = bpf_ktime_get_boot_ns();
	e->cpu = bpf_get_smp_processor_id();
	e->kind = NST_SYSCTL;
	e->phase = NST_INSTANT;
	e->wiphy_index = -1;
	read_writer(e, (void *)bpf_get_current_task());
	__builtin_memcpy(e->wiphy_name, path, sizeof(e->wiphy_name));
	bpf_sysctl_get_current_value(ctx, e->name, sizeof(e->name));
	bpf_sysctl_get_new_value(ctx, e->new_name, sizeof(e->new_name));
	event_send(e);
	return 1;
}
