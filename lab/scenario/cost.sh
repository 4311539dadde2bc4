#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# cost.sh OUT NSTRACE COST ROUNDS TRIPS PACKETS [WAY...]: what recording costs for each packet between two simulated
# radios, beside the ways (below) to have similar from other tools; without names, all of them. Run it in a lab machine
# that has no radio yet. COST is the program of folder cost here. The loads:
#
#   ping      TRIPS round trips of a flood ping, by a ping socket, as systemd's distributions have it
#   raw-ping  the same by a raw socket: for each reply the kernel finds that no ping socket wants it, and drops a packet
#   udp       PACKETS of 1,000 bytes by iperf3, one way. (With TCP the number of acknowledgements depends on chance.)
#
# The ways take turns, round by round, in this one machine; each has a machine that is as idle, and as warm. A line
# in OUT/lines is one of
#
#   machine RELEASE CPU
#   load ROUND WAY LOAD PACKETS NS IDLE OWN  so many packets came to the radios in so much time, of which all CPUs
#                                            together were idle, and the tool's own processes executed
#   seen ROUND WAY PACKETS                   that came from before the tool began until it had ended
#   without WAY WHY                          the way can't be gone here
#
# What a tool has recorded or said in a round is in OUT/ROUND-WAY.*, for whoever wants to count it.
set -eu

# packets: how many came to the radios; $left and $right are processes in their namespaces.
packets() { cat "/proc/$left/net/dev" "/proc/$right/net/dev" | awk '/wlan/ { sum += $3 } END { printf "%.0f", sum }'; }

# clock: what time it is, and how long the CPUs had been idle when they last began to work, both in ns, at the same moment.
# /proc/stat has the latter in hundredths of a second only.
clock() {
	awk '/^now at/ { now = $3 } /idle_sleeptime|iowait_sleeptime/ { idle += $3 }
		END { printf "%.0f %.0f", now, idle }' /proc/timer_list
}

# own: how long processes of the tool have run, in ns: it, if it isn't 0, and its children but for this one.
own() {
	if [ "$tool" != 0 ]; then
		for child in $(cat /proc/"$tool"/task/*/children); do
			[ "$child" = "$self" ] || cat /proc/"$child"/task/*/schedstat
		done
		cat /proc/"$tool"/task/*/schedstat
	fi | awk '{ sum += $1 } END { printf "%.0f", sum }'
}

case ${1:?usage: cost.sh OUT NSTRACE COST ROUNDS TRIPS PACKETS [WAY...]} in
--load)
	# LOAD N LEFT RIGHT TOOL SELF: prints what a load did.
	export PATH=/bin LC_ALL=C
	load=$2 n=$3 left=$4 right=$5 tool=$6 self=$7
	case $load in
	raw-ping) echo "1 0" ;;
	*) echo "0 2147483647" ;;
	esac >/proc/sys/net/ipv4/ping_group_range
	packets=$(packets) own=$(own) start=$(clock)
	case $load in
	*ping) ping -f -q -c "$n" 10.15.0.2 ;;
	udp) iperf3 --client 10.15.0.2 --udp --bitrate 0 --length 1000 --bytes "$((n * 1000))" --interval 0 ;;
	esac >/tmp/said || { cat /tmp/said >&2 && exit 1; }
	end=$(clock)
	echo "$load" $(($(packets) - packets)) $((${end% *} - ${start% *})) $((${end#* } - ${start#* })) $(($(own) - own))
	exit
	;;
--measure)
	# ROUND WAY TRIPS PACKETS LEFT RIGHT LINES: the command that the tools are started with.
	round=$2 way=$3 trips=$4 sent=$5 left=$6 right=$7 lines=$8
	tool=$PPID
	case $way in
	nothing*) tool=0 ;;
	esac
	for load in ping raw-ping udp; do
		n=$trips
		if [ $load = udp ]; then
			n=$sent
		fi
		# The first is for the caches, the translated programs, and the lazily made parts of the tools.
		ip netns exec left chroot "${0%/*}" /bin/sh /cost.sh --load $load $((n / 10)) "$left" "$right" "$tool" $$ >/dev/null
		did=$(ip netns exec left chroot "${0%/*}" /bin/sh /cost.sh --load $load "$n" "$left" "$right" "$tool" $$)
		echo "load $round $way $did" >>"$lines"
	done
	exit
	;;
esac

out=$1
nstrace=$(realpath "$2")
cost=$(realpath "$3")
rounds=$4
trips=$5
sent=${6:?usage: cost.sh OUT NSTRACE COST ROUNDS TRIPS PACKETS [WAY...]}
shift 6
[ $# -gt 0 ] || set -- nothing nothing-again nstrace-count nstrace-packets bpftrace-kfunc bpftrace-kprobe bpftrace-print \
	trace-cmd trace-cmd-fields perf-fields
# shellcheck source=lab/scenario/steps.sh
. "$(dirname "$0")/steps.sh"
events=/sys/kernel/tracing/kprobe_events
lines=/run/lines
root=/run/root

# make_root PROGRAM...: makes a root folder in the machine's own memory with nothing but these programs. What is in the
# host's folders takes requests to the host, whose answers take any time.
make_root() {
	mkdir -p $root/bin $root/proc $root/dev $root/tmp
	for program; do
		cp "$(command -v "$program")" $root/bin/
		ldd "$(command -v "$program")" | grep -o '/[^ ]*' | xargs cp -L --parents -u -t $root
	done
	mount --bind /proc $root/proc
	mount --bind /dev $root/dev
	cp "$0" $root/cost.sh
}

# radio NAMESPACE N: gives a radio to a namespace, in an IBSS with the other.
radio() {
	run ip netns add "$1"
	run iw phy "phy$2" set netns name "$1"
	# IPv6 speaks up by itself.
	ip netns exec "$1" sh -c 'echo 1 | tee /proc/sys/net/ipv6/conf/*/disable_ipv6 >/dev/null'
	run ip netns exec "$1" iw dev "wlan$2" set type ibss
	printf '%s\n' "address add 10.15.0.$(($2 + 1))/24 dev wlan$2" "link set wlan$2 up" "link set lo up" | run ip -n "$1" -batch -
	run ip netns exec "$1" iw dev "wlan$2" ibss join nstrace 2437 fixed-freq 02:4e:53:00:00:03
}

address() { ip netns exec "$1" cat "/sys/class/net/$2/address"; }

# record WAY COMMAND...: runs a command while a tool records it; what that writes is $file and an ending, in memory.
record() {
	way=$1 file=/run/record/$round-$1
	shift
	inum='args->rx->sdata->dev->nd_net.net->ns.inum'
	case $way in
	nothing*) "$@" ;;
	nstrace-*) "$nstrace" record --delivery "${way#nstrace-}" -o "$file.nst" -- "$@" ;;
	bpftrace-kfunc) bpftrace -o "$file.txt" -c "$*" -e "kfunc:ieee80211_deliver_skb { @[$inum] = count(); }" ;;
	bpftrace-kprobe) bpftrace -o "$file.txt" -c "$*" -e "kprobe:ieee80211_deliver_skb {
			@[((struct ieee80211_rx_data *)arg0)->sdata->dev->nd_net.net->ns.inum] = count(); }" ;;
	bpftrace-print) bpftrace -o "$file.txt" -c "$*" -e "kfunc:ieee80211_deliver_skb {
			printf(\"%llu %u %d %u\n\", nsecs, $inum, args->rx->sdata->dev->ifindex, args->rx->skb->len); }" ;;
	trace-cmd*) trace-cmd record -e kprobes:deliver -o "$file.dat" "$@" ;;
	perf*) perf record -a -e kprobes:deliver -o "$file.perf" "$@" ;;
	*) fail "there is no way $way" ;;
	esac
}

# try WAY: measures one way, or says why it can't be gone.
try() {
	tool=${1%%-*}
	case $tool in
	nstrace) tool=$nstrace ;;
	trace) tool=trace-cmd ;;
	esac
	case $1 in
	*-fields) [ "$fields" ] || {
		echo "without $1 $(cat "$work/no-fields")" >>$lines
		return
	} ;;
	esac
	if [ "$tool" != nothing ] && ! command -v "$tool" >/dev/null; then
		echo "without $1 there is no $tool here" >>$lines
		return
	fi
	case $1 in
	trace-cmd) echo "p:deliver ieee80211_deliver_skb" ;;
	*-fields) echo "p:deliver ieee80211_deliver_skb $fields" ;;
	esac >$events
	before=$(packets)
	if record "$1" /bin/sh $root/cost.sh --measure "$round" "$1" "$trips" "$sent" "$left" "$right" $lines >"$work/said" 2>&1; then
		echo "seen $round $1 $(($(packets) - before))" >>$lines
	else
		echo "without $1 $(tail -n 1 "$work/said")" >>$lines
	fi
	cp "$work/said" "$out/$round-$1.said"
	: >$events
	# Out of the memory of the machine, before the next one.
	mv /run/record/* "$out/" 2>/dev/null || true
	sync
}

for tool in ip iw iperf3 ping; do
	command -v "$tool" >/dev/null || fail "there is no $tool here (lab/setup installs what the scenario needs)"
done
mkdir -p "$out" /run/netns /run/record
make_root sh cat awk ping iperf3
cp "$nstrace" /run/
nstrace=/run/${nstrace##*/}
modprobe -a cfg80211 mac80211
[ -z "$(ls /sys/class/ieee80211)" ] || fail "this machine has radios already: run the scenario in a lab machine"
echo "machine $(uname -r) $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" >$lines
# What a server can't take at once it shall keep: a packet dropped costs something else.
sysctl -q -w net.core.rmem_default=$((sent * 4096))
fields=$("$cost" 2>"$work/no-fields") || true

step "two simulated radios, each in a namespace"
run modprobe mac80211_hwsim radios=2
radio left 0
radio right 1
run ip -n left neighbour replace 10.15.0.2 lladdr "$(address right wlan1)" nud permanent dev wlan0
run ip -n right neighbour replace 10.15.0.1 lladdr "$(address left wlan0)" nud permanent dev wlan1
background left ip netns exec left sleep infinity
left=$pid
background right ip netns exec right iperf3 --server --forceflush
right=$pid
await right listening
run ip netns exec left ping -q -c 1 -w $patience 10.15.0.2

/bin/sh $root/cost.sh --measure 0 nothing "$trips" "$sent" "$left" "$right" /dev/null # the first is for the caches

for round in $(seq "$rounds"); do
	step "round $round"
	for way; do
		try "$way"
	done
done
cp $lines "$out/lines"
