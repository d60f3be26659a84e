#!/bin/bash
# Runs a shell command in the virtual machine that `setup.sh` built, as root, and gives its output and exit status.
#
#   run.sh [--systemd | --installed] [--memory MIB] [--cpus N] [--seconds N] [--share DIRECTORY]
#          [--tree DIRECTORY] [--kernel OPTIONS] -- COMMAND...
#
#   --systemd    systemd is the first process (10 s to start); else a shell script that only mounts what is needed (5 s)
#   --installed  the same, with every enabled unit, and what is written stays from boot to boot: /exchange/boot is the number of
#                this one, and a command that makes /exchange/again and reboots the machine, or cuts its power, begins anew
#   --seconds    how long the command may take, 300 by default
#   --share      a directory of the host, read-only at /host
#   --tree       another one, at its own path
#   --kernel     more of the kernel's command line
# The root file system is a copy-on-write one of this run alone. Without KVM everything takes 10 to 20 times longer than
# on the host; with a KVM that works GANTRY_VM_KVM=1 uses it. Exit status 125: the machine gave no result.
set -u
here=$(dirname "$(readlink -f "$0")")
vm=$(readlink -f "${GANTRY_VM_DIR:-$here/../../.cache/vm}")
# Ten times what an idle host needs.
BOOT_SECONDS=120
# How often a command may start anew.
MOST_BOOTS=5
layer=memory target=gantry-vm.target disk=64
mode=plain memory=2048 cpus=2 seconds=300 share="" tree="" kernel=""
while [ $# -gt 0 ]; do
    case $1 in
        --systemd) mode=systemd ;;
        --installed) mode=systemd layer=disk target=gantry-vm-full.target disk=4096 ;;
        --memory) memory=$2; shift ;;
        --cpus) cpus=$2; shift ;;
        --seconds) seconds=$2; shift ;;
        --share) share=$(readlink -f "$2"); shift ;;
        --tree) tree=$(readlink -f "$2"); shift ;;
        --kernel) kernel=$2; shift ;;
        --) shift; break ;;
        *) echo "run.sh: unknown option $1" >&2; exit 125 ;;
    esac
    shift
done
[ -e "$vm/ready" ] || { echo "there is no virtual machine in $vm: run scripts/vm/setup.sh" >&2; exit 125; }

exec 9< "$vm/lock"
flock --shared 9

work=$(mktemp -d "${TMPDIR:-/var/tmp}/gantry-vm.XXXXXX")
daemons=()
stop() {
    for daemon in "${daemons[@]}"; do kill "$daemon" 2> /dev/null; done
    wait
    daemons=()
}
clean() {
    stop
    [ -n "${GANTRY_VM_KEEP-}" ] || rm -rf --one-file-system "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM
mkdir "$work/exchange"
printf ': > /exchange/started\n%s\n' "$*" > "$work/exchange/command"
: > "$work/exchange/output"
truncate --size "${disk}M" "$work/disk"
[ "$layer" = memory ] || mkfs.ext4 -q "$work/disk" || exit 125

# Programs of Debian 13 on whatever libc the host has.
libraries=$vm/tools/usr/lib/x86_64-linux-gnu
of_tools() {
    exec "$vm/tools/usr/lib64/ld-linux-x86-64.so.2" --library-path "$libraries:$libraries/pulseaudio" "$vm/tools/usr/$@"
}
serve() { # TAG DIRECTORY [OPTION...]
    tag=$1 directory=$2
    shift 2
    rm -f "$work/$tag.socket"
    # The limit of descriptors stays: raising it needs CAP_SYS_RESOURCE.
    (of_tools libexec/virtiofsd --socket-path "$work/$tag.socket" --shared-dir "$directory" --sandbox none \
        --rlimit-nofile 0 --xattr "$@") > "$work/$tag.log" 2>&1 &
    daemons+=($!)
    for _ in $(seq 100); do [ -S "$work/$tag.socket" ] && break; sleep 0.05; done
    machine+=(-chardev "socket,id=$tag,path=$work/$tag.socket" -device "vhost-user-fs-pci,chardev=$tag,tag=$tag")
}
accelerator=(-accel "tcg,thread=multi,tb-size=512" -cpu "max,la57=off")
[ -z "${GANTRY_VM_KVM-}" ] || accelerator=(-accel kvm -cpu host)
image=$(find "$vm/root/boot" -name 'vmlinuz-*' | sort -V | tail -n 1)
start() {
    machine=()
    serve root "$vm/root" --readonly --cache always
    serve exchange "$work/exchange" --cache auto
    [ -z "$share" ] || serve host "$share" --readonly --cache always
    [ -z "$tree" ] || serve tree "$tree" --readonly --cache always
    (of_tools bin/qemu-system-x86_64 -L "$vm/tools/usr/share/qemu" -L "$vm/tools/usr/share/seabios" \
        -machine q35 "${accelerator[@]}" -m "$memory" -smp "$cpus" \
        -object "memory-backend-memfd,id=ram,size=${memory}M,share=on" -numa node,memdev=ram \
        -nodefaults -no-user-config -nographic -no-reboot -serial "file:$work/console" \
        -device virtio-rng-pci -drive "file=$work/disk,format=raw,if=virtio,cache=unsafe" "${machine[@]}" \
        -kernel "$image" -append "root=root rootfstype=virtiofs ro init=/sbin/init.gantry console=ttyS0 panic=-1 \
quiet loglevel=3 mitigations=off random.trust_cpu=on tsc=reliable gantry.mode=$mode gantry.layer=$layer ${tree:+gantry.tree=$tree} \
systemd.unit=$target systemd.show_status=0 $kernel") < /dev/null > "$work/qemu.log" 2>&1 &
    qemu=$!
    daemons+=("$qemu")
}
runs() { kill -0 "$qemu" 2> /dev/null && [ "$SECONDS" -lt "$1" ]; }

# Now and then, on a loaded host, an emulated machine stands still before its first process: that says nothing of the
# command, which has not begun.
boot() { # NUMBER
    echo "$1" > "$work/exchange/boot"
    rm -f "$work/exchange/started" "$work/exchange/again"
    for attempt in 1 2 3; do
        start
        limit=$((SECONDS + BOOT_SECONDS))
        while runs "$limit" && [ ! -e "$work/exchange/started" ]; do sleep 0.2; done
        [ -e "$work/exchange/started" ] && return 0
        echo "run.sh: the machine did not start (attempt $attempt)" >&2
        tail -n 20 "$work/console" "$work"/*.log >&2
        stop
    done
    return 1
}
for number in $(seq $MOST_BOOTS); do
    shown=$(stat --format %s "$work/exchange/output")
    boot "$number" || exit 125
    [ "$number" != 1 ] || deadline=$((SECONDS + seconds))
    tail --quiet --sleep-interval 0.2 --bytes "+$((shown + 1))" --pid "$qemu" --follow "$work/exchange/output" &
    follower=$!
    while runs "$deadline"; do sleep 0.2; done
    kill "$qemu" 2> /dev/null
    wait "$qemu" "$follower"
    [ -e "$work/exchange/again" ] && [ "$SECONDS" -lt "$deadline" ] || break
    rm -f "$work/exchange/status"
    stop
done
if [ -s "$work/exchange/status" ]; then
    exit "$(cat "$work/exchange/status")"
fi
echo "run.sh: no result within $seconds seconds" >&2
tail -n 20 "$work/console" "$work"/*.log >&2
exit 125
