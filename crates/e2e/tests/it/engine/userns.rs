//! User namespaces: one range for all containers (`userns-remap`), and one for each.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::OnceLock;
use std::thread;

use gantry_e2e::{Docker, Gantryd, on_reference, require_engine};
use gantry_testkit::{Invocation, Namespace, Need, Output, User, require, skip_test, until_true};

use super::{detached, remove};

/// Leaves the test where the engine is dockerd, which has one range for all.
macro_rules! ours {
    () => {
        if on_reference() {
            skip_test!("dockerd has no automatic ranges");
        }
    };
}

/// A daemon that is alone in a network.
struct Apart {
    host: Namespace,
    daemon: Option<Gantryd>,
    docker: Docker,
}

impl Apart {
    fn new(name: &str, ours: &str, theirs: &[&str]) -> Self {
        let host = Namespace::new("network", &[]);
        let theirs: Vec<String> = theirs.iter().map(|option| (*option).to_owned()).collect();
        let (daemon, docker) = Docker::engine_with(&host, name, ours, &theirs);
        Self { host, daemon, docker }
    }

    /// Where every container has the subordinate ids of the test user.
    fn remapped() -> &'static Self {
        static REMAPPED: OnceLock<Apart> = OnceLock::new();
        REMAPPED.get_or_init(|| {
            Self::new("gt-urm", "userns_remap = \"gantry-test\"\n", &["--userns-remap=gantry-test"])
        })
    }

    /// Ours, where every container has ids of its own.
    fn auto() -> &'static Self {
        static AUTO: OnceLock<Apart> = OnceLock::new();
        AUTO.get_or_init(|| Self::new("gt-uau", "userns_mode = \"auto\"\n", &[]))
    }

    /// `docker run --rm` with the default network.
    fn run(&self, options: &[&str], args: &[&str]) -> Invocation {
        self.docker.docker(["run", "--rm"]).args(options).arg("busybox").args(args)
    }

    /// A shell in a container that runs.
    fn shell(&self, container: &str, text: &str) -> Output {
        self.docker.docker(["exec", container, "sh", "-c", text]).run()
    }
}

fn sub_ids() -> (u32, u32) {
    let user = User::find().expect("the test user");
    (user.sub_uid, user.sub_gid)
}

/// The id on the host of a container's root.
fn root_of(apart: &Apart, container: &str) -> u32 {
    let map = apart.docker.docker(["exec", container, "cat", "/proc/self/uid_map"]).run().ok();
    map.text().split_whitespace().nth(1).and_then(|id| id.parse().ok()).expect("a map")
}

fn owner(path: &Path) -> (u32, u32) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.uid(), metadata.gid())
}

/// A directory for binds that everybody may write to and get to.
fn open_directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    dir
}

#[test]
fn root_of_a_remapped_container_is_an_ordinary_user_of_the_host() {
    require_engine!("dockerd");
    require!(Need::User);
    let apart = Apart::remapped();
    let (uid, gid) = sub_ids();
    let maps = apart.run(&[], &["cat", "/proc/self/uid_map", "/proc/self/gid_map"]).run().ok();
    let expected = [format!("0 {uid} 65536"), format!("0 {gid} 65536")];
    let shown: Vec<String> =
        maps.lines().iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(shown, expected);
    let dir = open_directory();
    fs::write(dir.path().join("secret"), "of the host").unwrap();
    fs::set_permissions(dir.path().join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    let bind = format!("{}:/b", dir.path().display());
    let script = "id -u; touch /b/made; cp /bin/busybox /b/setuid; chmod 4755 /b/setuid; chown 5:6 /b/setuid; \
                  cat /b/secret; chown 0 /b/secret; mknod /b/node c 1 3; mknod /tmp/node b 8 0; true";
    let output = apart.run(&["--volume", &bind], &["sh", "-c", script]).run().ok();
    assert_eq!(output.text(), "0", "{output}");
    assert_eq!(owner(&dir.path().join("made")), (uid, gid));
    // Nothing that it leaves is setuid to somebody outside of its range.
    assert_eq!(owner(&dir.path().join("setuid")), (uid + 5, gid + 6));
    assert_eq!(owner(&dir.path().join("secret")), (0, 0));
    assert!(!dir.path().join("node").exists());
}

#[test]
fn what_needs_the_hosts_namespace_is_refused_and_can_opt_out() {
    require_engine!("dockerd");
    require!(Need::User);
    let apart = Apart::remapped();
    let refused = [
        ("--privileged", "privileged mode is incompatible with user namespaces"),
        ("--pid=host", "cannot share the host PID namespace when user namespaces are enabled"),
        ("--network=host", "cannot share the host's network namespace when user namespaces are enabled"),
    ];
    for (option, words) in refused {
        apart.run(&[option], &["true"]).run().exits(125).says(words);
        // An older runc wants a capability for it that not every machine gives.
        if option != "--privileged" || !on_reference() {
            apart.run(&[option, "--userns=host"], &["true"]).run().ok();
        }
    }
    let map = apart.run(&["--userns=host"], &["cat", "/proc/self/uid_map"]).run().ok();
    assert_eq!(map.text().split_whitespace().collect::<Vec<_>>(), ["0", "0", "4294967295"]);
    let options = apart.docker.docker(["info", "--format", "{{.SecurityOptions}}"]).run().ok();
    assert!(options.text().contains("name=userns"), "{options}");
    apart.docker.docker(["create", "--name", "u-host", "--userns=host", "busybox"]).run().ok();
    assert_eq!(apart.docker.inspect("u-host", "{{.HostConfig.UsernsMode}}"), "host");
    remove(&apart.docker, "u-host");
}

#[test]
fn a_remapped_container_owns_its_network() {
    require_engine!("dockerd");
    require!(Need::User);
    let apart = Apart::remapped();
    let options = ["--cap-add", "NET_ADMIN", "--sysctl", "net.ipv4.ip_forward=1"];
    let script = "ip addr add 10.9.9.9/24 dev eth0 && ip link set lo mtu 1400 && cat /proc/sys/net/ipv4/ip_forward && \
                  ip addr show eth0 && cat /etc/resolv.conf /etc/hosts";
    let output = apart.run(&options, &["sh", "-c", script]).run().ok();
    assert!(output.text().starts_with("1\n") && output.text().contains("10.9.9.9/24"), "{output}");
    let serve = "mkdir /w; echo served > /w/index.html; exec httpd -f -p 80 -h /w";
    detached(&apart.docker, "u-web", &["--publish", "127.0.0.1:8081:80"], &["sh", "-c", serve]);
    until_true("the published port", || {
        let enter = Invocation::new("nsenter").arg(format!("--net={}", apart.host.path().display()));
        let got = enter.args(["busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:8081/"]).run();
        got.text() == "served"
    });
    // Whoever shares its network is in its user namespace, too, and so may use it.
    let shares = ["--network", "container:u-web", "--cap-add", "NET_ADMIN"];
    let script = "ip addr add 10.9.9.8/24 dev eth0 && wget -q -O - http://127.0.0.1/";
    assert_eq!(apart.run(&shares, &["sh", "-c", script]).run().ok().text(), "served");
    remove(&apart.docker, "u-web");
}

#[test]
fn what_containers_have_is_there_when_they_are_remapped() {
    require_engine!("dockerd");
    require!(Need::User);
    let apart = Apart::remapped();
    // runc makes no place for a device that is named otherwise.
    let device = if on_reference() { "/dev/null" } else { "/dev/null:/dev/mine" };
    let options = [
        "--init",
        "--tmpfs",
        "/t:uid=7,mode=700",
        "--device",
        device,
        "--hostname",
        "named",
        "--ipc",
        "shareable",
    ];
    let script = "set -e; stat -c %u:%a /t; touch /dev/shm/file /t/file; for node in /dev/mine /dev/null; do test ! -e $node || echo x > $node; done; hostname; \
                  cat /proc/1/comm; head -c 3 /dev/zero | wc -c; echo out > /dev/stdout; ls /sys/class/net";
    let output = apart.run(&options, &["sh", "-c", script]).run().ok();
    let init = output.lines().get(2).map(|line| (*line).to_owned()).unwrap_or_default();
    assert_eq!(output.lines(), ["7:700", "named", &init, "3", "out", "eth0", "lo"], "{output}");
    assert!(init.contains("init"), "{init}");
    apart.run(&["--read-only"], &["touch", "/file"]).run().exits(1);
    let output = apart.docker.docker(["run", "--rm", "--tty", "busybox", "tty"]).run().ok();
    assert!(output.text().starts_with("/dev/pts/"), "{output}");
}

#[test]
fn remapped_containers_live_as_others_do() {
    require_engine!("dockerd");
    require!(Need::User);
    let (apart, name) = (Apart::remapped(), "u-life");
    let health = ["--health-cmd", "test $(id -u) = 0", "--health-interval", "200ms"];
    detached(&apart.docker, name, &health, &["sleep", "1000"]);
    let docker = |args: &[&str]| apart.docker.docker(args).run().ok();
    until_true("its health", || apart.docker.inspect(name, "{{.State.Health.Status}}") == "healthy");
    let identity = |options: &[&str]| {
        let call = apart.docker.docker(["exec"]).args(options).args([
            name,
            "sh",
            "-c",
            "readlink /proc/self/ns/user; id -u",
        ]);
        call.run().ok().text().to_owned()
    };
    let own = apart.shell(name, "readlink /proc/1/ns/user").ok().text().to_owned();
    assert_eq!(identity(&[]), format!("{own}\n0"));
    assert_eq!(identity(&["--user", "1000"]), format!("{own}\n1000"));
    let top = docker(&["top", name]);
    assert!(top.text().contains(&sub_ids().0.to_string()), "{top}");
    assert!(docker(&["stats", "--no-stream", name]).text().contains(name));
    docker(&["pause", name]);
    docker(&["unpause", name]);
    docker(&["restart", "--time", "0", name]);
    assert_eq!(root_of(apart, name), sub_ids().0);
    remove(&apart.docker, name);
}

#[test]
fn volumes_of_remapped_containers_are_their_roots() {
    require_engine!("dockerd");
    require!(Need::User);
    let apart = Apart::remapped();
    let script = "set -e; stat -c %u:%g /v; touch /v/file; chown 1000:1000 /v/file; stat -c %u /etc/passwd";
    let options = ["--volume", "u-vol:/v", "--volume", "u-filled:/etc"];
    assert_eq!(apart.run(&options, &["sh", "-c", script]).run().ok().lines(), ["0:0", "0"]);
    assert_eq!(apart.run(&options, &["stat", "-c", "%u", "/v/file"]).run().ok().text(), "1000");
    apart.docker.docker(["volume", "rm", "u-vol", "u-filled"]).run().ok();
}

#[test]
fn owners_go_in_and_out_as_the_container_sees_them() {
    require_engine!("dockerd");
    require!(Need::User);
    let (apart, name) = (Apart::remapped(), "u-files");
    let script = "mkdir /made; touch /made/mine; chown 1000:1001 /made/mine; sleep 1000";
    detached(&apart.docker, name, &[], &["sh", "-c", script]);
    until_true("the files", || apart.shell(name, "stat -c %u /made/mine").text() == "1000");
    let dir = tempfile::tempdir().unwrap();
    let local = dir.path().join("in");
    fs::write(&local, "of root").unwrap();
    let source = local.display().to_string();
    apart.docker.docker(["cp", &source, &format!("{name}:/made/copied")]).run().ok();
    assert_eq!(apart.shell(name, "stat -c %u:%g /made/copied").ok().text(), "0:0");
    apart.shell(name, "echo more >> /made/copied; rm /made/copied").ok();
    let owners = |args: &[&str]| {
        let archive = dir.path().join("archive");
        apart.docker.docker(args).redirected(&format!(">{}", archive.display())).run().ok();
        let list = Invocation::new("tar").args(["--numeric-owner", "-tvf"]).arg(&archive).run().ok();
        let line = list.lines().into_iter().find(|line| line.ends_with("made/mine")).map(str::to_owned);
        line.unwrap_or_default().split_whitespace().nth(1).unwrap_or_default().to_owned()
    };
    let path = format!("{name}:/made");
    // dockerd gives the host's ids.
    let copied = || if on_reference() { "1000/1001".to_owned() } else { owners(&["cp", &path, "-"]) };
    assert_eq!(copied(), "1000/1001");
    assert_eq!(owners(&["export", name]), "1000/1001");
    let changes = apart.docker.docker(["diff", name]).run().ok();
    assert!(changes.lines().contains(&"A /made/mine"), "{changes}");
    // To dockerd every file has another owner than its image's.
    assert!(on_reference() || !changes.text().contains("/bin"), "{changes}");
    apart.docker.docker(["commit", name, "u-committed"]).run().ok();
    let owner =
        apart.docker.docker(["run", "--rm", "u-committed", "stat", "-c", "%u:%g", "/made/mine", "/made"]);
    assert_eq!(owner.run().ok().lines(), ["1000:1001", "0:0"]);
    apart.docker.docker(["kill", name]).run().ok();
    assert_eq!(copied(), "1000/1001");
    assert_eq!(owners(&["export", name]), "1000/1001");
    remove(&apart.docker, name);
    apart.docker.docker(["image", "rm", "u-committed"]).run().ok();
}

#[test]
fn every_container_has_ids_of_its_own() {
    require_engine!("docker");
    ours!();
    let apart = Apart::auto();
    // Many at once.
    let names: Vec<String> = (0..6).map(|number| format!("u-many{number}")).collect();
    thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| detached(&apart.docker, name, &[], &["sleep", "1000"]));
        }
    });
    let roots: BTreeSet<u32> = names.iter().map(|name| root_of(apart, name)).collect();
    assert_eq!(roots.len(), names.len());
    assert!(roots.iter().zip(roots.iter().skip(1)).all(|(one, next)| next - one >= 65_536), "{roots:?}");
    let dir = open_directory();
    let bind = format!("{}:/b", dir.path().display());
    let sized = |size: &str| {
        apart.docker.gantry(["run", "--rm", "--userns", &format!("auto:size={size}"), "-v", &bind, "busybox"])
    };
    let map = sized("100").args(["sh", "-c", "touch /b/file; cat /proc/self/uid_map"]).run().ok();
    let numbers: Vec<u32> = map.text().split_whitespace().map(|number| number.parse().unwrap()).collect();
    assert_eq!((numbers[0], numbers[2]), (0, 100));
    assert_eq!(owner(&dir.path().join("file")).0, numbers[1]);
    assert!(roots.iter().all(|root| numbers[1].abs_diff(*root) >= 100));
    sized("0").arg("true").run().exits(125).says("invalid userns mode");
    sized("4000000000").arg("true").run().exits(125).says("/etc/subuid");
    let too_high = apart.docker.gantry([
        "run",
        "--rm",
        "--userns",
        "auto:size=100",
        "--user",
        "1000",
        "busybox",
        "true",
    ]);
    too_high.run().fails().says("is not among the 100 ids");
    names.iter().for_each(|name| remove(&apart.docker, name));
}

#[test]
fn containers_with_different_ids_share_a_volume() {
    require_engine!("docker");
    ours!();
    let apart = Apart::auto();
    let volume = ["--volume", "u-shared:/v"];
    detached(&apart.docker, "u-one", &volume, &["sleep", "1000"]);
    detached(&apart.docker, "u-two", &volume, &["sleep", "1000"]);
    assert_ne!(root_of(apart, "u-one"), root_of(apart, "u-two"));
    apart.shell("u-one", "echo one > /v/file; chown 1000:1000 /v/file; chmod 600 /v/file").ok();
    assert_eq!(
        apart.shell("u-two", "stat -c %u:%g /v/file; echo two >> /v/file; cat /v/file").ok().lines(),
        ["1000:1000", "one", "two"]
    );
    let on_host = apart.run(&["--userns=host", volume[0], volume[1]], &["stat", "-c", "%u", "/v/file"]);
    assert_eq!(on_host.run().ok().text(), "1000");
    // The third shares what the first has, and its ids.
    let joined = apart.run(
        &["--network", "container:u-one", "--pid", "container:u-one"],
        &["cat", "/proc/1/uid_map", "/proc/self/uid_map"],
    );
    let joined = joined.run().ok();
    let maps = joined.lines();
    assert_eq!(
        maps[0].split_whitespace().collect::<Vec<_>>(),
        maps[1].split_whitespace().collect::<Vec<_>>()
    );
    let both = ["--network", "container:u-one", "--pid", "container:u-two"];
    apart.run(&both, &["true"]).run().exits(125).says("different user namespaces");
    for name in ["u-one", "u-two"] {
        remove(&apart.docker, name);
    }
    apart.docker.docker(["volume", "rm", "u-shared"]).run().ok();
}

#[test]
fn ranges_survive_the_daemon_and_come_back_with_removal() {
    require_engine!("docker");
    ours!();
    let apart = Apart::new("gt-urc", "userns_mode = \"auto\"\n", &[]);
    let daemon = apart.daemon.as_ref().expect("ours");
    detached(&apart.docker, "u-before", &[], &["sleep", "1000"]);
    apart.docker.docker(["create", "--name", "u-made", "busybox", "sleep", "1000"]).run().ok();
    let before = root_of(&apart, "u-before");
    daemon.kill();
    daemon.start();
    assert_eq!(root_of(&apart, "u-before"), before);
    detached(&apart.docker, "u-after", &[], &["sleep", "1000"]);
    apart.docker.docker(["start", "u-made"]).run().ok();
    let (after, made) = (root_of(&apart, "u-after"), root_of(&apart, "u-made"));
    assert_eq!(BTreeSet::from([before, after, made]).len(), 3);
    apart.docker.docker(["restart", "--time", "0", "u-before"]).run().ok();
    assert_eq!(root_of(&apart, "u-before"), before);
    let held = || fs::read_dir(daemon.state().join("userns")).unwrap().count();
    assert_eq!(held(), 3);
    remove(&apart.docker, "u-before");
    detached(&apart.docker, "u-again", &[], &["sleep", "1000"]);
    assert_eq!(root_of(&apart, "u-again"), before);
    for name in ["u-after", "u-again", "u-made"] {
        remove(&apart.docker, name);
    }
    assert_eq!(held(), 0);
}
