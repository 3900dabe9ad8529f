#!/bin/sh
# The simulator of the machine, in release. Each seed is two worlds: services that know nothing of each other, and a graph.
#   scripts/simulate.sh [SEEDS] [--from N]   so many seeds (default 1000000) on two processors
#   scripts/simulate.sh --seed N             one seed again, with its history if it breaks a law
#   scripts/simulate.sh --mutants [NAME..]   every deliberate bug of scripts/mutants must be found
#   scripts/simulate.sh --mutants --street [NAME..]   by the black-box tests as well; writes docs/mutants.md (slow)
set -eu
cd "$(dirname "$0")/.."

seeds=1000000
from=0
while [ $# -gt 0 ]; do
    case "$1" in
        --from) from=$2; shift 2 ;;
        --seed) one=$2; shift 2 ;;
        --mutants) shift; mutants=1; break ;;
        -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
        [0-9]*) seeds=$1; shift ;;
        *) echo "simulate.sh: unknown argument $1" >&2; exit 2 ;;
    esac
done

if [ -n "${mutants:-}" ]; then
    # A copy of the tree and one target folder for all of them; the tree itself is never touched.
    copy=$(mktemp -d)
    trap 'rm -rf "$copy"' EXIT
    tar cf - --exclude ./target --exclude ./.git . | tar xf - -C "$copy"
    # Newer than whatever was built of the copy before it.
    find "$copy/src" "$copy/watchdog" -name '*.rs' -exec touch {} +
    MUTANTS_TESTS_IN=${CARGO_TARGET_DIR:-$PWD/target}
    CARGO_TARGET_DIR=$MUTANTS_TESTS_IN/mutants
    export CARGO_TARGET_DIR MUTANTS_TESTS_IN
    cargo build --quiet -p watchdog-engine --features sim --example mutants
    "$CARGO_TARGET_DIR/debug/examples/mutants" "$copy" "$@"
    exit
fi

cargo build --quiet --release -p watchdog-engine --features sim --example simulate
sim=${CARGO_TARGET_DIR:-target}/release/examples/simulate
[ -z "${one:-}" ] || exec "$sim" --seed "$one"

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
half=$((seeds / 2))
"$sim" "$from" "$half" --partial >"$out/1" &
first=$!
status=0
"$sim" $((from + half)) $((seeds - half)) >"$out/2" || status=1
wait "$first" || status=1
tail -n 70 "$out/1"
cat "$out/2"
exit $status
