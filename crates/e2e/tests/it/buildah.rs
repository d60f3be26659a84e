//! buildah with `--isolation oci`.

use gantry_e2e::{Podman, require_engine};
use gantry_testkit::runtime_binary;

fn oci() -> Vec<String> {
    let runtime = runtime_binary().display().to_string();
    ["--isolation", "oci", "--runtime", &runtime].map(str::to_owned).to_vec()
}

#[test]
fn run_prints_and_returns_the_exit_code() {
    require_engine!("buildah");
    let podman = Podman::shared();
    let name = podman.buildah(["from", "--pull-never", "busybox"]).run().ok().text().to_owned();
    let run = |script: &str| {
        let call = podman.buildah(["run"]).args(oci()).args(["--network", "none", &name, "--"]);
        call.args(["sh", "-c", script]).run()
    };
    assert_eq!(run("echo out; id -u; echo x >/made").ok().lines(), ["out", "0"]);
    assert_eq!(run("cat /made").ok().text(), "x");
    run("exit 7").exits(7);
    podman.buildah(["rm", &name]).run().ok();
}

#[test]
fn images_are_built() {
    require_engine!("buildah");
    let podman = Podman::shared();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("Dockerfile");
    std::fs::write(&file, "FROM busybox\nRUN id -u >/built && hostname\nCMD cat /built\n").unwrap();
    let build = podman.buildah(["build"]).args(oci()).args([
        "--pull-never",
        "--network",
        "none",
        "--tag",
        "built-here",
    ]);
    build.arg("--file").arg(&file).arg(dir.path()).run().ok();
    let output = podman.podman(["run", "--rm", "--network", "none", "built-here"]).run().ok();
    assert_eq!(output.text(), "0");
}
