//! pause and resume.

use std::fs;

use gantry_testkit::{Bundle, Runtime, until_true};

/// Counts up in a file, as long as it runs.
const COUNT: &str = "i=0; while :; do i=$((i+1)); echo $i >/count; sleep 0.01; done";

#[test]
fn a_paused_container_makes_no_progress() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().writable().sh(COUNT);
    let container = runtime.running(&bundle);
    let count = || fs::read_to_string(bundle.rootfs().join("count")).unwrap_or_default();
    until_true("the container to count", || !count().is_empty());
    container.command("pause", &[]).run().ok();
    assert_eq!(container.status(), "paused");
    let before = count();
    // Long enough for a dozen rounds, were it running: other commands take that time.
    for _ in 0..5 {
        assert_eq!(container.status(), "paused");
    }
    assert_eq!(count(), before);
    container.command("resume", &[]).run().ok();
    assert_eq!(container.status(), "running");
    until_true("the container to go on", || count() != before && !count().is_empty());
}

#[test]
fn list_shows_a_paused_container() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    container.command("pause", &[]).run().ok();
    assert_eq!(runtime.list()[0]["status"], "paused");
    assert!(runtime.command(["list"]).run().ok().stdout.contains("paused"));
}

#[test]
fn a_paused_container_can_be_killed_and_deleted() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    container.command("pause", &[]).run().ok();
    container.delete_force().ok();
    assert!(runtime.leftovers().is_empty());
}

#[test]
fn kill_of_a_paused_container_takes_effect() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    container.command("pause", &[]).run().ok();
    container.kill("KILL").ok();
    container.command("resume", &[]).run();
    container.wait_for("stopped");
}

#[test]
fn resume_of_a_running_container_is_refused() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    container.command("resume", &[]).run().fails().says_any(&["container not paused", "not paused"]);
}

#[test]
fn pause_of_a_stopped_container_is_refused() {
    let runtime = Runtime::new();
    let bundle = Bundle::new();
    let container = runtime.running(&bundle);
    container.wait_for("stopped");
    container.command("pause", &[]).run().fails().says_any(&["container not running", "not running"]);
    container.command("resume", &[]).run().fails();
}

#[test]
fn pause_of_a_created_container_works() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.created(&bundle);
    container.command("pause", &[]).run().ok();
    assert_eq!(container.status(), "paused");
    container.command("resume", &[]).run().ok();
    assert_eq!(container.status(), "created");
}
