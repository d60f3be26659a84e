#!/bin/sh
# Runs the tests of the runtime and of cgroups ROUNDS times, with longer races (GANTRY_SOAK_SECONDS each, 10 if absent) and other
# random profiles each time. Every second round is the runtime's alone, on cgroup v2. Then, for GANTRY_SHIM_SOAK_SECONDS (1800 if
# absent, 0 for never), random operations on shims, which GANTRY_SOAK_SEED repeats; and for GANTRY_TASKS_SOAK_SECONDS (the same) on the
# daemon's tasks. Stops at the first that fails.
# Needs root.
set -eu
cd "$(dirname "$0")/.."
rounds=${1:-20}
features="--features gantry-runtime-bin/failpoints"
export GANTRY_SOAK=1 GANTRY_SOAK_SECONDS="${GANTRY_SOAK_SECONDS:-10}"
# The tests drive the binaries from outside.
# shellcheck disable=SC2086
cargo build --quiet --package gantry-runtime-bin --package gantry-testkit $features
round=1
while [ "$round" -le "$rounds" ]; do
    # env changes nothing.
    runner=env cgroups="as they are" packages="--package gantry-runtime-bin --package gantry-runtime --package gantry-cgroup"
    if [ $((round % 2)) -eq 0 ]; then
        runner=$PWD/scripts/v2-view.sh cgroups=v2 packages="--package gantry-runtime-bin"
    fi
    echo "round $round of $rounds, cgroups $cgroups"
    # shellcheck disable=SC2086
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$runner cargo test --quiet $packages $features
    round=$((round + 1))
done
seconds=${GANTRY_SHIM_SOAK_SECONDS:-1800}
if [ "$seconds" -gt 0 ]; then
    echo "the shim, for $seconds s"
    GANTRY_SOAK_SECONDS=$seconds GANTRY_SOAK_SEED=${GANTRY_SOAK_SEED:-$(date +%s)} \
        cargo test --quiet --package gantry-shim-bin --test it -- soak:: --nocapture
fi
seconds=${GANTRY_TASKS_SOAK_SECONDS:-1800}
[ "$seconds" -gt 0 ] || exit 0
echo "the daemon's tasks, for $seconds s"
cargo build --quiet --package gantryd --package gantry-shim-bin
GANTRY_SOAK_SECONDS=$seconds GANTRY_SOAK_SEED=${GANTRY_SOAK_SEED:-$(date +%s)} \
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$PWD/scripts/isolated.sh \
    cargo test --quiet --package gantry-e2e --test it -- tasks::soak:: --nocapture
