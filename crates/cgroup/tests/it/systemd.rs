//! Scopes, where systemd is pid 1. As a user, in the user's manager.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use gantry_cgroup::systemd::Property;
use gantry_cgroup::{Cgroup, CgroupSpec, Controller, Driver, Error, Phase, Request};
use gantry_types::ErrorKind;
use gantry_types::oci::Resources;

use crate::harness::{Outcome, Scratch, Test, eventually, features, hierarchy, is_v2, resources, test};
use crate::skip;

pub(crate) fn tests() -> Vec<Test> {
    let with_systemd = |name: &str, run: fn() -> Outcome| {
        test(format!("systemd::{name}"), move || {
            if is_running() { run() } else { Outcome::Skipped("systemd does not run".into()) }
        })
    };
    vec![
        with_systemd("a_scope_lives_and_dies", a_scope_lives_and_dies),
        with_systemd("a_scope_that_nobody_keeps_is_stopped", a_scope_that_nobody_keeps_is_stopped),
        with_systemd("limits_are_told_to_systemd", limits_are_told_to_systemd),
        with_systemd("annotations_become_properties", annotations_become_properties),
        with_systemd("what_systemd_refuses_is_named", what_systemd_refuses_is_named),
        with_systemd("devices_stay_confined_after_a_reload", devices_stay_confined_after_a_reload),
        with_systemd("a_record_is_enough_to_update_and_stop", a_record_is_enough_to_update_and_stop),
        with_systemd("exec_enters_the_scope", exec_enters_the_scope),
    ]
}

pub(crate) fn is_running() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

pub(crate) fn systemctl(arguments: &[&str]) -> String {
    let mut command = Command::new("systemctl");
    if !rustix::process::geteuid().is_root() {
        command.arg("--user");
    }
    let output = command.args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn property(scratch: &Scratch, name: &str) -> String {
    let unit = &scratch.cgroup.unit().unwrap().name;
    systemctl(&["show", "--value", "-p", name, unit])
}

fn a_scope_lives_and_dies() -> Outcome {
    let scratch = Scratch::scope(&Resources::default(), |_| {}).unwrap();
    let path = scratch.cgroup.path(Controller::Memory).unwrap().to_owned();
    assert!(path.to_str().unwrap().contains("/gantrytest.slice/gantry-_gantry-test"), "{}", path.display());
    let members = std::fs::read_to_string(path.join("cgroup.procs")).unwrap();
    assert_eq!(members.lines().count(), 1);
    assert_eq!(property(&scratch, "ActiveState"), "active");
    assert_eq!(property(&scratch, "Delegate"), "yes");
    assert_eq!(property(&scratch, "Slice"), "gantrytest.slice");
    assert!(scratch.cgroup.clone_target().is_some());
    if is_v2() && rustix::process::geteuid().is_root() {
        let controllers = std::fs::read_to_string(path.join("cgroup.controllers")).unwrap();
        let available = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap();
        assert_eq!(controllers, available, "also those that systemd does not know");
    }
    let pid = scratch.cgroup.pids(gantry_cgroup::Depth::Own).unwrap()[0];
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    for path in scratch.cgroup.paths() {
        assert!(crate::harness::is_member(path, pid), "{}", path.display());
    }
    let unit = scratch.cgroup.unit().unwrap().name.clone();
    drop(scratch);
    eventually("systemd forgets the unit", || {
        systemctl(&["show", "--value", "-p", "LoadState", &unit]) == "not-found"
    });
    Outcome::Passed
}

fn a_scope_that_nobody_keeps_is_stopped() -> Outcome {
    let path = "gantrytest.slice:gantry:dropped";
    let driver = Driver::Systemd { user: !rustix::process::geteuid().is_root() };
    let request = Request { path, id: "box", driver, rootless: false };
    let spec = CgroupSpec::resolve(&hierarchy(), &request).unwrap();
    let mut created = Cgroup::create(&spec, &Resources::default(), features()).unwrap();
    assert!(created.clone_target().is_none(), "nothing is there yet");
    let mut child = crate::harness::start("sleep");
    created.attach(crate::harness::pid_of(&child), gantry_cgroup::Joined::Nothing).unwrap();
    // Somebody else cannot have the name meanwhile.
    assert!(matches!(
        Cgroup::create(&spec, &Resources::default(), features()),
        Err(Error::NotEmpty { count: 1, .. })
    ));
    let directory = created.unified_path().unwrap().to_owned();
    drop(created);
    assert!(!child.wait().unwrap().success());
    assert!(!directory.exists());
    Outcome::Passed
}

fn limits_are_told_to_systemd() -> Outcome {
    if !rustix::process::geteuid().is_root() || !is_v2() {
        skip!("the properties are those of cgroup v2, with all controllers");
    }
    let limits = resources(
        r#"{"memory":{"limit":67108864,"swap":100663296,"reservation":33554432},"pids":{"limit":77},
            "cpu":{"shares":512,"quota":50001,"period":100000,"cpus":"0","mems":"0"},"blockIO":{"weight":500}}"#,
    );
    let scratch = Scratch::scope(&limits, |_| {}).unwrap();
    assert_eq!(property(&scratch, "TasksMax"), "77", "from the start");
    assert_eq!(property(&scratch, "MemoryMax"), "infinity", "only when the container is set up");
    scratch.cgroup.apply(&limits, Phase::BeforeClone).unwrap();
    scratch.cgroup.apply(&limits, Phase::BeforeStart).unwrap();
    for (name, value) in [
        ("MemoryMax", "67108864"),
        ("MemorySwapMax", "33554432"),
        ("MemoryLow", "33554432"),
        ("CPUWeight", "59"),
        ("CPUQuotaPerSecUSec", "510ms"),
        ("IOWeight", "4950"),
        ("AllowedCPUs", "0"),
        ("AllowedMemoryNodes", "0"),
    ] {
        assert_eq!(property(&scratch, name), value, "{name}");
    }
    if is_v2() {
        // The quota that systemd can say, in both places.
        assert_eq!(scratch.read(Controller::Cpu, "cpu.max"), "51000 100000");
    }
    let update = resources(r#"{"pids":{"limit":-1},"cpu":{"cpus":"0-1"},"memory":{"limit":134217728}}"#);
    scratch.cgroup.apply(&update, Phase::Update).unwrap();
    assert_eq!(property(&scratch, "TasksMax"), "infinity");
    assert_eq!(property(&scratch, "AllowedCPUs"), "0-1");
    assert_eq!(property(&scratch, "MemoryMax"), "134217728");
    Outcome::Passed
}

fn annotations(of: &[(&str, &str)]) -> Vec<Property> {
    let map: BTreeMap<String, String> =
        of.iter().map(|(name, value)| (format!("org.systemd.property.{name}"), value.to_string())).collect();
    Property::from_annotations(&map).unwrap()
}

fn annotations_become_properties() -> Outcome {
    let group = if is_v2() { r#"{"unified":{"memory.oom.group":"1"}}"# } else { "{}" };
    let scratch = Scratch::scope(&resources(group), |spec| {
        spec.properties = annotations(&[
            ("TimeoutStopSec", "7"),
            ("CollectMode", "'inactive'"),
            ("SuccessAction", "'none'"),
            ("Documentation", "['man:gantry']"),
        ]);
    })
    .unwrap();
    assert_eq!(property(&scratch, "TimeoutStopUSec"), "7s");
    assert_eq!(property(&scratch, "CollectMode"), "inactive");
    assert_eq!(property(&scratch, "Documentation"), "man:gantry");
    if is_v2() {
        assert_eq!(property(&scratch, "OOMPolicy"), "kill");
    }
    Outcome::Passed
}

fn what_systemd_refuses_is_named() -> Outcome {
    let refused = Scratch::scope(&Resources::default(), |spec| {
        spec.properties = annotations(&[("NoSuchProperty", "true")]);
    });
    let Err(error) = refused else { panic!("it was taken") };
    assert!(error.to_string().contains("StartTransientUnit of \"gantry-"), "{error}");
    assert!(error.to_string().contains("NoSuchProperty"), "{error}");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    Outcome::Passed
}

fn devices_stay_confined_after_a_reload() -> Outcome {
    if !rustix::process::geteuid().is_root() {
        skip!("device rules are root's");
    }
    let mut scratch = Scratch::scope(&Resources::default(), |_| {}).unwrap();
    // On cgroup v1 systemd confines the scope from the start.
    let before = scratch.outcome_of("open /dev/kmsg");
    assert_eq!(before, if is_v2() { 0 } else { 1 }, "before there are rules");
    scratch.cgroup.apply(&Resources::default(), Phase::BeforeStart).unwrap();
    let check = |scratch: &mut Scratch| {
        assert_eq!(scratch.outcome_of("open /dev/kmsg"), 1, "EPERM");
        assert_eq!(scratch.outcome_of("open /dev/null"), 0);
    };
    check(&mut scratch);
    systemctl(&["daemon-reload"]);
    check(&mut scratch);
    let more = resources(r#"{"devices":[{"allow":true,"type":"c","major":1,"minor":11,"access":"rwm"}]}"#);
    scratch.cgroup.apply(&more, Phase::Update).unwrap();
    systemctl(&["daemon-reload"]);
    assert_eq!(scratch.outcome_of("open /dev/kmsg"), 0, "an update outlives a reload");
    Outcome::Passed
}

fn a_record_is_enough_to_update_and_stop() -> Outcome {
    let mut scratch = Scratch::scope(&Resources::default(), |_| {}).unwrap();
    let record = serde_json::to_string(&scratch.cgroup.record()).unwrap();
    let other = Cgroup::from_record(&serde_json::from_str(&record).unwrap(), features());
    other.apply(&resources(r#"{"pids":{"limit":9}}"#), Phase::Update).unwrap();
    assert_eq!(property(&scratch, "TasksMax"), "9");
    // Stopping kills what is left.
    other.delete().unwrap();
    assert!(!scratch.cgroup.unified_path().unwrap().exists());
    other.delete().unwrap();
    scratch.reap();
    Outcome::Passed
}

fn exec_enters_the_scope() -> Outcome {
    let mut scratch = Scratch::scope(&Resources::default(), |_| {}).unwrap();
    let init = gantry_cgroup::Depth::Own;
    let init = scratch.cgroup.pids(init).unwrap()[0];
    let pid = scratch.spawn("sleep");
    let init = rustix::process::Pid::from_raw(init).unwrap();
    scratch.cgroup.join_for_exec(pid, init, &gantry_cgroup::SubCgroups::default()).unwrap();
    assert!(crate::harness::is_member(scratch.cgroup.unified_path().unwrap(), pid));
    Outcome::Passed
}
