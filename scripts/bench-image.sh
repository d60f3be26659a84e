#!/bin/sh
# Makes the image that pulls are measured with: Debian and real programs of it in six layers, about 400 MB compressed, once with
# gzip and once with zstd, as the images `gzip` and `zstd` of an OCI layout. Once; it takes some minutes, a mirror (the one
# that apt uses) and 4 GB. Needs root.
#
#   scripts/bench-image.sh DIR
set -eu
out=$1
[ ! -e "$out/index.json" ] || exit 0
if [ "${2:-}" != inside ]; then
    # The mounts of the steps are nobody else's.
    exec unshare --mount --propagation private "$0" "$out" inside
fi
work=$out.part
rm -rf --one-file-system "$work"
mkdir -p "$work/blobs/sha256" "$work/lists" "$work/archives/partial" "$work/merged" "$work/work"
mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -v security | sort -u | head -n 1)
[ -n "$mirror" ] || { echo "apt knows no mirror: run apt-get update" >&2; exit 1; }
say() { echo "image for the benchmark: $*" >&2; }

# The sizes of the layers are those of images that people run: a base, a large tool chain, a large library, servers, small things.
say "the base"
mmdebstrap --quiet --variant=minbase bookworm "$work/layer1" "$mirror" > /dev/null
rm -rf "$work/layer1/var/lib/apt/lists" "$work/layer1"/var/cache/apt/*.bin "$work/layer1"/var/cache/apt/archives/*.deb
mkdir -p "$work/layer1/var/lib/apt/lists"
# As in images that are made for containers: no caches of apt.
printf 'Dir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\n' > "$work/layer1/etc/apt/apt.conf.d/docker-clean"
printf '#!/bin/sh\nexit 101\n' > "$work/layer1/usr/sbin/policy-rc.d"
chmod 755 "$work/layer1/usr/sbin/policy-rc.d"
lower=$work/layer1

# layer NUMBER PACKAGES...: what installing them changes.
layer() {
    number=$1
    shift
    say "layer $number: $*"
    mkdir "$work/layer$number"
    rm -rf "$work/work"
    mkdir "$work/work"
    mount -t overlay -o "lowerdir=$lower,upperdir=$work/layer$number,workdir=$work/work" overlay "$work/merged"
    mount -t proc proc "$work/merged/proc"
    mount --bind /dev "$work/merged/dev"
    mount --bind "$work/lists" "$work/merged/var/lib/apt/lists"
    mount --bind "$work/archives" "$work/merged/var/cache/apt/archives"
    cp /etc/resolv.conf "$work/resolv.conf"
    touch "$work/merged/etc/resolv.conf"
    mount --bind "$work/resolv.conf" "$work/merged/etc/resolv.conf"
    [ "$number" != 2 ] || chroot "$work/merged" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive chroot "$work/merged" \
        apt-get install -y -qq --no-install-recommends -o APT::Sandbox::User=root "$@" > "$work/log" 2>&1 ||
        { cat "$work/log" >&2; exit 1; }
    umount -R "$work/merged"
    lower=$work/layer$number:$lower
}
layer 2 build-essential
layer 3 python3 python3-numpy python3-scipy python3-pandas
layer 4 openjdk-17-jre-headless
layer 5 nginx redis-server
layer 6 curl ca-certificates vim

# blob FILE: moves it among the blobs, and prints its digest.
blob() {
    digest=$(sha256sum "$1" | cut -d ' ' -f 1)
    mv "$1" "$work/blobs/sha256/$digest"
    echo "$digest"
}
pack() {
    number=$1
    # What overlayfs notes as a device 0:0 is a file .wh.NAME in a layer.
    find "$work/layer$number" -type c | while read -r file; do
        [ "$(stat -c %t:%T "$file")" = 0:0 ] || continue
        rm "$file"
        touch "${file%/*}/.wh.${file##*/}"
    done
    tar --numeric-owner --xattrs --xattrs-include='security.capability' --sort=name -C "$work/layer$number" \
        -cf "$work/$number.tar" .
    sha256sum "$work/$number.tar" | cut -d ' ' -f 1 > "$work/$number.diff"
    gzip -6 -n < "$work/$number.tar" > "$work/$number.gzip"
    zstd -q -3 < "$work/$number.tar" > "$work/$number.zstd"
    rm -r "$work/$number.tar" "$work/layer$number"
}
say "packing"
# Two at a time.
(pack 1; pack 2; pack 4) &
one=$!
pack 3
pack 5
pack 6
wait "$one"
diffs=$(for number in 1 2 3 4 5 6; do echo "sha256:$(cat "$work/$number.diff")"; done | jq -R . | jq -sc .)
jq -cn --argjson diffs "$diffs" '{architecture: "amd64", os: "linux", created: "2024-01-01T00:00:00Z",
    config: {Env: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], Cmd: ["bash"]}, rootfs: {type: "layers", diff_ids: $diffs},
    history: [$diffs[] | {created: "2024-01-01T00:00:00Z", created_by: "scripts/bench-image.sh"}]}' > "$work/config"
config_size=$(stat -c %s "$work/config")
config=$(blob "$work/config")
manifests=
for form in gzip zstd; do
    layers=
    for number in 1 2 3 4 5 6; do
        size=$(stat -c %s "$work/$number.$form")
        digest=$(blob "$work/$number.$form")
        say "layer $number, $form: $size bytes"
        layers="$layers{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+$form\",\"digest\":\"sha256:$digest\",\"size\":$size}"
    done
    echo "$layers" | jq -sc --arg config "sha256:$config" --argjson size "$config_size" '{schemaVersion: 2,
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        config: {mediaType: "application/vnd.oci.image.config.v1+json", digest: $config, size: $size}, layers: .}' > "$work/manifest"
    size=$(stat -c %s "$work/manifest")
    digest=$(blob "$work/manifest")
    manifests="$manifests{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"sha256:$digest\",\"size\":$size,
        \"annotations\":{\"org.opencontainers.image.ref.name\":\"$form\"}}"
done
echo '{"imageLayoutVersion":"1.0.0"}' > "$work/oci-layout"
echo "$manifests" | jq -sc '{schemaVersion: 2, manifests: .}' > "$work/index.json"
rm -rf "$work/lists" "$work/archives" "$work/merged" "$work/work" "$work"/*.diff "$work/log" "$work/resolv.conf"
mv "$work" "$out"
