# SPDX-License-Identifier: Apache-2.0
#
# What the scenarios here have in common: it is read by them, from the folder that they are in.

patience=60 # seconds any one thing may take: much, on an emulated machine that others keep busy
work=$(mktemp -d)
children=

step() { printf '== %s\n' "$*"; }
fail() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# run says a command and runs it.
run() {
	printf '   $ %s\n' "$*"
	"$@" || fail "this failed with status $?: $*"
}

# background NAME COMMAND...: starts a command whose lines can be awaited. Its process id is in $pid.
background() {
	name=$1
	shift
	printf '   $ %s &\n' "$*"
	mkfifo "$work/$name"
	# Opened for both, a fifo never blocks an open and never ends; what these programs say fits into it.
	"$@" <>"$work/$name" >&0 2>&1 &
	pid=$!
	children="$children $pid"
}

# await NAME PATTERN: waits until the background command says so.
await() {
	timeout "$patience" grep -m 1 -e "$2" <>"$work/$1" >"$work/said" ||
		fail "$1 didn't say '$2' within $patience s"
	sed 's/^/   /' "$work/said"
}

# end PID: ends a background command and waits until it is gone.
end() {
	kill "$1" 2>/dev/null || true
	wait "$1" 2>/dev/null || true
}

clean_up() {
	for child in $children; do
		kill "$child" 2>/dev/null || true
	done
	rm -rf "$work"
}
trap clean_up EXIT
