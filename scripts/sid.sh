#!/bin/sh
# Downloads packages of Debian sid and unpacks them into DIR/root, once; nothing is installed. The mirror is the one that apt
# uses, and what the host's apt knows does not change.
#
#   scripts/sid.sh DIR PACKAGE...
set -eu
cache=$1
shift
[ ! -e "$cache/ready" ] || exit 0
mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | sort -u | head -n 1)
[ -n "$mirror" ] || { echo "apt knows no mirror: run apt-get update" >&2; exit 1; }
echo "downloading $* of Debian sid into $cache"
rm -rf "$cache"
# Lists, configuration and packages of its own.
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
(cd "$cache/apt" && apt-get download -qq "$@")
for package in "$cache"/apt/*.deb; do dpkg -x "$package" "$cache/root"; done
rm -rf "$cache/apt"
touch "$cache/ready"
