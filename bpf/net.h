/* SPDX-License-Identifier: GPL-2.0 */
/* Reading a struct net. */
#ifndef NSTRACE_NET_H
#define NSTRACE_NET_H

#include "kernel.h"
#include "record.h"

static __always_inline void read_net(struct nst_net *to, struct net *net)
{
	to->ptr = (__u64)net;
	to->cookie = 0;
	to->inum = 0;
	to->pad = 0;
	if (!net)
		return;
	to->inum = BPF_CORE_READ(net, ns.inum);
	if (bpf_core_field_exists(net->net_cookie)) {
		to->cookie = BPF_CORE_READ(net, net_cookie);
	} else {
		struct net___early *early = (void *)net;

		if (bpf_core_field_exists(early->net_cookie))
			to->cookie = BPF_CORE_READ(early, net_cookie.counter);
	}
}

/* How many references a namespace has; -1 if this kernel hides it. */
static __always_inline int net_references(struct net *net)
{
	struct ns_common___ref *ref = (void *)&net->ns;
	struct net___count *own = (void *)net;

	if (bpf_core_field_exists(ref->__ns_ref))
		return BPF_CORE_READ(ref, __ns_ref.refs.counter);
	if (bpf_core_field_exists(net->ns.count))
		return BPF_CORE_READ(net, ns.count.refs.counter);
	if (bpf_core_field_exists(own->count))
		return BPF_CORE_READ(own, count.refs.counter);
	return -1;
}

#endif
