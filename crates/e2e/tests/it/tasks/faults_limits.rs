//! The daemon runs out of what a machine has: what is refused says why, nothing is left of it, and it works again afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gantry_e2e::{Gantryd, image_archive, require_engine};
use gantry_proto_containerd::tasks::CreateTaskRequest;
use gantry_proto_containerd::tasks::tasks_client::TasksClient;
use gantry_testkit::{Cgroups, Invocation, until_true};
use tonic::{Code, Status};

use super::remains::assert_all_gone;
use super::{Case, NAMESPACE, ours};

/// A daemon with the image, of whose directories `before` may make something first.
fn loaded_after(name: &str, before: impl FnOnce(&Gantryd)) -> Gantryd {
    let daemon = Gantryd::stopped(name, "");
    before(&daemon);
    daemon.start();
    daemon.namespace(NAMESPACE).ctr(["images", "import"]).arg(image_archive()).run().ok();
    daemon
}

/// A mount that goes with this.
struct Mounted(PathBuf);

impl Mounted {
    fn new(options: &[&str], target: &Path) -> Self {
        fs::create_dir_all(target).unwrap();
        Invocation::new("mount").args(options).arg(target).run().ok();
        Self(target.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Invocation::new("umount").args(["-l"]).arg(&self.0).run();
    }
}

/// Makes the record of a container, of which no task was made yet.
fn recorded<'a>(daemon: &'a Gantryd, id: &str) -> Case<'a> {
    let case = Case::new(daemon, id);
    let create = case.tenant().ctr(["containers", "create", gantry_e2e::IMAGE, &case.id]);
    create.args(["sleep", "1000"]).run().ok();
    case
}

/// How the daemon refuses to make a task, without a root.
fn refusal(case: &Case<'_>) -> Status {
    let caller = case.caller();
    let request = CreateTaskRequest { container_id: case.id.clone(), ..CreateTaskRequest::default() };
    caller.run(async |channel| TasksClient::new(channel).create(caller.request(request)).await).unwrap_err()
}

/// It works as if nothing had been.
#[track_caller]
fn works(case: &Case<'_>) {
    case.task(&["start", "--detach"]).run().ok();
    assert_eq!(case.exec("e", &[], &["echo", "in"]).run().ok().text(), "in");
    case.remove(137);
}

#[test]
fn a_full_state_directory_is_resource_exhausted() {
    require_engine!("ctr");
    ours!();
    let mut mounted = None;
    let daemon = loaded_after("gt-full", |daemon| {
        mounted = Some(Mounted::new(&["-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs"], daemon.state()));
    });
    let runs = recorded(&daemon, "l-runs");
    runs.task(&["start", "--detach"]).run().ok();
    let case = recorded(&daemon, "l-full");
    let filler = daemon.state().join("filler");
    let written = fs::write(&filler, vec![1; 2 << 20]);
    assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    let status = refusal(&case);
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(status.message().contains("No space left"), "{status:?}");
    case.task(&["start", "--detach"]).run().fails().says("o space left");
    assert_eq!(case.status(), "");
    // What runs can be ended, whatever its shim can write down.
    assert_eq!(runs.status(), "RUNNING");
    runs.kill("SIGKILL");
    runs.wait_for("STOPPED");
    fs::remove_file(&filler).unwrap();
    runs.remove(137);
    works(&case);
    // Not as what is left.
    drop(mounted);
}

#[test]
fn a_read_only_work_directory_is_a_failed_precondition() {
    require_engine!("ctr");
    ours!();
    let daemon = loaded_after("gt-readonly", |_| {});
    let case = recorded(&daemon, "l-readonly");
    let work = daemon.root().join("task");
    let mounted = Mounted::new(&["--bind", "-o", "ro", work.to_str().unwrap()], &work);
    let status = refusal(&case);
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    assert!(status.message().contains("Read-only file system"), "{status:?}");
    case.task(&["start", "--detach"]).run().fails().says("ead-only file system");
    drop(mounted);
    works(&case);
    assert_all_gone(&daemon);
}

/// The limit at which a daemon has so many descriptors free.
fn limit_with(daemon: &Gantryd, free: usize) -> usize {
    let open = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().flatten();
    let open: Vec<usize> = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let unused = |limit: &usize| limit - open.iter().filter(|fd| *fd < limit).count();
    (0..).find(|limit| unused(limit) == free + 1).unwrap() - 1
}

fn limit_descriptors(daemon: &Gantryd, limit: &str) {
    let pid = daemon.pid().to_string();
    Invocation::new("prlimit").args(["--pid", &pid, &format!("--nofile={limit}:")]).run().ok();
}

#[test]
fn a_daemon_without_descriptors_is_resource_exhausted() {
    require_engine!("prlimit");
    ours!();
    let daemon = loaded_after("gt-nofile", |_| {});
    let runs = recorded(&daemon, "l-nruns");
    runs.task(&["start", "--detach"]).run().ok();
    let case = recorded(&daemon, "l-nofile");
    let mut refused = 0;
    // From a request that cannot be accepted to one that is served.
    for free in 0..24 {
        limit_descriptors(&daemon, &limit_with(&daemon, free).to_string());
        let mut client = case.task(&["start", "--detach"]).spawn();
        let end = Instant::now() + Duration::from_millis(1500);
        while !client.has_ended() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        // Else nobody has accepted the connection.
        if client.has_ended() {
            let output = client.wait();
            if output.status.success() {
                break;
            }
            assert!(output.stderr.contains("oo many open files"), "{output}");
            refused += 1;
        }
        limit_descriptors(&daemon, "1024");
        until_true("it to be undone", || case.status().is_empty());
    }
    limit_descriptors(&daemon, "1024");
    assert!(refused > 0);
    assert_eq!(runs.exec("e", &[], &["echo", "in"]).run().ok().text(), "in");
    runs.remove(137);
    if case.status().is_empty() {
        case.task(&["start", "--detach"]).run().ok();
    }
    case.remove(137);
    assert_all_gone(&daemon);
}

#[test]
fn a_daemon_without_processes_is_resource_exhausted() {
    require_engine!("ctr");
    ours!();
    let daemon = loaded_after("gt-nopids", |_| {});
    let case = recorded(&daemon, "l-nopids");
    let file = |name: &str| Cgroups::detect().file("pids", "gt-nopids", name);
    let Some(group) = file("pids.max").parent().map(Path::to_owned) else { return };
    fs::create_dir_all(&group).unwrap();
    fs::write(group.join("cgroup.procs"), daemon.pid().to_string()).unwrap();
    let current = || fs::read_to_string(group.join("pids.current")).unwrap().trim().parse::<u64>().unwrap();
    for more in 0..3 {
        fs::write(group.join("pids.max"), (current() + more).to_string()).unwrap();
        let status = refusal(&case);
        assert_eq!(status.code(), Code::ResourceExhausted, "{more}: {status:?}");
        assert_eq!(case.status(), "");
    }
    fs::write(group.join("pids.max"), "max").unwrap();
    works(&case);
    assert_all_gone(&daemon);
}
