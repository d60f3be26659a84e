//! gVisor's runtime, which is not runc at all.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use gantry_e2e::require_engine;
use gantry_testkit::{Invocation, skip_test};

use super::{Case, shared};

#[test]
fn a_container_of_gvisor_runs() {
    require_engine!("runsc");
    if !Invocation::new("runsc").args(["--network=none", "do", "true"]).run().status.success() {
        skip_test!("runsc does not start here");
    }
    // Without its network, which takes that of a container for the host's on newer kernels.
    let dir = tempfile::tempdir().unwrap();
    let binary = dir.path().join("runsc");
    fs::write(&binary, "#!/bin/sh\nexec runsc --network=none \"$@\"\n").unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let case = Case::new(shared(), "t-gvisor");
    let options = ["--rm", "--runc-binary", binary.to_str().unwrap(), "--runc-root", "/run/gt-runsc"];
    let output = case.run(&options, &["sh", "-c", "dmesg; exit 7"]).run().exits(7);
    assert!(output.stdout.contains("gVisor"), "{output}");
}
