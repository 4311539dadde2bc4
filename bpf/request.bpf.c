/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What user space asks for over nl80211 and rtnetlink, and what it is told: also
 * the requests that are refused before anything happens (net/netlink/genetlink.c,
 * net/wireless/nl80211.c, net/core/rtnetlink.c).
 */
#include <linux/capability.h>
#include <linux/genetlink.h>
#include <linux/rtnetlink.h>
#include "attributes.h"
#include "common.h"
#include "device.h"
#include "target.h"

/* include/linux/err.h, kernel/user_namespace.c */
#define NST_MAX_ERRNO	  4095
#define NST_USER_NS_DEPTH 33

/*
 * The number by which generic netlink knows nl80211, 0 as long as there is none:
 * the kernel gives it out when cfg80211 is loaded, and nstrace sets it.
 */
volatile __u32 nl80211_family;
/* Set when nl80211_pre_doit is probed, too: else how far requests come is unknown. */
volatile bool stages_known;

/* Does the task have CAP_NET_ADMIN in a user namespace? See cap_capable. */
static __noinline bool is_net_admin(struct user_namespace *wanted)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	const struct cred *cred = BPF_CORE_READ(task, cred);
	struct user_namespace *own = BPF_CORE_READ(cred, user_ns);
	__u32 caps = 0;
	int i;

	bpf_core_read(&caps, sizeof(caps), &cred->cap_effective);
	for (i = 0; i <= NST_USER_NS_DEPTH && wanted; i++) {
		struct user_namespace *parent = BPF_CORE_READ(wanted, parent);

		if (wanted == own)
			return caps & 1 << CAP_NET_ADMIN;
		if (parent == own &&
		    BPF_CORE_READ(wanted, owner.val) == BPF_CORE_READ(cred, euid.val))
			return true;
		wanted = parent;
	}
	return false;
}

/* Who asks, in which namespace names are looked up, and whether the task may. */
static __always_inline void read_asker(struct nst_event *e, struct net *net)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct user_namespace *owner = BPF_CORE_READ(net, user_ns);

	read_net(&e->net, net);
	e->user_ns = BPF_CORE_READ(owner, ns.inum);
	e->caller_user_ns = BPF_CORE_READ(task, cred, user_ns, ns.inum);
	if (is_net_admin(owner))
		e->flags |= NST_NET_ADMIN;
}

/* Remember a request; the message stays where it is until it is answered. */
static __always_inline void request_enter(struct frame frame, __u32 kind, struct sk_buff *skb,
					  struct nlmsghdr *nlh)
{
	struct call call = {};

	if (!hit(kind))
		return;
	/* What such a request was answered with is over, even if its return was missed. */
	forget_calls(NST_WIPHY_SWITCH, 0);
	forget_calls(NST_NETDEV_MOVE, 0);
	forget_calls(NST_IF_ADD, 0);
	read_net(&call.net, BPF_CORE_READ(skb, sk, __sk_common.skc_net.net));
	call.object = (__u64)nlh;
	call.arg = NST_STAGE_REFUSED;
	call_begin(kind, frame, &call);
}

/* Begin its record, with all that the message says. */
static __always_inline struct nst_event *
request_event(struct frame frame, __u32 kind, struct call *call, long ret, struct request *r)
{
	struct nst_event *e = event_begin(kind, NST_EXIT, frame, call);

	if (!e)
		return NULL;
	e->ret = errno_of(ret);
	read_asker(e, (struct net *)call->net.ptr);
	e->wiphy_index = r->wiphy_index;
	e->ifindex = r->ifindex;
	e->wdev_id = r->wdev_id;
	e->iftype = r->iftype;
	e->target_pid = r->pid;
	e->nsid = r->nsid;
	__builtin_memcpy(e->name, r->name, sizeof(r->name));
	__builtin_memcpy(e->wiphy_name, r->wiphy_name, sizeof(r->wiphy_name));
	__builtin_memcpy(e->link_kind, r->link_kind, sizeof(r->link_kind));
	/* nl80211_wiphy_netns and rtnl_link_get_net look for a PID first. */
	if (r->has & HAS_PID)
		read_net(&e->net2, net_of_task(task_of_pid(r->pid)));
	else if (r->has & HAS_FD)
		read_net(&e->net2, net_of_fd(r->fd));
	return e;
}

/*
 * genl_rcv_msg(skb, nlh, extack): a whole request, from the check of permissions
 * on. Of all requests of generic netlink those are looked at that may create,
 * delete, rename, retype or move a radio or an interface.
 */

static __always_inline bool changes_something(__u8 command)
{
	switch (command) {
	case NL80211_CMD_SET_WIPHY:
	case NL80211_CMD_NEW_WIPHY:
	case NL80211_CMD_DEL_WIPHY:
	case NL80211_CMD_SET_INTERFACE:
	case NL80211_CMD_NEW_INTERFACE:
	case NL80211_CMD_DEL_INTERFACE:
	case NL80211_CMD_SET_WIPHY_NETNS:
	case NL80211_CMD_START_P2P_DEVICE:
	case NL80211_CMD_STOP_P2P_DEVICE:
	case NL80211_CMD_START_NAN:
	case NL80211_CMD_STOP_NAN:
		return true;
	}
	return false;
}

static __always_inline int nl80211_enter(struct frame frame, struct sk_buff *skb,
					 struct nlmsghdr *nlh)
{
	struct nlmsghdr head = {};
	struct genlmsghdr genl = {};

	if (!nl80211_family)
		return 0;
	bpf_probe_read_kernel(&head, sizeof(head), nlh);
	if (head.nlmsg_type != nl80211_family || (head.nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP)
		return 0;
	bpf_probe_read_kernel(&genl, sizeof(genl), (void *)nlh + NLMSG_HDRLEN);
	if (changes_something(genl.cmd))
		request_enter(frame, NST_NL80211, skb, nlh);
	return 0;
}

/* Two commands set much else as well. */
static __always_inline bool is_nl80211_wanted(__u8 command, struct request *r)
{
	switch (command) {
	case NL80211_CMD_SET_WIPHY:
		return r->has & HAS_WIPHY_NAME;
	case NL80211_CMD_SET_INTERFACE:
		return r->has & HAS_IFTYPE;
	}
	return true;
}

static __always_inline void nl80211_record(struct frame frame, struct call *call, long ret,
					   struct request *r)
{
	struct nlmsghdr *nlh = (void *)call->object;
	struct genlmsghdr genl = {};
	struct nst_event *e;

	read_nl80211(r, nlh, NLMSG_HDRLEN + GENL_HDRLEN);
	bpf_probe_read_kernel(&genl, sizeof(genl), (void *)nlh + NLMSG_HDRLEN);
	if (!is_nl80211_wanted(genl.cmd, r))
		return;
	e = request_event(frame, NST_NL80211, call, ret, r);
	if (!e)
		return;
	e->arg = genl.cmd;
	if (stages_known)
		e->stage = call->arg;
	if (call->count) {
		e->wiphy = call->count;
		if (rdev_known || e->wiphy_index < 0)
			e->wiphy_index = call->ifindex;
	}
	event_send(e);
}

static __always_inline int nl80211_exit(struct frame frame, long ret)
{
	struct call *call = returning(NST_NL80211, frame);
	struct request *r;

	if (!call)
		return 0;
	r = request_begin();
	if (r) {
		nl80211_record(frame, call, ret, r);
		request_end();
	}
	call_end(NST_NL80211, call);
	return 0;
}

SEC("fentry/genl_rcv_msg")
int BPF_PROG(nl80211_fentry, struct sk_buff *skb, struct nlmsghdr *nlh)
{
	return nl80211_enter(fentry_frame(ctx, nlh), skb, nlh);
}

SEC("fexit/genl_rcv_msg")
int BPF_PROG(nl80211_fexit, struct sk_buff *skb, struct nlmsghdr *nlh, void *extack, int ret)
{
	return nl80211_exit(fentry_frame(ctx, nlh), ret);
}

SEC("kprobe/genl_rcv_msg")
int BPF_KPROBE(nl80211_kprobe, struct sk_buff *skb, struct nlmsghdr *nlh)
{
	return nl80211_enter(kprobe_frame(ctx), skb, nlh);
}

SEC("kretprobe/genl_rcv_msg")
int BPF_KRETPROBE(nl80211_kretprobe, long ret)
{
	return nl80211_exit(kretprobe_frame(ctx), ret);
}

/*
 * nl80211_pre_doit(ops, skb, info): looks up, in the namespace of the socket, what
 * the request is about; if it finds that, the command's handler runs next.
 */

static __always_inline int pre_doit_enter(struct frame frame, struct genl_info *info)
{
	struct call call = {.object = (__u64)info};

	if (!running(NST_NL80211, frame) || !hit(NST_PRE_DOIT))
		return 0;
	call_begin(NST_PRE_DOIT, frame, &call);
	return 0;
}

static __always_inline int pre_doit_exit(struct frame frame, long ret)
{
	struct call *call = returning(NST_PRE_DOIT, frame);
	struct call *request = running(NST_NL80211, frame);
	char name[sizeof(((struct nst_event *)0)->wiphy_name)];
	struct genl_info *info;
	struct wiphy *wiphy;
	void *rdev;

	if (!call)
		return 0;
	if (!request)
		goto out;
	request->arg = errno_of(ret) ? NST_STAGE_PRE_DOIT : NST_STAGE_HANDLED;
	info = (struct genl_info *)call->object;
	rdev = BPF_CORE_READ(info, user_ptr[0]);
	if (errno_of(ret) || !rdev)
		goto out;
	wiphy = rdev_wiphy(rdev);
	if (!wiphy)
		goto out;
	read_wiphy_name(name, wiphy);
	request->count = (__u64)wiphy;
	request->ifindex = wiphy_index(wiphy, name);
out:
	call_end(NST_PRE_DOIT, call);
	return 0;
}

SEC("fentry/nl80211_pre_doit")
int BPF_PROG(pre_doit_fentry, void *ops, struct sk_buff *skb, struct genl_info *info)
{
	return pre_doit_enter(fentry_frame(ctx, info), info);
}

SEC("fexit/nl80211_pre_doit")
int BPF_PROG(pre_doit_fexit, void *ops, struct sk_buff *skb, struct genl_info *info, int ret)
{
	return pre_doit_exit(fentry_frame(ctx, info), ret);
}

SEC("kprobe/nl80211_pre_doit")
int BPF_KPROBE(pre_doit_kprobe, void *ops, struct sk_buff *skb, struct genl_info *info)
{
	return pre_doit_enter(kprobe_frame(ctx), info);
}

SEC("kretprobe/nl80211_pre_doit")
int BPF_KRETPROBE(pre_doit_kretprobe, long ret)
{
	return pre_doit_exit(kretprobe_frame(ctx), ret);
}

/* rtnetlink_rcv_msg(skb, nlh, extack): the same for all kinds of netdevs. */

static __always_inline int rtnetlink_enter(struct frame frame, struct sk_buff *skb,
					   struct nlmsghdr *nlh)
{
	__u16 type = 0;

	bpf_probe_read_kernel(&type, sizeof(type), &nlh->nlmsg_type);
	if (type == RTM_NEWLINK || type == RTM_DELLINK || type == RTM_SETLINK)
		request_enter(frame, NST_RTNETLINK, skb, nlh);
	return 0;
}

/* Does it create, delete, rename or move? Most requests set something else. */
static __always_inline bool is_rtnetlink_wanted(struct nlmsghdr *head, struct request *r)
{
	if (head->nlmsg_type == RTM_DELLINK || head->nlmsg_flags & NLM_F_CREATE)
		return true;
	if (r->has & (HAS_PID | HAS_FD))
		return true;
	/* Without a number the name is that of the netdev it is about. */
	return r->ifindex && r->has & HAS_IFNAME;
}

static __always_inline void rtnetlink_record(struct frame frame, struct call *call, long ret,
					     struct request *r)
{
	struct nlmsghdr *nlh = (void *)call->object;
	struct ifinfomsg link = {};
	struct nlmsghdr head = {};
	struct nst_event *e;

	read_rtnetlink(r, nlh, NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(link)));
	bpf_probe_read_kernel(&head, sizeof(head), nlh);
	bpf_probe_read_kernel(&link, sizeof(link), (void *)nlh + NLMSG_HDRLEN);
	r->ifindex = link.ifi_index;
	if (!is_rtnetlink_wanted(&head, r))
		return;
	e = request_event(frame, NST_RTNETLINK, call, ret, r);
	if (!e)
		return;
	e->arg = head.nlmsg_type;
	event_send(e);
}

static __always_inline int rtnetlink_exit(struct frame frame, long ret)
{
	struct call *call = returning(NST_RTNETLINK, frame);
	struct request *r;

	if (!call)
		return 0;
	r = request_begin();
	if (r) {
		rtnetlink_record(frame, call, ret, r);
		request_end();
	}
	call_end(NST_RTNETLINK, call);
	return 0;
}

SEC("fentry/rtnetlink_rcv_msg")
int BPF_PROG(rtnetlink_fentry, struct sk_buff *skb, struct nlmsghdr *nlh)
{
	return rtnetlink_enter(fentry_frame(ctx, nlh), skb, nlh);
}

SEC("fexit/rtnetlink_rcv_msg")
int BPF_PROG(rtnetlink_fexit, struct sk_buff *skb, struct nlmsghdr *nlh, void *extack, int ret)
{
	return rtnetlink_exit(fentry_frame(ctx, nlh), ret);
}

SEC("kprobe/rtnetlink_rcv_msg")
int BPF_KPROBE(rtnetlink_kprobe, struct sk_buff *skb, struct nlmsghdr *nlh)
{
	return rtnetlink_enter(kprobe_frame(ctx), skb, nlh);
}

SEC("kretprobe/rtnetlink_rcv_msg")
int BPF_KRETPROBE(rtnetlink_kretprobe, long ret)
{
	return rtnetlink_exit(kretprobe_frame(ctx), ret);
}

/* get_net_ns_by_pid(pid): the namespace of a process, or an error. */

static __always_inline int net_by_pid_enter(struct frame frame, __u32 pid)
{
	struct call call = {.arg = pid};

	if (hit(NST_NET_BY_PID))
		call_begin(NST_NET_BY_PID, frame, &call);
	return 0;
}

static __always_inline int net_by_pid_exit(struct frame frame, struct net *net)
{
	struct call *numbering = running(NST_NSID_REQUEST, frame);
	struct call *call = returning(NST_NET_BY_PID, frame);
	struct task_struct *task;
	struct nst_event *e;

	if (numbering && (__u64)net < (__u64)-NST_MAX_ERRNO)
		read_net(&numbering->net2, net); /* see nsid.bpf.c */
	e = event_begin(NST_NET_BY_PID, NST_EXIT, frame, call);
	if (!e)
		goto out;
	if ((__u64)net >= (__u64)-NST_MAX_ERRNO)
		e->ret = -(long)net;
	else
		read_net(&e->net, net);
	if (call) {
		e->target_pid = call->arg;
		task = task_of_pid(call->arg);
		if (task) {
			e->arg = BPF_CORE_READ(task, tgid);
			bpf_probe_read_kernel_str(e->new_name, sizeof(task->comm), task->comm);
		}
	}
	event_send(e);
out:
	call_end(NST_NET_BY_PID, call);
	return 0;
}

SEC("fentry/get_net_ns_by_pid")
int BPF_PROG(net_by_pid_fentry, int pid)
{
	return net_by_pid_enter(fentry_frame(ctx, (void *)(long)pid), pid);
}

SEC("fexit/get_net_ns_by_pid")
int BPF_PROG(net_by_pid_fexit, int pid, struct net *ret)
{
	return net_by_pid_exit(fentry_frame(ctx, (void *)(long)pid), ret);
}

SEC("kprobe/get_net_ns_by_pid")
int BPF_KPROBE(net_by_pid_kprobe, int pid)
{
	return net_by_pid_enter(kprobe_frame(ctx), pid);
}

SEC("kretprobe/get_net_ns_by_pid")
int BPF_KRETPROBE(net_by_pid_kretprobe, struct net *ret)
{
	return net_by_pid_exit(kretprobe_frame(ctx), ret);
}
