#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# traffic.sh OUT AMSDU: all kinds of traffic between simulated radios, each in a network namespace of its own, for
# nstrace to count. Run it in a lab machine that has no radio yet; AMSDU is the program of folder amsdu here.
#
#   ap, sta1, sta2  an access point with WPA2 and two stations, that also talk to each other (channel 1); sta2 also
#                   has a monitor interface, mon2, on the radio that it sends with
#   cell1, cell2    an IBSS (channel 6), whose second radio moves to namespace roam and back under traffic
#   mesh1, mesh2    a mesh (channel 11)
#   watch           a radio with nothing but a monitor interface, on channel 6, which also injects A-MSDUs
#
# OUT/trace is the kernel's own record of what came: a line for each packet that enters the stack (netif_receive_skb),
# for those among them that hadn't been received (netif_rx), and for what nl80211's control port takes. Among them, as
# tracing_mark_write, is a line for each stay of an interface in a namespace, at its end: the namespace, the interface,
# and its own counters then, rx_packets and rx_bytes. Behind it is what is missing from that record.
# OUT/mesh2.pcap has 200 packets of the mesh's traffic as tcpdump saw them.
set -eu

patience=60 # seconds any one thing may take: much, on an emulated machine that others keep busy
trips=10    # there and back
bssid=02:4e:53:00:00:01

# Not below /sys, which ip netns exec covers up.
tracing=/run/tracing
judge=$tracing/instances/judge

# stayed FROM DEVICE: notes what the kernel has counted for an interface of this namespace that was in FROM. It is
# down, so that nothing changes.
stayed() {
	read -r packets <"/sys/class/net/$2/statistics/rx_packets"
	read -r bytes <"/sys/class/net/$2/statistics/rx_bytes"
	echo "stay $1 $2 $packets $bytes" >$judge/trace_marker
}

# join DEVICE ADDRESS: joins the IBSS.
join() {
	printf 'address add %s/24 dev %s\nlink set %s up\n' "$2" "$1" "$1" | ip -batch -
	iw dev "$1" ibss join nstrace 2437 fixed-freq $bssid
}

case ${1:?usage: traffic.sh OUT AMSDU} in
--visit)
	# FROM [TO]: phy5 has come here from FROM, and goes on to TO when it has received packets here.
	stayed "$2" wlan5
	join wlan5 10.12.0.2
	rx=/sys/class/net/wlan5/statistics/rx_packets
	read -r before <$rx
	now=$before
	until [ "$now" -ge $((before + 10)) ]; do
		read -r now <$rx
	done
	if [ $# = 3 ]; then
		iw phy phy5 set netns name "$3"
	fi
	exit
	;;
--join)
	# DEVICE ADDRESS
	join "$2" "$3"
	exit
	;;
--stayed)
	# FROM DEVICE
	stayed "$2" "$3"
	exit
	;;
--talk)
	# ADDRESS DEVICE GROUP: some of everything to where a server is. The first answer may take some time, until a
	# path is found.
	ping -q -c 1 -w "$patience" "$2"
	ping -q -c 20 -i 0.02 -s 2000 "$2"
	ping -q -c 10 -i 0.02 -I "$3" "$4"
	iperf3 --client "$2" --bytes 500K --interval 0
	iperf3 --client "$2" --udp --bitrate 0 --length 1000 --bytes 200K --interval 0
	exit
	;;
esac

out=$1
amsdu=${2:?usage: traffic.sh OUT AMSDU}
# shellcheck source=lab/scenario/steps.sh
. "$(dirname "$0")/steps.sh"

# in_ns NAMESPACE COMMAND...: runs a command in a namespace.
in_ns() { run ip netns exec "$@"; }

address() { ip netns exec "$1" cat "/sys/class/net/$2/address"; }

for tool in ip iw hostapd wpa_supplicant iperf3 ping tcpdump; do
	command -v "$tool" >/dev/null || fail "there is no $tool here (lab/setup installs what the scenario needs)"
done
mkdir -p "$out" /run/netns
modprobe -a cfg80211 mac80211
[ -z "$(ls /sys/class/ieee80211)" ] || fail "this machine has radios already: run the scenario in a lab machine"

step "create eight simulated radios, and a namespace for each"
mkdir -p $tracing
mount -t tracefs tracefs $tracing
mkdir $judge
echo 16384 >$judge/buffer_size_kb
echo 0 >$judge/options/context-info # it is long, and the same for all
for event in net/netif_receive_skb net/netif_rx cfg80211/cfg80211_rx_control_port; do
	echo 'name != "lo"' >$judge/events/$event/filter
	echo 1 >$judge/events/$event/enable
done
run modprobe mac80211_hwsim radios=8
namespaces="ap sta1 sta2 watch cell1 cell2 mesh1 mesh2"
printf 'netns add %s\n' $namespaces roam | run ip -batch -
phy=0
for namespace in $namespaces; do
	run iw phy phy$phy set netns name "$namespace"
	phy=$((phy + 1))
done
for namespace in ap sta1 sta2; do
	# IPv6 speaks up by itself; what the stations have in common shall be known to the packet.
	ip netns exec $namespace sh -c 'echo 1 | tee /proc/sys/net/ipv6/conf/*/disable_ipv6 >/dev/null
		echo 0 >/proc/sys/net/ipv4/icmp_echo_ignore_broadcasts'
done

step "an access point with WPA2, and two stations"
cat >"$work/hostapd.conf" <<END
interface=wlan0
driver=nl80211
ssid=nstrace
hw_mode=g
channel=1
ieee80211n=1
wmm_enabled=1
wpa=2
wpa_key_mgmt=WPA-PSK
rsn_pairwise=CCMP
wpa_psk=6e7374726163656e7374726163656e7374726163656e7374726163656e737472
END
cat >"$work/wpa_supplicant.conf" <<END
network={
	ssid="nstrace"
	key_mgmt=WPA-PSK
	psk=6e7374726163656e7374726163656e7374726163656e7374726163656e737472
	scan_freq=2412
}
END
background hostapd ip netns exec ap hostapd "$work/hostapd.conf"
await hostapd AP-ENABLED
for n in 1 2; do
	background sta$n ip netns exec sta$n wpa_supplicant -i wlan$n -D nl80211 -c "$work/wpa_supplicant.conf"
done

step "meanwhile monitors, an IBSS, and a mesh"
in_ns sta2 iw phy phy2 interface add mon2 type monitor
run ip -n sta2 link set mon2 up
in_ns watch iw dev wlan3 set type monitor
run ip -n watch link set wlan3 up
in_ns watch iw dev wlan3 set freq 2437
for n in 1 2; do
	in_ns cell$n iw dev wlan$((n + 3)) set type ibss
	in_ns cell$n sh "$0" --join wlan$((n + 3)) 10.12.0.$n
	in_ns mesh$n iw dev wlan$((n + 5)) set type mp
	printf 'address add 10.13.0.%s/24 dev wlan%s\nlink set wlan%s up\n' $n $((n + 5)) $((n + 5)) | run ip -n mesh$n -batch -
	in_ns mesh$n iw dev wlan$((n + 5)) mesh join nstrace freq 2462
done

step "traffic between the access point and a station, and by way of it between the stations"
for namespace in ap sta2 cell2 mesh2; do
	background "iperf3-$namespace" ip netns exec $namespace iperf3 --server --forceflush
done
run ip -n ap address add 10.11.0.254/24 dev wlan0
for n in 1 2; do
	await sta$n CTRL-EVENT-CONNECTED
	run ip -n sta$n address add 10.11.0.$n/24 dev wlan$n
done
for namespace in ap sta2 cell2 mesh2; do
	await "iperf3-$namespace" listening
done
in_ns sta1 sh "$0" --talk 10.11.0.254 wlan1 224.0.0.1
in_ns sta1 sh "$0" --talk 10.11.0.2 wlan1 224.0.0.1

step "traffic in the mesh, that tcpdump sees, too"
background tcpdump ip netns exec mesh2 tcpdump -i wlan7 -p -n -Q in -s 128 -c 200 -Z root -w "$out/mesh2.pcap"
tcpdump=$pid
await tcpdump "listening on"
in_ns mesh1 sh "$0" --talk 10.13.0.2 wlan6 ff02::1
wait "$tcpdump" || fail "tcpdump failed" # it ends when it has 200

step "traffic in the IBSS"
in_ns cell1 sh "$0" --talk 10.12.0.2 wlan4 ff02::1

step "A-MSDUs into the IBSS, of three packets each, as if they came from cell1"
roaming=$(address cell2 wlan5)
in_ns watch "$amsdu" wlan3 "$roaming" "$(address cell1 wlan4)" $bssid 50

step "move the radio of cell2 to roam and back, $trips times, under traffic that doesn't wait for it"
run ip -n cell1 neighbour replace 10.12.0.2 lladdr "$roaming" nud permanent dev wlan4
background ping4 ip netns exec cell1 ping -q -i 0.02 10.12.0.2
pings=$pid
background ping6 ip netns exec cell1 ping -q -i 0.05 -I wlan4 ff02::1
pings="$pings $pid"
in_ns cell2 iw phy phy5 set netns name roam
for trip in $(seq $trips); do
	in_ns roam sh "$0" --visit cell2 cell2
	onward=
	if [ "$trip" -lt $trips ]; then
		onward=roam
	fi
	in_ns cell2 sh "$0" --visit roam $onward
done

step "silence the air"
for child in $pings; do
	end "$child"
done
# The monitors are the last: they have heard it all.
places="sta1/wlan1 ap/wlan0 sta2/wlan2 sta2/mon2 cell1/wlan4 cell2/wlan5 mesh1/wlan6 mesh2/wlan7 watch/wlan3"
for place in $places; do
	run ip -n "${place%/*}" link set "${place#*/}" down
done

step "save what the kernel knows"
for place in $places; do
	in_ns "${place%/*}" sh "$0" --stayed "${place%/*}" "${place#*/}"
done
cat $judge/trace $judge/per_cpu/cpu*/stats >"$out/trace"
