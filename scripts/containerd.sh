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
    if [ ! -e "$cache/ready" ]; then
        mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | sort -u | head -n 1)
        [ -n "$mirror" ] || { echo "apt knows no mirror: run apt-get update" >&2; exit 1; }
        echo "downloading containerd of Debian sid into $cache"
        rm -rf "$cache"
        # Lists, configuration and packages of its own: what the host's apt knows does not change.
        mkdir -p "$cache/apt/lists/partial" "$cache/apt/archives/partial" "$cache/apt/none"
        : > "$cache/apt/status"
        signed=/usr/share/keyrings/debian-archive-keyring.gpg
        echo "deb [signed-by=$signed] $mirror sid main" > "$cache/apt/sources"
        # Snapshots of mirrors may be older than their Release files allow; only root may read some checkouts.
        cat > "$cache/apt/conf" <<CONF
Dir::State "$cache/apt";
Dir::State::Lists "$cache/apt/lists";
Dir::State::Status "$cache/apt/status";
Dir::Cache "$cache/apt";
Dir::Cache::Archives "$cache/apt/archives";
Dir::Etc::SourceList "$cache/apt/sources";
Dir::Etc::SourceParts "$cache/apt/none";
Dir::Etc::Preferences "$cache/apt/none/file";
Dir::Etc::PreferencesParts "$cache/apt/none";
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
APT::Sandbox::User "root";
CONF
        export APT_CONFIG="$cache/apt/conf"
        apt-get update -qq
        (cd "$cache/apt" && apt-get download -qq containerd)
        dpkg -x "$cache"/apt/containerd_*.deb "$cache/root"
        unset APT_CONFIG
        rm -rf "$cache/apt"
        touch "$cache/ready"
    fi
    export GANTRY_CONTAINERD="$cache/root/usr/bin/containerd" GANTRY_CTR="$cache/root/usr/bin/ctr"
fi
"$GANTRY_CONTAINERD" --version
# The tests drive the binaries from outside.
cargo build --quiet --package gantry-runtime-bin --package gantry-shim-bin --package gantry-testkit
CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$PWD/scripts/isolated.sh \
    cargo test --package gantry-e2e --test it -- "shim::${1:-}"
