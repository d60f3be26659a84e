use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The static busybox of the host, from Debian's package `busybox-static`.
///
/// # Panics
/// When there is none.
pub fn busybox() -> PathBuf {
    ["/usr/bin/busybox", "/bin/busybox"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .expect("busybox, of Debian's package busybox-static: scripts/setup.sh installs it")
}

fn applets() -> &'static [String] {
    static APPLETS: OnceLock<Vec<String>> = OnceLock::new();
    APPLETS.get_or_init(|| {
        let output = Command::new(busybox()).arg("--list").output().expect("busybox runs");
        let names = String::from_utf8_lossy(&output.stdout).into_owned();
        names.lines().filter(|name| *name != "busybox").map(str::to_owned).collect()
    })
}

/// Copies a file that will be executed.
///
/// By another process: while this one has it open for writing, a thread that starts a program passes the descriptor on for
/// a moment, and until that ends executing the file gives ETXTBSY.
///
/// # Panics
/// When it cannot be copied.
pub fn copy_program(from: &Path, to: &Path) {
    let status = Command::new("cp").arg(from).arg(to).status().expect("cp runs");
    assert!(status.success(), "cp {} {}: {status}", from.display(), to.display());
}

/// Makes a small root file system at `root`: busybox with its applets in `/bin`, and the usual directories and files.
pub(crate) fn build(root: &Path) {
    let make = |dir: &str| fs::create_dir_all(root.join(dir)).expect("a directory of the root file system");
    for dir in [
        "bin", "dev", "etc", "home", "mnt", "proc", "root", "run", "sbin", "sys", "tmp", "usr/bin", "var/tmp",
    ] {
        make(dir);
    }
    for dir in ["tmp", "var/tmp"] {
        fs::set_permissions(root.join(dir), fs::Permissions::from_mode(0o1777)).expect("chmod");
    }
    copy_program(&busybox(), &root.join("bin/busybox"));
    for applet in applets() {
        symlink("busybox", root.join("bin").join(applet)).expect("a link to busybox");
    }
    fs::write(root.join("etc/passwd"), PASSWD).expect("/etc/passwd");
    fs::write(root.join("etc/group"), GROUP).expect("/etc/group");
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:User:/home:/bin/sh\n";
const GROUP: &str = "root:x:0:\nwheel:x:10:root\nuser:x:1000:\n";
