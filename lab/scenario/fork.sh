#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# fork.sh NSTRACE [ROUNDS]: what a fork and exit, and a fork, exec and exit, cost without nstrace, and while it records
# with fentry and with kprobes: in the initial namespace, whose tasks it passes by, and in another one, whose tasks it
# tells of. In microseconds: the medians of all batches, their ratios, and in brackets the quickest batches. The rounds
# alternate, so that what else the machine does comes to all of them. On a busy host that is more than what is sought:
# so in the end it asks the kernel what the programs themselves took of a fork and exit, which needs bpftool.
set -eu

batches=8
forks=100
execs=10

if [ "${1:?usage: fork.sh NSTRACE [ROUNDS]}" = --batch ]; then
	# fork.sh --batch WHAT
	for call in exit exec; do
		i=0 n=$forks
		if [ $call = exec ]; then
			n=$execs
		fi
		start=$(date +%s%N)
		while [ $i -lt $n ]; do
			case $call in
			exit) (:) ;;
			exec) /bin/true ;;
			esac
			i=$((i + 1))
		done
		echo "$2 $call $((($(date +%s%N) - start) / n))"
	done
	exit
fi
if [ "$1" = --measure ]; then
	# fork.sh --measure HOW, the COMMAND of a recording
	for batch in $(seq $batches); do
		sh "$0" --batch "initial $2"
		ip netns exec fork sh "$0" --batch "other $2"
	done
	exit
fi

if [ "$1" = --programs ]; then
	# fork.sh --programs [ip netns exec NAME], the COMMAND of a recording
	shift
	spent() {
		bpftool prog show | awk '/name task_/ { for (i = 1; i < NF; i++) if ($i == "run_time_ns") sum += $(i + 1) } END { print sum + 0 }'
	}
	before=$(spent)
	"$@" sh -c "i=0; while [ \$i -lt 1000 ]; do (:); i=\$((i + 1)); done"
	echo "$((($(spent) - before) / 1000000)) us"
	exit
fi

nstrace=$1
rounds=${2:-7}
work=$(mktemp -d)
trap 'rm -rf "$work"; ip netns del fork' EXIT
ip netns add fork

for round in $(seq 0 "$rounds"); do
	if [ "$round" = 1 ]; then
		: >"$work/times" # the first was for the caches
	fi
	sh "$0" --measure without >>"$work/times"
	for how in fentry kprobe; do
		"$nstrace" record --attach $how -o "$work/trace.nst" -- sh "$0" --measure $how >>"$work/times" 2>/dev/null
	done
done

sort -k1,3 -k4n "$work/times" | awk '
	{ key = $1 " " $2 " " $3; n[key]++; all[key, n[key]] = $4 }
	END {
		split("initial other", wheres); split("exit exec", calls); split("without fentry kprobe", hows)
		for (w = 1; w <= 2; w++) for (c = 1; c <= 2; c++) {
			line = sprintf("%-8s fork, %s", wheres[w], calls[c] == "exec" ? "exec, exit:" : "exit:      ")
			for (h = 1; h <= 3; h++) {
				key = wheres[w] " " hows[h] " " calls[c]
				median[h] = all[key, int((n[key] + 1) / 2)] / 1000
				line = line sprintf("  %s %.0f", hows[h], median[h])
				if (h > 1)
					line = line sprintf(" (%.2f times)", median[h] / median[1])
				line = line sprintf(" [%.0f]", all[key, 1] / 1000)
			}
			print line
		}
	}'

sysctl -qw kernel.bpf_stats_enabled=1
for where in initial other; do
	within=env
	if [ $where = other ]; then
		within="ip netns exec fork"
	fi
	# shellcheck disable=SC2086 # several words
	echo "$where, the programs: $("$nstrace" record -o "$work/trace.nst" -- sh "$0" --programs $within 2>/dev/null)"
done
