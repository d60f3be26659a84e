#!/bin/sh
# Measures containers behind containerd's API: us, containerd of Debian sid (scripts/sid.sh) and the host's containerd, with runc
# and with crun, in turn, in namespaces and cgroups of their own. Needs root.
#
# The arguments go to the benchmark: --count N, --part run|start|crowd|memory|pause, --tasks N, --snapshots N, and engines by name.
# VIEW=v2 shows the unified cgroup hierarchy alone. GANTRY_BENCH_BUILT=1 takes the binaries that are there.
set -eu
cd "$(dirname "$0")/.."
cache=$PWD/.cache/containerd
scripts/sid.sh "$cache" containerd
bin=target/x86_64-unknown-linux-gnu/release
[ -n "${GANTRY_BENCH_BUILT:-}" ] ||
    cargo build --quiet --release --package gantry-bench --package gantryd --package gantry-shim-bin
# No disk is measured.
# shellcheck disable=SC2016
exec scripts/isolated.sh --view "${VIEW:-v1}" sh -c 'mount -t tmpfs -o mode=1777 tmpfs /tmp && exec "$@"' sh \
    "$bin/gantry-bench" tasks --gantryd "$bin/gantryd" --containerd "$cache/root" "$@"
