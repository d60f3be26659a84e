//! What Linux 5.10 lacks: done otherwise, or refused in words. `cargo xtask test` runs all other tests so, too.

use gantry_testkit::{Bundle, Need, Output, Runtime, require};
use serde_json::{Value, json};

fn run(bundle: &Bundle) -> Output {
    Runtime::new().run_command(bundle, &[]).env("GANTRY_KERNEL_FEATURES", "5.10").run()
}

fn with_mount(bundle: Bundle, mount: Value) -> Bundle {
    bundle.edit(|c| c["mounts"].as_array_mut().unwrap().push(mount))
}

#[test]
fn id_mapped_mounts_are_refused_with_the_version_that_has_them() {
    require!(Need::Ours);
    let bundle = Bundle::new().userns();
    let dir = bundle.make_dir("shared");
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    let mount = json!({
        "destination": "/mnt", "type": "bind", "source": dir, "options": ["bind", "idmap"],
        "uidMappings": map, "gidMappings": map,
    });
    let output = run(&with_mount(bundle, mount)).fails();
    assert!(output.stderr.contains("need Linux 5.12"), "{output}");
}

#[test]
fn attributes_for_whole_trees_are_refused_with_the_version_that_has_them() {
    require!(Need::Ours);
    let bundle = Bundle::new();
    let dir = bundle.make_dir("shared");
    let output = run(&bundle.bind(&dir, "/mnt", &["rbind", "rro"])).fails();
    assert!(output.stderr.contains("rro") && output.stderr.contains("need Linux 5.12"), "{output}");
}

/// An overlay of 64 layers whose paths are together longer than the page that mount(2) takes, and each longer than half
/// of what fsconfig(2) takes.
#[test]
fn an_overlay_of_64_layers_is_mounted() {
    require!(Need::Ours);
    for version in ["5.10", "999.0"] {
        let bundle = Bundle::new().sh("ls /mnt | wc -l; cat /mnt/1 /mnt/64; echo new >/mnt/made");
        let lower: Vec<String> = (1..=64)
            .map(|number| {
                let dir = bundle.make_dir(&format!("{}-{number}", "a-long-name-".repeat(10)));
                std::fs::write(dir.join(number.to_string()), format!("{number}\n")).unwrap();
                dir.display().to_string()
            })
            .collect();
        let (upper, work) = (bundle.make_dir("upper"), bundle.make_dir("work"));
        let options = [
            format!("lowerdir={}", lower.join(":")),
            format!("upperdir={}", upper.display()),
            format!("workdir={}", work.display()),
        ];
        let mount =
            json!({ "destination": "/mnt", "type": "overlay", "source": "overlay", "options": options });
        let bundle = with_mount(bundle, mount);
        let command = Runtime::new().run_command(&bundle, &[]).env("GANTRY_KERNEL_FEATURES", version);
        assert_eq!(command.run().ok().lines(), ["64", "1", "64"], "{version}");
        assert_eq!(std::fs::read_to_string(upper.join("made")).unwrap(), "new\n", "{version}");
    }
}
