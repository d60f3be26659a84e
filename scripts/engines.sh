#!/bin/sh
# Runs the tests of the daemon's store and tasks with newer clients: ctr of containerd 2.x, and dockerd 28 with its images in
# containerd, of Debian sid, whose packages are downloaded into .cache/sid-engines of the checkout (once), unpacked and never
# installed. Needs root, and a mirror, which is the one that apt uses. FILTER, the first argument, picks some of the tests.
set -eu
cd "$(dirname "$0")/.."
cache=$PWD/.cache/sid-engines
scripts/sid.sh "$cache" containerd docker.io docker-cli
usr=$cache/root/usr
export GANTRY_CTR="$usr/bin/ctr" GANTRY_DOCKERD="$usr/sbin/dockerd" GANTRY_DOCKER="$usr/bin/docker"
"$GANTRY_CTR" --version
"$GANTRY_DOCKERD" --version
cargo build --quiet --package gantry-runtime-bin --package gantry-shim-bin --package gantryd --package gantry-testkit
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$PWD/scripts/isolated.sh
cargo test --package gantry-e2e --test it -- ${1:-store:: tasks::}
