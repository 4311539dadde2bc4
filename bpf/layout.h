/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Finding one's way through the structures of cfg80211 and mac80211, which only
 * the BTF of these modules describes. Where there is none (before 5.11, or if
 * the kernel was built without it), other facts lead to the same place, and
 * each is checked before it is believed:
 *
 *  - a wiphy stands inside its cfg80211_registered_device, and its
 *    dev.platform_data points to that (wiphy_new_nm in net/wireless/core.c);
 *  - an ieee80211_local is the private part of its wiphy
 *    (ieee80211_alloc_hw_nm in net/mac80211/main.c). This needs no check: it
 *    is so wherever there is mac80211, and all types are in vmlinux;
 *  - an ieee80211_sub_if_data is the private part of its net_device, whose
 *    ieee80211_ptr points into it and back (ieee80211_if_add in
 *    net/mac80211/iface.c);
 *    One without a netdev begins, after a list_head at most, with its
 *    wireless_dev, whose wiphy is as described above;
 *  - a radio called phyN has the index N: cfg80211_dev_check_name lets no
 *    other radio have that name. Such radios tell whether wiphy_idx stands
 *    where it did when modules had no BTF yet, and so what index the others
 *    have.
 *
 * Offsets are not left to CO-RE: a compiler may hoist a relocated constant out
 * of the test whether there is such a type, and then the program can't be
 * loaded where there is none.
 */
#ifndef NSTRACE_LAYOUT_H
#define NSTRACE_LAYOUT_H

#include "common.h"

/* struct cfg80211_registered_device, if known is set */
const volatile bool rdev_known = false;
const volatile __u32 rdev_wiphy_offset = 0;
const volatile __u32 rdev_wiphy_idx_offset = 0;

/* struct ieee80211_sub_if_data, likewise */
const volatile bool sdata_known = false;
const volatile __u32 sdata_dev_offset = 0;
const volatile __u32 sdata_wdev_offset = 0;

/*
 * struct ieee80211_rx_data, likewise; these are its first members since 2.6.34,
 * after one other pointer: skb, local, sdata.
 */
const volatile bool rx_known = false;
const volatile __u32 rx_skb_offset = 8;
const volatile __u32 rx_sdata_offset = 24;

/* More than any cfg80211_registered_device or wireless_dev is away. */
#define NST_NEARBY 4096
/* NETDEV_ALIGN (include/linux/netdevice.h) */
#define NST_NETDEV_ALIGN 32

/* Where in a cfg80211_registered_device the search last found the wiphy. */
volatile __u32 rdev_wiphy_found;

static __always_inline bool is_wiphy_of(void *wiphy, void *rdev)
{
	return BPF_CORE_READ((struct wiphy *)wiphy, dev.platform_data) == rdev;
}

static __noinline struct wiphy *search_wiphy(void *rdev)
{
	__u32 offset = rdev_wiphy_found;

	if (offset && is_wiphy_of(rdev + offset, rdev))
		return rdev + offset;
	for (offset = NST_NETDEV_ALIGN; offset < NST_NEARBY; offset += NST_NETDEV_ALIGN) {
		if (is_wiphy_of(rdev + offset, rdev)) {
			rdev_wiphy_found = offset;
			return rdev + offset;
		}
	}
	count_drop(NST_DROP_LAYOUT);
	return NULL;
}

struct cfg80211_registered_device; /* net/wireless/core.h */

static __always_inline struct wiphy *rdev_wiphy(struct cfg80211_registered_device *rdev)
{
	if (rdev_known)
		return (void *)rdev + rdev_wiphy_offset;
	return search_wiphy(rdev);
}

struct ieee80211_local; /* net/mac80211/ieee80211_i.h */

/* wiphy_priv() backwards */
static __always_inline struct wiphy *local_wiphy(struct ieee80211_local *local)
{
	return (void *)local - bpf_core_field_offset(struct wiphy, priv);
}

/* What netdev_priv() adds to a net_device. */
static __always_inline __u64 netdev_priv_offset(void)
{
	__u64 size = bpf_core_type_size(struct net_device);

	if (bpf_core_field_exists(struct net_device___priv, priv))
		return bpf_core_field_offset(struct net_device___priv, priv);
	return (size + NST_NETDEV_ALIGN - 1) & ~(NST_NETDEV_ALIGN - 1ULL);
}

/* The netdev of an interface; NULL if it has none, as P2P devices. */
static __always_inline struct net_device *sdata_netdev(struct ieee80211_sub_if_data *sdata)
{
	struct net_device *dev;
	struct wireless_dev *wdev;

	if (sdata_known) {
		bpf_probe_read_kernel(&dev, sizeof(dev), (void *)sdata + sdata_dev_offset);
		return dev;
	}
	dev = (void *)sdata - netdev_priv_offset();
	wdev = BPF_CORE_READ(dev, ieee80211_ptr);
	if ((void *)wdev - (void *)sdata >= NST_NEARBY || (void *)wdev < (void *)sdata)
		return NULL;
	if (BPF_CORE_READ(wdev, netdev) != dev)
		return NULL;
	return dev;
}

/* Does this look like a wiphy? Its rdev begins a little before it. */
static __always_inline bool may_be_wiphy(struct wiphy *wiphy)
{
	void *rdev = BPF_CORE_READ(wiphy, dev.platform_data);

	return wiphy && rdev < (void *)wiphy && rdev + NST_NEARBY > (void *)wiphy;
}

/*
 * Its wireless_dev; NULL if that can't be known. It is the first member, or the
 * second after a list_head; one without a netdev is known by its wiphy.
 */
static __always_inline struct wireless_dev *sdata_wdev(struct ieee80211_sub_if_data *sdata,
						       struct net_device *dev)
{
	struct wireless_dev *wdev;
	int offset;

	if (sdata_known)
		return (void *)sdata + sdata_wdev_offset;
	if (dev)
		return BPF_CORE_READ(dev, ieee80211_ptr);
	for (offset = 0; offset <= 16; offset += 8) {
		wdev = (void *)sdata + offset;
		if (!BPF_CORE_READ(wdev, netdev) && may_be_wiphy(BPF_CORE_READ(wdev, wiphy)))
			return wdev;
	}
	return NULL;
}

/* The packet that is about to be delivered, and to which netdev. */
static __always_inline struct net_device *rx_delivery(struct ieee80211_rx_data *rx,
						      struct sk_buff **skb)
{
	struct ieee80211_sub_if_data *sdata = NULL;
	struct net_device *dev;

	bpf_probe_read_kernel(skb, sizeof(*skb), (void *)rx + rx_skb_offset);
	bpf_probe_read_kernel(&sdata, sizeof(sdata), (void *)rx + rx_sdata_offset);
	dev = sdata_netdev(sdata);
	/* ieee80211_rx_h_data and __ieee80211_rx_h_amsdu have set skb->dev. */
	if (dev && !rx_known && BPF_CORE_READ(*skb, dev) != dev)
		dev = NULL;
	if (!dev)
		count_drop(NST_DROP_LAYOUT);
	return dev;
}

/*
 * Where wiphy_idx stands from 5.8 to 5.10 on 64 bits: behind ops, list, and what
 * is for rfkill and the regulatory domain (net/wireless/core.h). Lock debugging
 * moves it, and nothing else does. It is taken for that once a radio called
 * phyN, N > 0, has N there, and never again once one has something else.
 */
#define NST_WIPHY_IDX_OFFSET 108

volatile bool wiphy_idx_confirmed, wiphy_idx_refuted;

/*
 * The indices of radios whose rdev hides them, learnt while they had a name that
 * tells.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __s32);
} wiphy_indices SEC(".maps");

/* N of "phyN", -1 for other names: phy01 and phy1x say nothing. */
static __always_inline __s32 index_of_name(const char *name)
{
	__s32 index = 0;
	int i;

	if (name[0] != 'p' || name[1] != 'h' || name[2] != 'y' || !name[3])
		return -1;
	for (i = 3; i < 12; i++) {
		if (!name[i])
			return index;
		if (name[i] < '0' || name[i] > '9' || (name[3] == '0' && i > 3))
			return -1;
		index = index * 10 + name[i] - '0';
	}
	return -1;
}

/* What stands where wiphy_idx is expected; -1 if that isn't a wiphy. */
static __always_inline __s32 expected_wiphy_idx(struct wiphy *wiphy)
{
	__s32 index = -1;

	if (may_be_wiphy(wiphy))
		bpf_probe_read_kernel(&index, sizeof(index),
				      BPF_CORE_READ(wiphy, dev.platform_data) +
					      NST_WIPHY_IDX_OFFSET);
	return index;
}

static __noinline __s32 learn_wiphy_index(__u64 wiphy, const char *name)
{
	__s32 *known;
	__s32 index, expected;

	if (!name)
		return -1;
	index = index_of_name(name);
	expected = expected_wiphy_idx((void *)wiphy);
	if (index >= 0) {
		if (expected != index)
			wiphy_idx_refuted = true;
		else if (index > 0)
			wiphy_idx_confirmed = true;
		bpf_map_update_elem(&wiphy_indices, &wiphy, &index, BPF_ANY);
		return index;
	}
	if (wiphy_idx_confirmed && !wiphy_idx_refuted)
		return expected;
	known = bpf_map_lookup_elem(&wiphy_indices, &wiphy);
	return known ? *known : -1;
}

/* The index of a radio, which is called name now. */
static __always_inline __s32 wiphy_index(struct wiphy *wiphy, const char *name)
{
	__s32 index = -1;

	if (!rdev_known)
		return learn_wiphy_index((__u64)wiphy, name);
	bpf_probe_read_kernel(&index, sizeof(index),
			      (void *)wiphy - rdev_wiphy_offset + rdev_wiphy_idx_offset);
	return index;
}

/* A new radio may stand where another stood. */
static __always_inline void forget_wiphy_index(struct wiphy *wiphy)
{
	__u64 key = (__u64)wiphy;

	if (!rdev_known)
		bpf_map_delete_elem(&wiphy_indices, &key);
}

#endif
