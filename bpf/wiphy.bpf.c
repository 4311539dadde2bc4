/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The lives of radios (net/wireless/core.c) and of the interfaces that mac80211
 * makes for them (net/mac80211/iface.c).
 */
#include "common.h"
#include "device.h"

static __always_inline int wiphy_instant(struct frame frame, __u32 kind, struct wiphy *wiphy)
{
	struct nst_event *e;

	if (!hit(kind))
		return 0;
	e = event_begin(kind, NST_INSTANT, frame, NULL);
	if (e) {
		read_wiphy(e, wiphy);
		event_send(e);
	}
	return 0;
}

/* Remember a call about a wiphy; the record, if one is wanted, comes with it. */
static __always_inline void wiphy_enter(struct frame frame, __u32 kind, struct wiphy *wiphy,
					struct net *to, bool send)
{
	struct call call = {};
	struct nst_event *e;

	if (!hit(kind))
		return;
	call.object = (__u64)wiphy;
	if (wiphy)
		read_net(&call.net, BPF_CORE_READ(wiphy, _net.net));
	read_net(&call.net2, to);
	call_begin(kind, frame, &call);
	if (!send)
		return;
	e = event_begin(kind, NST_ENTER, frame, &call);
	if (e) {
		read_wiphy(e, wiphy);
		event_send(e);
	}
}

/* wiphy_new_nm(ops, sizeof_priv, requested_name): the new wiphy or NULL. */

static __always_inline int wiphy_new_exit(struct frame frame, struct wiphy *wiphy)
{
	struct call *call = returning(NST_WIPHY_NEW, frame);
	struct nst_event *e = event_begin(NST_WIPHY_NEW, NST_EXIT, frame, call);

	if (e) {
		if (wiphy) {
			forget_wiphy_index(wiphy);
			read_wiphy(e, wiphy);
			read_net(&e->net, BPF_CORE_READ(wiphy, _net.net));
		}
		event_send(e);
	}
	call_end(NST_WIPHY_NEW, call);
	return 0;
}

SEC("fentry/wiphy_new_nm")
int wiphy_new_fentry(unsigned long long *ctx)
{
	wiphy_enter(fentry_frame(ctx, (void *)ctx[0]), NST_WIPHY_NEW, NULL, NULL, false);
	return 0;
}

SEC("fexit/wiphy_new_nm")
int BPF_PROG(wiphy_new_fexit, void *ops, int sizeof_priv, const char *name, struct wiphy *ret)
{
	return wiphy_new_exit(fentry_frame(ctx, ops), ret);
}

SEC("kprobe/wiphy_new_nm")
int wiphy_new_kprobe(struct pt_regs *ctx)
{
	wiphy_enter(kprobe_frame(ctx), NST_WIPHY_NEW, NULL, NULL, false);
	return 0;
}

SEC("kretprobe/wiphy_new_nm")
int BPF_KRETPROBE(wiphy_new_kretprobe, struct wiphy *ret)
{
	return wiphy_new_exit(kretprobe_frame(ctx), ret);
}

/*
 * wiphy_register(wiphy): drivers have chosen its namespace by now, so this is
 * where it is born. Its first interface may be registered later or within.
 */

/* Which driver it is of, and whether that lets it change namespaces. */
static __always_inline void read_driver(struct nst_event *e, struct wiphy *wiphy)
{
	const char *name = BPF_CORE_READ(wiphy, dev.parent, driver, name);

	if (!name)
		return;
	bpf_probe_read_kernel_str(e->new_name, sizeof(e->new_name), name);
	if (BPF_CORE_READ(wiphy, flags) & WIPHY_FLAG_NETNS_OK)
		e->flags |= NST_CAN_SWITCH;
}

/*
 * cfg80211_switch_netns, when an interface can't go, takes back those that went
 * before it and returns what that came to, which is 0: its answer hides that
 * the radio is where it was.
 */
static __always_inline bool stayed(struct call *call, struct wiphy *wiphy)
{
	return (__u64)BPF_CORE_READ(wiphy, _net.net) != call->net2.ptr;
}

static __always_inline int wiphy_call_exit(struct frame frame, __u32 kind, long ret)
{
	struct call *call = returning(kind, frame);
	struct nst_event *e = event_begin(kind, NST_EXIT, frame, call);

	if (e) {
		e->ret = errno_of(ret);
		if (call) {
			read_wiphy(e, (struct wiphy *)call->object);
			if (kind == NST_WIPHY_REGISTER)
				read_driver(e, (struct wiphy *)call->object);
			if (kind == NST_WIPHY_SWITCH && !e->ret &&
			    stayed(call, (struct wiphy *)call->object))
				e->flags |= NST_STAYED;
		}
		event_send(e);
	}
	call_end(kind, call);
	return 0;
}

SEC("fentry/wiphy_register")
int BPF_PROG(wiphy_register_fentry, struct wiphy *wiphy)
{
	wiphy_enter(fentry_frame(ctx, wiphy), NST_WIPHY_REGISTER, wiphy, NULL, false);
	return 0;
}

SEC("fexit/wiphy_register")
int BPF_PROG(wiphy_register_fexit, struct wiphy *wiphy, int ret)
{
	return wiphy_call_exit(fentry_frame(ctx, wiphy), NST_WIPHY_REGISTER, ret);
}

SEC("kprobe/wiphy_register")
int BPF_KPROBE(wiphy_register_kprobe, struct wiphy *wiphy)
{
	wiphy_enter(kprobe_frame(ctx), NST_WIPHY_REGISTER, wiphy, NULL, false);
	return 0;
}

SEC("kretprobe/wiphy_register")
int BPF_KRETPROBE(wiphy_register_kretprobe, long ret)
{
	return wiphy_call_exit(kretprobe_frame(ctx), NST_WIPHY_REGISTER, ret);
}

/* wiphy_unregister(wiphy) */

SEC("fentry/wiphy_unregister")
int BPF_PROG(wiphy_unregister_fentry, struct wiphy *wiphy)
{
	wiphy_enter(fentry_frame(ctx, wiphy), NST_WIPHY_UNREGISTER, wiphy, NULL, true);
	return 0;
}

SEC("fexit/wiphy_unregister")
int wiphy_unregister_fexit(unsigned long long *ctx)
{
	return wiphy_call_exit(fentry_frame(ctx, (void *)ctx[0]), NST_WIPHY_UNREGISTER, 0);
}

SEC("kprobe/wiphy_unregister")
int BPF_KPROBE(wiphy_unregister_kprobe, struct wiphy *wiphy)
{
	wiphy_enter(kprobe_frame(ctx), NST_WIPHY_UNREGISTER, wiphy, NULL, true);
	return 0;
}

SEC("kretprobe/wiphy_unregister")
int wiphy_unregister_kretprobe(struct pt_regs *ctx)
{
	return wiphy_call_exit(kretprobe_frame(ctx), NST_WIPHY_UNREGISTER, 0);
}

/* cfg80211_dev_free(rdev): the last reference is gone. */

SEC("fentry/cfg80211_dev_free")
int BPF_PROG(wiphy_free_fentry, struct cfg80211_registered_device *rdev)
{
	return wiphy_instant(fentry_frame(ctx, rdev), NST_WIPHY_FREE, rdev_wiphy(rdev));
}

SEC("kprobe/cfg80211_dev_free")
int BPF_KPROBE(wiphy_free_kprobe, struct cfg80211_registered_device *rdev)
{
	return wiphy_instant(kprobe_frame(ctx), NST_WIPHY_FREE, rdev_wiphy(rdev));
}

/* cfg80211_dev_rename(rdev, newname) */

static __always_inline int wiphy_rename_enter(struct frame frame,
					      struct cfg80211_registered_device *rdev,
					      const char *new_name)
{
	struct wiphy *wiphy = rdev_wiphy(rdev);
	struct call call = {};

	if (!hit(NST_WIPHY_RENAME))
		return 0;
	call.object = (__u64)wiphy;
	if (wiphy) {
		read_net(&call.net, BPF_CORE_READ(wiphy, _net.net));
		read_wiphy_name(call.name, wiphy);
		wiphy_index(wiphy, call.name);
	}
	call.arg = (__u64)new_name;
	call_begin(NST_WIPHY_RENAME, frame, &call);
	return 0;
}

static __always_inline int wiphy_rename_exit(struct frame frame, long ret)
{
	struct call *call = returning(NST_WIPHY_RENAME, frame);
	struct nst_event *e = event_begin(NST_WIPHY_RENAME, NST_EXIT, frame, call);

	if (e) {
		e->ret = errno_of(ret);
		if (call) {
			read_wiphy(e, (struct wiphy *)call->object);
			__builtin_memcpy(e->wiphy_name, call->name, sizeof(call->name));
			bpf_probe_read_kernel_str(e->new_name, sizeof(e->new_name),
						  (void *)call->arg);
		}
		event_send(e);
	}
	call_end(NST_WIPHY_RENAME, call);
	return 0;
}

SEC("fentry/cfg80211_dev_rename")
int BPF_PROG(wiphy_rename_fentry, struct cfg80211_registered_device *rdev, char *new_name)
{
	return wiphy_rename_enter(fentry_frame(ctx, rdev), rdev, new_name);
}

SEC("fexit/cfg80211_dev_rename")
int BPF_PROG(wiphy_rename_fexit, void *rdev, char *new_name, int ret)
{
	return wiphy_rename_exit(fentry_frame(ctx, rdev), ret);
}

SEC("kprobe/cfg80211_dev_rename")
int BPF_KPROBE(wiphy_rename_kprobe, struct cfg80211_registered_device *rdev, char *new_name)
{
	return wiphy_rename_enter(kprobe_frame(ctx), rdev, new_name);
}

SEC("kretprobe/cfg80211_dev_rename")
int BPF_KRETPROBE(wiphy_rename_kretprobe, long ret)
{
	return wiphy_rename_exit(kretprobe_frame(ctx), ret);
}

/* cfg80211_switch_netns(rdev, net): a radio moves, with all its interfaces. */

SEC("fentry/cfg80211_switch_netns")
int BPF_PROG(wiphy_switch_fentry, struct cfg80211_registered_device *rdev, struct net *net)
{
	wiphy_enter(fentry_frame(ctx, rdev), NST_WIPHY_SWITCH, rdev_wiphy(rdev), net, true);
	return 0;
}

SEC("fexit/cfg80211_switch_netns")
int BPF_PROG(wiphy_switch_fexit, void *rdev, struct net *net, int ret)
{
	return wiphy_call_exit(fentry_frame(ctx, rdev), NST_WIPHY_SWITCH, ret);
}

SEC("kprobe/cfg80211_switch_netns")
int BPF_KPROBE(wiphy_switch_kprobe, struct cfg80211_registered_device *rdev, struct net *net)
{
	wiphy_enter(kprobe_frame(ctx), NST_WIPHY_SWITCH, rdev_wiphy(rdev), net, true);
	return 0;
}

SEC("kretprobe/cfg80211_switch_netns")
int BPF_KRETPROBE(wiphy_switch_kretprobe, long ret)
{
	return wiphy_call_exit(kretprobe_frame(ctx), NST_WIPHY_SWITCH, ret);
}

/* cfg80211_pernet_exit(net): a namespace dies, its radios go home. */

static __always_inline int wireless_exit_enter(struct frame frame, struct net *net)
{
	struct call call = {};

	if (!hit(NST_PERNET_EXIT))
		return 0;
	/* A radio that an earlier call was moving isn't on its way any more. */
	unwind(NST_WIPHY_SWITCH, frame.at);
	read_net(&call.net, net);
	call_begin(NST_PERNET_EXIT, frame, &call);
	return 0;
}

static __always_inline int wireless_exit_exit(struct frame frame)
{
	inlined_switch_end(frame);
	call_end(NST_PERNET_EXIT, returning(NST_PERNET_EXIT, frame));
	return 0;
}

SEC("fentry/cfg80211_pernet_exit")
int BPF_PROG(wireless_exit_fentry, struct net *net)
{
	return wireless_exit_enter(fentry_frame(ctx, net), net);
}

SEC("fexit/cfg80211_pernet_exit")
int wireless_exit_fexit(unsigned long long *ctx)
{
	return wireless_exit_exit(fentry_frame(ctx, (void *)ctx[0]));
}

SEC("kprobe/cfg80211_pernet_exit")
int BPF_KPROBE(wireless_exit_kprobe, struct net *net)
{
	return wireless_exit_enter(kprobe_frame(ctx), net);
}

SEC("kretprobe/cfg80211_pernet_exit")
int wireless_exit_kretprobe(struct pt_regs *ctx)
{
	return wireless_exit_exit(kretprobe_frame(ctx));
}

/*
 * device_rename(dev, new_name) (drivers/base/core.c): cfg80211_switch_netns
 * calls it with a radio's device and the name it has, once the radio is in its
 * new namespace.
 */

static __always_inline int device_rename_enter(struct frame frame, struct device *dev)
{
	struct wiphy *wiphy = (void *)dev - bpf_core_field_offset(struct wiphy, dev);
	struct call *dying = running(NST_PERNET_EXIT, frame);
	char class[10];

	if (!dying)
		return 0;
	bpf_probe_read_kernel_str(class, sizeof(class), BPF_CORE_READ(dev, class, name));
	if (__builtin_memcmp(class, "ieee80211", sizeof(class)))
		return 0;
	if (!hit(NST_DEVICE_RENAME))
		return 0;
	/* A radio without netdevs hasn't begun yet. */
	inlined_switch_begin(frame, wiphy, BPF_CORE_READ(wiphy, _net.net));
	inlined_switch_end(frame);
	return 0;
}

SEC("fentry/device_rename")
int BPF_PROG(device_rename_fentry, struct device *dev)
{
	return device_rename_enter(fentry_frame(ctx, dev), dev);
}

SEC("kprobe/device_rename")
int BPF_KPROBE(device_rename_kprobe, struct device *dev)
{
	return device_rename_enter(kprobe_frame(ctx), dev);
}

/*
 * ieee80211_if_add(local, name, name_assign_type, new_wdev, type, params). The
 * netdev, if there is to be one, is registered within, where register_netdevice
 * leaves it in this call's object.
 */

static __always_inline int if_add_enter(struct frame frame, struct ieee80211_local *local,
					const char *name, struct wireless_dev **new_wdev,
					__u32 type)
{
	struct call call = {};

	if (!hit(NST_IF_ADD))
		return 0;
	bpf_probe_read_kernel_str(call.name, sizeof(call.name), name);
	call.count = type;
	call.arg = (__u64)new_wdev;
	call.net2.ptr = (__u64)local_wiphy(local);
	call_begin(NST_IF_ADD, frame, &call);
	return 0;
}

static __always_inline int if_add_exit(struct frame frame, long ret)
{
	struct call *call = returning(NST_IF_ADD, frame);
	struct nst_event *e = event_begin(NST_IF_ADD, NST_EXIT, frame, call);
	struct wiphy *wiphy;

	if (!e)
		goto out;
	e->ret = errno_of(ret);
	if (call) {
		__builtin_memset(&e->net2, 0, sizeof(e->net2));
		__builtin_memcpy(e->name, call->name, sizeof(call->name));
		e->iftype = call->count;
		wiphy = (struct wiphy *)call->net2.ptr;
		if (!e->ret && call->arg)
			bpf_probe_read_kernel(&e->wdev, sizeof(e->wdev), (void *)call->arg);
		if (!e->ret && call->object)
			read_netdev(e, (struct net_device *)call->object);
		if (wiphy) {
			read_wiphy(e, wiphy);
			if (!e->net.ptr)
				read_net(&e->net, BPF_CORE_READ(wiphy, _net.net));
		}
	}
	event_send(e);
out:
	call_end(NST_IF_ADD, call);
	return 0;
}

SEC("fentry/ieee80211_if_add")
int BPF_PROG(if_add_fentry, struct ieee80211_local *local, const char *name,
	     unsigned char name_assign_type, void *new_wdev, unsigned int type)
{
	struct wireless_dev **to = NULL;

	/* Kernels before 6.8 refuse a program that reads a pointer to a pointer from ctx. */
	bpf_probe_read_kernel(&to, sizeof(to), &ctx[3]);
	return if_add_enter(fentry_frame(ctx, local), local, name, to, type);
}

SEC("fexit/ieee80211_if_add")
int BPF_PROG(if_add_fexit, void *local, const char *name, unsigned char name_assign_type,
	     void *new_wdev, unsigned int type, void *params, int ret)
{
	return if_add_exit(fentry_frame(ctx, local), ret);
}

SEC("kprobe/ieee80211_if_add")
int BPF_KPROBE(if_add_kprobe, struct ieee80211_local *local, const char *name,
	       unsigned char name_assign_type, struct wireless_dev **new_wdev, unsigned int type)
{
	return if_add_enter(kprobe_frame(ctx), local, name, new_wdev, type);
}

SEC("kretprobe/ieee80211_if_add")
int BPF_KRETPROBE(if_add_kretprobe, long ret)
{
	return if_add_exit(kretprobe_frame(ctx), ret);
}

/* ieee80211_if_remove(sdata): one interface goes, on request. */

static __always_inline int if_remove_enter(struct frame frame, struct ieee80211_sub_if_data *sdata)
{
	struct wireless_dev *wdev;
	struct net_device *dev;
	struct nst_event *e;

	if (!hit(NST_IF_REMOVE))
		return 0;
	e = event_begin(NST_IF_REMOVE, NST_INSTANT, frame, NULL);
	if (!e)
		return 0;
	dev = sdata_netdev(sdata);
	if (dev)
		read_netdev(e, dev);
	wdev = sdata_wdev(sdata, dev);
	if (wdev)
		read_wdev(e, wdev);
	/* A netdev may be elsewhere than its radio, see stayed(). */
	if (wdev && !dev)
		read_net(&e->net, BPF_CORE_READ(wdev, wiphy, _net.net));
	event_send(e);
	return 0;
}

SEC("fentry/ieee80211_if_remove")
int BPF_PROG(if_remove_fentry, struct ieee80211_sub_if_data *sdata)
{
	return if_remove_enter(fentry_frame(ctx, sdata), sdata);
}

SEC("kprobe/ieee80211_if_remove")
int BPF_KPROBE(if_remove_kprobe, struct ieee80211_sub_if_data *sdata)
{
	return if_remove_enter(kprobe_frame(ctx), sdata);
}

/*
 * cfg80211_register_wdev(rdev, wdev) and cfg80211_unregister_wdev(wdev): any
 * driver's interfaces without a netdev pass here. Those with one do, too, each
 * time they change namespaces; register_netdevice and the like tell of them.
 */

static __always_inline bool has_netdev(struct wireless_dev *wdev)
{
	return BPF_CORE_READ(wdev, netdev) != NULL;
}

static __always_inline int wdev_register_enter(struct frame frame, struct wireless_dev *wdev)
{
	struct call call = {.object = (__u64)wdev};

	if (!has_netdev(wdev) && hit(NST_WDEV_REGISTER))
		call_begin(NST_WDEV_REGISTER, frame, &call);
	return 0;
}

static __always_inline void wdev_send(struct nst_event *e, struct wireless_dev *wdev)
{
	if (!e)
		return;
	read_wdev(e, wdev);
	read_net(&e->net, BPF_CORE_READ(wdev, wiphy, _net.net));
	event_send(e);
}

static __always_inline int wdev_register_exit(struct frame frame)
{
	struct call *call = returning(NST_WDEV_REGISTER, frame);

	if (!call)
		return 0; /* of one that has a netdev */
	wdev_send(event_begin(NST_WDEV_REGISTER, NST_EXIT, frame, call),
		  (struct wireless_dev *)call->object);
	call_end(NST_WDEV_REGISTER, call);
	return 0;
}

SEC("fentry/cfg80211_register_wdev")
int BPF_PROG(wdev_register_fentry, void *rdev, struct wireless_dev *wdev)
{
	return wdev_register_enter(fentry_frame(ctx, wdev), wdev);
}

SEC("fexit/cfg80211_register_wdev")
int BPF_PROG(wdev_register_fexit, void *rdev, struct wireless_dev *wdev)
{
	return wdev_register_exit(fentry_frame(ctx, wdev));
}

SEC("kprobe/cfg80211_register_wdev")
int BPF_KPROBE(wdev_register_kprobe, void *rdev, struct wireless_dev *wdev)
{
	return wdev_register_enter(kprobe_frame(ctx), wdev);
}

SEC("kretprobe/cfg80211_register_wdev")
int wdev_register_kretprobe(struct pt_regs *ctx)
{
	return wdev_register_exit(kretprobe_frame(ctx));
}

static __always_inline int wdev_unregister_enter(struct frame frame, struct wireless_dev *wdev)
{
	if (!has_netdev(wdev) && hit(NST_WDEV_UNREGISTER))
		wdev_send(event_begin(NST_WDEV_UNREGISTER, NST_INSTANT, frame, NULL), wdev);
	return 0;
}

SEC("fentry/cfg80211_unregister_wdev")
int BPF_PROG(wdev_unregister_fentry, struct wireless_dev *wdev)
{
	return wdev_unregister_enter(fentry_frame(ctx, wdev), wdev);
}

SEC("kprobe/cfg80211_unregister_wdev")
int BPF_KPROBE(wdev_unregister_kprobe, struct wireless_dev *wdev)
{
	return wdev_unregister_enter(kprobe_frame(ctx), wdev);
}
