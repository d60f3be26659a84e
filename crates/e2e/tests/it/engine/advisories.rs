//! Advisories of docker, podman and containerd that are about containers as people run them. Those about archives, copies, builds and
//! the runtime are with these.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use gantry_e2e::{Docker, Raw, on_reference, require_engine};
use gantry_testkit::until_true;

use super::{detached, remove, shared};

/// What a program in a container of the image `busybox` says.
fn said(options: &[&str], args: &[&str]) -> String {
    let call = shared().docker(["run", "--rm"]).args(options).arg("busybox").args(args);
    call.run().ok().text().to_owned()
}

/// An image over `busybox`.
fn built(docker: &Docker, name: &str, dockerfile: &str) {
    let build = docker.docker(["build", "--quiet", "--tag", name, "-"]).env("DOCKER_BUILDKIT", "0");
    build.stdin(format!("FROM busybox\n{dockerfile}")).run().ok();
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

/// CVE-2014-3499: everybody could talk to the daemon. CVE-2021-41091, CVE-2024-25621: everybody could walk through what it keeps,
/// and execute the set-id programs of images.
#[test]
fn cve_2021_41091_what_the_daemon_has_is_not_everybodys() {
    require_engine!("dockerd");
    let (Some(daemon), docker) = Docker::engine("gt-engp") else {
        gantry_testkit::skip_test!("the reference has directories of its own")
    };
    detached(&docker, "p-runs", &["--volume", "p-data:/data"], &["sleep", "100"]);
    assert_eq!(mode(&daemon.state().join("docker.sock")) & 0o7, 0);
    assert_eq!(mode(&daemon.root()) & 0o7, 0, "nobody else gets through");
    let state = std::fs::read_dir(daemon.state()).unwrap();
    for entry in state.map(|entry| entry.unwrap().path()) {
        // User namespaces of containers have to get through to their bundles, and no further than they know the way.
        let others = mode(&entry) & 0o7;
        assert!(entry.is_symlink() || others & 0o6 == 0, "{}: {others:o}", entry.display());
    }
    remove(&docker, "p-runs");
    docker.docker(["volume", "rm", "p-data"]).run().ok();
}

/// CVE-2019-13509: secrets in the debug log.
#[test]
fn cve_2019_13509_secrets_are_not_logged() {
    require_engine!("dockerd");
    if on_reference() {
        gantry_testkit::skip_test!("the log of the reference is its own");
    }
    let dir = tempfile::tempdir().unwrap();
    let ours = dir.path().join("ours.toml");
    std::fs::write(&ours, "[debug]\nlevel = \"trace\"\n[docker]\nbridge = \"engl\"\n").unwrap();
    let daemon = gantry_e2e::Gantryd::with_imports("gt-engl", &[&ours]);
    let raw = Raw::new(&daemon.state().join("docker.sock"));
    // {"username":"u","password":"hunter2-pull"} in base64.
    let header = "eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6Imh1bnRlcjItcHVsbCJ9";
    let pull = format!(
        "POST /v1.41/images/create?fromImage=127.0.0.1:9/none&tag=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         X-Registry-Auth: {header}\r\nContent-Length: 0\r\n\r\n"
    );
    raw.send(pull.as_bytes()).unwrap().expect("an answer");
    let login = serde_json::json!({
        "username": "u", "password": "hunter2-login", "serveraddress": "127.0.0.1:9"
    });
    raw.request("POST", "/v1.41/auth", Some(&login));
    let create = serde_json::json!({ "Image": "none:1", "Env": ["TOKEN=hunter2-env"] });
    raw.request("POST", "/v1.41/containers/create", Some(&create));
    let log = daemon.log();
    assert!(log.contains("127.0.0.1:9"), "the log tells of requests: {log}");
    assert!(!log.contains("hunter2") && !log.contains(header), "{log}");
}

/// CVE-2020-13401, CVE-2020-10749: a neighbour announced itself as the router of IPv6. CVE-2024-32473: IPv6 on networks that have none.
#[test]
fn cve_2020_13401_containers_take_no_ipv6_from_their_neighbours() {
    require_engine!("dockerd");
    let addresses = said(&[], &["ip", "address", "show", "dev", "eth0"]);
    assert!(addresses.contains("inet ") && !addresses.contains("inet6"), "{addresses}");
    assert_eq!(said(&[], &["cat", "/proc/sys/net/ipv6/conf/eth0/disable_ipv6"]), "1");
}

/// CVE-2020-14370, CVE-2021-21334: variables of one container were another's.
#[test]
fn cve_2021_21334_variables_are_one_containers() {
    require_engine!("dockerd");
    assert!(said(&["--env", "SECRET=mine"], &["env"]).contains("SECRET=mine"));
    assert!(!said(&["--env", "OTHER=1"], &["env"]).contains("SECRET"));
    let docker = shared();
    detached(docker, "v-env", &[], &["sleep", "100"]);
    docker.docker(["exec", "--env", "SECRET=mine", "v-env", "true"]).run().ok();
    let second = docker.docker(["exec", "v-env", "env"]).run().ok();
    assert!(!second.text().contains("SECRET"), "{}", second.text());
    remove(docker, "v-env");
}

/// CVE-2022-1227: `top` ran a program of the container with the host's privileges.
#[test]
fn cve_2022_1227_top_runs_nothing_of_the_container() {
    require_engine!("dockerd");
    let docker = shared();
    let script = "rm -f /bin/ps; printf '#!/bin/sh\\ntouch /pwned\\n' > /bin/ps; chmod +x /bin/ps; sleep 100";
    detached(docker, "v-top", &[], &["sh", "-c", script]);
    until_true("the trap", || {
        docker.docker(["exec", "v-top", "test", "-x", "/bin/ps"]).run().status.success()
            && docker.docker(["exec", "v-top", "grep", "-q", "pwned", "/bin/ps"]).run().status.success()
    });
    assert!(docker.docker(["top", "v-top"]).run().ok().text().contains("sleep 100"));
    docker.docker(["exec", "v-top", "test", "-e", "/pwned"]).run().exits(1);
    remove(docker, "v-top");
}

/// CVE-2018-10856, CVE-2018-1000400: a user other than root kept capabilities. CVE-2022-24769, CVE-2022-27649: they were inheritable.
#[test]
fn cve_2022_27649_capabilities_are_not_inherited() {
    require_engine!("dockerd");
    let sets = |options: &[&str]| said(options, &["grep", "Cap", "/proc/self/status"]);
    let of = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line").trim().to_owned();
        u64::from_str_radix(&line, 16).expect("a set")
    };
    let root = sets(&[]);
    assert_eq!((of(&root, "CapInh:"), of(&root, "CapAmb:")), (0, 0), "{root}");
    let user = sets(&["--user", "1000:1000", "--cap-add", "NET_ADMIN"]);
    for name in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(of(&user, name), 0, "{user}");
    }
    let docker = shared();
    detached(docker, "v-caps", &["--cap-add", "NET_ADMIN"], &["sleep", "100"]);
    let exec =
        docker.docker(["exec", "--user", "1000", "v-caps", "grep", "Cap", "/proc/self/status"]).run().ok();
    assert_eq!((of(exec.text(), "CapInh:"), of(exec.text(), "CapEff:")), (0, 0), "{}", exec.text());
    remove(docker, "v-caps");
}

/// CVE-2022-0492: a release agent, written from a container, is a program of the host's root.
#[test]
fn cve_2022_0492_cgroups_are_neither_written_nor_mounted() {
    require_engine!("dockerd");
    // The file system above the hierarchies of version 1 can be written to there, which makes no cgroup.
    let above = if on_reference() { "" } else { "/sys/fs/cgroup" };
    let script = format!(
        "for d in {above} /sys/fs/cgroup/*/; do mkdir $d/pwned 2>/dev/null && echo made $d; done; \
         mkdir /c; mount -t cgroup -o rdma none /c 2>/dev/null && echo mounted; \
         unshare -Ur true 2>/dev/null && echo unshared; echo done"
    );
    assert_eq!(said(&[], &["sh", "-c", &script]), "done");
}

/// CVE-2022-4318: a line break in `HOME` became a line of the container's passwd.
#[test]
fn cve_2022_4318_variables_make_no_users() {
    require_engine!("dockerd");
    let plain = said(&[], &["cat", "/etc/passwd"]);
    let odd = said(&["--env", "HOME=/\npwned::0:0:::/bin/sh", "--user", "4321"], &["cat", "/etc/passwd"]);
    assert_eq!(plain, odd);
}

/// CVE-2024-3056: what a container that ended left in shared memory stayed there, for ever, outside of every limit.
#[test]
fn cve_2024_3056_shared_memory_goes_with_its_end() {
    require_engine!("dockerd");
    let docker = shared();
    for mode in ["private", "shareable"] {
        detached(
            docker,
            "v-shm",
            &["--ipc", mode],
            &["sh", "-c", "ls /dev/shm; touch /dev/shm/left; sleep 100"],
        );
        until_true("a file", || {
            docker.docker(["exec", "v-shm", "test", "-e", "/dev/shm/left"]).run().status.success()
        });
        docker.docker(["restart", "--time", "0", "v-shm"]).run().ok();
        until_true("a file", || {
            docker.docker(["exec", "v-shm", "test", "-e", "/dev/shm/left"]).run().status.success()
        });
        assert_eq!(docker.docker(["logs", "v-shm"]).run().ok().text(), "", "{mode}");
        remove(docker, "v-shm");
    }
}

/// CVE-2024-5154: `/etc/mtab` was made through links of the image. CVE-2015-3629: the same of other places that an engine makes.
#[test]
fn cve_2024_5154_files_of_the_engine_are_made_inside() {
    require_engine!("dockerd");
    let docker = shared();
    let outside = tempfile::tempdir_in("/var/tmp").unwrap();
    let place = outside.path().display();
    let dockerfile = format!(
        "RUN mkdir -p {place} /etc2 && rm -rf /etc/hosts /dev/shm && mv /etc /etc.old; ln -s {place} /etc\n"
    );
    built(docker, "v-links", &dockerfile);
    // It may start or be refused; what matters is what is not made.
    let _ = docker.docker(["run", "--rm", "v-links", "true"]).run();
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    docker.docker(["rmi", "v-links"]).run().ok();
}

/// CVE-2026-53488: labels of an image became orders to the daemon.
#[test]
fn cve_2026_53488_labels_of_images_are_no_orders() {
    require_engine!("dockerd");
    let docker = shared();
    let health = "HEALTHCHECK --interval=100ms --retries=1 CMD false";
    let label = "LABEL gantry.health-on-failure=stop containerd.io/restart.status=stopped";
    built(docker, "v-orders", &format!("{label}\n{health}\n"));
    docker.docker(["run", "--detach", "--name", "v-orders", "v-orders", "sleep", "100"]).run().ok();
    until_true("bad health", || docker.inspect("v-orders", "{{.State.Health.Status}}") == "unhealthy");
    let probes = "{{.State.Health.FailingStreak}}";
    until_true("more of it", || docker.inspect("v-orders", probes).parse::<u32>().unwrap() > 3);
    assert_eq!(docker.inspect("v-orders", "{{.State.Status}}"), "running");
    remove(docker, "v-orders");
    docker.docker(["rmi", "v-orders"]).run().ok();
}

/// CVE-2021-20291: a damaged layer left a lock behind, and nothing was ever loaded again.
#[test]
fn cve_2021_20291_a_damaged_layer_stops_nobody() {
    require_engine!("dockerd");
    let docker = shared();
    built(docker, "v-damaged:1", "RUN echo 1 > /one\n");
    let saved = tempfile::NamedTempFile::new().unwrap();
    docker.docker(["save", "--output"]).arg(saved.path()).arg("v-damaged:1").run().ok();
    docker.docker(["rmi", "v-damaged:1"]).run().ok();
    let bytes = std::fs::read(saved.path()).unwrap();
    for cut in [bytes.len() / 3, bytes.len() / 2, bytes.len() - 2000] {
        docker.docker(["load"]).stdin(&bytes[..cut]).run();
    }
    docker.docker(["load"]).stdin(&bytes).run().ok();
    assert_eq!(docker.docker(["run", "--rm", "v-damaged:1", "cat", "/one"]).run().ok().text(), "1");
    docker.docker(["rmi", "v-damaged:1"]).run().ok();
}
