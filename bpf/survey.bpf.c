/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What holds network namespaces at one moment: read from the kernel's own
 * lists, so that looking neither takes a reference nor touches a task. An
 * object of its own, for package snapshot.
 */
#include "net.h"

#define NSFS_MAGIC	 0x6e736673 /* include/uapi/linux/magic.h */
#define SOCKFS_MAGIC	 0x534F434B
#define PROC_SUPER_MAGIC 0x9fa0
#define TUN_RDEV	 (10 << 20 | 200) /* MISC_MAJOR, TUN_MINOR */

enum survey_kind {
	SURVEY_TASK = 1,
	SURVEY_FILE = 2, /* an open file of nsfs */
	SURVEY_SOCKET = 3,
	SURVEY_TUN = 4,	 /* /dev/net/tun, opened there */
	SURVEY_PROC = 5, /* a file of /proc/net, opened there */
	SURVEY_NET = 6,	 /* the kernel lists it */
};

/*
 * One thing that was found. Numbers of tasks are those of the initial pid
 * namespace, as events have them, and for here_* those of nstrace's own, as
 * /proc has them.
 */
struct survey_row {
	struct nst_net net;
	__u32 kind;
	__u32 mnt_inum;
	__u32 pid;
	__u32 tid;
	__u32 here_pid;
	__u32 here_tid;
	__s32 fd;
	__s32 references;
	__u32 user_inum;
	__u32 with_leader; /* a thread whose network namespace is its process's */
	char comm[16];
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* kernel/bpf/task_iter.c */
struct seq_file {
	void *private;
};
struct bpf_iter_meta {
	struct seq_file *seq;
};
struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};
struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

/* include/linux/net.h */
struct socket {
	struct sock *sk;
};

/* include/linux/seq_file_net.h */
struct seq_net_private {
	struct net *net;
};

#pragma clang attribute pop

/* By this a struct net is told from other memory. */
static __always_inline const void *net_ops(struct net *net)
{
	return BPF_CORE_READ(net, ns.ops);
}

static __always_inline struct net *own_net(void)
{
	struct task_struct *me = (void *)bpf_get_current_task();

	return BPF_CORE_READ(me, nsproxy, net_ns);
}

static __always_inline bool is_net(struct net *net)
{
	return net && net_ops(net) == net_ops(own_net());
}

/* What a task is called in the pid namespace of whoever reads. */
static __always_inline __u32 number_here(struct task_struct *task)
{
	struct task_struct *me = (void *)bpf_get_current_task();
	__u32 level = BPF_CORE_READ(me, thread_pid, level);
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 nr = 0;

	if (!pid || BPF_CORE_READ(pid, level) < level)
		return 0;
	bpf_probe_read_kernel(&nr, sizeof(nr),
			      (void *)pid + bpf_core_field_offset(struct pid, numbers) +
				      level * bpf_core_type_size(struct upid) +
				      bpf_core_field_offset(struct upid, nr));
	return nr;
}

static __always_inline void describe_task(struct survey_row *row, struct task_struct *task)
{
	row->pid = BPF_CORE_READ(task, tgid);
	row->tid = BPF_CORE_READ(task, pid);
	row->here_tid = number_here(task);
	row->here_pid = row->pid == row->tid ? row->here_tid
					     : number_here(BPF_CORE_READ(task, group_leader));
	row->mnt_inum = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
	BPF_CORE_READ_STR_INTO(&row->comm, task, comm);
}

/*
 * Processes, and those threads that aren't in all the namespaces of their process:
 * they may be the only ones that have a mount namespace.
 */
SEC("iter/task")
int survey_tasks(struct bpf_iter__task *ctx)
{
	struct survey_row row = {.kind = SURVEY_TASK, .fd = -1};
	struct task_struct *task = ctx->task;
	struct nsproxy *nsproxy, *leaders;

	if (!task)
		return 0;
	/* A task gives up its namespaces before it becomes a zombie. */
	nsproxy = BPF_CORE_READ(task, nsproxy);
	if (!nsproxy)
		return 0;
	if (BPF_CORE_READ(task, pid) != BPF_CORE_READ(task, tgid)) {
		leaders = BPF_CORE_READ(task, group_leader, nsproxy);
		if (nsproxy == leaders)
			return 0;
		row.with_leader = BPF_CORE_READ(nsproxy, net_ns) == BPF_CORE_READ(leaders, net_ns);
	}
	read_net(&row.net, BPF_CORE_READ(nsproxy, net_ns));
	describe_task(&row, task);
	bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	return 0;
}

/* What an open file holds, NULL for no network namespace. */
static __always_inline struct net *net_of_file(struct file *file, __u32 *kind)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	unsigned long magic = BPF_CORE_READ(inode, i_sb, s_magic);
	void *data = BPF_CORE_READ(file, private_data);
	struct net *net;

	switch (magic) {
	case NSFS_MAGIC:
		*kind = SURVEY_FILE;
		net = BPF_CORE_READ(inode, i_private) - bpf_core_field_offset(struct net, ns);
		break;
	case SOCKFS_MAGIC:
		*kind = SURVEY_SOCKET;
		net = BPF_CORE_READ((struct socket *)data, sk, __sk_common.skc_net.net);
		break;
	case PROC_SUPER_MAGIC:
		*kind = SURVEY_PROC;
		/* Either seq_open_net or single_open_net, if it is of those. */
		net = BPF_CORE_READ((struct seq_file *)data, private);
		if (!is_net(net))
			net = BPF_CORE_READ((struct seq_net_private *)net, net);
		break;
	default:
		if (BPF_CORE_READ(inode, i_rdev) != TUN_RDEV)
			return NULL;
		*kind = SURVEY_TUN;
		/* struct tun_file begins with a struct sock (drivers/net/tun.c). */
		net = BPF_CORE_READ((struct sock *)data, __sk_common.skc_net.net);
	}
	return is_net(net) ? net : NULL;
}

/*
 * Open files that hold another namespace than their task is in, and all of nsfs.
 */
SEC("iter/task_file")
int survey_files(struct bpf_iter__task_file *ctx)
{
	struct survey_row row = {.fd = ctx->fd};
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct net *net;

	if (!task || !file)
		return 0;
	net = net_of_file(file, &row.kind);
	if (!net || (row.kind != SURVEY_FILE && net == BPF_CORE_READ(task, nsproxy, net_ns)))
		return 0;
	read_net(&row.net, net);
	describe_task(&row, task);
	bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	return 0;
}

#define SURVEY_PAGE 128

/*
 * A part of the kernel's list of namespaces: up to page_rows of them, beginning
 * after the one at cursor, which was the last one of the page before; 0 at
 * first. finished is set when the circle is closed.
 */
struct survey_row page[SURVEY_PAGE];
__u32 page_rows;
__u32 cursor_inum;
__u64 cursor;
__u64 cursor_cookie;
__u32 finished;
__u32 broken; /* cursor is no longer in the list */

static __always_inline struct net *net_of_entry(struct list_head *entry)
{
	return (void *)entry - bpf_core_field_offset(struct net, list);
}

static __always_inline struct net *next_net(struct net *net)
{
	struct list_head *next = BPF_CORE_READ(net, list.next);

	/* The head, net_namespace_list, is in no struct net. */
	if (!is_net(net_of_entry(next)))
		next = BPF_CORE_READ(next, next);
	return net_of_entry(next);
}

/* Is it the namespace that cursor was, and still in the list (list_del_rcu)? */
static __always_inline bool cursor_stands(struct net *net)
{
	struct nst_net now;

	read_net(&now, net);
	return is_net(net) && now.inum == cursor_inum && now.cookie == cursor_cookie &&
	       (void *)BPF_CORE_READ(net, list.prev, next) ==
		       (void *)net + bpf_core_field_offset(struct net, list);
}

/*
 * The list is only read within an RCU read-side critical section, as one run of
 * a program is: what is taken from it meanwhile still leads on.
 */
SEC("raw_tp")
int survey_nets(void *ctx)
{
	struct net *own = own_net();
	struct net *net = (void *)cursor;
	struct survey_row *row;
	__u32 i;

	page_rows = 0;
	finished = 0;
	broken = 0;
	if (!net) {
		net = own;
	} else if (!cursor_stands(net)) {
		broken = 1;
		return 0;
	}
	for (i = 0; i < SURVEY_PAGE; i++) {
		net = next_net(net);
		if (!is_net(net)) {
			broken = 1;
			return 0;
		}
		row = &page[i];
		read_net(&row->net, net);
		row->kind = SURVEY_NET;
		row->references = net_references(net);
		row->user_inum = BPF_CORE_READ(net, user_ns, ns.inum);
		page_rows = i + 1;
		cursor = row->net.ptr;
		cursor_inum = row->net.inum;
		cursor_cookie = row->net.cookie;
		if (net == own) {
			finished = 1;
			return 0;
		}
	}
	return 0;
}

/* Named here so that BTF, and so Go, has them. */
const struct survey_row *unused_survey_row __attribute__((unused));
const enum survey_kind *unused_survey_kind __attribute__((unused));

char LICENSE[] SEC("license") = "GPL";
