//! gVisor's runtime, which is not runc at all.

use gantry_e2e::require_engine;
use gantry_testkit::{Invocation, skip_test};

use super::{Case, shared};

#[test]
fn a_container_of_gvisor_runs() {
    require_engine!("runsc");
    let first = Invocation::new("runsc").args(["--network=none", "--rootless=false", "do", "true"]).run();
    if !first.status.success() {
        skip_test!("runsc does not start here");
    }
    let case = Case::new(shared(), "t-gvisor");
    let options = ["--rm", "--runc-binary", "runsc", "--runc-root", "/run/gt-runsc"];
    let output = case.run(&options, &["sh", "-c", "dmesg; exit 7"]).run().exits(7);
    assert!(output.stdout.contains("gVisor"), "{output}");
}
