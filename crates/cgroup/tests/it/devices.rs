use gantry_cgroup::{Controller, Hierarchy, Phase};
use gantry_types::oci::Resources;
use rustix::fs::{FileType, Mode, makedev, mknodat};

use crate::harness::{Outcome, Scratch, Test, hierarchy, is_v2, resources, test, unified_hierarchy};
use crate::skip;

const EPERM: i32 = 1;

/// `/dev/kmsg` by its number.
const KMSG: &str =
    r#"{"devices":[{"allow":false},{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}]}"#;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("devices::v1_list_is_what_was_asked", v1_list_is_what_was_asked),
        test("devices::a_container_is_confined", || confined(&hierarchy())),
        test("devices::a_container_is_confined_by_program", || match unified_hierarchy() {
            Some(unified) => confined(&unified),
            None => skip!("no unified hierarchy"),
        }),
        test("devices::programs_are_replaced_not_added", programs_are_replaced_not_added),
        test("devices::the_kernel_takes_a_long_program", the_kernel_takes_a_long_program),
    ]
}

/// Devices are confined before the first process on v1, and while it sets itself up on v2.
fn confine(scratch: &Scratch, resources: &Resources) {
    for phase in [Phase::BeforeClone, Phase::DuringSetup] {
        scratch.cgroup.apply(resources, phase).unwrap();
    }
}

fn v1_list_is_what_was_asked() -> Outcome {
    if is_v2() {
        skip!("cgroup v2 has no list");
    }
    let scratch = Scratch::new(&Resources::default());
    confine(&scratch, &resources(KMSG));
    let mut list: Vec<String> =
        scratch.read(Controller::Devices, "devices.list").lines().map(str::to_owned).collect();
    list.sort();
    let mut expect = ["b *:* m", "c *:* m", "c 1:11 r", "c 136:* rwm"].map(str::to_owned).to_vec();
    expect.extend(
        ["1:3", "1:5", "1:7", "1:8", "1:9", "5:0", "5:1", "5:2", "10:200"]
            .map(|number| format!("c {number} rwm")),
    );
    expect.sort();
    assert_eq!(list, expect);
    // Everything, then everything but some.
    let all = r#"{"devices":[{"allow":true}]}"#;
    scratch.cgroup.apply(&resources(all), Phase::Update).unwrap();
    assert_eq!(scratch.read(Controller::Devices, "devices.list"), "a *:* rwm");
    scratch.cgroup.apply(&resources(KMSG), Phase::Update).unwrap();
    assert_eq!(scratch.read(Controller::Devices, "devices.list").lines().count(), expect.len());
    Outcome::Passed
}

fn confined(hierarchy: &Hierarchy) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let node = |name: &str, major, minor| {
        let path = dir.path().join(name);
        mknodat(rustix::fs::CWD, &path, FileType::CharacterDevice, Mode::RUSR, makedev(major, minor))
            .unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (null, kmsg) = (node("null", 1, 3), node("kmsg", 1, 11));
    if std::fs::File::open(&null).is_err() {
        skip!("device nodes do not work in {}", dir.path().display());
    }
    let mut scratch = Scratch::on(hierarchy, &Resources::default());
    let opens =
        |scratch: &mut Scratch| [&null, &kmsg].map(|path| scratch.outcome_of(&format!("open {path}")));
    assert_eq!(opens(&mut scratch), [0, 0], "before there are rules");
    confine(&scratch, &Resources::default());
    assert_eq!(opens(&mut scratch), [0, EPERM], "the standard devices");
    scratch.cgroup.apply(&resources(KMSG), Phase::Update).unwrap();
    assert_eq!(opens(&mut scratch), [0, 0], "one more");
    let but_one =
        r#"{"devices":[{"allow":true},{"allow":false,"type":"c","major":1,"minor":11,"access":"r"}]}"#;
    scratch.cgroup.apply(&resources(but_one), Phase::Update).unwrap();
    assert_eq!(opens(&mut scratch), [0, EPERM], "everything but one");
    scratch.cgroup.apply(&resources(r#"{"memory":{"swappiness":60}}"#), Phase::Update).ok();
    assert_eq!(opens(&mut scratch), [0, EPERM], "an update without device rules leaves them");
    scratch.cgroup.apply(&resources(r#"{"devices":[{"allow":true}]}"#), Phase::Update).unwrap();
    assert_eq!(opens(&mut scratch), [0, 0], "everything");
    Outcome::Passed
}

fn programs_of(scratch: &Scratch) -> Vec<u32> {
    let cgroup = std::fs::File::open(scratch.cgroup.unified_path().unwrap()).unwrap();
    let mut ids = [0; 64];
    let count = gantry_sys::bpf::query_device_programs(std::os::fd::AsFd::as_fd(&cgroup), &mut ids).unwrap();
    ids[..count].to_vec()
}

fn programs_are_replaced_not_added() -> Outcome {
    let Some(unified) = unified_hierarchy() else { skip!("no unified hierarchy") };
    let scratch = Scratch::on(&unified, &Resources::default());
    confine(&scratch, &resources(r#"{"devices":[{"allow":true}]}"#));
    assert!(programs_of(&scratch).is_empty(), "nothing to enforce, no program");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        scratch.cgroup.apply(&resources(KMSG), Phase::Update).unwrap();
        let programs = programs_of(&scratch);
        assert_eq!(programs.len(), 1);
        assert!(seen.insert(programs[0]), "a new program each time");
    }
    Outcome::Passed
}

fn the_kernel_takes_a_long_program() -> Outcome {
    let Some(unified) = unified_hierarchy() else { skip!("no unified hierarchy") };
    let scratch = Scratch::on(&unified, &Resources::default());
    let rules: Vec<String> = (0..2000)
        .map(|n| {
            format!(
                r#"{{"allow":true,"type":"c","major":{},"minor":{n},"access":"rw"}}"#,
                4_294_960_000_u32 + n
            )
        })
        .collect();
    let json = format!(r#"{{"devices":[{}]}}"#, rules.join(","));
    confine(&scratch, &resources(&json));
    assert_eq!(programs_of(&scratch).len(), 1);
    Outcome::Passed
}
