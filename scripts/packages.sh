#!/bin/sh
# Downloads what the tests make their images of servers from, once, into .cache/packages: a small Debian as an archive, and for each
# server the packages that it needs besides, as they came with the release (`release`), and for the keepers of data as they are now
# (`now`), with the fixes since. Nothing is installed. Needs root, and the mirrors that apt uses; where they cannot be reached, nothing
# is there, and the tests say so.
set -eu
cd "$(dirname "$0")/.."
cache=$PWD/.cache/packages
suite=bookworm
packages_of() {
    case $1 in
        nginx) echo nginx-light ;;
        redis) echo redis-server redis-tools ;;
        postgres) echo postgresql-15 ;;
        python) echo python3-minimal libpython3-stdlib ;;
    esac
}
[ ! -e "$cache/ready" ] || exit 0
mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | sort -u | head -n 1)
security=$(apt-get indextargets --format '$(REPO_URI)' | grep security | sort -u | head -n 1)
[ -n "$mirror" ] || { echo "apt knows no mirror: run apt-get update" >&2; exit 1; }
echo "downloading packages of Debian $suite into $cache"
part=$cache.part
rm -rf "$part"
mkdir -p "$part"
# Snapshots of mirrors may be older than their Release files allow.
mmdebstrap --quiet --variant=minbase --aptopt='Acquire::Check-Valid-Until "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    "$suite" "$part/base.tar" "$mirror"
tar --extract --to-stdout --file "$part/base.tar" ./var/lib/dpkg/status > "$part/status"
# Lists and configuration of its own: what the host's apt knows does not change.
signed=/usr/share/keyrings/debian-archive-keyring.gpg
state=$part/apt
mkdir -p "$state/lists/partial" "$state/none"
cat > "$state/conf" <<CONF
Dir::State "$state";
Dir::State::Lists "$state/lists";
Dir::State::Status "$part/status";
Dir::Cache "$state";
Dir::Etc::SourceList "$state/sources";
Dir::Etc::SourceParts "$state/none";
Dir::Etc::Preferences "$state/none/file";
Dir::Etc::PreferencesParts "$state/none";
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
CONF
export APT_CONFIG="$state/conf"
download() {
    apt-get update -qq
    when=$1
    shift
    for server in "$@"; do
        debs=$part/$when/$server
        mkdir -p "$debs/partial"
        # shellcheck disable=SC2046
        apt-get install -qq --yes --download-only -o "Dir::Cache::Archives=$debs" $(packages_of "$server") > /dev/null
        rm -rf "$debs/partial" "$debs/lock"
    done
}
echo "deb [signed-by=$signed] $mirror $suite main" > "$state/sources"
download release nginx redis postgres python
[ -z "$security" ] || echo "deb [signed-by=$signed] $security $suite-security main" >> "$state/sources"
download now redis postgres
rm -rf "$state" "$part/status" "$part"/lock*
touch "$part/ready"
rm -rf "$cache"
mv "$part" "$cache"
