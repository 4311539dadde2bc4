/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a netlink message asks for, read from the message itself: a request that
 * is refused may never be taken apart by the kernel.
 */
#ifndef NSTRACE_ATTRIBUTES_H
#define NSTRACE_ATTRIBUTES_H

#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/nl80211.h>
#include "common.h"

/* More than any request has that is looked at. */
#define NST_ATTRIBUTES 32
/* IFLA_INFO_KIND and its like */
#define NST_INFO_ATTRIBUTES 4

enum request_has {
	HAS_WIPHY_NAME = 1,
	HAS_IFNAME = 2,
	HAS_IFTYPE = 4,
	HAS_PID = 8,
	HAS_FD = 16,
};

/* The attributes that matter. */
struct request {
	__u32 has;
	__s32 wiphy_index;
	__s32 ifindex;
	__u32 wdev_id;
	__u32 iftype;
	__u32 pid;
	__s32 fd;
	__s32 nsid;
	char name[64];
	char wiphy_name[64];
	char link_kind[16];
};

static const struct request no_request = {.wiphy_index = -1, .nsid = -1};

/*
 * They are read into a map, by thread, while a request is answered: what is on the
 * stack the verifier would follow through every order they may come in.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct request);
} requests SEC(".maps");

static __always_inline struct request *request_begin(void)
{
	__u32 tid = bpf_get_current_pid_tgid();

	if (bpf_map_update_elem(&requests, &tid, &no_request, BPF_ANY)) {
		count_drop(NST_DROP_CALLS);
		return NULL;
	}
	return bpf_map_lookup_elem(&requests, &tid);
}

static __always_inline void request_end(void)
{
	__u32 tid = bpf_get_current_pid_tgid();

	bpf_map_delete_elem(&requests, &tid);
}

/* The rest of a message that has attributes, and what next_attribute found. */
struct attributes {
	__u64 at;
	__u32 left;
	__u32 type;
	__u64 value;
	__u32 len; /* of the value */
};

/* What follows the headers of a message. */
static __always_inline struct attributes attributes_of(struct nlmsghdr *nlh, __u32 headers)
{
	struct attributes a = {.at = (__u64)nlh + headers};
	__u32 len = 0;

	bpf_probe_read_kernel(&len, sizeof(len), &nlh->nlmsg_len);
	if (len > headers)
		a.left = len - headers;
	return a;
}

/* Go to the next one; false at the end. */
static __always_inline bool next_attribute(struct attributes *a)
{
	struct nlattr head = {};
	__u32 whole;

	if (a->left < NLA_HDRLEN)
		return false;
	bpf_probe_read_kernel(&head, sizeof(head), (void *)a->at);
	whole = head.nla_len;
	if (whole < NLA_HDRLEN || whole > a->left)
		return false;
	a->type = head.nla_type & NLA_TYPE_MASK;
	a->value = a->at + NLA_HDRLEN;
	a->len = whole - NLA_HDRLEN;
	whole = NLA_ALIGN(whole);
	a->at += whole;
	a->left = whole < a->left ? a->left - whole : 0;
	return true;
}

static __always_inline __u32 u32_of(struct attributes *a, __u32 offset)
{
	__u32 v = 0;

	if (a->len >= offset + sizeof(v))
		bpf_probe_read_kernel(&v, sizeof(v), (void *)a->value + offset);
	return v;
}

/* A string need not end. room is a power of two, and what is there is all zero. */
static __always_inline void string_of(struct attributes *a, char *to, __u32 room)
{
	__u32 len = a->len < room ? a->len : room - 1;

	bpf_probe_read_kernel(to, len & (room - 1), (void *)a->value);
}

/* Of an attribute that comes twice the last counts, as in nla_parse. */
static __always_inline void take_nl80211(struct request *r, struct attributes *a)
{
	switch (a->type) {
	case NL80211_ATTR_WIPHY:
		r->wiphy_index = u32_of(a, 0);
		break;
	case NL80211_ATTR_WIPHY_NAME:
		r->has |= HAS_WIPHY_NAME;
		string_of(a, r->wiphy_name, sizeof(r->wiphy_name));
		break;
	case NL80211_ATTR_IFINDEX:
		r->ifindex = u32_of(a, 0);
		break;
	case NL80211_ATTR_IFNAME:
		r->has |= HAS_IFNAME;
		string_of(a, r->name, sizeof(r->name));
		break;
	case NL80211_ATTR_IFTYPE:
		r->has |= HAS_IFTYPE;
		r->iftype = u32_of(a, 0);
		break;
	case NL80211_ATTR_PID:
		r->has |= HAS_PID;
		r->pid = u32_of(a, 0);
		break;
	case NL80211_ATTR_NETNS_FD:
		r->has |= HAS_FD;
		r->fd = u32_of(a, 0);
		break;
	case NL80211_ATTR_WDEV: /* the radio's index is the high half */
		r->wdev_id = u32_of(a, 0);
		if (r->wiphy_index < 0)
			r->wiphy_index = u32_of(a, sizeof(__u32));
		break;
	}
}

static __noinline int read_nl80211(struct request *r, struct nlmsghdr *nlh, __u32 headers)
{
	struct attributes a = attributes_of(nlh, headers);
	int i;

	if (!r)
		return 0;
	for (i = 0; i < NST_ATTRIBUTES; i++) {
		if (!next_attribute(&a))
			break;
		take_nl80211(r, &a);
	}
	return 0;
}

/* IFLA_LINKINFO has attributes of its own. */
static __noinline int read_link_kind(struct request *r, __u64 at, __u32 left)
{
	struct attributes a = {.at = at, .left = left};
	int i;

	if (!r)
		return 0;
	for (i = 0; i < NST_INFO_ATTRIBUTES; i++) {
		if (!next_attribute(&a))
			break;
		if (a.type == IFLA_INFO_KIND)
			string_of(&a, r->link_kind, sizeof(r->link_kind));
	}
	return 0;
}

static __always_inline void take_rtnetlink(struct request *r, struct attributes *a)
{
	switch (a->type) {
	case IFLA_IFNAME:
		r->has |= HAS_IFNAME;
		string_of(a, r->name, sizeof(r->name));
		break;
	case IFLA_LINKINFO:
		read_link_kind(r, a->value, a->len);
		break;
	case IFLA_NET_NS_PID:
		r->has |= HAS_PID;
		r->pid = u32_of(a, 0);
		break;
	case IFLA_NET_NS_FD:
		r->has |= HAS_FD;
		r->fd = u32_of(a, 0);
		break;
	case IFLA_TARGET_NETNSID:
		r->nsid = u32_of(a, 0);
		break;
	}
}

static __noinline int read_rtnetlink(struct request *r, struct nlmsghdr *nlh, __u32 headers)
{
	struct attributes a = attributes_of(nlh, headers);
	int i;

	if (!r)
		return 0;
	for (i = 0; i < NST_ATTRIBUTES; i++) {
		if (!next_attribute(&a))
			break;
		take_rtnetlink(r, &a);
	}
	return 0;
}

#endif
