#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# scenario.sh OUT: a short life of three simulated radios in three network namespaces, with the tools people
# use for it, for nstrace to watch. Run it in a lab machine that has no radio yet; it says each step and the
# command that does it. In OUT are left the kernel's own words on where things are, twice: in OUT/both while
# namespaces ap and sta exist, in OUT/ap-only after sta is gone. Nothing is received between the two, so the
# packet counters in OUT/both are final.
set -eu

out=${1:?usage: scenario.sh OUT}
# shellcheck source=lab/scenario/steps.sh
. "$(dirname "$0")/steps.sh"

# save DIR NAMESPACE...: keeps what the kernel says at this moment.
save() {
	dir=$1
	shift
	mkdir -p "$dir"
	ip -j netns >"$dir/netns.json"
	lsns -J -t net >"$dir/lsns.json"
	stat -Lc '%i init' /proc/self/ns/net >"$dir/inums"
	ip -j -s link >"$dir/init.link.json"
	iw dev >"$dir/init.iw-dev"
	iw phy | grep '^Wiphy' >"$dir/init.iw-phy"
	for namespace in "$@"; do
		stat -Lc "%i $namespace" "/run/netns/$namespace" >>"$dir/inums"
		ip -n "$namespace" -j -s link >"$dir/$namespace.link.json"
		ip netns exec "$namespace" iw dev >"$dir/$namespace.iw-dev"
		ip netns exec "$namespace" iw phy | grep '^Wiphy' >"$dir/$namespace.iw-phy" || true
	done
}

# where: says which namespace each radio is in.
where() {
	for namespace in init "$@"; do
		printf '   %s: %s\n' "$namespace" "$(sed 's/Wiphy //' "$out/$here/$namespace.iw-phy" | sort | tr '\n' ' ')"
	done
}

for tool in ip iw hostapd wpa_supplicant iperf3 ping lsns; do
	command -v "$tool" >/dev/null || fail "there is no $tool here (lab/setup installs what the scenario needs)"
done
mkdir -p "$out" /run/netns
modprobe -a cfg80211 mac80211
[ -z "$(ls /sys/class/ieee80211)" ] || fail "this machine has radios already: run the scenario in a lab machine"

step "watch the interfaces of the initial namespace, to know when a radio comes home"
background links ip monitor link
monitor=$pid

step "create three simulated radios"
run modprobe mac80211_hwsim radios=3

step "create namespaces ap and sta"
for namespace in ap sta; do
	run ip netns add "$namespace"
	# IPv6 speaks up by itself, at times of its own choosing; the packets here shall all have a reason.
	ip netns exec "$namespace" sh -c 'echo 1 | tee /proc/sys/net/ipv6/conf/*/disable_ipv6 >/dev/null'
	run ip -n "$namespace" link set lo up
done

step "move phy1 to namespace ap by name"
run iw phy phy1 set netns name ap

step "move phy2 to namespace sta by the id of a process that lives there"
mkfifo "$work/hold"
# shellcheck disable=SC2016 # the $1 is the inner shell's
background holder ip netns exec sta sh -c 'echo here; read -r _ <"$1"' sh "$work/hold"
holder=$pid
await holder here
run iw phy phy2 set netns "$holder"

step "try to move wlan0 without its radio (the kernel refuses)"
printf '   $ ip link set wlan0 netns ap\n'
if ip link set wlan0 netns ap 2>"$work/refused"; then
	fail "wlan0 was moved by itself"
fi
sed 's/^/   /' "$work/refused"
# Kernels that explain themselves make ip print the explanation in place of the error's name.
grep -q -e 'Invalid argument' -e 'immutable' "$work/refused" || fail "the refusal isn't the expected one"

step "add a virtual access point to phy0: it goes where its radio is"
run iw phy phy0 interface add vap0 type __ap
await links vap0

step "open an access point in ap"
cat >"$work/hostapd.conf" <<END
interface=wlan1
driver=nl80211
ssid=nstrace
hw_mode=g
channel=1
END
background hostapd ip netns exec ap hostapd "$work/hostapd.conf"
hostapd=$pid
await hostapd AP-ENABLED
run ip -n ap address add 10.11.0.1/24 dev wlan1

step "join it from sta"
cat >"$work/wpa_supplicant.conf" <<END
network={
	ssid="nstrace"
	key_mgmt=NONE
	scan_freq=2412
}
END
background wpa_supplicant ip netns exec sta wpa_supplicant -i wlan2 -D nl80211 -c "$work/wpa_supplicant.conf"
supplicant=$pid
await wpa_supplicant CTRL-EVENT-CONNECTED
run ip -n sta address add 10.11.0.2/24 dev wlan2

step "ping the access point"
run ip netns exec sta ping -q -c 5 -i 0.2 10.11.0.1

step "send over TCP for two seconds"
background iperf3 ip netns exec ap iperf3 --server --one-off --forceflush
server=$pid
await iperf3 listening
run ip netns exec sta iperf3 --client 10.11.0.1 --time 2 --interval 0
wait "$server" || fail "the iperf3 server failed"

step "silence the air: nothing is received from here on"
run ip -n sta link set wlan2 down
run ip -n ap link set wlan1 down

step "save what the kernel knows"
here=both
save "$out/$here" ap sta
where ap sta

step "end what runs in sta"
end "$supplicant"
echo >"$work/hold"
wait "$holder" || true
left=$(ip netns pids sta)
[ -z "$left" ] || fail "still in sta: $left"

step "delete sta: its radio comes home"
run ip netns del sta
await links wlan2

step "save what the kernel knows"
here=ap-only
save "$out/$here" ap
where ap

step "close the access point; namespace ap stays"
end "$hostapd"
end "$monitor"
