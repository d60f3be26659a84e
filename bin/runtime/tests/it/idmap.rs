//! Id-mapped mounts.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use gantry_testkit::{Bundle, Invocation, Need, Output, Runtime, require};
use serde_json::{Value, json};

fn map(host: u32) -> Value {
    json!([{ "containerID": 0, "hostID": host, "size": 65_536 }])
}

/// A directory with a file of each owner, and a directory in which a file system can be mounted.
fn source(bundle: &Bundle) -> PathBuf {
    let dir = bundle.make_dir("shared");
    for (name, owner) in [("zero", 0), ("seven", 7)] {
        fs::write(dir.join(name), name).unwrap();
        chown(dir.join(name), Some(owner), Some(owner)).unwrap();
    }
    fs::create_dir(dir.join("sub")).unwrap();
    dir
}

fn mount(bundle: Bundle, dir: &Path, options: &[&str], mapping: Option<Value>) -> Bundle {
    let mut mount = json!({ "destination": "/mnt", "type": "bind", "source": dir, "options": options });
    if let Some(mapping) = mapping {
        mount["uidMappings"] = mapping.clone();
        mount["gidMappings"] = mapping;
    }
    bundle.edit(|c| c["mounts"].as_array_mut().unwrap().push(mount))
}

#[test]
fn an_idmapped_mount_shows_shifted_owners() {
    require!(Need::Runc(1, 2), Need::Kernel(5, 12));
    let runtime = Runtime::new();
    let bundle = Bundle::new().userns().sh("stat -c %u:%g /mnt/zero /mnt/seven; echo x >/mnt/made");
    let dir = source(&bundle);
    let bundle = mount(bundle, &dir, &["bind", "idmap"], Some(map(100_000)));
    let output = runtime.run(&bundle).ok();
    assert_eq!(output.lines(), ["0:0", "7:7"]);
    let made = fs::metadata(dir.join("made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (0, 0), "written through the map");
}

#[test]
fn without_an_idmap_the_owners_are_unknown() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().userns().args(["stat", "-c", "%u:%g", "/mnt/zero"]);
    let dir = source(&bundle);
    let bundle = mount(bundle, &dir, &["bind"], None);
    assert_eq!(runtime.run(&bundle).ok().text(), "65534:65534");
}

#[test]
fn an_idmap_without_mappings_of_its_own_takes_those_of_the_container() {
    require!(Need::Runc(1, 2), Need::Kernel(5, 12));
    let runtime = Runtime::new();
    let bundle = Bundle::new().userns().args(["stat", "-c", "%u:%g", "/mnt/seven"]);
    let dir = source(&bundle);
    let bundle = mount(bundle, &dir, &["bind", "idmap"], None);
    assert_eq!(runtime.run(&bundle).ok().text(), "7:7");
}

#[test]
fn an_idmap_works_without_a_user_namespace() {
    require!(Need::Runc(1, 2), Need::Kernel(5, 12));
    let runtime = Runtime::new();
    let bundle = Bundle::new().args(["stat", "-c", "%u:%g", "/mnt/zero", "/mnt/seven"]);
    let dir = source(&bundle);
    let bundle = mount(bundle, &dir, &["bind", "idmap"], Some(map(200_000)));
    assert_eq!(runtime.run(&bundle).ok().lines(), ["200000:200000", "200007:200007"]);
}

fn with_submount(call: Invocation, dir: &Path) -> Output {
    let script = format!(
        "mount -t tmpfs tmpfs {0}/sub && touch {0}/sub/nine && chown 9:9 {0}/sub/nine && exec \"$0\" \"$@\"",
        dir.display()
    );
    call.wrapped(["unshare", "--mount", "--propagation", "private", "sh", "-c", &script]).run()
}

#[test]
fn a_plain_idmap_maps_the_top_mount_and_a_recursive_one_all() {
    require!(Need::Runc(1, 2), Need::Kernel(5, 12));
    let runtime = Runtime::new();
    for (option, expected) in [("idmap", "65534:65534"), ("ridmap", "9:9")] {
        let bundle = Bundle::new().userns().args(["stat", "-c", "%u:%g", "/mnt/seven", "/mnt/sub/nine"]);
        let dir = source(&bundle);
        let bundle = mount(bundle, &dir, &["rbind", option], Some(map(100_000)));
        let output = with_submount(runtime.run_command(&bundle, &[]), &dir).ok();
        assert_eq!(output.lines(), ["7:7", expected], "{option}");
    }
}

#[test]
fn an_idmap_and_attributes_go_together() {
    require!(Need::Runc(1, 2), Need::Kernel(5, 12));
    let runtime = Runtime::new();
    let bundle = Bundle::new().userns().sh("stat -c %u /mnt/seven; touch /mnt/x 2>&1 | grep -c Read-only");
    let dir = source(&bundle);
    let bundle = mount(bundle, &dir, &["rbind", "ro", "nosuid", "idmap"], Some(map(100_000)));
    assert_eq!(runtime.run(&bundle).ok().lines(), ["7", "1"]);
}

#[test]
fn mappings_with_several_ranges_work() {
    require!(Need::Runc(1, 2), Need::Kernel(5, 12));
    let runtime = Runtime::new();
    let bundle = Bundle::new().args(["stat", "-c", "%u", "/mnt/zero", "/mnt/seven"]);
    let dir = source(&bundle);
    let mapping = json!([
        { "containerID": 0, "hostID": 300_000, "size": 5 },
        { "containerID": 5, "hostID": 400_005, "size": 100 },
    ]);
    let bundle = mount(bundle, &dir, &["bind", "idmap"], Some(mapping));
    assert_eq!(runtime.run(&bundle).ok().lines(), ["300000", "400007"]);
}

#[test]
fn impossible_idmaps_are_refused() {
    require!(Need::Runc(1, 2));
    let runtime = Runtime::new();
    // Without a user namespace an idmap needs mappings.
    let bundle = Bundle::new();
    let dir = source(&bundle);
    let bundle = mount(bundle, &dir, &["bind", "idmap"], None);
    runtime.container(&bundle).create().fails();
    // Only user ids.
    let bundle = Bundle::new().userns();
    let dir = source(&bundle);
    let bundle = mount(bundle, &dir, &["bind", "idmap"], Some(map(100_000))).edit(|c| {
        let last = c["mounts"].as_array_mut().unwrap().last_mut().unwrap();
        last.as_object_mut().unwrap().remove("gidMappings");
    });
    runtime.container(&bundle).create().fails();
    // A kind that cannot be id-mapped.
    let bundle = Bundle::new().userns().edit(|c| {
        c["mounts"].as_array_mut().unwrap().push(json!({
            "destination": "/mnt", "type": "proc", "source": "proc", "options": ["idmap"],
            "uidMappings": map(100_000), "gidMappings": map(100_000),
        }));
    });
    runtime.container(&bundle).create().fails();
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn two_idmapped_mounts_of_one_source_differ() {
    require!(Need::Runc(1, 2), Need::Kernel(5, 12));
    let runtime = Runtime::new();
    let bundle = Bundle::new().args(["stat", "-c", "%u", "/mnt/zero", "/home/zero"]);
    let dir = source(&bundle);
    let bundle = mount(bundle, &dir, &["bind", "idmap"], Some(map(200_000))).edit(|c| {
        c["mounts"].as_array_mut().unwrap().push(json!({
            "destination": "/home", "type": "bind", "source": dir, "options": ["bind", "idmap"],
            "uidMappings": map(300_000), "gidMappings": map(300_000),
        }));
    });
    assert_eq!(runtime.run(&bundle).ok().lines(), ["200000", "300000"]);
}
