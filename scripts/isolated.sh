#!/bin/bash
# Runs a command as on this machine, in namespaces and cgroups of its own: engines and their daemons change nothing of
# the host and leave nothing behind, however they end. Needs root.
#
# New mount, pid, network, uts, ipc and cgroup namespaces; a cgroup of its own in every hierarchy is the root of freshly
# mounted cgroup file systems; /run and /tmp are empty. The exit status is the command's. Cargo calls it as a runner:
#   CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=scripts/isolated.sh cargo test --package gantry-e2e
#
# On a host with cgroup v1, `--view hybrid` before the command shows the unified tree, too, and `--view v2` that alone.
set -u
view=v1
if [ "${1-}" = --view ]; then
    view=$2
    shift 2
fi

if [ "${1-}" != --inside ]; then
    # The name tells `cargo xtask test` whose it is, and that it may go when that process is gone.
    group=gantry-test-$$-0
    scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/gantry-isolated.XXXXXX")
    chmod 1777 "$scratch"
    hierarchies=$(awk '$3 ~ /^cgroup2?$/ && $2 ~ "^/sys/fs/cgroup" {print $2}' /proc/self/mounts)
    for hierarchy in $hierarchies; do
        mkdir "$hierarchy/$group" || exit 125
        if [ -e "$hierarchy/cpuset.cpus" ] && [ ! -e "$hierarchy/cgroup.controllers" ]; then
            cat "$hierarchy/cpuset.cpus" > "$hierarchy/$group/cpuset.cpus"
            cat "$hierarchy/cpuset.mems" > "$hierarchy/$group/cpuset.mems"
        fi
        # A new group has no real-time budget, and groups below it could get none.
        if [ -e "$hierarchy/$group/cpu.rt_runtime_us" ]; then
            echo 100000 > "$hierarchy/$group/cpu.rt_runtime_us" 2> /dev/null || true
        fi
    done
    clean() {
        for hierarchy in $hierarchies; do
            find "$hierarchy/$group" -depth -type d -exec rmdir {} + 2> /dev/null
        done
        rm -rf --one-file-system "$scratch"
    }
    trap clean EXIT
    trap 'exit 130' INT TERM
    (
        for hierarchy in $hierarchies; do
            echo 0 > "$hierarchy/$group/cgroup.procs" || exit 125
        done
        exec unshare --mount --uts --ipc --pid --net --cgroup --propagation private --fork --kill-child \
            "$0" --inside "$scratch" "$view" "$@"
    )
    exit $?
fi

scratch=$2
view=$3
shift 3
set -e
mount -t proc proc /proc
if [ -e /sys/fs/cgroup/cgroup.controllers ] || [ "$view" = v2 ]; then
    umount /sys/fs/cgroup/* 2> /dev/null || true
    mount -t cgroup2 cgroup /sys/fs/cgroup
else
    # Not the unified tree, unless asked for: podman takes the hybrid layout for version 2.
    names=$(awk '$3 == "cgroup" && $2 ~ "^/sys/fs/cgroup/" {sub(".*/", "", $2); print $2}' /proc/self/mounts)
    # Not only covered: mountinfo would still list them.
    umount /sys/fs/cgroup/*
    mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
    for name in $names; do
        mkdir "/sys/fs/cgroup/$name"
        case $name in systemd) option=none,name=systemd ;; *) option=$name ;; esac
        mount -t cgroup -o "$option" cgroup "/sys/fs/cgroup/$name"
    done
    if [ "$view" = hybrid ]; then
        mkdir /sys/fs/cgroup/unified
        mount -t cgroup2 cgroup /sys/fs/cgroup/unified
    fi
fi
mount -t tmpfs -o mode=755 tmpfs /run
mount --bind "$scratch" /tmp
ip link set lo up
unset TMPDIR
# Not exec: as the first process of its namespace the command would have to reap, and would ignore signals.
# A background command has no input of ours unless it is said.
GANTRY_ISOLATED=1 "$@" <&0 &
wait $! && status=0 || status=$?
# What is frozen on cgroup v1 does not die, and this namespace would not end before it.
find /sys/fs/cgroup/freezer -name freezer.state -exec sh -c 'echo THAWED > "$1"' sh {} \; 2> /dev/null || true
exit "$status"
