//! The runtime's own binary, which a container may see as `/proc/<pid>/exe`.

use std::fs;
use std::path::PathBuf;

use gantry_testkit::{Bundle, Runtime, copy_program, runtime_binary, until, until_true};
use serde_json::Value;

/// A copy of the runtime, so that an attack that works destroys no more than that.
fn copy_of_the_runtime() -> (Runtime, PathBuf, Vec<u8>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join(runtime_binary().file_name().unwrap());
    copy_program(&runtime_binary(), &copy);
    let contents = fs::read(&copy).unwrap();
    (Runtime::at(copy.clone()), copy, contents, dir)
}

/// A bundle as weak as it gets: all capabilities that the host gives, and no user namespace.
fn privileged() -> Bundle {
    let names = [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_DAC_READ_SEARCH",
        "CAP_FOWNER",
        "CAP_KILL",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SYS_ADMIN",
        "CAP_SYS_PTRACE",
    ];
    Bundle::docker().writable().capabilities(&names)
}

#[test]
fn cve_2019_5736_a_program_that_is_the_runtime_itself_cannot_be_written() {
    let (runtime, copy, before, _dir) = copy_of_the_runtime();
    // The image names /proc/self/exe as its program, by a link and by a script's first line.
    let bundle = privileged();
    std::os::unix::fs::symlink("/proc/self/exe", bundle.rootfs().join("bin/self")).unwrap();
    bundle.write("bin/script", "#!/proc/self/exe\n");
    let script = bundle.rootfs().join("bin/script");
    fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for program in ["/bin/self", "/bin/script", "/proc/self/exe"] {
        let mut bundle = privileged();
        bundle.change(|c| c["process"]["args"] = serde_json::json!([program, "--version"]));
        std::os::unix::fs::symlink("/proc/self/exe", bundle.rootfs().join("bin/self")).unwrap();
        bundle.write("bin/script", "#!/proc/self/exe\n");
        let script = bundle.rootfs().join("bin/script");
        fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let _ = runtime.run(&bundle);
        assert_eq!(fs::read(&copy).unwrap(), before, "{program}");
    }
}

#[test]
fn cve_2019_5736_the_runtime_seen_from_inside_during_exec_cannot_be_written() {
    let (runtime, copy, before, _dir) = copy_of_the_runtime();
    let bundle = privileged().probe(&[]).sh("exec /bin/gantry-probe open-exe /stop >/found");
    let container = runtime.running(&bundle);
    let found = bundle.rootfs().join("found");
    until_true("the attacker to begin", || fs::read_to_string(&found).unwrap_or_default().contains("ready"));
    for program in ["true", "/proc/self/exe", "/bin/true"] {
        for _ in 0..12 {
            let _ = container.exec(&[], [program, "--version"]);
        }
    }
    bundle.write("stop", "");
    // A whole line: the file may be read while it is written.
    let report = until("the attacker to end", || {
        let text = fs::read_to_string(&found).unwrap();
        let report = text.strip_suffix('\n').and_then(|text| text.split_once('\n'))?.1.to_owned();
        Some(serde_json::from_str::<Value>(&report).unwrap_or_else(|err| panic!("{report}: {err}")))
    });
    assert_eq!(report["writable"], serde_json::json!({}), "programs of the host that could be written");
    assert_eq!(fs::read(&copy).unwrap(), before);
}

#[test]
fn cve_2019_5736_a_created_container_shows_no_binary_that_can_be_written() {
    let (runtime, copy, before, _dir) = copy_of_the_runtime();
    let bundle = privileged();
    // The first process of a created container waits as the runtime's own code.
    let container = runtime.created(&bundle);
    let exe = format!("/proc/{}/exe", container.pid());
    if let Ok(file) = fs::OpenOptions::new().write(true).open(&exe) {
        use std::os::unix::fs::FileExt;
        // The first byte of every program: were it written, nothing would change.
        let written = file.write_at(b"\x7f", 0);
        assert!(written.is_err(), "{} can be written", fs::read_link(&exe).unwrap().display());
    }
    container.start().ok();
    assert_eq!(fs::read(&copy).unwrap(), before);
}

#[test]
fn the_binary_stays_usable_while_containers_run() {
    let (runtime, copy, _, _dir) = copy_of_the_runtime();
    let bundle = Bundle::new().sleeping();
    let container = runtime.running(&bundle);
    // A package manager replaces the file: neither the container nor later commands may mind.
    let new = copy.with_extension("new");
    copy_program(&runtime_binary(), &new);
    fs::rename(&new, &copy).unwrap();
    assert_eq!(container.status(), "running");
    container.exec(&[], ["true"]).ok();
}
