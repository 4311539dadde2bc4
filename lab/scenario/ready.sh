#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# ready.sh NSTRACE [ROUNDS]: how long nstrace takes from its start until everything is attached, beside how long
# bpftrace takes to attach to the same functions, entry and return, in the same machine. In milliseconds, round by
# round: compare the medians.
set -eu

nstrace=${1:?usage: ready.sh NSTRACE [ROUNDS]}
rounds=${2:-5}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
modprobe mac80211

now() { echo $(($(date +%s%N) / 1000000)); }

# until_ready FILE PID: waits for a file, as long as the process lives.
until_ready() {
	while [ ! -e "$1" ]; do
		kill -0 "$2" || exit 1
		sleep 0.01
	done
}

"$nstrace" record --attach kprobe -o "$work/functions.nst" -- true 2>/dev/null
# What nstrace attaches to: kprobe:FUNCTION, and kretprobe:FUNCTION where it awaits returns.
probes=$("$nstrace" report --format json "$work/functions.nst" | awk -F '"' '
	$2 == "hook" { hook = $4 }
	$2 == "function" { f = $4 }
	$2 == "status" { attached = $4 == "attached" && hook == "kprobe" }
	$2 == "hits" && attached { print "kprobe:" f }
	$2 == "returns" && attached && !/null/ { print "kretprobe:" f }' | sort -u)
program='BEGIN { system("touch '$work/bpftrace'"); }'
for probe in $probes; do
	program="$program $probe { @[probe] = count(); }"
done

for round in $(seq "$rounds"); do
	for how in fentry kprobe; do
		rm -f "$work/ready"
		start=$(now)
		"$nstrace" record --attach $how --ready-file "$work/ready" -o "$work/trace.nst" 2>/dev/null &
		until_ready "$work/ready" $!
		echo "round $round: nstrace with $how: $(($(now) - start)) ms"
		kill -INT $!
		wait $!
	done
	rm -f "$work/bpftrace"
	start=$(now)
	bpftrace --unsafe -e "$program" >/dev/null 2>&1 &
	until_ready "$work/bpftrace" $!
	echo "round $round: bpftrace with kprobes: $(($(now) - start)) ms"
	kill -INT $!
	wait $!
done
