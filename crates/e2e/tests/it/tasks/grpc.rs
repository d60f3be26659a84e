//! A shim that speaks gRPC: ours behind a bridge.

use gantry_e2e::{client_is_2, on_reference, require_engine};
use gantry_testkit::skip_test;

use super::remains::{assert_all_gone, shims};
use super::runtimes::life;
use super::{Case, TRAP, case, loaded};

const SHIM: &str = env!("CARGO_BIN_EXE_gantry-grpc-shim");

/// Leaves a test on a reference that knows ttrpc alone.
macro_rules! require_grpc {
    () => {
        require_engine!("ctr");
        if on_reference() && !client_is_2() {
            skip_test!("containerd 1.6 speaks ttrpc to shims");
        }
    };
}

#[test]
fn a_shim_may_speak_grpc() {
    require_grpc!();
    let daemon = loaded("gt-task-grpc");
    let case = Case::of(&daemon, "t-grpc", SHIM);
    life(&case);
    case.detached(&["sh", "-c", TRAP]);
    daemon.kill();
    daemon.start();
    case.runs_execs("e");
    case.kill("SIGTERM");
    case.wait_for("STOPPED");
    case.remove(3);
    drop(case);
    assert_all_gone(&daemon);
}

#[test]
fn the_death_of_a_shim_that_speaks_grpc_is_noticed() {
    require_grpc!();
    let daemon = loaded("gt-task-grpcd");
    let case = Case::of(&daemon, "t-grpc-death", SHIM);
    case.detached(&["sleep", "1000"]);
    let (shim, process) = (case.shim(), case.pid());
    case::kill(shim);
    gantry_testkit::until_true("its container to go", || {
        !std::path::Path::new(&format!("/proc/{process}")).exists() && shims(&case.id).is_empty()
    });
    gantry_testkit::until_true("the task to go", || case.running().is_none());
    let _ = case.task(&["rm"]).run();
    case.remove_record();
    drop(case);
    assert_all_gone(&daemon);
}
