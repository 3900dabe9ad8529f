#!/bin/sh
# Runs real programs under the watchdog for a while, kills them again and again, and looks for what must not be:
# a program that does not come back, a process left behind, memory or descriptors that grow.
#
#   scripts/soak.sh [SECONDS]     (default 120; WATCHDOG_BIN names the binary, default target/release/watchdog)
#   scripts/soak.sh --kills [N] [SEED]     random kills of workers and watchdogs in PID namespaces (scripts/soak/kills.py)
set -eu
if [ "${1:-}" = --kills ]; then
    shift
    exec python3 "$(dirname "$0")/soak/kills.py" "$@"
fi
seconds=${1:-120}
bin=${WATCHDOG_BIN:-target/release/watchdog}
[ -x "$bin" ] || { echo "soak: no binary at $bin: cargo build --release, or set WATCHDOG_BIN" >&2; exit 2; }
dir=$(mktemp -d)
export WATCHDOG_RUNTIME_DIR="$dir/run"
dogs="" failed=0

# the processes of this soak, wherever they have gone: they carry a mark in their environment (this script does not)
left() { grep -lzxF "SOAK_MARK=$dir" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3; }
cleanup() {
    for p in $(left); do kill -KILL "$p" 2>/dev/null || true; done
    rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

start() { # start NAME COMMAND...
    name=$1; shift
    SOAK_MARK="$dir" "$bin" --name "$name" --restart-delay 200ms --restart-limit 0 --crash-loop-limit 0 --events-file "$dir/$name.events" \
        --log capture -- "$@" >"$dir/$name.out" 2>"$dir/$name.err" &
    dogs="$dogs $name:$!"
}
free_port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }
have() { command -v "$1" >/dev/null 2>&1; }

have redis-server && start redis redis-server --port "$(free_port)" --save ""
have python3 && start python python3 -m http.server --bind 127.0.0.1 "$(free_port)"
have node && start node node -e "require('http').createServer((q,r)=>r.end('x')).listen($(free_port),'127.0.0.1')"
if have nginx; then
    printf 'daemon off; pid %s/n.pid; error_log %s/n.log; events {}\nhttp { access_log off; server { listen 127.0.0.1:%s; } }\n' \
        "$dir" "$dir" "$(free_port)" >"$dir/nginx.conf"
    start nginx nginx -c "$dir/nginx.conf"
fi
start crasher sh -c 'sleep 0.2; exit 1'
start flood sh -c 'while :; do echo line; done'
sleep 3

rss() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$1/status"; }
fds() { ls "/proc/$1/fd" | wc -l; }
for d in $dogs; do
    p=${d#*:}; n=${d%%:*}
    eval "rss_$n=$(rss "$p") fds_$n=$(fds "$p")"
done

end=$(($(date +%s) + seconds)) kills=0
while [ "$(date +%s)" -lt "$end" ]; do
    for d in $dogs; do
        n=${d%%:*} p=${d#*:}
        kill -0 "$p" 2>/dev/null || { echo "soak: the watchdog of $n is gone: $(cat "$dir/$n.err")" >&2; failed=1; break 2; }
        worker=$(sed -n 's/.*"event":"spawn".*"pid":\([0-9]*\).*/\1/p;s/.*"pid":\([0-9]*\).*"event":"spawn".*/\1/p' "$dir/$n.events" | tail -n 1)
        case $n in flood|crasher) ;; *) [ -n "$worker" ] && kill -KILL "$worker" 2>/dev/null && kills=$((kills + 1)) ;; esac
        "$bin" status -i "$n" >/dev/null || { echo "soak: no answer from $n" >&2; failed=1; }
    done
    sleep 2
done

for d in $dogs; do
    n=${d%%:*} p=${d#*:}
    eval "r=\$rss_$n f=\$fds_$n"
    now=$(rss "$p") nowf=$(fds "$p")
    echo "$n: rss $r -> $now KiB, descriptors $f -> $nowf, spawns $(grep -c '"event":"spawn"' "$dir/$n.events")"
    [ "$now" -le $((r + r / 5 + 1024)) ] || { echo "soak: memory of $n grows" >&2; failed=1; }
    [ "$nowf" -le $((f + 2)) ] || { echo "soak: descriptors of $n grow" >&2; failed=1; }
done
for d in $dogs; do kill -TERM "${d#*:}" 2>/dev/null || true; done
for d in $dogs; do wait "${d#*:}" || true; done
rest=$(left)
[ -z "$rest" ] || { echo "soak: left behind: $(for p in $rest; do tr '\0' ' ' <"/proc/$p/cmdline"; echo; done)" >&2; failed=1; }
grep -l 'panicked at' "$dir"/*.err && failed=1
echo "soak: $seconds s, $kills kills, $([ $failed = 0 ] && echo ok || echo FAILED)"
exit $failed
