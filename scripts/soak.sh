#!/bin/sh
# Runs the runtime's tests ROUNDS times, and stops at the first round that fails.
set -eu
cd "$(dirname "$0")/.."
rounds=${1:-20}
round=1
while [ "$round" -le "$rounds" ]; do
    echo "round $round of $rounds"
    cargo test --quiet --package gantry-runtime-bin --package gantry-runtime --package gantry-cgroup
    round=$((round + 1))
done
