#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# fullmac.sh OUT FULLMAC: a radio whose driver does without mac80211 (rndis_wlan, which Debian's kernels have up to 6.1)
# receives, goes, comes back, can't be moved, and receives again. Run it in a lab machine that has no radio yet; FULLMAC
# is the program of folder fullmac here, which is the radio.
#
# Of both times, first and second, OUT/TIME.device is what the radio says that it received, and OUT/TIME what the kernel
# says, in the form of traffic.sh.
set -eu

out=$1
fullmac=${2:?usage: fullmac.sh OUT FULLMAC}
# shellcheck source=lab/scenario/steps.sh
. "$(dirname "$0")/steps.sh"

packets=600 # fewer than may wait for the stack (net.core.netdev_max_backlog), so that none is dropped
tracing=/run/tracing
judge=$tracing/instances/judge

# refused COMMAND...: runs a command that the kernel has to refuse.
refused() {
	printf '   $ %s\n' "$*"
	if "$@"; then
		fail "this wasn't refused: $*"
	fi
}

# until_true COMMAND: waits until a shell's command succeeds.
until_true() {
	timeout "$patience" sh -c "until $1; do :; done" || fail "this wasn't so within $patience s: $1"
}

# receive TIME: connects, and has the radio receive.
receive() {
	run ip address add 10.14.0.2/24 dev wlan0
	run ip link set wlan0 up
	# Not with -w: iw misses the event if it comes before the kernel's answer.
	run iw dev wlan0 connect nstrace
	until_true '[ "$(cat /sys/class/net/wlan0/carrier)" = 1 ]'
	kill -USR1 "$device"
	await device received:
	cp "$work/said" "$out/$1.device"
	# Those that the driver has counted may still wait for the stack.
	until_true "[ \$(grep -c dev=wlan0 $judge/trace) -ge $packets ]"
	read -r received </sys/class/net/wlan0/statistics/rx_packets
	read -r bytes </sys/class/net/wlan0/statistics/rx_bytes
	echo "stay init wlan0 $received $bytes" >$judge/trace_marker
	cat $judge/trace $judge/per_cpu/cpu*/stats >"$out/$1"
	echo >$judge/trace # begin anew
}

mkdir -p "$out" $tracing
mount -t tracefs tracefs $tracing
mkdir $judge
echo 0 >$judge/options/context-info
echo 'name == "wlan0"' >$judge/events/net/netif_receive_skb/filter
echo 1 >$judge/events/net/netif_receive_skb/enable

step "plug a radio in"
run modprobe -a vhci-hcd rndis_wlan
background device "$fullmac" $packets
device=$pid
await device interface:
receive first

step "let its driver go, and come again"
run rmmod rndis_wlan
run modprobe rndis_wlan
await device interface:

step "try to move it"
run ip netns add blue
refused iw phy phy1 set netns name blue
refused ip link set wlan0 netns blue
receive second

# The radio stays until the machine ends, so that it is there when the recording does.
children=
