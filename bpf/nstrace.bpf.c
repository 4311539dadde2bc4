/* SPDX-License-Identifier: GPL-2.0 */
/* All programs, compiled as one so that they share their maps. */
#include "netns.bpf.c"
#include "pernet.bpf.c"
#include "wiphy.bpf.c"
#include "netdev.bpf.c"
#include "request.bpf.c"
#include "delivery.bpf.c"
#include "stack.bpf.c"
#include "task.bpf.c"
#include "nsid.bpf.c"
#include "sysctl.bpf.c"

/* Named here so that BTF, and so Go, has them. */
const struct nst_event *unused_nst_event __attribute__((unused));
const struct nst_steps *unused_nst_steps __attribute__((unused));
const struct nst_step *unused_nst_step __attribute__((unused));
const struct nst_packet *unused_nst_packet __attribute__((unused));
const struct nst_task *unused_nst_task __attribute__((unused));
const enum nst_task_op *unused_nst_task_op __attribute__((unused));
const enum nst_kind *unused_nst_kind __attribute__((unused));
const enum nst_recording *unused_nst_recording __attribute__((unused));
const enum nst_phase *unused_nst_phase __attribute__((unused));
const enum nst_flag *unused_nst_flag __attribute__((unused));
const enum nst_stage *unused_nst_stage __attribute__((unused));
const enum nst_path *unused_nst_path __attribute__((unused));
const enum nst_ring *unused_nst_ring __attribute__((unused));
const enum nst_return *unused_nst_return __attribute__((unused));
const enum nst_drop *unused_nst_drop __attribute__((unused));

/* The kernel's helpers are for GPL programs (include/uapi/linux/bpf.h). */
char LICENSE[] SEC("license") = "GPL";
