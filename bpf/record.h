/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The records that the programs send to nstrace and the keys and values of the
 * maps it reads. Go gets its declarations from these by way of BTF; the numbers
 * of enum nst_kind and enum nst_phase are also event.Kind and event.Phase.
 */
#ifndef NSTRACE_RECORD_H
#define NSTRACE_RECORD_H

enum nst_kind {
	NST_SETUP_NET = 1,
	NST_PUT_NET = 2,
	NST_CLEANUP_NET = 3,
	NST_FREE_NET = 4,
	NST_REGISTER_PERNET = 5,
	NST_UNREGISTER_PERNET = 6,
	NST_WIPHY_NEW = 7,
	NST_WIPHY_REGISTER = 8,
	NST_WIPHY_UNREGISTER = 9,
	NST_WIPHY_FREE = 10,
	NST_WIPHY_RENAME = 11,
	NST_WIPHY_SWITCH = 12,
	NST_IF_ADD = 13,
	NST_IF_REMOVE = 14,
	NST_NETDEV_REGISTER = 15,
	NST_NETDEV_UNREGISTER = 16,
	NST_NETDEV_MOVE = 17,
	NST_NETDEV_RENAME = 18,
	NST_COPY_NET = 19,
	NST_PERNET_REQUEST = 20,
	NST_NL80211 = 21,
	NST_NET_BY_PID = 22,
	NST_NSID = 23,
	NST_SYSCTL = 24,
	NST_WDEV_UNREGISTER = 25,
	NST_RTNETLINK = 26,
	NST_WDEV_REGISTER = 27,

	/* Probes that send no lifecycle record, but are counted like the others. */
	NST_OPS_INIT = 32,
	NST_DELIVER_SKB = 33,
	NST_NETNS_PUT = 34,
	NST_PERNET_EXIT = 35,
	NST_DEVICE_RENAME = 36,
	NST_PRE_DOIT = 37,
	NST_STATION_UPDATE = 38,
	NST_NETIF_RX = 39,
	NST_TASK_SWITCH = 48,
	NST_TASK_FORK = 49,
	NST_TASK_EXEC = 50,
	NST_TASK_EXIT = 51,
	NST_NSID_REQUEST = 52,
	NST_NSID_NOTIFY = 53,
	NST_NET_BY_FD = 54,
	NST_OPS_EXIT = 56,
	NST_REGISTER_DEVICE = 57,
	NST_UNREGISTER_SUBSYS = 58,
	NST_UNREGISTER_DEVICE = 59,
	NST_RX_8023 = 60,
	NST_RECEIVE = 61,
	NST_CONTROL_PORT = 62,
	NST_KFREE_SKB = 63,

	NST_KINDS = 64,
};

/* What is recorded: see counters.h. */
enum nst_recording {
	NST_SILENT = 0,
	NST_RECORDING = 1,
	NST_CLOSING = 2,
};

enum nst_phase {
	NST_INSTANT = 0,
	NST_ENTER = 1,
	NST_EXIT = 2,
};

enum nst_flag {
	NST_RX = 1,	    /* rx_packets and rx_bytes were read */
	NST_NO_ENTRY = 2,   /* an exit without its entry */
	NST_CAN_SWITCH = 4, /* the wiphy may change namespaces */
	NST_NET_ADMIN = 8,  /* the task has CAP_NET_ADMIN in user_ns */
	NST_STAYED = 16,    /* a move that said it succeeded, and didn't */
};

/* How far a request came. */
enum nst_stage {
	NST_STAGE_REFUSED = 1,
	NST_STAGE_PRE_DOIT = 2,
	NST_STAGE_HANDLED = 3,
};

/* event.Path */
enum nst_path {
	NST_PATH_DELIVER_SKB = 1,
	NST_PATH_RX_8023 = 2,
	NST_PATH_STACK = 3,
	NST_PATH_CONTROL_PORT = 4,
	NST_PATH_DROPPED = 5,
	NST_PATH_LOOPBACK = 6,
	NST_PATH_STATION_UPDATE = 7,
	NST_PATH_NETIF_RX = 8,
};

struct nst_net {
	__u64 ptr;
	__u64 cookie;
	__u32 inum;
	__u32 pad;
};

/* One lifecycle record: event.Event says what each field means for each kind. */
struct nst_event {
	__u64 seq;
	__u64 time;
	__u64 start;
	__u32 cpu;
	__u16 kind;
	__u8 phase;
	__u8 flags;
	__u32 pid;
	__u32 tid;
	__u32 within;
	__u32 ret;
	struct nst_net caller;
	struct nst_net net;
	struct nst_net net2;
	__u64 dev;
	__u64 wiphy;
	__s32 wiphy_index;
	__s32 ifindex;
	__s32 new_ifindex;
	__u32 iftype;
	__u64 rx_packets;
	__u64 rx_bytes;
	__u64 ops;
	__u64 fn;
	__u64 count;
	__u64 arg;
	__u64 wdev;
	__u32 dev_type;
	__u32 user_ns;
	__u32 target_pid;
	__s32 nsid;
	__u32 stage;
	__u32 caller_user_ns;
	__u32 wdev_id;
	__u32 pad;
	char comm[16];
	char link_kind[16];
	char name[64];
	char new_name[64];   /* of NST_WIPHY_REGISTER: its driver */
	char wiphy_name[64]; /* of NST_SYSCTL: the path */
};

/*
 * What each subsystem took of one set-up or tear-down of a namespace, in the
 * order in which they ran: a nst_steps, and count nst_step behind it. It begins
 * like a nst_event, whose ring it shares; its kind, NST_OPS_INIT or NST_OPS_EXIT,
 * tells them apart. event.Step says what the fields mean.
 */
struct nst_steps {
	__u64 seq;
	__u64 time;
	__u64 pad;
	__u32 cpu;
	__u16 kind;
	__u8 phase;
	__u8 flags;
	__u32 pid;
	__u32 tid;
	__u32 count;
	__u32 skipped;
	struct nst_net net;
};
struct nst_step {
	__u64 ops;
	__u64 fn;
	__u64 began;
	__u64 duration;
	__u32 ret;
	__u32 pad;
};

/* What packets are counted by. */
struct nst_flow {
	__u64 net;
	__u64 cookie;
	__u64 dev;
	__u64 reason; /* of NST_PATH_DROPPED: enum skb_drop_reason, or where */
	__u32 inum;
	__s32 ifindex;
	__u16 path;
	__u16 protocol; /* ethertype, 0 for those of which there are too many */
	__u32 pad;
};

/* The count of one CPU; event.Count says what is what. */
struct nst_count {
	__u64 packets;
	__u64 bytes;
	__u64 entered;
	__u64 entered_bytes;
	__u64 merged;
	__u64 control;
	__u64 control_bytes;
	__u64 first;
	__u64 last;
};

/* The device's own counters just before the first packet of a flow. */
struct nst_base {
	__u64 packets;
	__u64 bytes;
	__u64 valid;
};

/* One packet, and behind it its first bytes, as many as are captured. */
struct nst_packet {
	__u64 seq;
	__u64 time;
	struct nst_flow flow;
	__u32 cpu;
	__u32 len;
	__u32 captured;
	__u32 pad;
};

/* What a task did: event.TaskOp. */
enum nst_task_op {
	NST_OP_FORK = 1,
	NST_OP_SWITCH = 2,
	NST_OP_EXEC = 3,
	NST_OP_EXIT = 4,
	NST_OP_BEHIND = 5,
};

#define NST_BEHIND_UNKNOWN (~(__u32)0)

/* One task that came into a namespace or left one: event.Task. */
struct nst_task {
	__u64 seq;
	__u64 time;
	__u64 cgroup;
	struct nst_net net;
	struct nst_net from;
	__u32 cpu;
	__u32 op;
	__u32 pid;
	__u32 tid;
	__u32 parent;
	__u32 threads;
	__u32 mnt_ns;
	__u32 pid_ns;
	__u32 uts_ns;
	__u32 ipc_ns;
	__u32 cgroup_ns;
	__u32 time_ns;
	__u32 user_ns;
	__u32 behind; /* threads that a leader leaves behind */
	char comm[16];
};

/* What became of the returns of calls whose entries were seen, and of others. */
enum nst_return {
	NST_RETURN_SEEN = 0,
	NST_RETURN_MISSED = 1,	   /* proven by what the thread did afterwards */
	NST_RETURN_UNEXPECTED = 2, /* the call could not be remembered */
	NST_RETURN_STRAY = 3,	   /* seen, but the entry wasn't, or wasn't remembered */
	NST_RETURNS = 4,
};

/*
 * Per probe and CPU. A probe's hits are its returns that were seen, missed and
 * unexpected, and the calls that are still in the table.
 */
struct nst_probe_stats {
	__u64 hits;
	__u64 lost;
	__u64 returns[NST_RETURNS];
};

enum nst_ring {
	NST_LIFECYCLE = 0,
	NST_PACKETS = 1,
	NST_TASKS = 2,
	NST_STEPS = 3, /* in the lifecycle ring, with numbers of their own */
	NST_RINGS = 4,
};

/* Losses that belong to no probe, per CPU. */
enum nst_drop {
	NST_DROP_CALLS = 0,  /* the table of running calls was full */
	NST_DROP_FLOWS = 1,  /* the table of flows was full */
	NST_DROP_LAYOUT = 2, /* a kernel structure made no sense: see layout.h */
	NST_DROPS = 3,
};

#endif
