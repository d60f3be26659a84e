//! list and ps: tables and JSON.

use gantry_testkit::{Bundle, Need, Peer, Runtime, require, until};

#[test]
fn list_of_nothing_is_null_or_an_empty_array() {
    let runtime = Runtime::new();
    assert!(runtime.list().is_empty());
    let output = runtime.command(["list", "--quiet"]).run().ok();
    assert_eq!(output.text(), "");
}

#[test]
fn list_as_table_has_the_columns_of_runc() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let output = runtime.command(["list"]).run().ok();
    let lines = output.lines();
    let head: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(head, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    let row: Vec<&str> = lines[1].split_whitespace().collect();
    let pid = container.pid().to_string();
    assert_eq!(row[..4], [container.id(), &pid, "running", bundle.path().to_str().unwrap()]);
    assert_eq!(row[5], "root");
}

#[test]
fn ids_that_begin_with_a_dot_are_listed_and_the_runtimes_own_is_refused() {
    require!(Need::Ours);
    let runtime = Runtime::new();
    let bundle = Bundle::docker().sleeping();
    runtime.run_named(&bundle, ".hidden", &["--detach"]).run().ok();
    assert_eq!(runtime.command(["list", "--quiet"]).run().ok().text(), ".hidden");
    runtime.command(["delete", "--force", ".hidden"]).run().ok();
    runtime.run_named(&bundle, ".cache", &["--detach"]).run().fails();
    assert!(runtime.list().is_empty());
}

#[test]
fn list_quiet_prints_ids_alone() {
    let runtime = Runtime::new();
    let (one, two) = (Bundle::new().sleeping(), Bundle::new().sleeping());
    let (one, two) = (runtime.running(&one).id().to_owned(), runtime.created(&two).id().to_owned());
    // Both were deleted when their guards went; the list is empty again.
    assert_ne!(one, two);
    let bundles = [Bundle::new().sleeping(), Bundle::new().sleeping()];
    let containers = [runtime.running(&bundles[0]), runtime.created(&bundles[1])];
    let output = runtime.command(["list", "-q"]).run().ok();
    let mut ids = output.lines();
    ids.sort_unstable();
    let mut expected: Vec<&str> = containers.iter().map(|container| container.id()).collect();
    expected.sort_unstable();
    assert_eq!(ids, expected);
}

#[test]
fn list_as_json_has_the_state_of_each_container() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let list = runtime.list();
    assert_eq!(list.len(), 1);
    let (entry, state) = (&list[0], container.state());
    for field in ["id", "pid", "status", "bundle", "created"] {
        assert_eq!(entry[field], state[field], "{field}");
    }
    assert!(matches!(entry["owner"].as_str(), Some("root" | "")), "{entry}");
}

#[test]
fn list_of_an_unknown_format_is_refused() {
    let runtime = Runtime::new();
    runtime.command(["list", "--format", "yaml"]).run().fails();
}

#[test]
fn list_skips_what_is_no_container() {
    let runtime = Runtime::new();
    std::fs::create_dir_all(runtime.state_dir()).unwrap();
    std::fs::write(runtime.state_dir().join("file"), "").unwrap();
    let bundle = Bundle::new().sleeping();
    let _container = runtime.running(&bundle);
    assert_eq!(runtime.list().len(), 1);
}

#[test]
fn list_shows_every_status() {
    let runtime = Runtime::new();
    let bundles = [Bundle::new().sleeping(), Bundle::new().sleeping(), Bundle::new()];
    let created = runtime.created(&bundles[0]);
    let running = runtime.running(&bundles[1]);
    let stopped = runtime.running(&bundles[2]);
    stopped.wait_for("stopped");
    let list = runtime.list();
    let status = |id: &str| list.iter().find(|entry| entry["id"] == id).unwrap()["status"].clone();
    assert_eq!(status(created.id()), "created");
    assert_eq!(status(running.id()), "running");
    assert_eq!(status(stopped.id()), "stopped");
}

#[test]
fn ps_as_json_has_the_pids_of_the_host() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sh("sleep 1000 & exec sleep 1000");
    let container = runtime.running(&bundle);
    until("two processes", || (container.processes().len() == 2).then_some(()));
    assert!(container.processes().contains(&i64::from(container.pid())));
}

#[test]
fn ps_as_table_shows_the_processes_of_the_container_alone() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    until("exec", || container.command("ps", &[]).run().ok().stdout.contains("sleep 1000").then_some(()));
    let output = container.command("ps", &[]).run().ok();
    let lines = output.lines();
    assert_eq!(lines.len(), 2, "{output}");
    assert!(lines[0].starts_with("UID") && lines[0].contains("PID"), "{output}");
    assert!(lines[1].contains(&container.pid().to_string()), "{output}");
}

#[test]
fn ps_passes_options_to_ps() {
    require!(Need::Not(Peer::Crun, "takes no options of ps"));
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    let output = container.command("ps", &[]).args(["-e", "-o", "pid,comm"]).run().ok();
    let lines = output.lines();
    assert!(lines[0].split_whitespace().eq(["PID", "COMMAND"]), "{output}");
    assert_eq!(lines.len(), 2, "{output}");
}

#[test]
fn ps_of_an_unknown_format_is_refused() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    container.command("ps", &["--format", "yaml"]).run().fails();
}

#[test]
fn ps_of_a_created_container_shows_its_first_process() {
    let runtime = Runtime::new();
    let bundle = Bundle::new().sleeping();
    let container = runtime.created(&bundle);
    assert_eq!(container.processes(), [i64::from(container.pid())]);
}
