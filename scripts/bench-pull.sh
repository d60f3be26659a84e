#!/bin/sh
# Measures pulls: us and the peers in turn, in namespaces and cgroups of their own. Makes or downloads once what it needs, into
# .cache of the checkout: the image (scripts/bench-image.sh), containerd and docker of Debian sid (scripts/sid.sh), and the
# programs that containerd and docker inflate with where they find them. Needs root.
#
# The arguments go to the benchmark: --count N, --image gzip|zstd, --part pulls|stages|latency|crowd, and engines by name.
# GANTRY_BENCH_BUILT=1 takes the binaries that are there.
set -eu
cd "$(dirname "$0")/.."
cache=$PWD/.cache
scripts/bench-image.sh "$cache/images/pull"
scripts/sid.sh "$cache/sid-engines" containerd docker.io docker-cli
if [ ! -e "$cache/inflaters/ready" ]; then
    rm -rf "$cache/inflaters"
    mkdir -p "$cache/inflaters"
    (cd "$cache/inflaters" && apt-get download -qq -o APT::Sandbox::User=root isal libisal2)
    for package in "$cache"/inflaters/*.deb; do dpkg -x "$package" "$cache/inflaters"; done
    rm "$cache"/inflaters/*.deb
    touch "$cache/inflaters/ready"
fi
bin=target/x86_64-unknown-linux-gnu/release
[ -n "${GANTRY_BENCH_BUILT:-}" ] || cargo build --quiet --release --package gantry-bench --package gantryd
ours=
[ ! -x "$bin/gantryd" ] || ours="--gantryd $bin/gantryd"
# shellcheck disable=SC2086
exec scripts/isolated.sh --view v2 "$bin/gantry-bench" pull --layout "$cache/images/pull" --sid "$cache/sid-engines/root" \
    --inflaters "$cache/inflaters" $ours "$@"
