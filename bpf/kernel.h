/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel's own types, as far as the programs read them. Only the names
 * matter: offsets are relocated against the BTF of the running kernel and its
 * modules (CO-RE), so a field may stand anywhere and the rest is left out.
 *
 * A type whose name ends in ___x is a flavour: the same kernel type as an
 * other release declares it.
 */
#ifndef NSTRACE_KERNEL_H
#define NSTRACE_KERNEL_H

#include <linux/bpf.h>
#include <linux/nl80211.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/*
 * What a kprobe program gets for a context. These two are fixed by the
 * architecture's ABI (arch/x86/include/uapi/asm/ptrace.h,
 * arch/arm64/include/uapi/asm/ptrace.h) and are not relocated.
 */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8;
	unsigned long rax, rcx, rdx, rsi, rdi, orig_rax, rip, cs, eflags, rsp, ss;
};
#elif defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	__u64 regs[31];
	__u64 sp, pc, pstate;
};
struct pt_regs;
#endif

#include <bpf/bpf_tracing.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;
typedef struct {
	atomic_t refs;
} refcount_t;

struct proc_ns_operations;
struct ns_common {
	const struct proc_ns_operations *ops;
	unsigned int inum;
	refcount_t count;
};

/* From 6.18 on namespaces of all types count their references alike. */
struct ns_common___ref {
	refcount_t __ns_ref;
};

struct list_head {
	struct list_head *next, *prev;
};

typedef struct {
	__u32 val;
} kuid_t;
struct user_namespace {
	struct user_namespace *parent;
	kuid_t owner;
	struct ns_common ns;
};

/* include/linux/cred.h; a kernel_cap_t was of two __u32 before 6.3. */
typedef struct {
	__u64 val;
} kernel_cap_t;
struct cred {
	kuid_t euid;
	kernel_cap_t cap_effective;
	struct user_namespace *user_ns;
};

/* include/net/net_namespace.h */
struct net {
	struct user_namespace *user_ns;
	struct ns_common ns;
	__u64 net_cookie;
	struct list_head list;
	struct list_head exit_list;
	struct hlist_head *dev_index_head;
};

/* Before 5.12 the reference count was struct net's own. */
struct net___count {
	refcount_t count;
};

/* Before 5.12 the cookie was handed out on demand, with an atomic exchange. */
struct atomic64___early {
	long long counter;
};
struct net___early {
	struct atomic64___early net_cookie;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct uts_namespace {
	struct ns_common ns;
};
struct ipc_namespace {
	struct ns_common ns;
};
struct mnt_namespace {
	struct ns_common ns;
};
struct pid_namespace;
struct cgroup_namespace {
	struct ns_common ns;
};
struct time_namespace {
	struct ns_common ns;
};

/* include/linux/nsproxy.h */
struct nsproxy {
	struct uts_namespace *uts_ns;
	struct ipc_namespace *ipc_ns;
	struct mnt_namespace *mnt_ns;
	struct pid_namespace *pid_ns_for_children;
	struct net *net_ns;
	struct time_namespace *time_ns;
	struct cgroup_namespace *cgroup_ns;
};

/* include/linux/cgroup-defs.h */
struct kernfs_node {
	__u64 id;
};
struct cgroup {
	struct kernfs_node *kn;
};
struct css_set {
	struct cgroup *dfl_cgrp;
};

struct signal_struct {
	atomic_t live;
	struct list_head thread_head;
};

/* include/linux/fs.h, include/linux/fdtable.h */
struct super_block {
	unsigned long s_magic;
};
struct inode {
	unsigned int i_rdev;
	struct super_block *i_sb;
	void *i_private;
};
struct file {
	struct inode *f_inode;
	void *private_data;
};
struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};
struct files_struct {
	struct fdtable *fdt;
};

/* include/linux/xarray.h, include/linux/idr.h */
struct xarray {
	void *xa_head;
};
struct xa_node {
	unsigned char shift;
	void *slots[64];
};
struct idr {
	struct xarray idr_rt;
};

/* include/linux/pid.h */
struct hlist_node {
	struct hlist_node *next;
};
struct hlist_head {
	struct hlist_node *first;
};
struct pid_namespace {
	struct idr idr;
	struct ns_common ns;
};
struct upid {
	int nr;
	struct pid_namespace *ns;
};
struct pid {
	unsigned int level;
	struct hlist_head tasks[4];
	struct upid numbers[1];
};

/* include/linux/sched.h */
#define PF_EXITING 4
struct task_struct {
	unsigned int flags;
	int pid;
	int tgid;
	__u64 start_time;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	const struct cred *real_cred;
	const struct cred *cred;
	char comm[16];
	struct nsproxy *nsproxy;
	struct files_struct *files;
	struct signal_struct *signal;
	struct css_set *cgroups;
	struct pid *thread_pid;
	struct hlist_node pid_links[4];
	struct list_head thread_node;
};

/* include/net/net_namespace.h */
struct pernet_operations {
	int (*init)(struct net *net);
	void (*exit)(struct net *net);
	void (*exit_batch)(void *list);
};

struct rtnl_link_ops {
	const char *kind;
};

/* u64_stats_t is a struct from 5.11 on, a bare u64 in between and before. */
struct u64_stats___struct {
	__u64 v;
};
struct pcpu_sw_netstats {
	struct u64_stats___struct rx_packets;
	struct u64_stats___struct rx_bytes;
};
struct pcpu_sw_netstats___bare {
	__u64 rx_packets;
	__u64 rx_bytes;
};

struct wiphy;
struct net_device;

/* include/net/cfg80211.h */
#define WIPHY_FLAG_NETNS_OK (1 << 3) /* of enum wiphy_flags, ever since there is one */
struct wireless_dev {
	struct wiphy *wiphy;
	enum nl80211_iftype iftype;
	struct net_device *netdev;
	__u32 identifier;
};

/* include/linux/netdevice.h */
struct net_device {
	char name[16];
	int ifindex;
	unsigned short type;
	possible_net_t nd_net;
	struct wireless_dev *ieee80211_ptr;
	const struct rtnl_link_ops *rtnl_link_ops;
	struct pcpu_sw_netstats *tstats;
	struct hlist_node index_hlist;
};

/* Before 6.10 the driver's part follows the struct without being a member. */
struct net_device___priv {
	unsigned char priv[0];
};

struct kobject {
	const char *name;
};
struct class
{
	const char *name;
};
struct device_driver {
	const char *name;
};
struct device {
	struct device *parent;
	struct device_driver *driver;
	struct class *class;
	struct kobject kobj;
	const char *init_name;
	void *platform_data;
};
struct wiphy {
	__u32 flags;
	struct device dev;
	possible_net_t _net;
	char priv[0];
};

/* include/net/sock.h */
struct sock_common {
	possible_net_t skc_net;
};
struct sock {
	struct sock_common __sk_common;
};

/* include/linux/skbuff.h; before 5.15 mac_header was within a group without a name */
struct sk_buff {
	struct sock *sk;
	struct net_device *dev;
	unsigned int len, data_len;
	int skb_iif;
	__u8 pkt_type : 3;
	__u16 protocol; /* big-endian */
	__u16 mac_header;
	unsigned int end; /* sk_buff_data_t on 64 bits */
	unsigned char *head, *data;
};
struct skb_shared_info {
	unsigned short gso_segs;
};

/* include/net/genetlink.h */
struct genl_info {
	void *user_ptr[2];
};

/* net/mac80211/ieee80211_i.h; only for programs that are given one with its type */
struct ieee80211_sub_if_data {
	struct net_device *dev;
};
struct ieee80211_rx_data {
	struct sk_buff *skb;
	struct ieee80211_sub_if_data *sdata;
};

#pragma clang attribute pop

#endif
