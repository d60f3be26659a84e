#!/bin/sh
# Runs a command where /sys/fs/cgroup shows the unified hierarchy alone, as on most hosts: on a hybrid host that is a bind
# mount in a private mount namespace, with few controllers or none. Elsewhere the command runs as it is. Needs root.
#   CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=scripts/v2-view.sh cargo test --package gantry-runtime-bin
set -eu
[ -d /sys/fs/cgroup/unified ] || exec "$@"
exec unshare --mount --propagation private sh -c 'mount --bind /sys/fs/cgroup/unified /sys/fs/cgroup; exec "$@"' sh "$@"
