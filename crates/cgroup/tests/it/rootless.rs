//! Without privilege: a process of this binary with another user id.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use gantry_cgroup::{
    Cgroup, CgroupSpec, Depth, Driver, Error, Features, Hierarchy, Joined, LimitError, Phase, Request,
};
use gantry_types::ErrorKind;
use gantry_types::oci::Resources;
use rustix::fs::{Gid, Uid, chown};

use crate::harness::{Outcome, Scratch, Test, hierarchy, is_v2, resources, start, test};
use crate::skip;

const NOBODY: u32 = 65534;
const LIMIT: &str = r#"{"pids":{"limit":20}}"#;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("rootless::containers_may_do_without_a_cgroup", || outcome("without")),
        test("rootless::what_is_asked_for_is_not_dropped", || outcome("refused")),
        test("rootless::a_delegated_cgroup_is_used", a_delegated_cgroup_is_used),
        test("rootless::a_cgroup_is_given_away_but_not_its_limits", given_away),
    ]
}

/// A child process that has become somebody else.
pub(crate) fn child(what: &str) -> ExitCode {
    match what {
        "without" => without(),
        "refused" => refused(),
        "delegated" => delegated(),
        other => panic!("{other}"),
    }
    ExitCode::SUCCESS
}

fn command(what: &str) -> Option<Command> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env("GANTRY_TEST_CHILD", format!("rootless {what}"));
    (rustix::process::geteuid().is_root()).then(|| {
        command.uid(NOBODY).gid(NOBODY);
        command
    })
}

fn outcome(what: &str) -> Outcome {
    let Some(mut command) = command(what) else { skip!("needs root to become nobody") };
    let Ok(status) = command.status() else { skip!("nobody cannot run this binary") };
    assert!(status.success());
    Outcome::Passed
}

fn spec(path: &str) -> CgroupSpec {
    let request = Request { path, id: "gantry-test-rootless", driver: Driver::Fs, rootless: true };
    CgroupSpec::resolve(&hierarchy(), &request).unwrap()
}

fn without() {
    let mut cgroup = Cgroup::create(&spec(""), &Resources::default(), Features::default()).unwrap();
    assert!(cgroup.is_absent());
    assert!(cgroup.clone_target().is_none());
    for phase in [Phase::BeforeClone, Phase::DuringSetup, Phase::BeforeStart, Phase::Update] {
        cgroup.apply(&Resources::default(), phase).unwrap();
    }
    let pid = rustix::process::getpid();
    cgroup.attach(pid, Joined::Nothing).unwrap();
    assert_eq!(cgroup.freezer_state().unwrap(), None);
    assert_eq!(cgroup.pids(Depth::Tree).unwrap_err().kind(), ErrorKind::FailedPrecondition);
    let cgroup = cgroup.keep();
    let record = cgroup.record();
    let cgroup = Cgroup::from_record(&record, Features::default());
    cgroup.join_for_exec(pid, pid, &gantry_cgroup::SubCgroups::default()).unwrap();
    cgroup.delete().unwrap();
}

fn refused() {
    let error = Cgroup::create(&spec("/gantry-test-rootless"), &Resources::default(), Features::default());
    let error = error.map(drop).unwrap_err();
    assert!(matches!(error, Error::Cgroup { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    let limits = resources(LIMIT);
    match Cgroup::create(&spec(""), &limits, Features::default()) {
        Err(error) => {
            assert!(matches!(error, Error::RootlessLimits { .. }), "{error}");
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        }
        Ok(cgroup) => {
            let error = cgroup.apply(&limits, Phase::BeforeClone).unwrap_err();
            assert!(matches!(error, LimitError::NoController { .. }), "{error}");
        }
    }
}

fn delegated() {
    let limits = resources(LIMIT);
    let spec = spec("");
    assert!(spec.targets[0].path.ends_with("/delegated/gantry-test-rootless"), "{:?}", spec.targets);
    let features = Features { clone_into: true, cgroup_kill: true, in_user_namespace: false };
    let mut cgroup = Cgroup::create(&spec, &limits, features).unwrap();
    cgroup.apply(&limits, Phase::BeforeClone).unwrap();
    let mut child = start("sleep");
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    cgroup.attach(pid, Joined::Nothing).unwrap();
    cgroup.apply(&limits, Phase::BeforeStart).unwrap();
    assert_eq!(cgroup.pids(Depth::Own).unwrap().len(), 1);
    let limit = std::fs::read_to_string(cgroup.unified_path().unwrap().join("pids.max")).unwrap();
    assert_eq!(limit.trim(), "20");
    cgroup.kill_all(rustix::process::Signal::KILL).unwrap();
    child.wait().unwrap();
    cgroup.keep().delete().unwrap();
}

fn a_delegated_cgroup_is_used() -> Outcome {
    if !is_v2() {
        skip!("cgroup v1 cannot be delegated");
    }
    let Some(mut command) = command("delegated") else { skip!("needs root to become nobody") };
    let hierarchy: Hierarchy = hierarchy();
    let scratch = Scratch::on(&hierarchy, &Resources::default());
    let top = scratch.cgroup.unified_path().unwrap().join("delegated");
    let own = top.join("runtime");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(scratch.cgroup.unified_path().unwrap().join("cgroup.subtree_control"), "+pids").unwrap();
    std::fs::write(top.join("cgroup.subtree_control"), "+pids").unwrap();
    let somebody = (Some(Uid::from_raw(NOBODY)), Some(Gid::from_raw(NOBODY)));
    for file in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
        chown(top.join(file), somebody.0, somebody.1).unwrap();
        chown(own.join(file), somebody.0, somebody.1).unwrap();
    }
    command.stdin(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::fs::write(own.join("cgroup.procs"), child.id().to_string()).unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"go\n").unwrap();
    assert!(child.wait().unwrap().success());
    Outcome::Passed
}

fn given_away() -> Outcome {
    let Some(unified) = crate::harness::unified_hierarchy() else { skip!("no unified hierarchy") };
    let scratch = Scratch::on(&unified, &Resources::default());
    scratch.cgroup.delegate_to(Uid::from_raw(NOBODY)).unwrap();
    let owner = |file: &str| {
        let path = scratch.cgroup.unified_path().unwrap().join(file);
        std::fs::metadata(path).map(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata))
    };
    for file in ["", "cgroup.procs", "cgroup.subtree_control"] {
        assert_eq!(owner(file).unwrap(), NOBODY, "{file}");
    }
    for file in ["cgroup.freeze", "cgroup.kill", "memory.max", "pids.max"] {
        assert!(owner(file).is_err() || owner(file).unwrap() == 0, "{file}");
    }
    Outcome::Passed
}
