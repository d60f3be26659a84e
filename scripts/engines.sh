#!/bin/sh
# Runs the tests of the daemon with newer peers: ctr of containerd 2.x, docker's command line and dockerd 28 with its images in containerd, of
# Debian sid, whose packages are downloaded into .cache/sid-engines of the checkout (once), unpacked and never installed. The sessions of
# the engine and of the builder run twice, before our daemon and before that dockerd; a test that ends otherwise there is shown. Needs root,
# and a mirror, which is the one that apt uses. FILTER, the first argument, picks some of the tests.
set -eu
cd "$(dirname "$0")/.."
cache=$PWD/.cache/sid-engines
scripts/sid.sh "$cache" containerd docker.io docker-cli
scripts/packages.sh || echo "no packages of servers: their tests count as skipped" >&2
usr=$cache/root/usr
export GANTRY_CTR="$usr/bin/ctr" GANTRY_DOCKERD="$usr/sbin/dockerd" GANTRY_DOCKER="$usr/bin/docker"
"$GANTRY_CTR" --version
"$GANTRY_DOCKERD" --version
cargo build --quiet --package gantry-runtime-bin --package gantry-shim-bin --package gantryd --package gantry --package gantry-testkit
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$PWD/scripts/isolated.sh
results=$(mktemp -d /var/tmp/gantry-engines.XXXXXX)
trap 'rm -rf "$results"' EXIT
failed=""
# session NAME DAEMON FILTER...: what each test came to goes to $results/NAME.
session() {
    name=$1 daemon=$2
    shift 2
    echo "== $name"
    rm -f "$results/skips"
    status=0
    env ${daemon:+GANTRY_DAEMON=$daemon} GANTRY_TEST_SKIPS="$results/skips" cargo test --package gantry-e2e --test it -- "$@" > "$results/log" 2>&1 || status=$?
    cat "$results/log"
    [ "$status" -eq 0 ] || failed="$failed $name"
    [ ! -e "$results/skips" ] || sed 's/^SKIP it:://; s/: /\tskipped: /' "$results/skips" > "$results/$name.skips"
    # A skipped test says that it is well.
    sed -n 's/^test \(.*\) \.\.\. \(ok\|FAILED\)$/\1\t\2/p' "$results/log" > "$results/$name.all"
    touch "$results/$name.skips"
    awk -F '\t' 'NR == FNR { skipped[$1] = $2; next } { print $1 "\t" ($1 in skipped ? skipped[$1] : $2) }' \
        "$results/$name.skips" "$results/$name.all" | sort > "$results/$name"
}
session gantryd "" ${1:-store:: tasks:: engine:: build::}
session dockerd containerd ${1:-engine:: build::}
echo "== tests that end otherwise: gantryd, dockerd"
join -t "$(printf '\t')" "$results/gantryd" "$results/dockerd" | awk -F '\t' '$2 != $3'
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
