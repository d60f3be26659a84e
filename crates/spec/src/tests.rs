//! Configurations against those that dockerd 28.5 wrote for the same options of `docker run`, on cgroup v1 with runc.
//!
//! `tests/docker.json` has the default one, and of each of the others what is different there (RFC 7396). Of what dockerd
//! wrote is left out: device rules that it writes twice, the filter of system calls, places of the machine.

use std::collections::{BTreeMap, BTreeSet};

use gantry_types::oci::IdMapping;
use serde_json::{Value, json};

use crate::*;

const DOCKER: &str = include_str!("tests/docker.json");
const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:\n1000:x:0:0::/r:\n";
const GROUP: &[u8] = b"root:x:0:\nstaff:x:50:web\nextra:x:51:web,root\nwheel:x:10:root\n";

fn golden() -> BTreeMap<String, Value> {
    serde_json::from_str(DOCKER).unwrap()
}

fn patch(target: &mut Value, changes: &Value) {
    let Value::Object(changes) = changes else {
        *target = changes.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, change) in changes {
        if change.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            patch(&mut target[key], change);
        }
    }
}

fn expected(name: &str) -> Value {
    let golden = golden();
    let mut value = golden["default"].clone();
    if name != "default" {
        patch(&mut value, &golden[name]);
    }
    value
}

fn list(words: &str) -> Vec<String> {
    words.split_ascii_whitespace().map(str::to_owned).collect()
}

fn host() -> Host {
    let capabilities = golden()["capall"]["process"]["capabilities"]["bounding"].clone();
    Host {
        kernel: KernelVersion { major: 6, minor: 18 },
        recursive_read_only: true,
        capabilities: serde_json::from_value(capabilities).unwrap(),
        ..Host::default()
    }
}

fn bind(destination: &str, source: &str) -> Mount {
    bind_with(destination, source, |_| {})
}

fn bind_with(destination: &str, source: &str, change: impl FnOnce(&mut Bind)) -> Mount {
    let mut bind = Bind { source: source.to_owned(), ..Bind::default() };
    change(&mut bind);
    Mount { destination: destination.to_owned(), kind: MountKind::Bind(bind) }
}

fn tmpfs(destination: &str, options: &str) -> Mount {
    Mount { destination: destination.to_owned(), kind: MountKind::Tmpfs { options: list(options) } }
}

/// What the engine asks for without flags.
fn default() -> Options {
    let mut options = Options {
        args: list("sleep 100"),
        hostname: "HOST".to_owned(),
        user: user::resolve("", PASSWD, GROUP).unwrap(),
        mounts: ["resolv.conf", "hostname", "hosts"]
            .map(|file| bind(&format!("/etc/{file}"), &format!("/c/{file}")))
            .into(),
        ..Options::default()
    };
    options.namespaces.cgroup = CgroupNamespace::Host;
    options.resources.oom_kill_disable = Some(false);
    options
}

/// Without the order of what has none.
fn normal(spec: &gantry_types::oci::Spec) -> Value {
    let mut value = serde_json::to_value(spec).unwrap();
    value.as_object_mut().unwrap().remove("ociVersion");
    value["root"].as_object_mut().unwrap().remove("path");
    let sort = |value: &mut Value, key: fn(&Value) -> String| {
        if let Value::Array(list) = value {
            list.sort_by_key(key);
        }
    };
    sort(&mut value["mounts"], |mount| mount["destination"].as_str().unwrap().to_owned());
    let linux = value["linux"].as_object_mut().unwrap();
    sort(&mut linux["namespaces"], |namespace| namespace["type"].as_str().unwrap().to_owned());
    if linux.contains_key("seccomp") {
        linux.insert("seccomp".to_owned(), json!({}));
    }
    let rules = linux["resources"]["devices"].as_array_mut().unwrap();
    let all = std::mem::take(rules);
    all.into_iter().for_each(|rule| {
        if !rules.contains(&rule) {
            rules.push(rule)
        }
    });
    if let Some(paths) = linux.get_mut("maskedPaths") {
        sort(paths, |path| path.as_str().unwrap().to_owned());
    }
    let gids = &mut value["process"]["user"]["additionalGids"];
    let set: BTreeSet<u64> = gids.as_array().unwrap().iter().map(|gid| gid.as_u64().unwrap()).collect();
    *gids = json!(set);
    value
}

fn check(name: &str, change: impl FnOnce(&mut Options)) {
    check_with(name, change, |_| {});
}

fn check_with(name: &str, change: impl FnOnce(&mut Options), correct: impl FnOnce(&mut Value)) {
    let mut options = default();
    change(&mut options);
    let mut expected = expected(name);
    correct(&mut expected);
    let made = normal(&generate(&options, &host()).unwrap());
    for part in ["process", "mounts", "linux"] {
        assert_eq!(made[part], expected[part], "{part} of {name}");
    }
    assert_eq!(made, expected, "{name}");
}

fn who(options: &mut Options, text: &str) {
    options.user = user::resolve(text, PASSWD, GROUP).unwrap();
}

#[test]
fn processes_are_as_dockers() {
    check("default", |_| {});
    check("tty", |o| o.tty = true);
    check("nnp", |o| o.confinement.no_new_privileges = true);
    check("user", |o| who(o, "web"));
    check("usergroup", |o| who(o, "web:staff"));
    check("uid", |o| who(o, "12345"));
    check("uidgid", |o| who(o, "1000:77"));
    check("unshareuser", |o| who(o, "5:6"));
    check("groupadd", |o| {
        who(o, "web");
        o.group_add = user::resolve_groups(&["staff", "99"], GROUP).unwrap();
    });
    check("groupadd0", |o| o.group_add = user::resolve_groups(&["extra", "99"], GROUP).unwrap());
    check("workdir", |o| o.cwd = "/srv/x".into());
    check("ulimit", |o| {
        let limit = |name: &str, soft, hard| Ulimit { name: name.into(), soft, hard };
        o.ulimits = vec![limit("core", -1, -1), limit("nofile", 100, 200), limit("nproc", 50, 50)];
    });
}

#[test]
fn images_and_requests_are_merged_as_dockers() {
    let image = Command { entrypoint: list("/bin/sleep"), cmd: list("77") };
    let env = list("A=img C=img B=img");
    let image_user = |o: &mut Options| {
        who(o, "web:staff");
        o.cwd = "/w".into();
    };
    check("entryimg", |o| {
        image_user(o);
        o.args = process_args(&image, None, &[]).args().unwrap();
        o.env = merge_env(&env, &[]);
    });
    check("env", |o| {
        image_user(o);
        o.args = process_args(&image, None, &list("/bin/sleep 100")).args().unwrap();
        o.env = merge_env(&env, &list("A=1 PATH=/x B EMPTY="));
    });
}

#[test]
fn capabilities_and_confinement_are_as_dockers() {
    check("capadd", |o| {
        o.confinement.cap_add = list("net_admin SYS_ADMIN");
        o.confinement.cap_drop = list("CHOWN");
    });
    check("capall", |o| o.confinement.cap_add = list("ALL"));
    check("capdropall", |o| {
        o.confinement.cap_add = list("KILL");
        o.confinement.cap_drop = list("ALL");
    });
    check("capalldrop", |o| {
        o.confinement.cap_add = list("ALL");
        o.confinement.cap_drop = list("SYS_ADMIN");
    });
    check("syspaths", |o| {
        o.confinement.masked_paths = Some(Vec::new());
        o.confinement.readonly_paths = Some(Vec::new());
    });
    check("unconf", |o| o.confinement.seccomp = seccomp::Choice::Unconfined);
    let privileged = |o: &mut Options| o.confinement.privileged = true;
    check("privcapdrop", |o| {
        privileged(o);
        o.confinement.cap_drop = list("SYS_ADMIN");
    });
    check("privuser", |o| {
        privileged(o);
        who(o, "web");
    });
    check("privro", |o| {
        privileged(o);
        read_only(o);
    });
    check("ro", read_only);
    check("writablecg", |o| o.writable_cgroups = Some(true));
}

/// The engine's own files are read-only, too.
fn read_only(options: &mut Options) {
    options.read_only_root = true;
    for mount in &mut options.mounts {
        if let MountKind::Bind(bind) = &mut mount.kind {
            bind.access = Access::ReadOnly;
        }
    }
}

#[test]
fn namespaces_are_as_dockers() {
    check("hostname", |o| {
        o.hostname = "foo".into();
        o.domainname = "bar".into();
    });
    check("ipchost", |o| o.namespaces.ipc = Ipc::Host);
    check("ipcnone", |o| o.namespaces.ipc = Ipc::None);
    check("ipcshare", |o| o.namespaces.ipc = Ipc::Shareable { shm: "/c/mounts/shm".into() });
    check("join", |o| {
        o.namespaces.ipc = Ipc::Shared { namespace: "/proc/77/ns/ipc".into(), shm: "/c/mounts/shm".into() };
        o.namespaces.pid = Pid::Shared("/proc/77/ns/pid".into());
    });
    check("pidhost", |o| o.namespaces.pid = Pid::Host);
    check("utshost", |o| o.namespaces.uts = Uts::Host);
    check("nethost", |o| {
        o.namespaces.network = Network::Host;
        o.hostname = "vm".into();
    });
    check("cgroupprivate", |o| o.namespaces.cgroup = CgroupNamespace::Private);
    check("cgroup2", |o| {
        o.namespaces.cgroup = CgroupNamespace::Private;
        o.resources.oom_kill_disable = None;
    });
    let ids = vec![IdMapping { container_id: 0, host_id: 100_000, size: 65_536 }];
    let remapped = |o: &mut Options| o.namespaces.user = UserNamespace::New { uids: ids.clone(), gids: ids };
    // dockerd lets nobody ping there, as its range has groups that do not exist.
    check_with("remapped", remapped, |expected| {
        expected["linux"]["sysctl"]["net.ipv4.ping_group_range"] = "0 65535".into();
    });
    check("sysctl", |o| {
        let sysctl = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        o.sysctls = BTreeMap::from([sysctl("net.ipv4.ip_forward", "1"), sysctl("kernel.shmmax", "123456")]);
    });
    check("label", |o| o.annotations = BTreeMap::from([("x.y".to_owned(), "z".to_owned())]));
}

#[test]
fn mounts_are_as_dockers() {
    let add = |o: &mut Options, mounts: Vec<Mount>| o.mounts.splice(0..0, mounts).for_each(drop);
    let src = "/host/src";
    check("init", |o| o.init = Some("/usr/bin/docker-init".into()));
    check("shm", |o| o.shm_size_bytes = 16 << 20);
    check("tmpfs", |o| add(o, vec![tmpfs("/t", ""), tmpfs("/t2", "size=5m mode=700 exec")]));
    check("mounttmpfs", |o| add(o, vec![tmpfs("/t", "mode=700 size=1000000")]));
    check("overdev", |o| add(o, vec![tmpfs("/dev/shm", ""), bind("/dev/mqueue", src)]));
    check("overproc", |o| add(o, vec![bind("/sys", src), bind("/dev/shm", src)]));
    let propagated = |propagation| move |bind: &mut Bind| bind.propagation = propagation;
    let read_only = |access, propagation| {
        move |bind: &mut Bind| {
            bind.access = access;
            bind.propagation = propagation;
        }
    };
    let top = |bind: &mut Bind| bind.recursion = Recursion::Top;
    let private = Propagation::RecursivePrivate;
    check("bind", |o| {
        let nested = bind_with("/a/b/c", src, read_only(Access::ReadOnly, private));
        let shared = bind_with("/aa", src, propagated(Propagation::RecursiveShared));
        add(o, vec![nested, bind("/a", src), shared, bind("/etc/foo", "/host/srcf")]);
    });
    check("bind2", |o| {
        let slave = bind_with("/x", src, read_only(Access::ReadOnly, Propagation::RecursiveSlave));
        add(o, vec![slave, bind_with("/y", src, top)]);
    });
    check("bind3", |o| {
        let tree = bind_with("/x", src, read_only(Access::ReadOnlyTree, private));
        let one = bind_with("/z", src, read_only(Access::ReadOnlyTop, private));
        add(o, vec![tree, bind_with("/y", src, top), one]);
    });
    check("bind4", |o| {
        let of = |place: &str, propagation| bind_with(place, src, propagated(propagation));
        add(o, vec![of("/p", Propagation::Private), of("/s", Propagation::Slave)]);
    });
    check("volume", |o| {
        let volume = |place: &str, name: &str, access| {
            bind_with(place, &format!("/v/{name}/_data"), read_only(access, Propagation::Unset))
        };
        let (rw, ro) = (Access::ReadWrite, Access::ReadOnly);
        add(o, vec![volume("/vol", "vol1", rw), volume("/vol2", "vol1", ro), volume("/vol3", "vol2", rw)]);
    });
}

#[test]
fn limits_are_as_dockers() {
    let v1 = Support {
        swappiness: true,
        oom_kill_disable: true,
        // What this machine's kernel lacks.
        blkio_weight: false,
        blkio_weight_device: false,
        cpus: 2,
        ..Support::default()
    };
    let limit = |name: &str, change: fn(&mut Resources)| {
        check(name, |o| {
            change(&mut o.resources);
            o.resources = settle(std::mem::take(&mut o.resources), &v1, Purpose::Create).unwrap().0;
            if name == "resources" {
                o.oom_score_adj = 300;
            }
        });
    };
    const MIB: i64 = 1 << 20;
    limit("resources", |r| {
        (r.memory_bytes, r.memory_swap_bytes, r.memory_reservation_bytes) = (100 * MIB, 200 * MIB, 50 * MIB);
        (r.cpu_shares, r.cpu_quota_us, r.cpu_period_us) = (512, 50_000, 100_000);
        (r.cpuset_cpus, r.cpuset_mems) = ("0".into(), "0".into());
        (r.pids, r.blkio_weight) = (Some(77), 500);
    });
    limit("mem", |r| r.memory_bytes = 100 * MIB);
    limit("cpus", |r| r.nano_cpus = 1_500_000_000);
    limit("oldnano", |r| (r.nano_cpus, r.cpu_shares) = (500_000_000, 2));
    limit("blkio", |r| {
        let rate = |rate| vec![DeviceRate { major: 254, minor: 0, rate }];
        (r.blkio_read_bps, r.blkio_write_iops) = (rate(1000), rate(10));
        r.blkio_weight_device = vec![DeviceWeight { major: 254, minor: 0, weight: 100 }];
    });
    // dockerd leaves an unlimited swap out, so that an update cannot take a limit away.
    let wanted = |r: &mut Resources| {
        (r.memory_bytes, r.memory_swap_bytes) = (100 * MIB, -1);
        (r.memory_swappiness, r.oom_kill_disable) = (Some(10), Some(true));
    };
    let unlimited = |expected: &mut Value| expected["linux"]["resources"]["memory"]["swap"] = json!(-1);
    check_with("memswap", |o| wanted(&mut o.resources), unlimited);
}

#[test]
fn devices_are_as_dockers() {
    let fuse = |path: &str| HostDevice {
        path: path.into(),
        kind: "c".into(),
        major: 10,
        minor: 229,
        mode: 0o600,
        uid: 0,
        gid: 0,
    };
    check("device", |o| {
        let null = HostDevice {
            path: "/dev/null".into(),
            kind: "c".into(),
            major: 1,
            minor: 3,
            mode: 0o666,
            uid: 65_534,
            gid: 65_534,
        };
        o.devices = vec![
            DeviceMapping { device: fuse("/dev/xfuse"), access: "rw".into() },
            DeviceMapping { device: null, access: String::new() },
        ];
        o.device_rules = vec!["c 10:* rmw".into(), "a *:* rwm".into(), "b 8:1 r".into()];
    });
    let text = r#"{"cdiVersion": "0.7.0", "kind": "vendor.com/gpu",
        "containerEdits": {"env": ["GPU=yes"], "additionalGids": [0, 44], "mounts": [
            {"hostPath": "/etc/hostname", "containerPath": "/usr/lib/gpu.so", "options": ["ro", "bind"]}]},
        "devices": [{"name": "0", "containerEdits": {"deviceNodes": [
            {"path": "/dev/gpu0", "hostPath": "/dev/fuse", "permissions": "rw"},
            {"path": "/dev/gpu1", "type":"c","major": 10, "minor": 5, "uid": 7, "fileMode": 432}],
            "hooks": [{"hookName": "createRuntime", "path": "/bin/true", "args": ["true"], "timeout": 5}]}}]}"#;
    let file = cdi::File { path: "/etc/cdi/gpu.json", priority: 0, bytes: text.as_bytes() };
    let registry = cdi::Registry::load(&[file]);
    let node = |path: &str| (path == "/dev/fuse").then(|| fuse(path));
    let edits = registry.edits(&["vendor.com/gpu=0"], node).unwrap();
    // Newer ones keep the groups and the mode, as is done here.
    check_with(
        "gpu",
        |o| o.cdi = edits,
        |expected| {
            expected["process"]["user"]["additionalGids"] = json!([0, 10, 44, 51]);
            expected["linux"]["devices"][0]["fileMode"] = json!(0o600);
        },
    );
}

#[test]
fn the_filter_depends_on_the_container() {
    let filter = |change: fn(&mut Options), host: &Host| {
        let mut options = default();
        change(&mut options);
        generate(&options, host).map(|spec| spec.linux.unwrap().seccomp.map(|raw| raw.get().to_owned()))
    };
    let usual = filter(|_| {}, &host()).unwrap().unwrap();
    assert!(usual.contains("clone3") && !usual.contains("umount2"));
    let admin = filter(|o| o.confinement.cap_add = list("SYS_ADMIN"), &host()).unwrap().unwrap();
    assert!(admin.contains("umount2"));
    let builtin = |o: &mut Options| {
        o.confinement.privileged = true;
        o.confinement.seccomp = seccomp::Choice::Builtin;
    };
    assert!(filter(builtin, &host()).unwrap().is_some());
    let custom = |o: &mut Options| {
        let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[]}"#;
        o.confinement.seccomp = seccomp::Choice::Custom(text.to_owned());
    };
    assert!(filter(custom, &host()).unwrap().is_some());
    let without = Host { seccomp: false, ..host() };
    assert!(filter(|_| {}, &without).unwrap().is_none());
    assert!(matches!(filter(custom, &without), Err(Error::Seccomp(seccomp::Error::NoSeccomp))));
    let bad = |o: &mut Options| o.confinement.seccomp = seccomp::Choice::Custom("x".into());
    assert!(filter(bad, &host()).is_err());
}

#[test]
fn the_apparmor_profile_is_the_hosts_unless_it_is_named() {
    let profile = |change: fn(&mut Confinement), default: Option<&str>| {
        let mut options = default_options(change);
        options.hostname.clear();
        let host = Host { apparmor: default.map(str::to_owned), ..host() };
        generate(&options, &host).map(|spec| spec.process.unwrap().apparmor_profile)
    };
    assert_eq!(profile(|_| {}, Some("gantry-default")).unwrap(), "gantry-default");
    assert_eq!(profile(|c| c.privileged = true, Some("d")).unwrap(), "unconfined");
    assert_eq!(profile(|c| c.apparmor = Some("mine".into()), Some("d")).unwrap(), "mine");
    assert_eq!(profile(|c| c.apparmor = Some("mine".into()), None).unwrap(), "");
    assert!(profile(|c| c.apparmor = Some("a\nb".into()), Some("d")).is_err());
}

fn default_options(change: fn(&mut Confinement)) -> Options {
    let mut options = default();
    change(&mut options.confinement);
    options
}

#[test]
fn options_that_mean_nothing_are_refused() {
    let ids = || vec![IdMapping { container_id: 0, host_id: 1, size: 1 }];
    let mapped = UserNamespace::New { uids: ids(), gids: ids() };
    type Change<'a> = &'a dyn Fn(&mut Options);
    let bad: [Change<'_>; 21] = [
        &|o| o.args.clear(),
        &|o| o.args = vec!["a\0".into()],
        &|o| o.cwd = "x".into(),
        &|o| o.root = "\0".into(),
        &|o| o.hostname = "a b".into(),
        &|o| o.hostname = "a\nb".into(),
        &|o| o.hostname = "x".repeat(65),
        &|o| o.domainname = "x/y".into(),
        &|o| o.cgroups_path = "/a/../../b".into(),
        &|o| o.cgroups_path = "a:..:b".into(),
        &|o| o.oom_score_adj = 2000,
        &|o| drop(o.annotations.insert(String::new(), String::new())),
        &|o| o.namespaces.network = Network::Shared(String::new()),
        &|o| o.namespaces.pid = Pid::Shared("proc/1/ns/pid".into()),
        &|o| o.namespaces.user = UserNamespace::New { uids: Vec::new(), gids: Vec::new() },
        &|o| {
            let uids = vec![IdMapping { container_id: 0, host_id: u32::MAX - 1, size: 2 }];
            o.namespaces.user = UserNamespace::New { uids, gids: ids() };
        },
        &|o| {
            o.namespaces.user = mapped.clone();
            o.confinement.privileged = true;
        },
        &|o| {
            o.namespaces.user = mapped.clone();
            o.namespaces.network = Network::Host;
        },
        &|o| {
            o.namespaces.user = mapped.clone();
            o.namespaces.pid = Pid::Host;
        },
        &|o| o.confinement.masked_paths = Some(vec!["proc".into()]),
        &|o| o.group_add = (0..70_000).collect(),
    ];
    for (index, change) in bad.iter().enumerate() {
        let mut options = default();
        change(&mut options);
        assert!(generate(&options, &host()).is_err(), "{index}");
    }
    let mut options = default();
    options.namespaces.user = mapped;
    assert!(generate(&options, &host()).is_ok());
}

#[test]
fn cve_2024_3154_annotations_are_no_properties_of_the_unit() {
    let mut options = default();
    options.annotations.insert("org.systemd.property.ExecStart".into(), "'/bin/sh'".into());
    assert!(matches!(generate(&options, &host()), Err(Error::Invalid { .. })));
}

#[test]
fn cve_2022_36109_the_group_is_among_the_additional_ones() {
    let mut options = default();
    options.user = user::User { uid: 5, gid: 6, ..user::User::default() };
    let user = generate(&options, &host()).unwrap().process.unwrap().user;
    assert_eq!((user.gid, user.additional_gids), (6, vec![6]));
}

#[test]
fn the_same_options_give_the_same_bytes() {
    let bytes = || serde_json::to_vec(&generate(&default(), &host()).unwrap()).unwrap();
    assert_eq!(bytes(), bytes());
}

#[test]
fn ghsa_6fw5_f8r9_fgfm_counters_of_cpus_are_masked() {
    let host = Host { thermal_throttle_cpus: vec![0, 3], ..host() };
    let masked = masked_paths(&host);
    assert!(masked.contains(&"/proc/interrupts".to_owned()));
    assert!(masked.contains(&"/sys/devices/system/cpu/cpu3/thermal_throttle".to_owned()));
    // GHSA-jq35-85cj-fj4p and GHSA-7ww5-4wqc-m92c.
    assert!(masked.contains(&"/sys/devices/virtual/powercap".to_owned()));
}
