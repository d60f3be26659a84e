#!/bin/sh
# Builds the fuzz targets and runs each for SECONDS_EACH seconds; whatever crashes one is kept and told.
# usage: scripts/fuzz.sh SECONDS_EACH [TARGET...]
set -eu
cd "$(dirname "$0")/.."
seconds=${1:?usage: scripts/fuzz.sh SECONDS_EACH [TARGET...]}
shift
triple=x86_64-unknown-linux-gnu
cache=$PWD/.cache/fuzz
target_dir=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
command -v g++ >/dev/null || { echo "libFuzzer needs g++: scripts/setup.sh fuzz" >&2; exit 1; }

# What `-Z sanitizer` would add, by options that a stable compiler has: counters of edges, their table, comparisons.
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
-Cllvm-args=-sanitizer-coverage-trace-compares"
RUSTFLAGS="--cfg fuzzing $(echo $coverage)" \
    cargo build --quiet --release --target "$triple" --manifest-path fuzz/Cargo.toml --target-dir "$target_dir"

[ $# -gt 0 ] || set -- $(cd fuzz/src/bin && for file in *.rs; do echo "${file%.rs}"; done)
# One target writes to files all the time.
[ -w /dev/shm ] && scratch=/dev/shm || scratch=${TMPDIR:-/tmp}
scratch=$(mktemp -d "$scratch/gantry-fuzz.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
failed=""
for target in "$@"; do
    corpus=$cache/corpus/$target
    crashes=$cache/crashes/$target
    mkdir -p "$corpus" "$crashes" "$scratch/seeds"
    rm -rf "$scratch/seeds"/*
    [ ! -d "fuzz/seeds/$target" ] || cp fuzz/seeds/"$target"/* "$scratch/seeds"
    # The largest ones of the tests' are not here a second time.
    case $target in
    config) cp crates/testkit/fixtures/docker-default.json crates/testkit/fixtures/runc-spec*.json "$scratch/seeds" ;;
    seccomp) cp crates/testkit/fixtures/docker-default-seccomp.json "$scratch/seeds" ;;
    esac
    dictionary=""
    [ ! -f "fuzz/dictionaries/$target.dict" ] || dictionary="-dict=fuzz/dictionaries/$target.dict"
    log=$scratch/$target.log
    # shellcheck disable=SC2086
    if TMPDIR=$scratch "$target_dir/$triple/release/$target" -max_total_time="$seconds" -rss_limit_mb=1024 \
        -malloc_limit_mb=512 -timeout=10 -max_len=16384 -print_final_stats=1 -artifact_prefix="$crashes/" \
        $dictionary "$corpus" "$scratch/seeds" 2>"$log"; then
        covered=$(sed -n 's/^#[0-9]*[[:space:]]*DONE *\(cov: [0-9]* ft: [0-9]* corp: [^ ]*\).*/\1/p' "$log")
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        printf '%-12s %10s runs  %s\n' "$target" "$runs" "$covered"
    else
        failed="$failed $target"
        printf '%-12s FAILED\n' "$target"
        grep -v -E '^(#[0-9]|INFO:|WARNING:|stat::|Dictionary:|[[:space:]]*NEW_FUNC)' "$log" | head -n 40
        found=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
        echo "again: $target_dir/$triple/release/$target $found"
    fi
done
[ -z "$failed" ] || { echo "crashed:$failed" >&2; exit 1; }
