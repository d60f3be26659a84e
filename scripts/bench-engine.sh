#!/bin/sh
# Measures containers as people run them: gantryd behind our own client and docker's, dockerd of Debian sid (scripts/sid.sh), the host's
# dockerd and podman, in turn, in namespaces and cgroups of their own. Needs root.
#
# The arguments go to the benchmark: --count N, --part run|exec|build|logs|idle, --mib N, and engines by name. GANTRY_BENCH_BUILT=1
# takes the binaries that are there.
set -eu
cd "$(dirname "$0")/.."
cache=$PWD/.cache/sid-engines
[ -x "$cache/root/usr/sbin/dockerd" ] || scripts/sid.sh "$cache" docker.io docker-cli
bin=target/x86_64-unknown-linux-gnu/release
[ -n "${GANTRY_BENCH_BUILT:-}" ] || cargo build --quiet --release --package gantry-bench --package gantryd --package gantry \
    --package gantry-shim-bin --package gantry-runtime-bin
exec scripts/isolated.sh --view "${VIEW:-v1}" sh -c 'ip link set lo up; exec "$@"' sh "$bin/gantry-bench" engine --bin "$bin" \
    --sid "$cache/root" "$@"
