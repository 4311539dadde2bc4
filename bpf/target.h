/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which namespace a process or a file descriptor stands for, as the running task
 * sees it. The kernel looks them up only if it gets that far.
 */
#ifndef NSTRACE_TARGET_H
#define NSTRACE_TARGET_H

#include "common.h"

/* include/linux/magic.h */
#define NST_NSFS_MAGIC 0x6e736673
/* An xarray's nodes have 64 slots (XA_CHUNK_SHIFT), and no PID needs more levels. */
#define NST_XA_SHIFT  6
#define NST_XA_LEVELS 5

/* get_net_ns_by_fd */
static __noinline struct net *net_of_fd(int fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files = BPF_CORE_READ(table, fd);
	struct inode *inode;
	struct ns_common *ns;
	struct file *file = NULL;

	if ((__u32)fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), files + (__u32)fd);
	inode = BPF_CORE_READ(file, f_inode);
	if (BPF_CORE_READ(inode, i_sb, s_magic) != NST_NSFS_MAGIC)
		return NULL;
	ns = BPF_CORE_READ(inode, i_private); /* get_proc_ns */
	if (BPF_CORE_READ(ns, ops) != BPF_CORE_READ(task, nsproxy, net_ns, ns.ops))
		return NULL; /* of another type */
	return (void *)ns - bpf_core_field_offset(struct net, ns);
}

/* The entry of an xarray, as xa_load finds it: internal nodes have 2 added. */
static __always_inline void *xarray_entry(void *entry, __u32 index)
{
	struct xa_node *node;
	void *slots;
	__u8 shift;
	int i;

	for (i = 0; i < NST_XA_LEVELS && ((__u64)entry & 3) == 2; i++) {
		node = entry - 2;
		slots = (void *)node + bpf_core_field_offset(struct xa_node, slots);
		shift = BPF_CORE_READ(node, shift);
		if (shift >= 32 - NST_XA_SHIFT || index >> (shift + NST_XA_SHIFT))
			return NULL;
		bpf_probe_read_kernel(&entry, sizeof(entry),
				      slots + (index >> shift) * sizeof(entry));
		index &= (1U << shift) - 1;
	}
	return (__u64)entry & 3 ? NULL : entry;
}

/* find_task_by_vpid: the task that has this number in the running task's pid namespace. */
static __noinline struct task_struct *task_of_pid(__u32 nr)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct pid *own = BPF_CORE_READ(task, thread_pid);
	struct pid_namespace *ns;
	struct hlist_node *link;
	struct upid *number;
	struct pid *pid;

	if (bpf_core_field_size(((struct xa_node *)0)->slots) != sizeof(void *) << NST_XA_SHIFT)
		return NULL;
	number = (void *)own + bpf_core_field_offset(struct pid, numbers) +
		 BPF_CORE_READ(own, level) * bpf_core_type_size(struct upid);
	ns = BPF_CORE_READ(number, ns);
	pid = xarray_entry(BPF_CORE_READ(ns, idr.idr_rt.xa_head), nr);
	link = BPF_CORE_READ(pid, tasks[0].first);
	if (!link)
		return NULL;
	return (void *)link - bpf_core_field_offset(struct task_struct, pid_links);
}

static __always_inline struct net *net_of_task(struct task_struct *task)
{
	return task ? BPF_CORE_READ(task, nsproxy, net_ns) : NULL;
}

#endif
