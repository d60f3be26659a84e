use gantry_types::oci::Spec;

use super::*;
use crate::options::HostDevice;

const VENDOR: &str = r#"{
    "cdiVersion": "0.6.0", "kind": "vendor.com/gpu", "annotations": {"a": "b"},
    "containerEdits": {"env": ["GPU=yes"], "additionalGids": [0, 44], "mounts": [
        {"hostPath": "/usr/lib/gpu.so", "containerPath": "/usr/lib/gpu.so", "options": ["ro", "bind"]}]},
    "devices": [
        {"name": "0", "containerEdits": {
            "deviceNodes": [{"path": "/dev/gpu0", "hostPath": "/dev/dri/card0", "permissions": "rw"}],
            "hooks": [{"hookName": "createContainer", "path": "/bin/ldconfig", "args": ["ldconfig"], "timeout": 5}]}},
        {"name": "1", "containerEdits": {
            "deviceNodes": [{"path": "/dev/gpu1", "type": "c", "major": 226, "minor": 1, "uid": 7, "fileMode": 432}]}}
    ]}"#;

const YAML: &str = "
cdiVersion: 1.1.0
kind: vendor.com/net
devices:
- name: eth
  containerEdits:
    netDevices:
    - hostInterfaceName: enp1s0
      name: eth1
    deviceNodes:
    - path: /dev/x
      type: p
      fileMode: 0660
    intelRdt:
      closID: low
      enableMonitoring: true
";

fn host(path: &str) -> Option<HostDevice> {
    let device =
        HostDevice { kind: "c".into(), major: 226, minor: 0, mode: 0o20660, ..HostDevice::default() };
    (path == "/dev/dri/card0").then_some(device)
}

fn file<'a>(path: &'a str, priority: usize, text: &'a str) -> File<'a> {
    File { path, priority, bytes: text.as_bytes() }
}

fn registry(text: &str) -> Registry {
    Registry::load(&[file("/etc/cdi/a.json", 0, text)])
}

fn edited(registry: &Registry, names: &[&str]) -> Spec {
    let mut options = crate::Options { args: vec!["x".into()], ..crate::Options::default() };
    options.user.gid = 9;
    options.cdi = registry.edits(names, host).unwrap();
    crate::generate(&options, &crate::Host::default()).unwrap()
}

#[test]
fn devices_edit_the_configuration() {
    let spec = edited(&registry(VENDOR), &["vendor.com/gpu=0", "vendor.com/gpu=1"]);
    let process = spec.process.unwrap();
    assert_eq!(process.env.iter().filter(|entry| *entry == "GPU=yes").count(), 1);
    assert_eq!(process.user.additional_gids, [9, 44]);
    let mount = spec.mounts.iter().find(|mount| mount.destination == "/usr/lib/gpu.so").unwrap();
    assert_eq!(mount.options, ["ro", "bind"]);
    let hooks = spec.hooks.unwrap();
    assert_eq!((hooks.create_container.len(), hooks.create_container[0].timeout), (1, Some(5)));
    let linux = spec.linux.unwrap();
    let nodes: Vec<_> =
        linux.devices.iter().map(|d| (d.path.as_str(), d.minor, d.file_mode, d.uid, d.gid)).collect();
    let expect =
        [("/dev/gpu0", 0, Some(0o660), None, Some(9)), ("/dev/gpu1", 1, Some(432), Some(7), Some(9))];
    assert_eq!(nodes, expect);
    let rules = linux.resources.unwrap().devices;
    let access: Vec<_> = rules[8..].iter().map(|rule| rule.access.as_str()).collect();
    assert_eq!(access, ["rw", "rwm"]);
    assert_eq!(spec.oci_version, crate::SPEC_VERSION);
}

#[test]
fn yaml_is_read_as_others_read_it() {
    let registry = Registry::load(&[file("/etc/cdi/a.yaml", 0, YAML)]);
    assert!(registry.problems().is_empty(), "{:?}", registry.problems());
    let spec = edited(&registry, &["vendor.com/net=eth"]);
    assert_eq!(spec.oci_version, "1.3.0");
    let linux = spec.linux.unwrap();
    assert_eq!(linux.net_devices["enp1s0"].name, "eth1");
    assert_eq!(linux.devices[0].file_mode, Some(0o660));
    assert_eq!(linux.resources.unwrap().devices.len(), 8);
    assert_eq!(linux.intel_rdt.unwrap().clos_id, "low");
}

#[test]
fn later_directories_hide_earlier_ones_and_equals_conflict() {
    let other = VENDOR.replace("GPU=yes", "GPU=other");
    let names = |registry: &Registry| registry.devices().map(str::to_owned).collect::<Vec<_>>();
    for order in [[0, 1], [1, 0]] {
        let mut files = [file("/etc/a.json", 0, VENDOR), file("/run/b.json", 1, &other)];
        files = [files[order[0]], files[order[1]]];
        let registry = Registry::load(&files);
        let edits = registry.edits(&["vendor.com/gpu=1"], host).unwrap();
        assert_eq!(edits.env, ["GPU=other"]);
        assert_eq!(names(&registry).len(), 2);
    }
    let registry = Registry::load(&[file("/etc/a.json", 0, VENDOR), file("/etc/b.json", 0, VENDOR)]);
    assert!(names(&registry).is_empty());
    let error = registry.edits(&["vendor.com/gpu=1"], host).unwrap_err();
    assert!(
        matches!(&error, Error::Conflict { first, second, .. } if first == "/etc/a.json" && second == "/etc/b.json")
    );
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
}

#[test]
fn what_is_not_there_is_named() {
    let registry = registry(VENDOR);
    let error = registry.edits(&["vendor.com/gpu=1", "vendor.com/gpu=2", "a/b=c"], host).unwrap_err();
    assert_eq!(error.to_string(), "unresolvable CDI devices vendor.com/gpu=2, a/b=c");
    assert!(
        matches!(registry.edits(&["vendor.com/gpu=0"], |_| None), Err(Error::NoNode(path)) if path == "/dev/dri/card0")
    );
    let typed = VENDOR.replace(r#""permissions": "rw""#, r#""type": "b""#);
    assert!(matches!(self::registry(&typed).edits(&["vendor.com/gpu=0"], host), Err(Error::NodeType { .. })));
    assert!(matches!(registry.edits(&["gpu"], host), Err(Error::Name { .. })));
    assert!(matches!(registry.edits(&vec!["a/b=c"; MAX_NAMES + 1], host), Err(Error::TooMany { .. })));
}

#[test]
fn names_have_three_parts() {
    for good in ["vendor.com/gpu=0", "v/c=n", "a-b_c.d/e-f=all", "a/b=0000:01:00.0"] {
        assert!(is_device_name(good), "{good}");
        assert_eq!(good.parse::<DeviceName>().unwrap().to_string(), good);
    }
    for bad in [
        "",
        "/dev/null",
        "a=b",
        "a/b",
        "a/b=",
        "=c",
        "/b=c",
        "1/b=c",
        "a/b=-c",
        "a/b=c:",
        "a./b=c",
        "a/b/c=d",
        "a/b=c=d",
        "a/b=c d",
        "/dev/a=b",
    ] {
        assert!(!is_device_name(bad), "{bad}");
    }
    assert!(!is_device_name(&format!("a/b={}", "c".repeat(2000))));
}

#[test]
fn a_bad_file_takes_no_other_with_it() {
    let check = |from: &str, to: &str| {
        assert!(VENDOR.contains(from), "{from}");
        let bad = VENDOR.replace(from, to);
        let registry = Registry::load(&[file("/a.json", 0, &bad), file("/b.yaml", 1, YAML)]);
        assert_eq!((registry.problems().len(), registry.devices().count()), (1, 1), "{to}");
        assert_eq!(registry.problems()[0].path, "/a.json");
    };
    check("0.6.0", "9.0.0");
    check("vendor.com/gpu", "vendor");
    check("vendor.com/gpu", "-/gpu");
    check("\"name\": \"1\"", "\"name\": \"0\"");
    check("\"name\": \"1\"", "\"name\": \"\"");
    check("GPU=yes", "=yes");
    check("GPU=yes", "GPU");
    check("\"rw\"", "\"rx\"");
    check("/dev/gpu0", "dev/gpu0");
    check("/dev/dri/card0", "card0");
    check("\"c\"", "\"d\"");
    check("createContainer", "later");
    check("/bin/ldconfig", "ldconfig");
    check("\"timeout\": 5", "\"timeout\": 0");
    check("\"containerPath\": \"/usr/lib/gpu.so\"", "\"containerPath\": \"\"");
    check("\"uid\": 7", "\"uid\": -1");
    check("\"uid\": 7", "\"owner\": 7");
    check(
        "\"deviceNodes\": [{\"path\": \"/dev/gpu1\", \"type\": \"c\", \"major\": 226, \"minor\": 1, \"uid\": 7, \"fileMode\": 432}]",
        "",
    );
    check("{", "[");
}

#[test]
fn files_have_limits() {
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
        d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
    let large = " ".repeat(MAX_FILE_BYTES + 1);
    let deep = "[".repeat(100_000);
    for bad in ["", "---\n---\n", bomb, &large, &deep, "\u{0}", "- a", "!!binary x"] {
        let registry = Registry::load(&[file("/a.yaml", 0, bad), file("/a.json", 0, bad)]);
        assert_eq!(registry.problems().len(), 2, "{}", &bad[..bad.len().min(30)]);
    }
    let many: Vec<_> = (0..MAX_FILES + 50).map(|_| file("/a.json", 0, VENDOR)).collect();
    let registry = Registry::load(&many);
    assert_eq!(registry.problems().len(), 1);
}

#[test]
fn names_of_resctrl_groups_stay_in_their_directory() {
    for bad in ["..", ".", "a/b", "a\\nb"] {
        let text = YAML.replace("closID: low", &format!("closID: \"{bad}\""));
        assert_eq!(Registry::load(&[file("/a.yaml", 0, &text)]).problems().len(), 1, "{bad}");
    }
}
