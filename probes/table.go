// SPDX-License-Identifier: Apache-2.0

package probes

// probe is one line of the table below.
type probe struct {
	// name is the probe's, as the ledger has it.
	name string
	// id counts its hits and losses (enum nst_kind).
	id bpfNstKind
	// programs is the stem of its programs' names: stem_fentry, stem_fexit,
	// stem_kprobe and stem_kretprobe; or stem_ and the only hook.
	programs string
	// hook is the only one that can serve it, "" for those of functions.
	hook string
	// functions are the kernel functions that can serve it, or the tracepoints,
	// best first.
	functions []candidate
	// module has the functions, unless it is built in; "" means the kernel itself.
	module string
	// returns says that it has programs for the function's return, too.
	returns bool
	// sleeps says that tasks may sleep in the function side by side, so that many
	// returns are awaited at once. Those that run with rtnl or pernet_ops_rwsem
	// held for writing take turns.
	sleeps bool
	// argsVariable is the program variable that takes the function's number of
	// arguments, "" where that is the same on every kernel.
	argsVariable string
	// delivery marks the probes that count packets, foreign those that tell
	// only of what is in another namespace than the initial one, late those that
	// go on until the closing snapshot is complete (is_late in bpf/counters.h).
	delivery, foreign, late bool
	// loses says what a report lacks without it, without why a kernel may have no
	// such function, "" if there is no more to say than that.
	loses, without string
}

// candidate is a function that can serve a probe if it is what it should be.
type candidate struct {
	name string
	// args are the arguments its programs expect, as typeName spells them, with
	// " | " between what may stand for one another; "..." at the end allows more,
	// and alone that no program reads them.
	args string
	// early says that it serves the probe only where struct net counts its
	// references itself (features.OwnCount).
	early bool
}

// table lists the probes in the order in which they are attached: what explains
// other events comes first.
var table = []probe{
	{
		name: "cleanup_net", id: bpfNstKindNST_CLEANUP_NET, programs: "cleanup_net",
		functions: []candidate{{name: "cleanup_net", args: "..."}}, returns: true,
		loses: "when namespaces are torn down, and which moves that caused",
	},
	{
		// On early kernels cleanup_net ends with net_drop_ns, or with what the
		// compiler leaves of it when it inlines the check for NULL: the argument
		// is passed on. Later net_drop_ns is still there, but cleanup_net calls
		// net_free, which may be inlined, and from 6.18 on it takes a ns_common.
		name: "free_net", id: bpfNstKindNST_FREE_NET, programs: "free_net",
		functions: []candidate{
			{name: "net_passive_dec", args: "struct net *"},
			{name: "net_free", args: "struct net *"},
			{name: "net_drop_ns.part.0", args: "void *", early: true},
			{name: "net_drop_ns", args: "void *", early: true},
		},
		loses: "when the clean-up of a namespace is complete",
	},
	{
		name: "put_net", id: bpfNstKindNST_PUT_NET, programs: "put_net",
		functions: []candidate{{name: "__put_net", args: "struct net *"}},
		loses:     "when the last reference to a namespace is dropped",
	},
	{
		name: "netns_put", id: bpfNstKindNST_NETNS_PUT, programs: "netns_put",
		functions: []candidate{{name: "netns_put", args: "struct ns_common *"}}, returns: true, sleeps: true,
		loses: "when a file or a mount drops the last reference to a namespace",
	},
	{
		name: "copy_net_ns", id: bpfNstKindNST_COPY_NET, programs: "copy_net",
		functions: []candidate{
			{name: "copy_net_ns", args: "long unsigned int, struct user_namespace *, struct net *"},
			{name: "copy_net_ns", args: "u64, struct user_namespace *, struct net *"}, // from 6.18 on
		}, returns: true, sleeps: true,
		loses: "who asked for a namespace, how long that had to wait, and which were refused",
	},
	{
		name: "setup_net", id: bpfNstKindNST_SETUP_NET, programs: "setup_net",
		functions: []candidate{{name: "setup_net", args: "struct net *, ..."}}, returns: true, sleeps: true, argsVariable: "setup_net_args",
		loses: "the births of namespaces",
	},
	{
		name: "register_pernet_subsys", id: bpfNstKindNST_PERNET_REQUEST, programs: "register_subsys",
		functions: []candidate{{name: "register_pernet_subsys", args: "struct pernet_operations *"}},
		loses:     "how long subsystems wait to register for namespaces",
	},
	{
		name: "register_pernet_device", id: bpfNstKindNST_REGISTER_DEVICE, programs: "register_device",
		functions: []candidate{{name: "register_pernet_device", args: "struct pernet_operations *"}},
		loses:     "how long drivers wait to register for namespaces",
	},
	{
		name: "unregister_pernet_subsys", id: bpfNstKindNST_UNREGISTER_SUBSYS, programs: "unregister_subsys",
		functions: []candidate{{name: "unregister_pernet_subsys", args: "struct pernet_operations *"}},
		loses:     "how long subsystems wait to leave",
	},
	{
		name: "unregister_pernet_device", id: bpfNstKindNST_UNREGISTER_DEVICE, programs: "unregister_device",
		functions: []candidate{{name: "unregister_pernet_device", args: "struct pernet_operations *"}},
		loses:     "how long drivers wait to leave",
	},
	{
		name: "register_pernet_operations", id: bpfNstKindNST_REGISTER_PERNET, programs: "register_pernet",
		functions: []candidate{{name: "register_pernet_operations", args: "struct list_head *, struct pernet_operations *"}}, returns: true,
		loses: "which subsystems register for namespaces",
	},
	{
		name: "unregister_pernet_operations", id: bpfNstKindNST_UNREGISTER_PERNET, programs: "unregister_pernet",
		functions: []candidate{{name: "unregister_pernet_operations", args: "struct pernet_operations *"}}, returns: true,
		loses: "which subsystems leave",
	},
	{
		name: "ops_init", id: bpfNstKindNST_OPS_INIT, programs: "ops_init",
		functions: []candidate{{name: "ops_init", args: "struct pernet_operations *, struct net *"}}, returns: true, sleeps: true,
		loses: "how long each subsystem took to set a namespace up, and in how many it was initialised when it registered",
	},
	{
		// ops_undo_list, which took its place in 6.16 and stable releases before
		// that, goes through all subsystems in one call.
		name: "ops_exit_list", id: bpfNstKindNST_OPS_EXIT, programs: "ops_exit",
		functions: []candidate{{name: "ops_exit_list", args: "struct pernet_operations *, struct list_head *"}}, returns: true, sleeps: true,
		without: "this kernel tears namespaces down by one function for all subsystems",
		loses:   "how long each subsystem took to tear namespaces down",
	},
	{
		name: "cfg80211_switch_netns", id: bpfNstKindNST_WIPHY_SWITCH, programs: "wiphy_switch",
		functions: []candidate{{name: "cfg80211_switch_netns", args: "struct cfg80211_registered_device *, struct net *"}}, module: "cfg80211", returns: true,
		loses: "moves of radios",
	},
	{
		name: "cfg80211_pernet_exit", id: bpfNstKindNST_PERNET_EXIT, programs: "wireless_exit",
		functions: []candidate{{name: "cfg80211_pernet_exit", args: "struct net *"}}, module: "cfg80211", returns: true, sleeps: true,
		loses: "radios that come home from a dying namespace, if the compiler made cfg80211_switch_netns part of it",
	},
	{
		name: "device_rename", id: bpfNstKindNST_DEVICE_RENAME, programs: "device_rename",
		functions: []candidate{{name: "device_rename", args: "struct device *, ..."}},
		loses:     "when such radios arrive",
	},
	{
		name: "genl_rcv_msg", id: bpfNstKindNST_NL80211, programs: "nl80211",
		functions: []candidate{{name: "genl_rcv_msg", args: "struct sk_buff *, struct nlmsghdr *, struct netlink_ext_ack *"}}, returns: true, sleeps: true,
		loses: "who asked nl80211 for what, and what was refused before anything happened",
	},
	{
		name: "nl80211_pre_doit", id: bpfNstKindNST_PRE_DOIT, programs: "pre_doit",
		functions: []candidate{{name: "nl80211_pre_doit", args: "struct genl_ops * | struct genl_split_ops *, struct sk_buff *, struct genl_info *"}},
		module:    "cfg80211", returns: true, sleeps: true,
		loses: "how far a request over nl80211 came",
	},
	{
		name: "rtnetlink_rcv_msg", id: bpfNstKindNST_RTNETLINK, programs: "rtnetlink",
		functions: []candidate{{name: "rtnetlink_rcv_msg", args: "struct sk_buff *, struct nlmsghdr *, struct netlink_ext_ack *"}}, returns: true, sleeps: true,
		loses: "who asked for interfaces to be made, moved or renamed, and what was refused before anything happened",
	},
	{
		name: "get_net_ns_by_pid", id: bpfNstKindNST_NET_BY_PID, programs: "net_by_pid",
		functions: []candidate{{name: "get_net_ns_by_pid", args: "pid_t"}}, returns: true,
		loses: "which process and namespace a PID meant",
	},
	{
		name: "wiphy_new_nm", id: bpfNstKindNST_WIPHY_NEW, programs: "wiphy_new",
		functions: []candidate{{name: "wiphy_new_nm", args: "struct cfg80211_ops *, int, char *"}}, module: "cfg80211", returns: true, sleeps: true,
		loses: "the creation of radios before they are registered",
	},
	{
		name: "wiphy_register", id: bpfNstKindNST_WIPHY_REGISTER, programs: "wiphy_register",
		functions: []candidate{{name: "wiphy_register", args: "struct wiphy *"}}, module: "cfg80211", returns: true, sleeps: true,
		loses: "the births of radios",
	},
	{
		name: "wiphy_unregister", id: bpfNstKindNST_WIPHY_UNREGISTER, programs: "wiphy_unregister",
		functions: []candidate{{name: "wiphy_unregister", args: "struct wiphy *"}}, module: "cfg80211", returns: true, sleeps: true,
		loses: "the ends of radios",
	},
	{
		name: "wiphy_free", id: bpfNstKindNST_WIPHY_FREE, programs: "wiphy_free",
		functions: []candidate{{name: "cfg80211_dev_free", args: "struct cfg80211_registered_device *"}}, module: "cfg80211",
		loses: "when the memory of a radio is freed",
	},
	{
		name: "wiphy_rename", id: bpfNstKindNST_WIPHY_RENAME, programs: "wiphy_rename",
		functions: []candidate{{name: "cfg80211_dev_rename", args: "struct cfg80211_registered_device *, char *"}}, module: "cfg80211", returns: true,
		loses: "new names of radios",
	},
	{
		name: "ieee80211_if_add", id: bpfNstKindNST_IF_ADD, programs: "if_add",
		functions: []candidate{{name: "ieee80211_if_add", args: "struct ieee80211_local *, char *, unsigned char, struct wireless_dev * *, enum nl80211_iftype, struct vif_params *"}}, module: "mac80211", returns: true,
		loses: "which wireless interfaces were added, and by whom",
	},
	{
		name: "ieee80211_if_remove", id: bpfNstKindNST_IF_REMOVE, programs: "if_remove",
		functions: []candidate{{name: "ieee80211_if_remove", args: "struct ieee80211_sub_if_data *"}}, module: "mac80211",
		loses: "which wireless interfaces were removed on request",
	},
	{
		name: "cfg80211_register_wdev", id: bpfNstKindNST_WDEV_REGISTER, programs: "wdev_register",
		functions: []candidate{{name: "cfg80211_register_wdev", args: "struct cfg80211_registered_device *, struct wireless_dev *"}}, module: "cfg80211", returns: true,
		loses: "the births of wireless interfaces without a netdev, and their numbers",
	},
	{
		name: "cfg80211_unregister_wdev", id: bpfNstKindNST_WDEV_UNREGISTER, programs: "wdev_unregister",
		functions: []candidate{{name: "cfg80211_unregister_wdev", args: "struct wireless_dev *"}}, module: "cfg80211",
		loses: "the ends of wireless interfaces without a netdev",
	},
	{
		name: "dev_change_net_namespace", id: bpfNstKindNST_NETDEV_MOVE, programs: "netdev_move",
		functions: []candidate{
			{name: "__dev_change_net_namespace", args: "struct net_device *, struct net *, ..."},
			{name: "dev_change_net_namespace", args: "struct net_device *, struct net *, ..."},
		}, returns: true,
		argsVariable: "netdev_move_args",
		loses:        "moves of network interfaces",
	},
	{
		name: "register_netdevice", id: bpfNstKindNST_NETDEV_REGISTER, programs: "netdev_register",
		functions: []candidate{{name: "register_netdevice", args: "struct net_device *"}}, returns: true,
		loses: "the births of network interfaces",
	},
	{
		name: "unregister_netdevice", id: bpfNstKindNST_NETDEV_UNREGISTER, programs: "netdev_unregister",
		functions: []candidate{{name: "netdev_unregister_kobject", args: "struct net_device *"}},
		loses:     "the ends of network interfaces",
	},
	{
		name: "dev_change_name", id: bpfNstKindNST_NETDEV_RENAME, programs: "netdev_rename",
		functions: []candidate{
			{name: "netif_change_name", args: "struct net_device *, char *"},
			{name: "dev_change_name", args: "struct net_device *, char *"},
		}, returns: true,
		loses: "new names of network interfaces",
	},
	{
		name: "ieee80211_deliver_skb", id: bpfNstKindNST_DELIVER_SKB, programs: "deliver_skb",
		functions: []candidate{{name: "ieee80211_deliver_skb", args: "struct ieee80211_rx_data *"}}, module: "mac80211", delivery: true,
		loses: "what mac80211 received for which interface; what the stack got of it is told as the stack's",
	},
	{
		name: "ieee80211_rx_8023", id: bpfNstKindNST_RX_8023, programs: "rx_8023",
		functions: []candidate{{name: "ieee80211_rx_8023", args: "struct ieee80211_rx_data *, ..."}}, module: "mac80211", delivery: true,
		loses: "what of it came by mac80211's fast path or as Ethernet from the hardware",
	},
	{
		name: "cfg80211_rx_control_port", id: bpfNstKindNST_CONTROL_PORT, programs: "control_port", late: true,
		functions: []candidate{{name: "cfg80211_rx_control_port", args: "struct net_device *, struct sk_buff *, ..."}}, module: "cfg80211", delivery: true,
		loses: "which packets went to nl80211's control port instead of the stack; they seem relayed",
	},
	{
		name: "cfg80211_send_layer2_update", id: bpfNstKindNST_STATION_UPDATE, programs: "layer2_update",
		functions: []candidate{{name: "cfg80211_send_layer2_update", args: "struct net_device *, ..."}}, module: "cfg80211", delivery: true,
		loses: "which packets an access point makes up when a station has come; they are told as the stack's",
	},
	{
		name: "netif_rx", id: bpfNstKindNST_NETIF_RX, programs: "netif_rx", hook: hookTracepoint, late: true,
		functions: []candidate{{name: "netif_rx", args: "struct sk_buff *"}}, delivery: true,
		loses: "what of a monitor's packets its own radio had sent; they are told as the stack's",
	},
	{
		name: "netif_receive_skb", id: bpfNstKindNST_RECEIVE, programs: "receive", hook: hookTracepoint, late: true,
		functions: []candidate{{name: "netif_receive_skb", args: "struct sk_buff *"}}, delivery: true,
		loses: "what came past mac80211, and what mac80211 received but the stack didn't get",
	},
	{
		name: "kfree_skb", id: bpfNstKindNST_KFREE_SKB, programs: "kfree_skb", hook: hookTracepoint,
		functions: []candidate{{name: "kfree_skb", args: "struct sk_buff *, void *, ..."}}, delivery: true,
		loses: "what the stack dropped of what it got, and why",
	},
	{
		name: "switch_task_namespaces", id: bpfNstKindNST_TASK_SWITCH, programs: "task_switch", foreign: true, late: true,
		functions: []candidate{{name: "switch_task_namespaces", args: "struct task_struct *, struct nsproxy *"}},
		loses:     "which tasks went to another namespace",
	},
	{
		name: "exit_task_namespaces", id: bpfNstKindNST_TASK_EXIT, programs: "task_exit", foreign: true, late: true,
		functions: []candidate{
			{name: "exit_nsproxy_namespaces", args: "struct task_struct *"},
			{name: "exit_task_namespaces", args: "struct task_struct *"},
		},
		loses: "which tasks ended in a namespace",
	},
	{
		name: "sched_process_fork", id: bpfNstKindNST_TASK_FORK, programs: "task_fork", hook: hookTracepoint, foreign: true, late: true,
		functions: []candidate{{name: "sched_process_fork", args: "struct task_struct *, struct task_struct *, ..."}},
		loses:     "which tasks were born in a namespace",
	},
	{
		name: "sched_process_exec", id: bpfNstKindNST_TASK_EXEC, programs: "task_exec", hook: hookTracepoint, foreign: true, late: true,
		functions: []candidate{{name: "sched_process_exec", args: "struct task_struct *, ..."}},
		loses:     "which programs tasks in a namespace run",
	},
	{
		name: "peernet2id_alloc", id: bpfNstKindNST_NSID, programs: "nsid", late: true,
		functions: []candidate{{name: "peernet2id_alloc", args: "struct net *, struct net *, ..."}}, returns: true,
		loses: "which namespace a number is for that the kernel gave by itself",
	},
	{
		name: "rtnl_net_newid", id: bpfNstKindNST_NSID_REQUEST, programs: "nsid_request", late: true,
		functions: []candidate{{name: "rtnl_net_newid", args: "struct sk_buff *, struct nlmsghdr *, struct netlink_ext_ack *"}}, returns: true,
		loses: "who asked for a number for a namespace",
	},
	{
		name: "get_net_ns_by_fd", id: bpfNstKindNST_NET_BY_FD, programs: "net_by_fd", late: true,
		functions: []candidate{{name: "get_net_ns_by_fd", args: "int"}}, returns: true,
		loses: "which namespace such a number is for",
	},
	{
		name: "rtnl_net_notifyid", id: bpfNstKindNST_NSID_NOTIFY, programs: "nsid_notify", late: true,
		functions: []candidate{{name: "rtnl_net_notifyid", args: "struct net *, int, int, ..."}},
		loses:     "by which numbers namespaces know each other",
	},
	{
		name: "sysctl", id: bpfNstKindNST_SYSCTL, programs: "sysctl", hook: hookCgroup,
		functions: []candidate{{name: "__cgroup_bpf_run_filter_sysctl", args: "..."}},
		loses:     "writes to /proc/sys/net",
	},
}
