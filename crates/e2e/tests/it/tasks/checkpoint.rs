//! Checkpoints, with criu.

use std::fs;

use gantry_e2e::require_engine;
use gantry_testkit::{Invocation, Need, missing, skip_test, until_true};

use super::{Case, shared};

/// Counts into a file of its root.
const COUNT: &str = "n=0; while :; do n=$((n+1)); echo $n >/n; sleep 0.05; done";

#[test]
fn a_task_is_restored_from_its_checkpoint() {
    require_engine!("ctr");
    if let Some(reason) = missing(&[Need::Program("criu")]) {
        skip_test!(&reason);
    }
    // criu 3.17 does not find the vDSO's symbols on new kernels.
    if !Invocation::new("criu").arg("check").run().status.success() {
        skip_test!("criu does not work here");
    }
    let case = Case::new(shared(), "t-criu");
    let tenant = case.tenant();
    case.run(&["--detach", "--null-io"], &["sh", "-c", COUNT]).run().ok();
    let number =
        || fs::read_to_string(format!("/proc/{}/root/n", case.pid())).ok()?.trim().parse::<u64>().ok();
    until_true("it to count", || number().is_some_and(|n| n > 2));
    let reference = "example.test/checkpoint:1";
    tenant.ctr(["containers", "checkpoint", "--task", "--rw", "--image", &case.id, reference]).run().ok();
    let before = number().unwrap();
    case.remove(137);
    tenant.ctr(["containers", "restore", "--live", "--rw", &case.id, reference]).run().ok();
    assert_eq!(case.status(), "RUNNING");
    until_true("it to count on", || number().is_some_and(|n| n > before));
    case.remove(137);
    tenant.ctr(["images", "rm", "--sync", reference]).run().ok();
}
