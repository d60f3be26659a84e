#!/bin/bash
# Times create, start and delete with the systemd driver: Gantry's runtime and Debian's runc in turn, in the virtual machine.
# Without KVM the times are 10 to 20 times those of a real machine: their ratio is what counts.
#
#   bench.sh [ROUNDS]
set -eu
here=$(dirname "$(readlink -f "$0")")
rounds=${1:-20}
target=${CARGO_TARGET_DIR:-$here/../../target}
runtime=${GANTRY_RUNTIME:-$target/x86_64-unknown-linux-gnu/release/gantry-runtime}
[ -x "$runtime" ] || { echo "$runtime is missing: cargo build --release" >&2; exit 1; }
"$here/setup.sh"
# shellcheck disable=SC2016
guest='
mkdir -p /run/bench/rootfs/bin && cd /run/bench
cp /bin/busybox rootfs/bin/ && ln -s busybox rootfs/bin/sleep
runc spec
sed -i "s/\"terminal\": true/\"terminal\": false/; s/\"sh\"/\"sleep\", \"1000\"/; s#\"path\": \"rootfs\"#\"path\": \"/run/bench/rootfs\"#" config.json
since() { echo $(( (${EPOCHREALTIME/./} - $1) )); }
round() { # RUNTIME NAME
    sed "s#\"linux\": {#\"linux\": {\"cgroupsPath\": \"system.slice:bench:$2\",#" config.json > next && mkdir -p "b-$2"
    mv next "b-$2/config.json"
    begin=${EPOCHREALTIME/./}
    "$1" --systemd-cgroup create --bundle "b-$2" "$2" < /dev/null > /dev/null 2> "log-$2" || { cat "log-$2" >&2; exit 1; }
    "$1" start "$2"
    whole=$(since "$begin")
    begin=${EPOCHREALTIME/./}
    "$1" delete --force "$2"
    echo "$whole $(since "$begin")"
}
for i in $(seq ROUNDS); do
    for name in runc gantry-runtime; do
        program=$name
        [ $name = runc ] || program=/host/$name
        round $program "$name-$i" >> "times-$name" || exit 1
    done
done
median() { awk -v column="$2" "{print \$column}" "times-$1" | sort -n | awk "{all[NR] = \$1} END {print all[int((NR + 1) / 2)]}"; }
for name in runc gantry-runtime; do
    # The first round reads the programs from the host.
    sed -i 1d "times-$name"
    awk "{print \$1 + \$2}" "times-$name" > "sums"; cp sums "times-sum-$name"
    echo "$name: create and start $(median $name 1) us, delete $(median $name 2) us, together $(median sum-$name 1) us"
done
awk -v a="$(median sum-gantry-runtime 1)" -v b="$(median sum-runc 1)" "BEGIN {printf \"ratio %.2f\n\", a / b}"
'
"$here/run.sh" --systemd --seconds 600 --share "$(dirname "$runtime")" -- "cat > /run/bench.sh <<'GUEST'
${guest/ROUNDS/$((rounds + 1))}
GUEST
bash /run/bench.sh"
