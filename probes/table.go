// SPDX-License-Identifier: Apache-2.0

package probes

// probe is one line of the table below.
type probe struct {
	// name is the probe's, as the ledger has it.
	name string
	// id counts its hits and losses (enum nst_kind).
	id bpfNstKind
	// programs is the stem of its programs' names: stem_fentry, stem_fexit,
	// stem_kprobe and stem_kretprobe.
	programs string
	// functions are the kernel functions that can serve it, best first.
	functions []string
	// module has the functions; "" means the kernel itself.
	module string
	// returns says that it has programs for the function's return, too.
	returns bool
	// argsVariable is the program variable that takes the function's number of
	// arguments, "" where that is the same on every kernel.
	argsVariable string
	// delivery marks the probes that count packets.
	delivery bool
	// loses says what a report lacks without it.
	loses string
}

// table lists the probes in the order in which they are attached: what explains
// other events comes first.
var table = []probe{
	{
		name: "cleanup_net", id: bpfNstKindNST_CLEANUP_NET, programs: "cleanup_net",
		functions: []string{"cleanup_net"}, returns: true,
		loses: "when namespaces are torn down, and which moves that caused",
	},
	{
		// net_drop_ns is what cleanup_net calls where the others don't exist;
		// from 6.18 on it takes a ns_common, so it comes last.
		name: "free_net", id: bpfNstKindNST_FREE_NET, programs: "free_net",
		functions: []string{"net_passive_dec", "net_free", "net_drop_ns"},
		loses:     "when the clean-up of a namespace is complete",
	},
	{
		name: "put_net", id: bpfNstKindNST_PUT_NET, programs: "put_net",
		functions: []string{"__put_net"},
		loses:     "when the last reference to a namespace is dropped",
	},
	{
		name: "netns_put", id: bpfNstKindNST_NETNS_PUT, programs: "netns_put",
		functions: []string{"netns_put"}, returns: true,
		loses: "when a file or a mount drops the last reference to a namespace",
	},
	{
		name: "setup_net", id: bpfNstKindNST_SETUP_NET, programs: "setup_net",
		functions: []string{"setup_net"}, returns: true, argsVariable: "setup_net_args",
		loses: "the births of namespaces",
	},
	{
		name: "register_pernet_operations", id: bpfNstKindNST_REGISTER_PERNET, programs: "register_pernet",
		functions: []string{"register_pernet_operations"}, returns: true,
		loses: "which subsystems register for namespaces",
	},
	{
		name: "unregister_pernet_operations", id: bpfNstKindNST_UNREGISTER_PERNET, programs: "unregister_pernet",
		functions: []string{"unregister_pernet_operations"}, returns: true,
		loses: "which subsystems leave",
	},
	{
		name: "ops_init", id: bpfNstKindNST_OPS_INIT, programs: "ops_init",
		functions: []string{"ops_init"},
		loses:     "in how many namespaces a subsystem was initialised",
	},
	{
		name: "cfg80211_switch_netns", id: bpfNstKindNST_WIPHY_SWITCH, programs: "wiphy_switch",
		functions: []string{"cfg80211_switch_netns"}, module: "cfg80211", returns: true,
		loses: "moves of radios",
	},
	{
		name: "wiphy_new_nm", id: bpfNstKindNST_WIPHY_NEW, programs: "wiphy_new",
		functions: []string{"wiphy_new_nm"}, module: "cfg80211", returns: true,
		loses: "the creation of radios before they are registered",
	},
	{
		name: "wiphy_register", id: bpfNstKindNST_WIPHY_REGISTER, programs: "wiphy_register",
		functions: []string{"wiphy_register"}, module: "cfg80211", returns: true,
		loses: "the births of radios",
	},
	{
		name: "wiphy_unregister", id: bpfNstKindNST_WIPHY_UNREGISTER, programs: "wiphy_unregister",
		functions: []string{"wiphy_unregister"}, module: "cfg80211", returns: true,
		loses: "the ends of radios",
	},
	{
		name: "wiphy_free", id: bpfNstKindNST_WIPHY_FREE, programs: "wiphy_free",
		functions: []string{"cfg80211_dev_free"}, module: "cfg80211",
		loses: "when the memory of a radio is freed",
	},
	{
		name: "wiphy_rename", id: bpfNstKindNST_WIPHY_RENAME, programs: "wiphy_rename",
		functions: []string{"cfg80211_dev_rename"}, module: "cfg80211", returns: true,
		loses: "new names of radios",
	},
	{
		name: "ieee80211_if_add", id: bpfNstKindNST_IF_ADD, programs: "if_add",
		functions: []string{"ieee80211_if_add"}, module: "mac80211", returns: true,
		loses: "which wireless interfaces were added, and by whom",
	},
	{
		name: "ieee80211_if_remove", id: bpfNstKindNST_IF_REMOVE, programs: "if_remove",
		functions: []string{"ieee80211_if_remove"}, module: "mac80211",
		loses: "which wireless interfaces were removed on request",
	},
	{
		name: "dev_change_net_namespace", id: bpfNstKindNST_NETDEV_MOVE, programs: "netdev_move",
		functions: []string{"__dev_change_net_namespace", "dev_change_net_namespace"}, returns: true,
		argsVariable: "netdev_move_args",
		loses:        "moves of network interfaces",
	},
	{
		name: "register_netdevice", id: bpfNstKindNST_NETDEV_REGISTER, programs: "netdev_register",
		functions: []string{"register_netdevice"}, returns: true,
		loses: "the births of network interfaces",
	},
	{
		name: "unregister_netdevice", id: bpfNstKindNST_NETDEV_UNREGISTER, programs: "netdev_unregister",
		functions: []string{"netdev_unregister_kobject"},
		loses:     "the ends of network interfaces",
	},
	{
		name: "dev_change_name", id: bpfNstKindNST_NETDEV_RENAME, programs: "netdev_rename",
		functions: []string{"netif_change_name", "dev_change_name"}, returns: true,
		loses: "new names of network interfaces",
	},
	{
		name: "ieee80211_deliver_skb", id: bpfNstKindNST_DELIVER_SKB, programs: "deliver_skb",
		functions: []string{"ieee80211_deliver_skb"}, module: "mac80211", delivery: true,
		loses: "what Wi-Fi delivered into which namespace",
	},
}
