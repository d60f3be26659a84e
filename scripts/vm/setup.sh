#!/bin/bash
# Builds the virtual machine of the tests from Debian's packages: about 500 MB, two to three minutes, nothing when it is there.
#
# What the tests cannot have on most hosts is in it: cgroup v2 alone with every controller, systemd as the first process,
# AppArmor, and all capabilities. `run.sh` runs commands in it. It is in GANTRY_VM_DIR, or .cache/vm of the checkout:
#   tools   QEMU and virtiofsd of Debian 13, never installed: those of Debian 12 crash guests without KVM
#   root    the guest: Debian 13 with its cloud kernel (6.12)
# Needs root, mmdebstrap, and a mirror, which is the one that apt uses.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
vm=${GANTRY_VM_DIR:-$here/../../.cache/vm}
suite=trixie
tools="qemu-system-x86,virtiofsd"
guest="linux-image-cloud-amd64,systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,udev,kmod,procps,iproute2,strace,\
busybox-static,uidmap,apparmor,runc,crun,criu,ca-certificates,docker.io,docker-cli,docker-registry,iptables,curl"

mkdir -p "$vm"
vm=$(readlink -f "$vm")
# The scripts decide what is built, so a change of them builds it anew.
stamp=$(cat "$here/setup.sh" "$here"/guest/* | sha256sum | cut -d' ' -f1)
is_ready() { [ "$(cat "$vm/ready" 2> /dev/null)" = "$stamp" ]; }
is_ready && exit 0
# Not under a machine that runs, nor twice at once.
exec 9> "$vm/lock"
flock 9
is_ready && exit 0

[ "$(id -u)" = 0 ] || { echo "the virtual machine is built by root" >&2; exit 1; }
command -v mmdebstrap > /dev/null || { echo "mmdebstrap is missing: scripts/setup.sh installs it" >&2; exit 1; }
mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | sort -u | head -n 1)
[ -n "$mirror" ] || { echo "apt knows no mirror: run apt-get update" >&2; exit 1; }
echo "building the virtual machine in $vm"
rm -rf --one-file-system "$vm/ready" "$vm/tools" "$vm/root"

# Somebody who cleans /tmp meanwhile would take the packages away.
mkdir -p "$vm/tmp"
export TMPDIR=$vm/tmp
bootstrap() { # VARIANT PACKAGES DIRECTORY [OPTION...]
    variant=$1 packages=$2 directory=$3
    shift 3
    # Snapshots of mirrors may be older than their Release files allow.
    if ! mmdebstrap --variant="$variant" --components=main --include="$packages" \
        --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Languages "none"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' "$@" \
        "$suite" "$directory" "$mirror" < /dev/null > "$directory.log" 2>&1; then
        tail -n 20 "$directory.log" >&2
        echo "mmdebstrap of $directory failed" >&2
        return 1
    fi
}
bootstrap extract "$tools" "$vm/tools" &
extracting=$!
bootstrap minbase "$guest" "$vm/root" || { wait "$extracting"; exit 1; }
wait "$extracting"

install -m 755 "$here/guest/plain" "$vm/root/sbin/plain"
install -m 755 "$here/guest/init" "$vm/root/sbin/init.gantry"
units=$vm/root/etc/systemd/system
install -m 644 "$here"/guest/gantry-vm* "$units/"
# A guest that lives for seconds, without a disk or devices that come, starts four times faster without these.
for unit in ldconfig systemd-udev-trigger systemd-udevd systemd-journal-catalog-update systemd-hwdb-update \
    systemd-tmpfiles-setup-dev systemd-tmpfiles-setup-dev-early systemd-update-done systemd-machine-id-commit \
    systemd-pcrmachine systemd-random-seed systemd-sysusers systemd-firstboot systemd-modules-load \
    systemd-binfmt systemd-timesyncd systemd-journal-flush systemd-pstore kmod-static-nodes e2scrub_reap apparmor \
    containerd docker docker-registry serial-getty@ttyS0 \
    modprobe@efi_pstore modprobe@configfs modprobe@fuse modprobe@drm modprobe@loop modprobe@dm_mod; do
    ln -sf /dev/null "$units/$unit.service"
done
for unit in systemd-udevd-control.socket systemd-udevd-kernel.socket docker.socket sys-kernel-debug.mount \
    sys-kernel-tracing.mount dev-hugepages.mount dev-mqueue.mount sys-fs-fuse-connections.mount; do
    ln -sf /dev/null "$units/$unit"
done
# The user of the tests of rootless containers.
chroot "$vm/root" useradd --create-home --shell /bin/bash gantry-test
grep -q '^gantry-test:' "$vm/root/etc/subuid" || echo 'gantry-test:100000:65536' >> "$vm/root/etc/subuid"
grep -q '^gantry-test:' "$vm/root/etc/subgid" || echo 'gantry-test:100000:65536' >> "$vm/root/etc/subgid"
rm -rf --one-file-system "$vm/tmp" "$vm/root/var/cache/apt" "$vm/root/var/lib/apt/lists"
echo "$stamp" > "$vm/ready"
echo "the virtual machine is ready"
