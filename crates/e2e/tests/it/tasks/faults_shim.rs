//! Shims that are killed at work, and shims that hang.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use gantry_e2e::{Gantryd, IMAGE, require_engine};
use gantry_proto_containerd::FieldMask;
use gantry_proto_containerd::containers::containers_client::ContainersClient;
use gantry_proto_containerd::containers::{GetContainerRequest, UpdateContainerRequest};
use gantry_testkit::{Running, until_true};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::case::kill;
use super::faults_daemon::{is_complete, told};
use super::remains::{assert_all_gone, shims_with};
use super::{Case, loaded, ours};

/// A program on the host that hangs until it is let go.
struct Hanging {
    dir: tempfile::TempDir,
}

impl Hanging {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn inside(&self) -> PathBuf {
        self.dir.path().join("inside")
    }

    fn script(&self) -> String {
        let (inside, end) = (self.inside(), self.dir.path().join("end"));
        format!("touch {}; until test -e {}; do sleep 0.02; done", inside.display(), end.display())
    }

    /// A runc that hangs when it is told to do `verb`; its path.
    fn in_runtime(&self, verb: &str) -> String {
        let path = self.dir.path().join("runc");
        let text =
            format!("#!/bin/sh\ncase \" $* \" in *' {verb} '*) {};; esac\nexec runc \"$@\"\n", self.script());
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    }

    #[track_caller]
    fn await_inside(&self) {
        until_true("it to hang", || self.inside().exists());
    }

    /// Lets it go; whoever comes later does not hang.
    fn let_go(&self) {
        fs::write(self.dir.path().join("end"), "").unwrap();
    }

    /// The processes that are in it.
    fn processes(&self) -> Vec<u32> {
        let word = self.dir.path().display().to_string();
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let is_in = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&word)
        };
        pids.filter(is_in).collect()
    }

    /// Waits until no process is in it.
    #[track_caller]
    fn await_gone(&self) {
        until_true("what hangs to be gone", || self.processes().is_empty());
    }

    /// Kills whoever is in it; the next one hangs again.
    #[track_caller]
    fn kill(&self) {
        fs::remove_file(self.inside()).unwrap();
        self.processes().into_iter().for_each(kill);
        self.await_gone();
    }
}

/// A container whose creation calls a program of the host.
fn hooked(case: &Case<'_>, script: &str) {
    case.tenant().ctr(["containers", "create", IMAGE, &case.id, "sleep", "1000"]).run().ok();
    let caller = case.caller();
    caller.run(async |channel| {
        let mut client = ContainersClient::new(channel);
        let get = GetContainerRequest { id: case.id.clone() };
        let mut container = client.get(caller.request(get)).await.unwrap().into_inner().container.unwrap();
        let spec = container.spec.as_mut().unwrap();
        let mut config: Value = serde_json::from_slice(&spec.value).unwrap();
        let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", script] });
        config["hooks"] = json!({ "createRuntime": [hook] });
        spec.value = serde_json::to_vec(&config).unwrap().into();
        let update_mask = Some(FieldMask { paths: vec!["spec".into()] });
        let update = UpdateContainerRequest { container: Some(container), update_mask };
        client.update(caller.request(update)).await.unwrap();
    });
}

/// A start that hangs in a hook, and the shim that does it.
fn hanging_start(case: &Case<'_>, hanging: &Hanging) -> (Running, u32) {
    hooked(case, &hanging.script());
    let client = case.task(&["start", "--detach"]).spawn();
    hanging.await_inside();
    let shims = shims_with(&[&case.id, "serve"]);
    // The workers have its command line; it is their parent.
    (client, *shims.first().expect("a shim"))
}

/// The container can be made and removed, and everything that began has ended.
#[track_caller]
fn starts_again(case: &Case<'_>, hanging: &Hanging) {
    until_true("there to be no task", || case.status().is_empty());
    hanging.await_gone();
    hanging.let_go();
    case.task(&["start", "--detach"]).run().ok();
    assert_eq!(case.exec("e", &[], &["echo", "in"]).run().ok().text(), "in");
    case.remove(137);
    until_true("the end to be told", || is_complete(&told(case.daemon, &case.id)));
}

#[test]
fn a_shim_that_is_killed_while_it_creates_leaves_nothing() {
    require_engine!("ctr");
    ours!();
    let daemon = loaded("gt-shim-create");
    let (case, hanging) = (Case::new(&daemon, "s-create"), Hanging::new());
    let (client, shim) = hanging_start(&case, &hanging);
    kill(shim);
    client.wait().fails();
    starts_again(&case, &hanging);
    assert_all_gone(&daemon);
}

#[test]
fn a_daemon_that_is_killed_while_a_shim_creates_leaves_nothing() {
    require_engine!("ctr");
    ours!();
    let daemon = loaded("gt-shim-daemon");
    let (case, hanging) = (Case::new(&daemon, "s-daemon"), Hanging::new());
    let (client, _) = hanging_start(&case, &hanging);
    daemon.kill();
    drop(client);
    daemon.start();
    starts_again(&case, &hanging);
    assert_all_gone(&daemon);
}

#[test]
fn daemon_and_shim_that_are_killed_while_it_creates_leave_nothing() {
    require_engine!("ctr");
    ours!();
    let daemon = loaded("gt-shim-both");
    let (case, hanging) = (Case::new(&daemon, "s-both"), Hanging::new());
    let (client, shim) = hanging_start(&case, &hanging);
    daemon.kill();
    kill(shim);
    drop(client);
    daemon.start();
    starts_again(&case, &hanging);
    assert_all_gone(&daemon);
}

#[test]
fn a_client_that_goes_while_a_shim_creates_leaves_nothing() {
    require_engine!("ctr");
    ours!();
    let daemon = loaded("gt-shim-client");
    let (case, hanging) = (Case::new(&daemon, "s-client"), Hanging::new());
    let (client, _) = hanging_start(&case, &hanging);
    drop(client);
    starts_again(&case, &hanging);
    assert_all_gone(&daemon);
}

#[test]
fn a_shim_that_is_killed_while_it_starts_an_exec_is_replaced() {
    require_engine!("runc");
    ours!();
    let daemon = loaded("gt-shim-exec");
    let (case, hanging) = (Case::new(&daemon, "s-exec"), Hanging::new());
    let runtime = hanging.in_runtime("exec");
    case.run(&["--detach", "--runc-binary", &runtime], &["sleep", "1000"]).run().ok();
    let (pid, shim) = (case.pid(), case.shim());
    let client = case.exec("hangs", &[], &["true"]).spawn();
    hanging.await_inside();
    kill(shim);
    client.wait().fails();
    hanging.let_go();
    hanging.await_gone();
    assert_eq!((case.status(), case.pid()), ("RUNNING".into(), pid));
    assert_eq!(case.exec("e", &[], &["echo", "in"]).run().ok().text(), "in");
    case.kill("SIGKILL");
    case.wait_for("STOPPED");
    // Linux before 6.15 tells nobody else how it ended.
    case.task(&["rm"]).run().says_any(&["exit code 137", "exit code 255"]);
    case.remove_record();
    assert_all_gone(&daemon);
}

#[test]
fn a_shim_that_is_killed_while_it_deletes_is_replaced() {
    require_engine!("runc");
    ours!();
    let daemon = loaded("gt-shim-delete");
    let (case, hanging) = (Case::new(&daemon, "s-delete"), Hanging::new());
    let runtime = hanging.in_runtime("delete");
    case.run(&["--detach", "--runc-binary", &runtime], &["sleep", "1000"]).run().ok();
    let shim = case.shim();
    case.kill("SIGKILL");
    case.wait_for("STOPPED");
    let client = case.task(&["rm"]).spawn();
    hanging.await_inside();
    kill(shim);
    hanging.let_go();
    client.wait().says("exit code 137");
    case.remove_record();
    until_true("the end to be told", || is_complete(&told(&daemon, &case.id)));
    assert_all_gone(&daemon);
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

/// What is asked of others while one hangs.
#[track_caller]
fn others_are_served(daemon: &Gantryd, stuck: &Case<'_>, lives: &Case<'_>, name: &str) {
    let begin = Instant::now();
    assert_eq!(lives.exec(name, &[], &["echo", "in"]).run().ok().text(), "in");
    lives.kill("SIGURG");
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    let begin = Instant::now();
    let listed = daemon.namespace(super::NAMESPACE).ctr(["task", "ls"]).run().ok();
    assert!(begin.elapsed() < Duration::from_millis(2500), "{:?}", begin.elapsed());
    let status = |id: &str| {
        let lines = listed.lines().into_iter();
        let mut rows = lines.map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        rows.find(|row| row[0] == id).and_then(|mut row| row.pop())
    };
    assert_eq!(status(&stuck.id).as_deref(), Some("UNKNOWN"), "{listed}");
    assert_eq!(status(&lives.id).as_deref(), Some("RUNNING"), "{listed}");
}

#[test]
fn a_shim_that_hangs_holds_up_its_own_container_only() {
    require_engine!("ctr");
    ours!();
    let daemon = loaded("gt-shim-stop");
    let [stuck, lives] = ["s-stuck", "s-lives"].map(|id| Case::new(&daemon, id));
    [&stuck, &lives].into_iter().for_each(|case| case.detached(&["sleep", "1000"]));
    let (pid, shim) = (stuck.pid(), stuck.shim());
    signal(shim, Signal::STOP);
    others_are_served(&daemon, &stuck, &lives, "e1");
    // Those who wait for it wait; the daemon that comes again does not.
    let waits = stuck.exec("waits", &[], &["echo", "late"]).spawn();
    daemon.kill();
    drop(waits);
    let begin = Instant::now();
    daemon.start();
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    others_are_served(&daemon, &stuck, &lives, "e2");
    signal(shim, Signal::KILL);
    until_true("another shim", || stuck.status() == "RUNNING");
    assert_eq!(stuck.pid(), pid);
    assert_eq!(stuck.exec("e", &[], &["echo", "in"]).run().ok().text(), "in");
    stuck.kill("SIGKILL");
    stuck.wait_for("STOPPED");
    stuck.task(&["rm"]).run().says_any(&["exit code 137", "exit code 255"]);
    stuck.remove_record();
    lives.remove(137);
    assert_all_gone(&daemon);
}

/// Kills the shim of a container as often as it is started again.
fn have_given_up(case: &Case<'_>, hanging: &Hanging) {
    let mut killed = Vec::new();
    while !hanging.inside().exists() {
        let shims = shims_with(&[&case.id, "serve"]);
        if let Some(shim) = shims.first().filter(|shim| !killed.contains(*shim)) {
            kill(*shim);
            killed.push(*shim);
        }
        assert!(killed.len() < 10, "it is never given up");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_delete_that_is_killed_while_a_shim_is_given_up_is_done_again() {
    require_engine!("runc");
    ours!();
    let daemon = loaded("gt-shim-given");
    let (case, hanging) = (Case::new(&daemon, "s-given"), Hanging::new());
    let runtime = hanging.in_runtime("delete");
    case.run(&["--detach", "--runc-binary", &runtime], &["sleep", "1000"]).run().ok();
    let pid = case.pid();
    have_given_up(&case, &hanging);
    shims_with(&[&case.id, "delete"]).into_iter().for_each(kill);
    hanging.kill();
    // It runs, and is not told as ended.
    hanging.await_inside();
    assert!(PathBuf::from(format!("/proc/{pid}")).exists(), "{}", daemon.log());
    assert_eq!(told(&daemon, &case.id), ["create"], "{}", daemon.log());
    assert_eq!(case.status(), "UNKNOWN", "{}", daemon.log());
    hanging.let_go();
    until_true("there to be no task", || case.status().is_empty());
    assert!(!PathBuf::from(format!("/proc/{pid}")).exists(), "{}", daemon.log());
    assert_eq!(told(&daemon, &case.id), ["create", "exit", "delete"], "{}", daemon.log());
    case.remove_record();
    assert_all_gone(&daemon);
}
