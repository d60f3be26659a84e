//! conmon as CRI-O calls it: it creates, the engine starts, and the exit status is in a file.

use std::fs;

use gantry_e2e::require_engine;
use gantry_testkit::{Bundle, Invocation, runtime_binary, until_true};

#[test]
fn a_container_is_created_logged_and_its_exit_status_kept() {
    require_engine!("conmon");
    let bundle = Bundle::docker().sh("echo out; echo err >&2; exit 5");
    let dir = bundle.path();
    let path = |name: &str| dir.join(name).display().to_string();
    fs::create_dir(path("exits")).unwrap();
    let root = format!("--root={}", path("state"));
    let runtime = |args: &[&str]| Invocation::new(runtime_binary()).arg(&root).args(args).run();
    let conmon = Invocation::new("conmon")
        .cwd(dir)
        .args(["--syslog", "--cid", "one", "--name", "k8s_one", "--cuuid", "one"]);
    let conmon = conmon.arg("--runtime").arg(runtime_binary()).args(["--bundle", &dir.display().to_string()]);
    let conmon =
        conmon.args(["--persist-dir", &dir.display().to_string(), "--container-pidfile", &path("pid")]);
    let conmon = conmon.args(["--log-path", &path("log"), "--exit-dir", &path("exits")]);
    let conmon = conmon.args(["--socket-dir-path", &dir.display().to_string(), "--log-level", "error"]);
    conmon.args([format!("--runtime-arg={root}")]).run().ok();
    until_true("the container", || fs::read_to_string(path("pid")).is_ok_and(|pid| !pid.is_empty()));
    assert!(runtime(&["state", "one"]).ok().stdout.contains("\"created\""));
    runtime(&["start", "one"]).ok();
    until_true("the exit status", || fs::read_to_string(path("exits/one")).is_ok_and(|status| status == "5"));
    let log = fs::read_to_string(path("log")).unwrap();
    assert!(log.contains("stdout F out\n") && log.contains("stderr F err\n"), "{log}");
    runtime(&["delete", "one"]).ok();
}
