//! Containers that are to be running, by their labels.

use gantry_e2e::{Gantryd, on_reference, require_engine};
use gantry_testkit::until_true;

use super::{Case, loaded_with, ours};

/// Looks after containers often enough for a test.
fn looking(name: &str) -> Gantryd {
    let more = if on_reference() {
        "[plugins.\"io.containerd.internal.v1.restart\"]\ninterval = \"1s\"\n"
    } else {
        "[tasks]\nrestart_interval = \"1s\"\n"
    };
    loaded_with(name, more)
}

fn labelled(case: &Case<'_>, labels: &[&str], args: &[&str]) {
    let labels: Vec<String> = labels.iter().map(|label| format!("containerd.io/restart.{label}")).collect();
    let mut options = vec!["--detach"];
    for label in &labels {
        options.extend(["--label", label]);
    }
    case.run(&options, args).run().ok();
}

/// The count of restarts in its record.
fn count(case: &Case<'_>) -> u32 {
    let info = case.tenant().ctr(["containers", "info", &case.id]).run().ok().json();
    info["Labels"]["containerd.io/restart.count"].as_str().map_or(0, |count| count.parse().unwrap())
}

/// Takes the labels away, and then the task and the record.
fn remove(case: &Case<'_>) {
    let labels = ["status=", "policy=", "count=", "explicitly-stopped="];
    let labels = labels.map(|label| format!("containerd.io/restart.{label}"));
    case.tenant().ctr(["containers", "label", &case.id]).args(labels).run().ok();
    until_true("it to be left alone", || {
        let _ = case.task(&["kill", "--signal", "SIGKILL"]).run();
        let _ = case.task(&["rm", "--force"]).run();
        case.status().is_empty()
    });
    case.remove_record();
}

#[test]
fn what_is_to_run_is_started_again() {
    require_engine!("ctr");
    let daemon = looking("gt-task-again1");
    let case = Case::new(&daemon, "r-running");
    labelled(&case, &["status=running"], &["sleep", "1000"]);
    for _ in 0..2 {
        let pid = case.pid();
        case.kill("SIGKILL");
        until_true("it to run again", || case.running().is_some_and(|new| new != pid));
    }
    // What is to be stopped is.
    case.tenant().ctr(["containers", "label", &case.id, "containerd.io/restart.status=stopped"]).run().ok();
    until_true("it to be stopped", || case.status() != "RUNNING");
    remove(&case);
}

#[test]
fn failures_are_counted() {
    require_engine!("ctr");
    // containerd 1.6 has no policies.
    ours!();
    let daemon = looking("gt-task-again2");
    let case = Case::new(&daemon, "r-failure");
    labelled(&case, &["status=running", "policy=on-failure:2"], &["sh", "-c", "exit 3"]);
    until_true("two restarts", || count(&case) == 2 && case.status() == "STOPPED");
    remove(&case);
    let well = Case::new(&daemon, "r-well");
    labelled(&well, &["status=running", "policy=on-failure:2"], &["true"]);
    let never = Case::new(&daemon, "r-never");
    labelled(&never, &["status=running", "policy=no"], &["false"]);
    let other = Case::new(&daemon, "r-always");
    labelled(&other, &["status=running", "policy=always"], &["true"]);
    until_true("restarts", || count(&other) >= 3);
    assert_eq!((well.status(), count(&well)), ("STOPPED".into(), 0));
    assert_eq!((never.status(), count(&never)), ("STOPPED".into(), 0));
    [well, never, other].iter().for_each(remove);
}

#[test]
fn what_was_stopped_on_purpose_stays_stopped() {
    require_engine!("ctr");
    ours!();
    let daemon = looking("gt-task-again3");
    let case = Case::new(&daemon, "r-stopped");
    labelled(&case, &["status=running", "policy=unless-stopped"], &["sleep", "1000"]);
    let label = |text: &str| {
        let label = format!("containerd.io/restart.{text}");
        case.tenant().ctr(["containers", "label", &case.id, &label]).run().ok();
    };
    let pid = case.pid();
    case.kill("SIGKILL");
    until_true("it to run again", || case.running().is_some_and(|new| new != pid));
    label("explicitly-stopped=true");
    case.kill("SIGKILL");
    case.wait_for("STOPPED");
    // Another that ends later is started again: whoever looks has looked at both.
    let other = Case::new(&daemon, "r-other");
    labelled(&other, &["status=running", "policy=unless-stopped"], &["sh", "-c", "sleep 2"]);
    until_true("the other's restart", || count(&other) >= 1);
    assert_eq!((case.status(), count(&case)), ("STOPPED".into(), 1));
    label("explicitly-stopped=false");
    until_true("it to run again", || case.status() == "RUNNING");
    [case, other].iter().for_each(remove);
}

#[test]
fn what_ended_while_the_daemon_was_away_is_started_again() {
    require_engine!("ctr");
    let daemon = looking("gt-task-again4");
    let case = Case::new(&daemon, "r-away");
    labelled(&case, &["status=running"], &["sleep", "1000"]);
    let pid = case.pid();
    daemon.kill();
    super::case::kill(pid);
    daemon.start();
    until_true("it to run again", || case.running().is_some_and(|new| new != pid));
    remove(&case);
}
