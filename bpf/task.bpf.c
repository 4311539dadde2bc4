/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tasks that come into a network namespace and leave it, with their other
 * namespaces.
 *
 * All processes of a machine come by here, and most are of no interest: told are
 * those in another namespace than the initial one. Of threads, only those are
 * told that have parted from their process, in another namespace than its
 * leader, or whose leader has none any more because it has ended. When a leader
 * leaves a namespace, those that stay behind in it are told of one by one, before it.
 *
 * All this happens on several CPUs at once. A task first leaves word of what it is
 * about to do and then looks where others are, so that of two that do so at the same
 * time one sees the other: a thread that ends knows that its leader has left, or the
 * leader that the thread doesn't stay. The time of a record is taken after that.
 *
 * nstrace itself isn't told: its threads visit namespaces to look at them.
 */
#include "common.h"

/*
 * The address of init_net and nstrace's own process, set by find_init_net before
 * anything is attached.
 */
volatile __u64 initial_net;
volatile __u32 own_tgid;

/*
 * The kernel's symbols may be hidden, and /proc be that of a container. But the
 * first ancestor of every process is the idle task (init/init_task.c), which is
 * in the initial namespace.
 */
SEC("raw_tp")
int find_init_net(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	int i;

	own_tgid = BPF_CORE_READ(task, tgid);
	for (i = 0; i < 1024; i++) {
		if (BPF_CORE_READ(task, pid) == 0) {
			initial_net = (__u64)BPF_CORE_READ(task, nsproxy, net_ns);
			return 0;
		}
		task = BPF_CORE_READ(task, real_parent);
	}
	return 1;
}

static __always_inline bool is_foreign(struct net *net)
{
	return net && (__u64)net != initial_net;
}

/*
 * What threads were about to do when they last changed their namespaces or let go
 * of them, by task: that they go is known before they do, and they may sleep in
 * between (switch_task_namespaces in kernel/nsproxy.c). Once they have, they have
 * another nsproxy than they had then, and what is here means nothing.
 */
struct parting {
	__u64 born; /* another task may have its memory now */
	__u64 nsproxy;
	__u64 net; /* 0: none */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct parting);
} partings SEC(".maps");

static __always_inline void part(struct task_struct *task, struct net *to)
{
	struct parting parting = {
		.born = BPF_CORE_READ(task, start_time),
		.nsproxy = (__u64)BPF_CORE_READ(task, nsproxy),
		.net = (__u64)to,
	};
	__u64 key = (__u64)task;

	bpf_map_update_elem(&partings, &key, &parting, BPF_ANY);
}

/*
 * The namespace a task is in, or is about to be in as it was told. NULL once it
 * has let go of it.
 */
static __always_inline struct net *task_net(struct task_struct *task)
{
	struct nsproxy *nsproxy = BPF_CORE_READ(task, nsproxy);
	__u64 key = (__u64)task;
	struct parting *parting;

	parting = bpf_map_lookup_elem(&partings, &key);
	if (parting && parting->nsproxy == (__u64)nsproxy &&
	    parting->born == BPF_CORE_READ(task, start_time))
		return (struct net *)parting->net;
	return BPF_CORE_READ(nsproxy, net_ns);
}

/* Where a process is: nowhere once its leader is on its way out. */
static __always_inline struct net *home_of(struct task_struct *task)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);

	return BPF_CORE_READ(leader, flags) & PF_EXITING ? NULL : task_net(leader);
}

static __always_inline bool is_leader(struct task_struct *task)
{
	return BPF_CORE_READ(task, pid) == BPF_CORE_READ(task, tgid);
}

/* Is a task told of that is in this namespace? See the top. */
static __always_inline bool is_told(struct task_struct *task, struct net *net)
{
	__u32 tgid = BPF_CORE_READ(task, tgid);
	struct net *home;

	if (is_leader(task))
		return is_foreign(net) && tgid != own_tgid;
	home = home_of(task);
	return net != home && (is_foreign(net) || is_foreign(home)) && tgid != own_tgid;
}

static __always_inline void read_others(struct nst_task *t, struct nsproxy *ns)
{
	struct cgroup_namespace *cgroup_ns;
	struct time_namespace *time_ns;

	t->mnt_ns = BPF_CORE_READ(ns, mnt_ns, ns.inum);
	t->pid_ns = BPF_CORE_READ(ns, pid_ns_for_children, ns.inum);
	t->uts_ns = BPF_CORE_READ(ns, uts_ns, ns.inum);
	t->ipc_ns = BPF_CORE_READ(ns, ipc_ns, ns.inum);
	/* These two a kernel may be built without. */
	cgroup_ns = BPF_CORE_READ(ns, cgroup_ns);
	if (bpf_core_field_exists(cgroup_ns->ns.inum))
		t->cgroup_ns = BPF_CORE_READ(cgroup_ns, ns.inum);
	time_ns = BPF_CORE_READ(ns, time_ns);
	if (bpf_core_field_exists(time_ns->ns.inum))
		t->time_ns = BPF_CORE_READ(time_ns, ns.inum);
}

/* Begin a record of a task with these namespaces; NULL if the ring is full. */
static __always_inline struct nst_task *task_begin(__u32 probe, __u32 op, struct task_struct *task,
						   struct nsproxy *ns, __u64 now)
{
	struct nst_task *t;
	__u64 seq;

	seq = next_seq(NST_TASKS);
	t = bpf_ringbuf_reserve(&tasks, sizeof(*t), 0);
	if (!t) {
		count_lost(probe);
		return NULL;
	}
	__builtin_memset(t, 0, sizeof(*t));
	t->seq = seq;
	t->time = now;
	t->cpu = bpf_get_smp_processor_id();
	t->op = op;
	t->pid = BPF_CORE_READ(task, tgid);
	t->tid = BPF_CORE_READ(task, pid);
	t->parent = BPF_CORE_READ(task, real_parent, tgid);
	t->threads = BPF_CORE_READ(task, signal, live.counter);
	t->behind = NST_BEHIND_UNKNOWN;
	bpf_core_read_str(t->comm, sizeof(t->comm), &task->comm);
	t->user_ns = BPF_CORE_READ(task, real_cred, user_ns, ns.inum);
	if (bpf_core_field_exists(task->cgroups))
		t->cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	read_net(&t->net, BPF_CORE_READ(ns, net_ns));
	read_others(t, ns);
	return t;
}

static __always_inline void task_send(struct nst_task *t)
{
	bpf_ringbuf_submit(t, wake_flags(&tasks));
}

/*
 * Tell of a thread that stays in a namespace; 0 if it doesn't. This isn't static, so
 * that the verifier goes through it once and not for each thread that there may be.
 */
__noinline int tell_behind(__u64 thread, __u64 leader, __u64 net, __u64 now)
{
	struct task_struct *task = (struct task_struct *)thread;
	struct nst_task *t;

	if (thread == leader || (__u64)task_net(task) != net)
		return 0;
	t = task_begin(NST_TASK_SWITCH, NST_OP_BEHIND, task, BPF_CORE_READ(task, nsproxy), now);
	if (t)
		task_send(t);
	return 1;
}

/* Of more threads than this nobody tells which stay behind. */
#define MAX_THREADS 64

/* Tell of the threads that a leader leaves behind, and return how many there are. */
static __noinline __u32 tell_all_behind(struct task_struct *task, struct net *net, __u64 now)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	__u64 head = (__u64)signal + bpf_core_field_offset(struct signal_struct, thread_head);
	__u64 node = (__u64)BPF_CORE_READ(signal, thread_head.next);
	__u64 leader = (__u64)BPF_CORE_READ(task, group_leader);
	__u32 behind = 0;
	int i;

	for (i = 0; i < MAX_THREADS; i++) {
		__u64 thread = node - bpf_core_field_offset(struct task_struct, thread_node);

		if (node == head)
			return behind;
		behind += tell_behind(thread, leader, (__u64)net, now);
		node = (__u64)BPF_CORE_READ((struct task_struct *)thread, thread_node.next);
	}
	return NST_BEHIND_UNKNOWN;
}

/*
 * sched_process_fork(parent, child[, ...]): the child has all it begins with, and
 * doesn't run yet.
 */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(task_fork_tracepoint, struct task_struct *parent, struct task_struct *child)
{
	struct nst_task *t;

	if (!is_told(child, task_net(child)))
		return 0;
	if (!hit(NST_TASK_FORK))
		return 0;
	t = task_begin(NST_TASK_FORK, NST_OP_FORK, child, BPF_CORE_READ(child, nsproxy),
		       bpf_ktime_get_boot_ns());
	if (t) {
		t->parent = BPF_CORE_READ(parent, tgid);
		t->threads--; /* besides itself */
		read_net(&t->from, task_net(parent));
		task_send(t);
	}
	return 0;
}

/* sched_process_exec(task, ...): it is another program now, in the same place. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(task_exec_tracepoint, struct task_struct *task)
{
	struct nst_task *t;

	if (!is_told(task, task_net(task)))
		return 0;
	if (!hit(NST_TASK_EXEC))
		return 0;
	t = task_begin(NST_TASK_EXEC, NST_OP_EXEC, task, BPF_CORE_READ(task, nsproxy),
		       bpf_ktime_get_boot_ns());
	if (t) {
		t->threads--;
		task_send(t);
	}
	return 0;
}

/*
 * switch_task_namespaces(task, new): what setns and unshare end with. A task that
 * isn't running is one that fork couldn't complete, and no new namespaces are the
 * end, which is seen below.
 */
static __always_inline int task_switch_enter(struct task_struct *task, struct nsproxy *new)
{
	__u32 behind = NST_BEHIND_UNKNOWN;
	struct net *from, *to;
	struct nst_task *t;
	__u64 now;

	if (!new || (__u64)task != bpf_get_current_task())
		return 0;
	from = task_net(task);
	to = BPF_CORE_READ(new, net_ns);
	if (from == to ? !is_told(task, to) : BPF_CORE_READ(task, tgid) == own_tgid)
		return 0;
	if (from != to)
		part(task, to);
	if (!hit(NST_TASK_SWITCH))
		return 0;
	now = bpf_ktime_get_boot_ns();
	if (from != to && is_leader(task))
		behind = tell_all_behind(task, from, now);
	t = task_begin(NST_TASK_SWITCH, NST_OP_SWITCH, task, new, now);
	if (t) {
		t->behind = behind;
		t->threads--;
		read_net(&t->from, from);
		/*
		 * Its credentials may change in the same go, but later. If they
		 * do, they most often are those of the namespace's owner then.
		 */
		if (t->user_ns != BPF_CORE_READ(to, user_ns, ns.inum))
			t->user_ns = 0;
		task_send(t);
	}
	return 0;
}

SEC("fentry/switch_task_namespaces")
int BPF_PROG(task_switch_fentry, struct task_struct *task, struct nsproxy *new)
{
	return task_switch_enter(task, new);
}

SEC("kprobe/switch_task_namespaces")
int BPF_KPROBE(task_switch_kprobe, struct task_struct *task, struct nsproxy *new)
{
	return task_switch_enter(task, new);
}

/*
 * exit_task_namespaces(task), called exit_nsproxy_namespaces since 6.19: the task
 * lets go of all its namespaces. It isn't counted among the living of its
 * process any more (do_exit in kernel/exit.c).
 */
static __always_inline int task_exit_enter(struct task_struct *task)
{
	__u32 behind = NST_BEHIND_UNKNOWN;
	struct nst_task *t;
	struct net *net;
	__u64 now;

	if ((__u64)task != bpf_get_current_task())
		return 0;
	net = task_net(task);
	if (!is_leader(task))
		part(task, NULL);
	if (!is_told(task, net))
		return 0;
	if (!hit(NST_TASK_EXIT))
		return 0;
	now = bpf_ktime_get_boot_ns();
	if (is_leader(task))
		behind = tell_all_behind(task, net, now);
	t = task_begin(NST_TASK_EXIT, NST_OP_EXIT, task, BPF_CORE_READ(task, nsproxy), now);
	if (t) {
		t->behind = behind;
		task_send(t);
	}
	return 0;
}

SEC("fentry/exit_task_namespaces")
int BPF_PROG(task_exit_fentry, struct task_struct *task)
{
	return task_exit_enter(task);
}

SEC("kprobe/exit_task_namespaces")
int BPF_KPROBE(task_exit_kprobe, struct task_struct *task)
{
	return task_exit_enter(task);
}
