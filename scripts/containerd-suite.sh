#!/bin/sh
# Runs tests of containerd's integration/client on a daemon: containerd-suite.sh DAEMON BIN FLAG... where DAEMON is gantryd or
# containerd with its shim beside it, BIN the directory of the built tests, and the flags are those of the tests. The images
# that these pull of public registries are made here and served from the loopback device under the registries' own names,
# with TLS. Called in namespaces of its own (scripts/isolated.sh): it covers /etc/hosts and leaves processes behind.
set -eu
daemon=$1 bin=$2
shift 2
work=$(mktemp -d /tmp/suite.XXXXXX)
names="ghcr.io registry.k8s.io"

# -- images: an OCI layout for each, of busybox --------------------------------------------------------------------------
# blob FILE: puts it into the layout, and sets $digest (hexadecimal) and $size.
blob() {
    digest=$(sha256sum "$1" | cut -d ' ' -f 1)
    size=$(stat -c %s "$1")
    cp "$1" "$layout/blobs/sha256/$digest"
}
# layer DIRECTORY: adds a compressed layer to the image that is being made.
layer() {
    tar --numeric-owner --sort=name --mtime=@0 -C "$1" -cf "$work/layer.tar" .
    diff_ids="$diff_ids${diff_ids:+,}\"sha256:$(sha256sum "$work/layer.tar" | cut -d ' ' -f 1)\""
    gzip -nf "$work/layer.tar"
    blob "$work/layer.tar.gz"
    layers="$layers${layers:+,}{\"mediaType\":\"$docker.image.rootfs.diff.tar.gzip\",\"digest\":\"sha256:$digest\",\"size\":$size}"
}
docker=application/vnd.docker
# image OS ARCHITECTURE VARIANT CONFIG: ends it with a configuration and a manifest, and adds it to the index.
image() {
    variant=${3:+\"variant\":\"$3\",}
    printf '{"os":"%s","architecture":"%s",%s"config":%s,"rootfs":{"type":"layers","diff_ids":[%s]},"history":[]}' \
        "$1" "$2" "$variant" "$4" "$diff_ids" > "$work/json"
    blob "$work/json"
    printf '{"schemaVersion":2,"mediaType":"%s.distribution.manifest.v2+json","config":{"mediaType":"%s.container.image.v1+json","digest":"sha256:%s","size":%s},"layers":[%s]}' \
        $docker $docker "$digest" "$size" "$layers" > "$work/json"
    blob "$work/json"
    manifests="$manifests${manifests:+,}{\"mediaType\":\"$docker.distribution.manifest.v2+json\",\"digest\":\"sha256:$digest\",\"size\":$size,\"platform\":{$variant\"os\":\"$1\",\"architecture\":\"$2\"}}"
    diff_ids="" layers=""
}
begin() {
    layout=$work/layout diff_ids="" layers="" manifests=""
    rm -rf "$layout"
    mkdir -p "$layout/blobs/sha256"
    echo '{"imageLayoutVersion":"1.0.0"}' > "$layout/oci-layout"
}
# push NAME: the index of what was made, to the registry.
push() {
    printf '{"schemaVersion":2,"mediaType":"%s.distribution.manifest.list.v2+json","manifests":[%s]}' $docker "$manifests" > "$work/json"
    blob "$work/json"
    printf '{"schemaVersion":2,"manifests":[{"mediaType":"%s.distribution.manifest.list.v2+json","digest":"sha256:%s","size":%s}]}' \
        $docker "$digest" "$size" > "$layout/index.json"
    skopeo --insecure-policy copy --quiet --all --preserve-digests --dest-cert-dir "$work/trust" "oci:$layout" "docker://$1"
}
path='"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]'
# A root file system: busybox, and the users that its image has.
root() {
    mkdir -p "$1/bin" "$1/etc" "$1/tmp" "$1/run" "$1/root" "$1/usr/bin" "$1/dev" "$1/proc" "$1/sys" "$1/var"
    chmod 1777 "$1/tmp"
    # It lists itself, too.
    for applet in $(/bin/busybox --list); do ln -s busybox "$1/bin/$applet"; done
    rm "$1/bin/busybox"
    cp /bin/busybox "$1/bin/busybox"
    # As the first process, Debian's is not ended by a signal; the one of the image that the tests expect is.
    rm "$1/bin/nc"
    printf '#!/bin/sh\ntrap "exit 143" TERM\nbusybox nc "$@" &\nwait $!\n' > "$1/bin/nc"
    chmod 755 "$1/bin/nc"
    cat > "$1/etc/passwd" <<'USERS'
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
sys:x:3:3:sys:/dev:/bin/false
sync:x:4:100:sync:/bin:/bin/sync
mail:x:8:8:mail:/var/spool/mail:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
backup:x:34:34:backup:/var/backups:/bin/false
operator:x:37:37:Operator:/var:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
USERS
    cat > "$1/etc/group" <<'GROUPS'
root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
wheel:x:10:root
mail:x:8:
www-data:x:33:
backup:x:34:
operator:x:37:
users:x:100:
nogroup:x:65534:
GROUPS
}
images() {
    root "$work/root"
    root "$work/owned"
    mkdir -p "$work/owned/test_dir" "$work/pause" "$work/first/test_dir" "$work/second/C:/weird_test_dir" "$work/third/:colon_prefixed"
    chown 65534:65534 "$work/owned/test_dir"
    cp /bin/busybox "$work/owned/usr/bin/passwd"
    chmod 4755 "$work/owned/usr/bin/passwd"
    printf '#!/bin/sh\nexec /bin/sh "$@"\n' > "$work/owned/bin/bash"
    chmod 755 "$work/owned/bin/bash"
    cp /bin/busybox "$work/pause/pause"
    echo test_content > "$work/first/test_dir/test_file"
    echo test_content > "$work/second/C:/weird_test_dir/weird_test_file"
    echo test_content > "$work/third/:colon_prefixed/colon_prefixed_file"
    for name in ghcr.io/containerd/busybox:1.36 registry.k8s.io/e2e-test-images/busybox:1.29-2; do
        begin
        for platform in "amd64 " "arm v7" "arm64 v8" "ppc64le " "s390x "; do
            # One that others do not share: some tests look for content that must not be there.
            echo "$name $platform" > "$work/root/etc/image"
            layer "$work/root"
            image linux "${platform% *}" "${platform#* }" "{$path,\"Cmd\":[\"sh\"]}"
        done
        push "$name"
    done
    for tag in 3.6 3.10 3.10.2; do
        begin
        for platform in "amd64 " "arm64 " "s390x "; do
            echo "$tag $platform" > "$work/pause/image"
            layer "$work/pause"
            image linux "${platform% *}" "${platform#* }" "{$path,\"Entrypoint\":[\"/pause\"],\"User\":\"65535:65535\"}"
        done
        push registry.k8s.io/pause:$tag
    done
    begin
    for directory in root first second third; do layer "$work/$directory"; done
    image linux amd64 "" "{$path,\"Cmd\":[\"sh\"],\"Volumes\":{\"/test_dir\":{},\"C:/weird_test_dir\":{},\"/:colon_prefixed\":{}}}"
    push ghcr.io/containerd/volume-copy-up:2.2
    begin
    layer "$work/owned"
    image linux amd64 "" "{$path,\"Cmd\":[\"sh\"],\"Volumes\":{\"/test_dir\":{}}}"
    push ghcr.io/containerd/volume-ownership:2.1
    begin
    layer "$work/pause"
    image windows amd64 "" "{\"Cmd\":[\"cmd\"]}"
    push ghcr.io/containerd/windows/nanoserver:1809
}

# -- the registry --------------------------------------------------------------------------------------------------------
authority() {
    mkdir -p "$work/trust"
    key="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    subjects=""
    for name in $names; do subjects="$subjects,DNS:$name"; done
    printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\n' "${subjects#,}" > "$work/extensions"
    # shellcheck disable=SC2086
    openssl req $key -x509 -keyout "$work/ca.key" -out "$work/trust/ca.crt" -days 30 -subj "/CN=authority of the suite"
    # shellcheck disable=SC2086
    openssl req $key -keyout "$work/server.key" -out "$work/server.csr" -subj "/CN=registries of the suite"
    openssl x509 -req -in "$work/server.csr" -CA "$work/trust/ca.crt" -CAkey "$work/ca.key" -CAcreateserial \
        -out "$work/server.crt" -days 30 -extfile "$work/extensions"
}
serve() {
    authority 2> "$work/openssl.log" || { cat "$work/openssl.log" >&2; exit 1; }
    cat > "$work/registry.yml" <<CONF
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: "$work/data"}}
http:
  addr: 127.0.0.1:443
  tls: {certificate: "$work/server.crt", key: "$work/server.key"}
CONF
    OTEL_TRACES_EXPORTER=none docker-registry serve "$work/registry.yml" > "$work/registry.log" 2>&1 &
    registry=$!
    tries=0
    until openssl s_client -connect 127.0.0.1:443 < /dev/null > /dev/null 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 200 ] && kill -0 $registry || { cat "$work/registry.log" >&2; exit 1; }
        sleep 0.05
    done
}

printf '127.0.0.1 localhost %s\n' "$names" > "$work/hosts"
mount --bind "$work/hosts" /etc/hosts
# The tests' daemon keeps its things below it.
mkdir "$work/lib"
mount --bind "$work/lib" /var/lib
serve
images
# The tests start `containerd`, whatever that is, and look for its shims and for `runc` in PATH.
mkdir "$work/bin"
ln -s "$daemon" "$work/bin/containerd"
[ ! -e "$(dirname "$daemon")/gantry-runtime" ] || ln -s "$(dirname "$daemon")/gantry-runtime" "$work/bin/runc"
PATH=$work/bin:$(dirname "$daemon"):$PATH:$bin
SSL_CERT_FILE=$work/trust/ca.crt
export PATH SSL_CERT_FILE
exec "$bin/client.test" -test.root "$@"
