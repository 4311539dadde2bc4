# capabilities.sh setup|again|clean: makes a machine in which each capability that a
# recording has a use for makes a difference, readies it for the next recording, and
# puts it back.
set -e
case $1 in
setup)
	modprobe mac80211_hwsim radios=1
	cat /proc/sys/kernel/kptr_restrict > kptr
	# Addresses are for CAP_SYSLOG, whatever perf may.
	echo 1 > /proc/sys/kernel/kptr_restrict
	# A namespace through another user's folder, and one through another's task.
	mkdir -m 700 theirs
	ip netns add seed
	: > theirs/ns
	mount --bind /run/netns/seed theirs/ns
	ip netns del seed
	chown 65534:65534 theirs
	setpriv --reuid 65534 --regid 65534 --clear-groups unshare -Urn sleep 100000 >/dev/null 2>&1 &
	echo $! > sleepers
	while [ "$(readlink /proc/$!/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do :; done
	# And one through a socket of a task that is elsewhere.
	ip netns add socket
	ip -n socket link set lo up
	mkfifo opened
	nsenter --net=/run/netns/socket bash -c 'exec 3<>/dev/udp/127.0.0.1/9; exec nsenter --net=/proc/1/ns/net sh -c ": >opened; exec sleep 100000"' >/dev/null 2>&1 &
	echo $! >> sleepers
	: < opened
	ip netns del socket
	;;
again)
	if [ -e /sys/module/bonding ]; then modprobe -r bonding; fi
	;;
clean)
	kill $(cat sleepers)
	umount theirs/ns
	cat kptr > /proc/sys/kernel/kptr_restrict
	modprobe -r mac80211_hwsim
	modprobe mac80211
	;;
esac
