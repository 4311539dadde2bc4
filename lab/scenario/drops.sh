#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# drops.sh OUT DROPS: packets come to simulated radios that the stack there drops, of known kinds and numbers, for
# nstrace to count. Run it in a lab machine that has no radio yet; DROPS is the program of folder drops here.
#
#   air    the radio that sends them (phy0, wlan0), in an IBSS with the others
#   left   phy1, wlan1
#   right  phy2, wlan2, which moves to left in the middle, and back
#
# OUT/trace.dat is the kernel's own record, for trace-cmd report, which has a line for each packet that enters the stack
# (netif_receive_skb), is sent (net_dev_queue), dropped (kfree_skb) or used up (consume_skb). Among them are
#
#   stay NAMESPACE DEVICE RX_DROPPED   a stay has ended; what of all that its interface got was for no protocol
#   sent NAMESPACE DEVICE KIND=COUNT...  what has come there
#
# Sockets that are full stay open until the end. OUT/cpus tells what is missing from that record. OUT/snmp.NAMESPACE is
# what the stack counted in a namespace, OUT/nft.NAMESPACE what netfilter dropped there.
set -eu

# Not below /sys, which ip netns exec covers up.
tracing=/run/tracing
judge=$tracing/instances/judge

tell() { echo "$*" >$judge/trace_marker; }

# stayed FROM DEVICE: an interface of this namespace was in FROM.
stayed() {
	read -r dropped <"/sys/class/net/$2/statistics/rx_dropped"
	tell "stay $1 $2 $dropped"
}

case ${1:?usage: drops.sh OUT DROPS} in
--come)
	# DEVICE SUBNET AIR [FROM]: an interface is here now, whose peer is at address AIR. Of what comes with a certain
	# ethertype it drops all.
	if [ $# = 5 ]; then
		stayed "$5" "$2"
	fi
	ip -batch - <<-END
		address replace $3.1/24 dev $2
		link set $2 up
		neighbour replace $3.254 lladdr $4 nud permanent dev $2
	END
	iw dev "$2" ibss join nstrace 2437 fixed-freq 02:4e:53:00:00:02
	tc qdisc replace dev "$2" clsact
	tc filter replace dev "$2" ingress protocol 0x88b6 pref 1 matchall action drop
	exit
	;;
--stayed)
	# NAMESPACE DEVICE
	stayed "$2" "$3"
	exit
	;;
--provoke)
	# DROPS NAMESPACE DEVICE SUBNET KIND=COUNT...: sends packets here, and waits until all have come.
	drops=$2 namespace=$3 device=$4 subnet=$5
	shift 5
	rx=/sys/class/net/$device/statistics/rx_packets
	read -r before <$rx
	read -r address <"/sys/class/net/$device/address"
	sent=$(ip netns exec air "$drops" send wlan0 "$address" "$subnet.1" "$subnet.254" "$@")
	now=$before
	until [ "$now" -ge $((before + sent)) ]; do
		read -r now <$rx
	done
	tell "sent $namespace $device $*"
	exit
	;;
esac

out=$1
drops=$(realpath "${2:?usage: drops.sh OUT DROPS}")
# shellcheck source=lab/scenario/steps.sh
. "$(dirname "$0")/steps.sh"

# in_ns NAMESPACE COMMAND...: runs a command in a namespace.
in_ns() { run ip netns exec "$@"; }

# come NAMESPACE NUMBER [FROM]: wlan NUMBER has come into a namespace, out of FROM.
come() {
	namespace=$1 device=wlan$2 subnet=10.14.$2
	in_ns "$namespace" sh "$0" --come "$device" "$subnet" "$air" ${3:+"$3"}
	address=$(ip netns exec "$namespace" cat "/sys/class/net/$device/address")
	run ip -n air neighbour replace "$subnet.1" lladdr "$address" nud permanent dev wlan0
	# This is in fragments, and none of it dropped. It comes through when they have found each other.
	in_ns air ping -q -c 3 -i 0.02 -s 2000 -w "$patience" "$subnet.1"
}

# provoke NAMESPACE NUMBER COUNT: sends to wlan NUMBER there COUNT packets of each kind, or some more.
provoke() {
	n=$3
	in_ns "$1" timeout "$patience" sh "$0" --provoke "$drops" "$1" "wlan$2" "10.14.$2" \
		no-socket="$n" full=$((n + 20)) filtered=$((n + 1)) udp-checksum=$((n + 2)) ip-checksum=$((n + 3)) \
		ip-header=$((n + 4)) ip-protocol=$((n + 5)) not-here=$((n + 6)) reverse-path=$((n + 7)) \
		fragments=$((n + 8)) tcp-closed=$((n + 9)) tcp-reset=$((n + 10)) ethertype=$((n + 11)) refused=$((n + 12))
}

for tool in ip iw tc nft ping trace-cmd; do
	command -v "$tool" >/dev/null || fail "there is no $tool here (lab/setup installs what the scenario needs)"
done
mkdir -p "$out" /run/netns
modprobe -a cfg80211 mac80211
[ -z "$(ls /sys/class/ieee80211)" ] || fail "this machine has radios already: run the scenario in a lab machine"

step "create three simulated radios, and a namespace for each"
mkdir -p $tracing
mount -t tracefs tracefs $tracing
mkdir $judge
echo 16384 >$judge/buffer_size_kb
for event in net/netif_receive_skb net/net_dev_queue skb/kfree_skb skb/consume_skb; do
	echo 1 >$judge/events/$event/enable
done
run modprobe mac80211_hwsim radios=3
namespaces="air left right"
printf 'netns add %s\n' $namespaces | run ip -batch -
# IPv6 speaks up by itself.
quiet='echo 1 | tee /proc/sys/net/ipv6/conf/*/disable_ipv6 >/dev/null'
run iw phy phy0 set netns name air
ip netns exec air sh -c "$quiet; iw dev wlan0 set type ibss"
printf '%s\n' "address add 10.14.1.254/24 dev wlan0" "address add 10.14.2.254/24 dev wlan0" "link set wlan0 up" |
	run ip -n air -batch -
in_ns air iw dev wlan0 ibss join nstrace 2437 fixed-freq 02:4e:53:00:00:02
air=$(ip netns exec air cat /sys/class/net/wlan0/address)
phy=1
for namespace in left right; do
	run iw phy phy$phy set netns name "$namespace"
	ip netns exec "$namespace" sh -c "$quiet; iw dev wlan$phy set type ibss
		echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter; nft -f -" <<-END
		table inet judge {
			counter filtered { }
			chain input {
				type filter hook input priority filter
				udp dport 4003 counter name filtered drop
			}
		}
	END
	background "hold-$namespace" ip netns exec "$namespace" "$drops" hold
	phy=$((phy + 1))
done

step "packets that the stack drops, in both namespaces"
come left 1
come right 2
await hold-left holding
await hold-right holding
provoke right 2 7

step "the same while the radio of right is in left"
in_ns right iw phy phy2 set netns name left
come left 2 right
provoke left 2 5
provoke left 1 3

step "and back"
in_ns left iw phy phy2 set netns name right
come right 2 left
provoke right 2 4

step "close the sockets"
for child in $children; do
	end "$child"
done
# What they had is freed by RCU; the end of an interface awaits that (rcu_barrier).
run ip link add name awaits type veth peer name awaited
run ip link delete awaits

step "silence the air, and save what the kernel knows"
places="left/wlan1 right/wlan2 air/wlan0"
for place in $places; do
	run ip -n "${place%/*}" link set "${place#*/}" down
done
for place in $places; do
	in_ns "${place%/*}" sh "$0" --stayed "${place%/*}" "${place#*/}"
done
ip netns exec air cat /proc/net/snmp >"$out/snmp.air"
for namespace in left right; do
	ip netns exec $namespace cat /proc/net/snmp /proc/net/netstat >"$out/snmp.$namespace"
	ip netns exec $namespace nft list counters >"$out/nft.$namespace"
done
echo 0 >$judge/tracing_on
cat $judge/per_cpu/cpu*/stats >"$out/cpus"
trace-cmd extract -B judge -o "$out/trace.dat" >/dev/null
