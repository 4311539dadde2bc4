# SPDX-License-Identifier: Apache-2.0
#
# phases.sh: namespaces that are made, with what ftrace saw of it beside, and some that are refused.
# Run it with bash in a lab machine, in a folder with nstrace.
set -eu

mkfifo /tmp/wait
nap() { read -r -t "$1" _ <>/tmp/wait || true; }
begin() {
	rm -f ready
	./nstrace record --ready-file ready -o "$1.nst" 2>"$1.err" &
	recorder=$!
	until [ -e ready ]; do
		kill -0 $recorder
		nap 0.05
	done
}
finish() {
	kill -INT $recorder
	wait $recorder
}

echo "== agree: function_graph times what nstrace times"
modprobe nf_conntrack
unshare -n true
begin agree
trace-cmd record -q -o /tmp/trace.dat -p function_graph -l ops_init \
	sh -c 'for i in 1 2 3 4 5 6; do unshare -n true; done' >/dev/null
finish
trace-cmd report -R /tmp/trace.dat >agree.graph

echo "== refused: no more namespaces than allowed"
begin refused
allowed=$(cat /proc/sys/user/max_net_namespaces)
echo 0 >/proc/sys/user/max_net_namespaces
for i in 1 2 3; do unshare -n true 2>/dev/null && exit 1; done
echo "$allowed" >/proc/sys/user/max_net_namespaces
finish
