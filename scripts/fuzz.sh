#!/usr/bin/env bash
# Runs fuzz targets, each for so many seconds: scripts/fuzz.sh [TARGET..] [SECONDS]; default all of them, 60 s.
# Needs a nightly toolchain and cargo-fuzz. What is found new stays out of the corpus in the repository: it goes to
# fuzz/target/corpus; a failing input is kept in fuzz/artifacts and named at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=60
targets=()
for word in "$@"; do
    if [[ $word =~ ^[0-9]+$ ]]; then seconds=$word; else targets+=("$word"); fi
done
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
    echo "fuzz.sh: needs rustup toolchain install nightly, and cargo install cargo-fuzz" >&2
    exit 1
fi
[ "${#targets[@]}" -gt 0 ] || mapfile -t targets < <(cargo +nightly fuzz list)
for target in "${targets[@]}"; do
    printf '\n=== %s, %d s\n' "$target" "$seconds"
    found=fuzz/target/corpus/$target
    mkdir -p "$found"
    cargo +nightly fuzz run "$target" "$found" "fuzz/corpus/$target" -- -max_total_time="$seconds" -max_len=70000
done
printf '\n%d targets, nothing found\n' "${#targets[@]}"
