#!/bin/bash
# Runs a shell command in the virtual machine that `setup.sh` built, as root, and gives its output and exit status.
#
#   run.sh [--systemd] [--memory MIB] [--cpus N] [--seconds N] [--share DIRECTORY] [--kernel OPTIONS] -- COMMAND...
#
#   --systemd    systemd is the first process (10 s to start); else a shell script that only mounts what is needed (5 s)
#   --seconds    how long the machine may live, 300 by default
#   --share      a directory of the host, read-only at /host
#   --kernel     more of the kernel's command line
# The root file system is a copy-on-write one of this run alone. Without KVM everything takes 10 to 20 times longer than
# on the host; with a KVM that works GANTRY_VM_KVM=1 uses it. Exit status 125: the machine gave no result.
set -u
here=$(dirname "$(readlink -f "$0")")
vm=$(readlink -f "${GANTRY_VM_DIR:-$here/../../.cache/vm}")
mode=plain memory=2048 cpus=2 seconds=300 share="" kernel=""
while [ $# -gt 0 ]; do
    case $1 in
        --systemd) mode=systemd ;;
        --memory) memory=$2; shift ;;
        --cpus) cpus=$2; shift ;;
        --seconds) seconds=$2; shift ;;
        --share) share=$(readlink -f "$2"); shift ;;
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
clean() {
    for daemon in "${daemons[@]}"; do kill "$daemon" 2> /dev/null; done
    wait
    [ -n "${GANTRY_VM_KEEP-}" ] || rm -rf --one-file-system "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM
mkdir "$work/exchange"
printf '%s\n' "$*" > "$work/exchange/command"
: > "$work/exchange/output"
truncate --size 64M "$work/disk"

# Programs of Debian 13 on whatever libc the host has.
libraries=$vm/tools/usr/lib/x86_64-linux-gnu
of_tools() {
    exec "$vm/tools/usr/lib64/ld-linux-x86-64.so.2" --library-path "$libraries:$libraries/pulseaudio" "$vm/tools/usr/$@"
}
machine=()
serve() { # TAG DIRECTORY [OPTION...]
    tag=$1 directory=$2
    shift 2
    # The limit of descriptors stays: raising it needs CAP_SYS_RESOURCE.
    (of_tools libexec/virtiofsd --socket-path "$work/$tag.socket" --shared-dir "$directory" --sandbox none \
        --rlimit-nofile 0 --xattr "$@") > "$work/$tag.log" 2>&1 &
    daemons+=($!)
    for _ in $(seq 100); do [ -S "$work/$tag.socket" ] && break; sleep 0.05; done
    machine+=(-chardev "socket,id=$tag,path=$work/$tag.socket" -device "vhost-user-fs-pci,chardev=$tag,tag=$tag")
}
serve root "$vm/root" --readonly --cache always
serve exchange "$work/exchange" --cache auto
[ -z "$share" ] || serve host "$share" --readonly --cache always

accelerator=(-accel "tcg,thread=multi,tb-size=512" -cpu "max,la57=off")
[ -z "${GANTRY_VM_KVM-}" ] || accelerator=(-accel kvm -cpu host)
image=$(find "$vm/root/boot" -name 'vmlinuz-*' | sort -V | tail -n 1)
(of_tools bin/qemu-system-x86_64 -L "$vm/tools/usr/share/qemu" -L "$vm/tools/usr/share/seabios" \
    -machine q35 "${accelerator[@]}" -m "$memory" -smp "$cpus" \
    -object "memory-backend-memfd,id=ram,size=${memory}M,share=on" -numa node,memdev=ram \
    -nodefaults -no-user-config -nographic -no-reboot -serial "file:$work/console" \
    -device virtio-rng-pci -drive "file=$work/disk,format=raw,if=virtio,cache=unsafe" "${machine[@]}" \
    -kernel "$image" -append "root=root rootfstype=virtiofs ro init=/sbin/init.gantry console=ttyS0 panic=-1 quiet \
loglevel=3 mitigations=off random.trust_cpu=on tsc=reliable gantry.mode=$mode systemd.unit=gantry-vm.target \
systemd.show_status=0 $kernel") < /dev/null > "$work/qemu.log" 2>&1 &
qemu=$!
daemons+=("$qemu")
tail --quiet --sleep-interval 0.2 --lines +1 --pid "$qemu" --follow "$work/exchange/output" &
follower=$!
deadline=$((SECONDS + seconds))
while kill -0 "$qemu" 2> /dev/null && [ "$SECONDS" -lt "$deadline" ]; do sleep 0.2; done
kill "$qemu" 2> /dev/null
wait "$qemu" "$follower"
if [ -s "$work/exchange/status" ]; then
    exit "$(cat "$work/exchange/status")"
fi
echo "run.sh: no result after $SECONDS of $seconds seconds" >&2
tail -n 20 "$work/console" "$work"/*.log >&2
exit 125
