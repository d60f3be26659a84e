//! Masked and read-only paths.

use std::fs;

use gantry_testkit::{Bundle, Runtime};
use serde_json::{Value, json};

fn with_paths(name: &'static str, paths: Value, script: &str) -> Bundle {
    let bundle = Bundle::new().writable().sh(script).edit(|c| c["linux"][name] = paths);
    fs::create_dir_all(bundle.rootfs().join("data/dir/sub")).unwrap();
    bundle.write("data/dir/file", "secret\n");
    bundle.write("data/single", "secret\n");
    bundle
}

#[test]
fn masked_files_are_empty_and_masked_directories_too() {
    let runtime = Runtime::new();
    let script = "cat /data/single; ls /data/dir | wc -l; touch /data/dir/new 2>&1 | grep -c Read-only";
    let bundle = with_paths("maskedPaths", json!(["/data/single", "/data/dir"]), script);
    assert_eq!(runtime.run(&bundle).ok().lines(), ["0", "1"]);
}

#[test]
fn read_only_paths_cannot_be_written() {
    let runtime = Runtime::new();
    let script = "cat /data/single; echo x 2>&1 >/data/single; touch /data/dir/new; mkdir /data/dir/sub/x; touch /data/ok";
    let bundle = with_paths("readonlyPaths", json!(["/data/single", "/data/dir"]), script);
    let output = runtime.run(&bundle).ok();
    assert_eq!(output.stdout.lines().next(), Some("secret"));
    let text = format!("{}{}", output.stdout, output.stderr);
    assert_eq!(text.matches("Read-only file system").count(), 3, "{output}");
    assert!(bundle.rootfs().join("data/ok").exists());
}

#[test]
fn paths_that_do_not_exist_are_skipped() {
    let runtime = Runtime::new();
    let bundle = with_paths("maskedPaths", json!(["/no/such", "/no/such/below"]), "echo fine");
    assert_eq!(runtime.run(&bundle).ok().text(), "fine");
    let bundle = with_paths("readonlyPaths", json!(["/no/such"]), "echo fine");
    assert_eq!(runtime.run(&bundle).ok().text(), "fine");
}

#[test]
fn the_default_masks_hide_proc_and_sys() {
    let runtime = Runtime::new();
    let script = "cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | wc -c; ls /sys/firmware | wc -l; \
        echo 1 2>&1 >/proc/sys/kernel/shmmax; chmod 600 /proc/fs 2>&1; true";
    let output = runtime.run(&Bundle::docker().sh(script)).ok();
    assert_eq!(output.lines()[..2], ["0", "0"], "{output}");
    let text = format!("{}{}", output.stdout, output.stderr);
    assert_eq!(text.matches("Read-only file system").count(), 2, "{output}");
}

#[test]
fn masks_hold_in_exec() {
    let runtime = Runtime::new();
    let bundle = with_paths("maskedPaths", json!(["/data/single"]), "sleep 1000");
    let container = runtime.running(&bundle);
    assert_eq!(container.sh("cat /data/single"), "");
}

#[test]
fn masks_cannot_be_removed_without_the_capability() {
    let runtime = Runtime::new();
    let bundle =
        with_paths("maskedPaths", json!(["/data/single"]), "umount /data/single || cat /data/single");
    let output = runtime.run(&bundle);
    assert!(!output.stdout.contains("secret"), "{output}");
}

#[test]
fn many_masked_directories_are_possible() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().writable().sh("ls /many | wc -l; ls /many/d7 | wc -l");
    let mut paths = Vec::new();
    for n in 0..100 {
        bundle.write(&format!("many/d{n}/file"), "x");
        paths.push(format!("/many/d{n}"));
    }
    let bundle = bundle.edit(|c| c["linux"]["maskedPaths"] = json!(paths));
    assert_eq!(runtime.run(&bundle).ok().lines(), ["100", "0"]);
}

#[test]
fn relative_paths_are_refused() {
    let runtime = Runtime::new();
    for name in ["maskedPaths", "readonlyPaths"] {
        let bundle = with_paths(name, json!(["data/single"]), "cat /data/single");
        let output = runtime.run(&bundle);
        // runc masks what the path means from the root, or refuses it: never is it left open in silence.
        if name == "maskedPaths" {
            assert!(!output.stdout.contains("secret"), "{output}");
        }
    }
}

#[test]
fn a_masked_path_inside_a_mount_is_masked() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().args(["cat", "/mnt/secret"]);
    let dir = bundle.make_dir("shared");
    fs::write(dir.join("secret"), "secret").unwrap();
    let bundle =
        bundle.bind(&dir, "/mnt", &["rbind"]).edit(|c| c["linux"]["maskedPaths"] = json!(["/mnt/secret"]));
    assert_eq!(runtime.run(&bundle).ok().text(), "");
    assert_eq!(fs::read_to_string(dir.join("secret")).unwrap(), "secret");
}
