#!/usr/bin/env bash
# Real servers under default flags: nothing may happen to them while they run, kill -9 is healed, TERM ends them and
# leaves nobody. The look-alike of every kill: what is healthy must live.
#
#   scripts/quiet.sh [SECONDS]     (default 120; WATCHDOG_BIN names the binary, default target/release/watchdog)
set -u
seconds=${1:-120}
bin=${WATCHDOG_BIN:-target/release/watchdog}
[ -x "$bin" ] || { echo "quiet: no binary at $bin: cargo build --release, or set WATCHDOG_BIN" >&2; exit 2; }
bin=$(realpath "$bin")
dir=$(mktemp -d)
chmod 755 "$dir"
export WATCHDOG_RUNTIME_DIR="$dir/run"
failed=0
declare -A dogs ports

# The processes of this run, wherever they have gone: they carry a mark in their environment (this script does not).
left() { grep -lzxF "QUIET_MARK=$dir" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3; }
cleanup() { for p in $(left); do kill -KILL "$p" 2>/dev/null; done; rm -rf "$dir"; }
trap cleanup EXIT
trap 'exit 130' INT TERM
say() { echo "quiet: $*" >&2; failed=1; }
have() { command -v "$1" >/dev/null 2>&1; }
port() { python3 -c 'import socket; s=socket.socket(); s.bind(("127.0.0.1",0)); print(s.getsockname()[1])'; }
start() { # NAME PORT COMMAND...: default flags; the events are only looked at
    local name=$1; ports[$name]=$2; shift 2
    QUIET_MARK="$dir" "$bin" --events-file "$dir/$name.events" --name "$name" -- "$@" >"$dir/$name.out" 2>&1 </dev/null &
    dogs[$name]=$!
}
answers() { timeout 1 bash -c "exec 3<>/dev/tcp/127.0.0.1/${ports[$1]}" 2>/dev/null; }
wait_for() { for _ in $(seq 150); do answers "$1" && return 0; sleep 0.2; done; return 1; }
count() { grep -c "\"event\":\"$2\"" "$dir/$1.events"; }
worker() { "$bin" status --json -i "$1" | sed -n 's/.*"pid":\([0-9]*\),"probes".*/\1/p'; }

have redis-server && { p=$(port); start redis "$p" redis-server --port "$p" --save "" --dir "$dir"; }
if have nginx; then
    p=$(port)
    printf 'pid %s/n.pid; error_log %s/n.log; events {}\nhttp { access_log off; server { listen 127.0.0.1:%s; } }\n' "$dir" "$dir" "$p" >"$dir/nginx.conf"
    start nginx "$p" nginx -c "$dir/nginx.conf" -g 'daemon off;'
fi
pg=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1)
if [ -n "$pg" ] && [ "$(id -u)" = 0 ]; then
    p=$(port)
    mkdir "$dir/pg" && chown postgres "$dir/pg"
    setpriv --reuid=postgres --regid=postgres --clear-groups "$pg/initdb" -D "$dir/pg" -A trust >/dev/null 2>&1
    ports[postgres]=$p
    QUIET_MARK="$dir" "$bin" --user postgres --events-file "$dir/postgres.events" --name postgres -- "$pg/postgres" -D "$dir/pg" -p "$p" -k "$dir/pg" -h 127.0.0.1 >"$dir/postgres.out" 2>&1 </dev/null &
    dogs[postgres]=$!
fi
have node && { p=$(port); start node "$p" node -e "require('http').createServer((q,r)=>r.end('x')).listen($p,'127.0.0.1')"; }
have python3 && { p=$(port); start python "$p" python3 -m http.server --bind 127.0.0.1 "$p"; }
echo "quiet: ${!dogs[*]} for $seconds s under default flags"
for n in "${!dogs[@]}"; do wait_for "$n" || say "$n never answered: $(tail -3 "$dir/$n.out")"; done
declare -A switches
for n in "${!dogs[@]}"; do switches[$n]=$(awk '/^voluntary/ {print $2}' "/proc/${dogs[$n]}/status"); done
sleep "$seconds"
for n in "${!dogs[@]}"; do
    now=$(awk '/^voluntary/ {print $2}' "/proc/${dogs[$n]}/status")
    # A worker that forks helpers which end makes us reap them; nothing else may wake us.
    echo "quiet: $n: $(wc -l <"$dir/$n.events") events, $((now - switches[$n])) wake-ups in $seconds s"
    [ "$(count "$n" spawn)" = 1 ] && [ "$(grep -cE '"event":"(exit|signal-sent|restart-scheduled|kill-escalated)"' "$dir/$n.events")" = 0 ] || say "$n was not left alone"
    answers "$n" || say "$n does not answer any more"
done
for n in "${!dogs[@]}"; do kill -KILL "$(worker "$n")" || say "$n has no worker to kill"; done
for n in "${!dogs[@]}"; do
    for _ in $(seq 150); do [ "$(count "$n" spawn)" -ge 2 ] && break; sleep 0.2; done
    wait_for "$n" && [ "$(count "$n" spawn)" = 2 ] || say "$n was not healed: $(tail -5 "$dir/$n.out")"
done
for n in "${!dogs[@]}"; do kill -TERM "${dogs[$n]}"; done
for n in "${!dogs[@]}"; do
    wait "${dogs[$n]}"; status=$?
    echo "quiet: $n ended with $status"
    [ "$(count "$n" kill-escalated)" = 0 ] || say "$n had to be killed"
done
rest=$(left)
[ -z "$rest" ] || say "left behind: $rest"
[ "$failed" = 0 ] && echo "quiet: ok"
exit "$failed"
