#!/bin/sh
# The engine behind our own command line, visibly: an image pulled from docker-registry, containers on a bridge with a published port, a daemon
# that is killed. Called by run.sh in a network namespace of its own: run-engine.sh DIRECTORY IMAGE, where the directory has the registry's
# configuration. Needs root.
set -eu
state=$1 image=$2
bin=$(cd "$(dirname "$0")/../target/x86_64-unknown-linux-gnu/release" && pwd)
gantry=$bin/gantry
port=${image#*:}
port=${port%%/*}
pids=""
finish() {
    status=$?
    for pid in $pids; do
        kill "$pid" 2> /dev/null || true
        wait "$pid" 2> /dev/null || true
    done
    exit $status
}
trap finish EXIT
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
until_done() {
    try=0
    until "$@" > "$state/until" 2>&1; do
        try=$((try + 1))
        [ $try -lt 100 ] || { cat "$state/until" "$state/engine.log"; exit 1; }
        sleep 0.1
    done
}
serve() {
    "$bin/gantryd" --config "$state/engine.toml" >> "$state/engine.log" 2>&1 &
    daemon=$!
    pids="$pids $daemon"
    until_done "$gantry" version
}
ip link set lo up
docker-registry serve "$state/registry.yml" > "$state/registry.log" 2>&1 &
pids="$pids $!"
printf 'root = "%s/engine"\nstate = "%s/e"\n[grpc]\naddress = "%s/e/g.sock"\n' "$state" "$state" "$state" > "$state/engine.toml"
export DOCKER_HOST="unix://$state/e/docker.sock"
serve
say "gantry pull: the same image, by docker's verbs"
until_done "$gantry" pull "$image"
cat "$state/until"
"$gantry" images
say "gantry run --rm --timing"
"$gantry" run --rm --timing "$image" sh -c 'echo "hello from Debian $(cat /etc/debian_version) at $(hostname)"'
status=0
"$gantry" run --rm "$image" sh -c 'exit 7' || status=$?
echo "exit status $status"
[ "$status" -eq 7 ]
say "a server with a published port, a volume, and a policy"
"$gantry" run --detach --name web --publish "127.0.0.1:8080:80" --volume pages:/pages --restart always \
    --volume /bin/busybox:/bin/busybox:ro "$image" sh -c 'echo served by gantry > /pages/index.html; exec busybox httpd -f -p 80 -h /pages'
until_done busybox wget -q -O - http://127.0.0.1:8080/
cat "$state/until"
"$gantry" ps
"$gantry" exec web sh -c 'echo "beside it: $(cat /proc/1/comm)"'
"$gantry" stats --no-stream
say "the daemon is killed: the server goes on, and the next daemon finds it"
kill -9 "$daemon"
wait "$daemon" 2> /dev/null || true
busybox wget -q -O - http://127.0.0.1:8080/
serve
"$gantry" ps
say "gantry why, of a container that ran out of memory"
"$gantry" run --name greedy --memory 16m --memory-swap 16m "$image" sh -c 'x=a; while :; do x=$x$x; done' || true
"$gantry" why greedy
"$gantry" rm --force --volumes web greedy > /dev/null
"$gantry" volume rm pages > /dev/null
"$gantry" ps --all
