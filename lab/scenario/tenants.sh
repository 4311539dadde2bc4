#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# tenants.sh OUT: has tasks come into namespaces and leave them, in every way the tools have, with numbers given and
# settings made. Those that stay are sleep 1000. In OUT it leaves who is where: tasks, their network namespaces as
# ls -l shows them in /proc, and others, for each that stays all its namespaces.
set -eu

out=$1
mkdir -p "$out"

ip netns add blue
ip netns add green
ip netns set green 42
ip -n green netns set blue 7
ip -n green netns set blue 8 2>/dev/null || true
ip link add va netns blue type veth peer name vb netns green

# runs PID: waits until a process is the sleep that it becomes.
runs() {
	until [ "$(cat "/proc/$1/comm")" = sleep ]; do
		sleep 0.1
	done
	echo "$1" >>"$out/staying"
}

# What a container's runtime does: a cgroup, namespaces of all kinds, and what runs there.
groups=/sys/fs/cgroup
if [ ! -e $groups/cgroup.controllers ]; then
	groups=/sys/fs/cgroup/unified
fi
group=$groups/system.slice/docker-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope
mkdir -p "$group"
sh -c 'echo $$ >'"$group"'/cgroup.procs; exec ip netns exec blue unshare --uts --ipc --mount sleep 1000' &
runs $!

# What comes and goes there meanwhile.
ip netns exec blue sh -c 'i=0; while [ $i -lt 40 ]; do (:); i=$((i + 1)); done'
ip netns exec blue sysctl -qw net.ipv4.ip_forward=1
ip netns exec blue sh -c 'echo nonsense >/proc/sys/net/ipv4/ip_forward' 2>/dev/null || true
ip netns exec blue sh -c 'echo 2 >/proc/sys/net/ipv4/conf/all/rp_filter'

nsenter --net=/run/netns/green sleep 1000 &
runs $!
unshare --net sleep 1000 &
runs $!
unshare --user --map-root-user --net sleep 1000 &
runs $!
unshare --net true

ls -l /proc/[0-9]*/task/[0-9]*/ns/net >"$out/tasks" 2>/dev/null || true
while read -r pid; do
	ls -l "/proc/$pid/ns" | sed -n "s|.* \([a-z]*\) -> .*:\[\([0-9]*\)\]|$pid \1 \2|p"
done <"$out/staying" >"$out/others"
