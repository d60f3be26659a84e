#!/bin/sh
# Pulls an image from a real registry and runs containers of it with a real client through the daemon, runs an image from daemon to shim to runtime to
# container and back, and containers of two real root file systems through the runtime alone, visibly. Needs root.
set -eu
cd "$(dirname "$0")/.."
runtime=${GANTRY_RUNTIME:-target/x86_64-unknown-linux-gnu/release/gantry-runtime}
runtime=$(readlink -f "$runtime")
gantryd=$(dirname "$runtime")/gantryd
cache=$PWD/.cache/rootfs
state=$(mktemp -d /run/gantry-run.XXXXXX)
started=""
finish() {
    status=$?
    for pid in $started; do
        kill "$pid" 2> /dev/null || true
        wait "$pid" 2> /dev/null || true
    done
    rm -rf "$state"
    exit $status
}
trap finish EXIT
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

busybox_root() {
    root=$cache/busybox/rootfs
    [ -d "$root" ] && return
    rm -rf "$root.part"
    mkdir -p "$root.part/bin" "$root.part/etc" "$root.part/proc" "$root.part/sys" "$root.part/dev" "$root.part/tmp"
    for applet in $(/bin/busybox --list); do ln -sf busybox "$root.part/bin/$applet"; done
    cp --remove-destination /bin/busybox "$root.part/bin/busybox"
    echo 'root:x:0:0:root:/root:/bin/sh' > "$root.part/etc/passwd"
    mv "$root.part" "$root"
}
debian_root() {
    root=$cache/debian/rootfs
    [ -e "$root/etc/debian_version" ] && return
    say "debootstrap (once, cached in $cache)"
    mkdir -p "$cache/debian"
    rm -rf --one-file-system "$root.part"
    mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | sort -u | head -n 1)
    debootstrap --variant=minbase bookworm "$root.part" "$mirror" > /dev/null
    mv "$root.part" "$root"
}
# An OCI image of Debian in a layout, with two layers.
debian_image() {
    layout=$PWD/.cache/images/debian
    [ -e "$layout/index.json" ] && return
    say "umoci makes an image of it (once, cached in $layout)"
    unpacked=$(mktemp -d)
    rm -rf "$layout.part"
    mkdir -p "$(dirname "$layout")"
    umoci init --layout "$layout.part"
    umoci new --image "$layout.part:latest"
    umoci unpack --image "$layout.part:latest" "$unpacked/bundle"
    cp -a "$cache/debian/rootfs/." "$unpacked/bundle/rootfs/"
    umoci repack --image "$layout.part:latest" --refresh-bundle "$unpacked/bundle"
    rm "$unpacked/bundle/rootfs/etc/issue"
    echo "of the second layer" > "$unpacked/bundle/rootfs/etc/layer"
    umoci repack --image "$layout.part:latest" --refresh-bundle "$unpacked/bundle"
    umoci config --image "$layout.part:latest" --config.cmd bash --config.env PATH=/usr/sbin:/usr/bin:/sbin:/bin
    rm -rf "$unpacked"
    mv "$layout.part" "$layout"
}
# bundle NAME JSON-ARGS [jq filter]
bundle() {
    dir=$cache/$1
    rm -f "$dir/config.json"
    "$runtime" spec --bundle "$dir"
    jq --argjson args "$2" --arg cgroup "/gantry-run/$1" \
        '.process.terminal = false | .process.args = $args | .linux.cgroupsPath = $cgroup'" ${3:-}" \
        "$dir/config.json" > "$dir/config.new"
    mv "$dir/config.new" "$dir/config.json"
}
g() { "$runtime" --root "$state" "$@"; }

busybox_root
debian_root
say "$runtime"
"$runtime" --version

debian_image
# Starts the daemon and waits until it serves.
serve() {
    "$gantryd" --config "$state/config.toml" >> "$state/gantryd.log" 2>&1 &
    daemon=$!
    started="$started $daemon"
    try=0
    until ctr --address "$state/gantry.sock" version > "$state/version" 2> /dev/null; do
        try=$((try + 1))
        [ $try -lt 100 ] || { cat "$state/gantryd.log"; exit 1; }
        sleep 0.05
    done
}
# The store: Debian's docker-registry on loopback, Debian's ctr in front of gantryd.
store_tour() {
    say "docker-registry on loopback, with the image of Debian"
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    mkdir -p "$state/registry"
    printf 'version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "127.0.0.1:%s"}\n' \
        "$state/registry" "$port" > "$state/registry.yml"
    docker-registry serve "$state/registry.yml" > "$state/registry.log" 2>&1 &
    started="$started $!"
    image=127.0.0.1:$port/debian:demo
    try=0
    until skopeo --insecure-policy copy --quiet --dest-tls-verify=false "oci:$layout:latest" "docker://$image" 2> "$state/skopeo.log"; do
        try=$((try + 1))
        [ $try -lt 50 ] || { cat "$state/skopeo.log"; exit 1; }
        sleep 0.1
    done
    say "gantryd serves containerd's API at a socket of its own"
    printf 'root = "%s/store"\nstate = "%s/state"\n[grpc]\naddress = "%s/gantry.sock"\n' "$PWD/.cache/demo" "$state" "$state" > "$state/config.toml"
    rm -rf --one-file-system "$PWD/.cache/demo"
    serve
    c() { ctr --address "$state/gantry.sock" "$@"; }
    grep -A 1 Server "$state/version"
    say "ctr images pull, ls, check"
    c images pull --plain-http "$image" | tail -n 2
    c images ls
    c images check
    c snapshots tree
    say "ctr images mount: the files of both layers"
    mkdir "$state/mnt"
    c images mount "$image" "$state/mnt" > /dev/null
    cat "$state/mnt/etc/debian_version" "$state/mnt/etc/layer"
    c images unmount --rm "$state/mnt" > /dev/null
    say "ctr images export, rm, import; skopeo reads the archive"
    c images export "$state/debian.tar" "$image"
    c images rm --sync "$image" > /dev/null
    du -sh "$PWD/.cache/demo/store/content/blobs" | sed 's/\t.*/ of blobs after rm/'
    c images import "$state/debian.tar"
    skopeo inspect --format 'skopeo sees {{.Digest}}, {{len .Layers}} layers' "oci-archive:$state/debian.tar"
    tasks_tour
    say "the engine, behind our own command line, in a network namespace of its own"
    unshare --net --mount --propagation private "$PWD/scripts/run-engine.sh" "$state" "$image"
    rm -rf --one-file-system "$PWD/.cache/demo"
}
# Containers of that image: created, watched, left alone by a daemon that is killed, and found again.
tasks_tour() {
    name=$(c images ls --quiet | head -n 1)
    say "ctr run: the daemon, its shim and the runtime in it"
    c run --rm "$name" hello sh -c 'echo "hello from Debian $(cat /etc/debian_version), pid $$"'
    status=0
    c run --rm "$name" seven sh -c 'exit 7' || status=$?
    echo "exit status $status"
    [ "$status" -eq 7 ]
    say "a container that goes on; exec, ps, metrics, pause"
    c run --detach "$name" life sleep 1000
    c tasks exec --exec-id one life sh -c 'echo "beside it: $(cat /proc/1/comm)"'
    c tasks ps life
    c tasks pause life
    c tasks ls
    c tasks resume life
    say "the daemon is killed with -9, and another one finds the container"
    kill -9 "$daemon"
    wait "$daemon" 2> /dev/null || true
    serve
    c tasks ls
    c tasks exec --exec-id two life echo "exec after that"
    c tasks kill --signal SIGKILL life
    until c tasks ls | grep -q STOPPED; do sleep 0.05; done
    c tasks rm life || true
    c containers rm life
    ls "$state/state/s" | wc -l | sed 's/$/ shims are left/'
}
store_tour

say "an OCI image of Debian: daemon, shim, runtime, container, and its events, output and exit status back"
images=$PWD/.cache/state
status=0
"$gantryd" run --layout "$layout:latest" --state "$images" --events -- sh -c \
    'cat /etc/debian_version /etc/layer; ls /etc/issue; echo "pid $$ of $(hostname)"; exit 7' || status=$?
echo "exit status $status"
[ "$status" -eq 7 ]
ls /run/gantry/shim 2> /dev/null | wc -l | sed 's/$/ shims are left/'

say "run: busybox, isolated"
bundle busybox '["sh","-c","echo \"hello from $(hostname), pid $$, of:\"; ps; cat /proc/self/cgroup | head -n 2"]'
g run --bundle $cache/busybox hello

say "run: Debian, as an ordinary user, with limits"
bundle debian '["sh","-c","cat /etc/debian_version; id; grep -E \"CapEff|NoNewPrivs\" /proc/self/status"]' \
    '| .process.user = {uid: 1000, gid: 1000} | .linux.resources.pids.limit = 32'
g run --bundle $cache/debian debian

say "create, start, state, exec, pause, resume, kill, delete: Debian"
bundle debian '["sleep","1000"]'
g create --bundle $cache/debian --pid-file "$state/pid" life < /dev/null > /dev/null 2>&1
g list
g start life
g exec life sh -c 'echo "exec in the container:"; cat /proc/1/cmdline | tr "\0" " "; echo'
g pause life
g state life | jq -c '{id, status, pid}'
g resume life
g kill life KILL
g delete --force life
g list

say "a program that does not exist, a container that does not exist"
bundle busybox '["nosuch"]'
g run --bundle $cache/busybox broken || echo "exit status $?"
g state nosuch || echo "exit status $?"
rmdir /sys/fs/cgroup/*/gantry-run /sys/fs/cgroup/gantry-run 2>/dev/null || true
say "done"
