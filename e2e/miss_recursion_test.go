// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// radios is shell: two radios in an ad-hoc network, the second in the namespace
// other. Nothing is sent but what is asked for.
const radios = `
modprobe mac80211_hwsim radios=2
ip netns add other
iw phy phy1 set netns name other
sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
ip netns exec other sysctl -qw net.ipv6.conf.all.disable_ipv6=1
join() {
	iw dev $1 set type ibss
	ip link set $1 up
	iw dev $1 ibss join miss 2412 fixed-freq 02:11:22:33:44:55
	until iw dev $1 link | grep -q Joined; do nap 0.1; done
}
export -f join nap
join wlan0
ip addr add 10.9.0.1/16 dev wlan0
ip netns exec other bash -c 'join wlan1'
received() { ip netns exec other cat /sys/class/net/wlan1/statistics/rx_packets; }
`

// TestMissedRecursion has the kernel let calls pass because programs are running
// already, in each way there is: within bpf(2), within another kprobe, and, where
// the kernel knows of that, within themselves.
//
// Packets come while a program runs because interrupts do: they are requests for
// hardware addresses that nobody has, sent by timers. How many came is what the
// receiving interface says. A program of namespaces runs into itself only if
// its task is preempted by one that makes a namespace, too; Debian's kernels can
// be told to do that from 6.1 on. On 5.10 nothing keeps a fentry program from
// running within itself, and it can't be preempted.
func TestMissedRecursion(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines")
	}
	t.Parallel()
	const packets, namespaces = 1000, 20
	for _, suite := range suitesOf("trixie") {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			dir, _ := runMiss(t, suite, radios+fmt.Sprintf(`
sysctl -qw net.ipv4.neigh.wlan0.mcast_solicit=1000000 net.ipv4.neigh.wlan0.retrans_time_ms=50
missed() { ./nstrace report --format json $1.nst | sed -n '/"name": "ieee80211_deliver_skb"/,/}/p' | grep -q '"missed": [1-9]'; }
attempt() {
	before=$(received)
	record --attach kprobe -o $how.nst
	./hinder $how hindering-$how & hinder=$!
	while [ ! -e hindering-$how ]; do nap 0.1; done
	perl -MSocket -e 'socket(S, PF_INET, SOCK_DGRAM, 17) or die; for (1..100) { send(S, "x", 0, sockaddr_in(9, inet_aton("10.9.1.$_"))) or die }'
	until [ $(($(received) - before)) -ge %d ]; do nap 0.2; done
	ip link set wlan0 down
	kill $hinder
	kill -INT $recorder
	wait $recorder
	echo $(($(received) - before)) > $how.received
	join wlan0
}
# Whether an interrupt comes while a program runs is a matter of chance. If packets
# are left to ksoftirqd, it must be able to preempt who is at it.
preempt=/sys/kernel/debug/sched/preempt
for how in hold kprobe; do
	for n in 1 2 3 4 5 6; do
		if [ $n = 3 ] && [ -e $preempt ]; then echo full > $preempt; fi
		attempt
		missed $how && break
	done
done
if [ -e $preempt ]; then
	echo full > $preempt
	record --attach fentry --delivery off -o fentry.nst
	./hinder fentry hindering-fentry & hinder=$!
	while [ ! -e hindering-fentry ]; do nap 0.1; done
	for i in $(seq %d); do unshare -n true & made="$made $!"; done
	wait $made
	kill $hinder
	settled fentry.nst
	kill -INT $recorder
	wait $recorder
fi
`, packets, namespaces))
			for _, how := range []string{"hold", "kprobe"} {
				checkMissedPackets(t, dir, how)
			}
			if exists(filepath.Join(dir, "fentry.nst")) {
				checkMissedCalls(t, dir, namespaces+1)
			} else if suite != "bullseye" {
				t.Error("this kernel's preemption can't be changed")
			}
		})
	}
}

// checkMissedPackets: what was counted, and what the ledger says was missed, is
// what came.
func checkMissedPackets(t *testing.T, dir, how string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, how+".received"))
	if err != nil {
		t.Fatal(err)
	}
	came, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	p := ledgerOf(t, play(t, filepath.Join(dir, how+".nst")), "ieee80211_deliver_skb")
	missed := number(t, how+": packets missed", p.Missed)
	t.Logf("%s: %d packets came, %d hits, %d missed", how, came, p.Hits, missed)
	if missed == 0 || p.Hits+missed != came {
		t.Errorf("%s: %d packets came; %d hits and %d missed make %d", how, came, p.Hits, missed, p.Hits+missed)
	}
	r, verdict := reportLoss(t, dir, how+".nst")
	if r.Recording.Clean || !strings.Contains(verdict, "of ieee80211_deliver_skb pass") {
		t.Errorf("%s: the verdict is silent about it: %s", how, verdict)
	}
}

// checkMissedCalls: of the calls there were, the ledger has each that was missed
// at its entry, and each at its return.
func checkMissedCalls(t *testing.T, dir string, calls uint64) {
	t.Helper()
	tape := play(t, filepath.Join(dir, "fentry.nst"))
	p := ledgerOf(t, tape, "setup_net")
	missed, returns := number(t, "missed", p.Missed), number(t, "returns", p.Returns)
	entries, exits := calls-p.Hits, calls-returns-p.Strays
	t.Logf("fentry: %d calls, %d hits, %d returns, %d without entry, %d missed", calls, p.Hits, returns, p.Strays, missed)
	if missed == 0 || missed != entries+exits {
		t.Errorf("%d missed; of %d calls it didn't see %d entries and %d returns", missed, calls, entries, exits)
	}
	if n := number(t, "returns missed", p.ReturnsMissed); p.Hits != returns+n+p.Open || p.Open != 0 {
		t.Errorf("%d hits, but %d returns, %d missed and %d open", p.Hits, returns, n, p.Open)
	}
	if r, verdict := reportLoss(t, dir, "fentry.nst"); r.Recording.Clean {
		t.Errorf("the verdict is silent about it: %s", verdict)
	}
}
