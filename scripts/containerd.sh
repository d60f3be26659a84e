#!/bin/sh
# Runs the tests of the shim with containerd's 2.x line in front of it: containerd, ctr and its own shim of Debian sid, whose
# package is downloaded into .cache/containerd of the checkout (27 MB, once), unpacked and never installed. Needs root, and a
# mirror, which is the one that apt uses. FILTER, the first argument, picks some of the tests.
#
# GANTRY_CONTAINERD and GANTRY_CTR name other binaries. GANTRY_E2E_SHIM_RUNTIME=io.containerd.runc.v2 proves the tests on the
# reference.
set -eu
cd "$(dirname "$0")/.."
if [ -z "${GANTRY_CONTAINERD:-}" ]; then
    cache=$PWD/.cache/containerd
    scripts/sid.sh "$cache" containerd
    export GANTRY_CONTAINERD="$cache/root/usr/bin/containerd" GANTRY_CTR="$cache/root/usr/bin/ctr"
fi
"$GANTRY_CONTAINERD" --version
# The tests drive the binaries from outside.
cargo build --quiet --package gantry-runtime-bin --package gantry-shim-bin --package gantry-testkit
CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$PWD/scripts/isolated.sh \
    cargo test --package gantry-e2e --test it -- "shim::${1:-}"
