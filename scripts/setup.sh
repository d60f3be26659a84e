#!/bin/sh
# Installs what building, running and testing need on Debian, and nothing when it is there already; with `fuzz`, what
# the fuzz targets need besides. Needs root.
set -eu
packages="busybox-static debootstrap gcc libc6-dev make git ca-certificates iproute2 procps uidmap jq
runc crun conmon podman buildah containerd containernetworking-plugins docker.io iptables umoci skopeo slirp4netns
libseccomp-dev python3-seccomp mmdebstrap docker-registry openssl apache2-utils zstd libcap2-bin attr
curl"
# libFuzzer is C++.
[ "${1:-}" != fuzz ] || packages="$packages g++"
missing=""
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
# The ordinary user of the tests of rootless containers; useradd gives it subordinate ids.
add_user() {
    id gantry-test >/dev/null 2>&1 || useradd --create-home --shell /bin/sh gantry-test
    grep -q '^gantry-test:' /etc/subuid || usermod --add-subuids 100000-165535 --add-subgids 100000-165535 gantry-test
}
if [ -z "$missing" ]; then
    add_user
    exit 0
fi
echo "installing:$missing"
# The daemons among them are started by the tests, with directories and sockets of their own.
policy=/usr/sbin/policy-rc.d
made=""
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
    made=yes
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing
if [ -n "$made" ]; then rm -f "$policy"; fi
add_user
