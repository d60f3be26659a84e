//! The daemon, its image, and contexts.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::OnceLock;

use gantry_e2e::{Docker, Gantryd};
use gantry_testkit::{Invocation, Output};

/// What the image's busybox is called by.
const APPLETS: [&str; 24] = [
    "sh", "ls", "cat", "echo", "id", "touch", "mkdir", "stat", "env", "pwd", "cp", "rm", "true", "false",
    "sleep", "find", "ln", "tar", "chmod", "chown", "sort", "seq", "head", "mv",
];

/// The daemon of this test process, with the image `base:1`.
pub(crate) fn shared() -> &'static Docker {
    &daemon().1
}

/// The same with the daemon itself; None on the reference.
pub(crate) fn daemon() -> &'static (Option<Gantryd>, Docker) {
    static SHARED: OnceLock<(Option<Gantryd>, Docker)> = OnceLock::new();
    SHARED.get_or_init(|| own("gt-bld"))
}

/// A daemon of a test's own.
pub(crate) fn own(name: &str) -> (Option<Gantryd>, Docker) {
    let (daemon, docker) = Docker::engine(name);
    docker.docker(["import", "--change", "ENV PATH=/bin", "-", "base:1"]).stdin(root()).run().ok();
    (daemon, docker)
}

/// The files of a small system.
fn root() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind, mode, bytes: &[u8], link: Option<&str>| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(1_600_000_000);
        header.set_size(bytes.len() as u64);
        match link {
            Some(link) => archive.append_link(&mut header, path, link).expect("memory is there"),
            None => archive.append_data(&mut header, path, bytes).expect("memory is there"),
        }
    };
    for path in ["bin", "etc", "tmp"] {
        add(path, tar::EntryType::Directory, 0o755, b"", None);
    }
    let busybox = fs::read("/bin/busybox").expect("busybox");
    add("bin/busybox", tar::EntryType::Regular, 0o755, &busybox, None);
    for applet in APPLETS {
        add(&format!("bin/{applet}"), tar::EntryType::Symlink, 0o777, b"", Some("busybox"));
    }
    let users = b"root:x:0:0::/root:/bin/sh\nweb:x:33:34::/:/bin/sh\n";
    add("etc/passwd", tar::EntryType::Regular, 0o644, users, None);
    add("etc/group", tar::EntryType::Regular, 0o644, b"root:x:0:\nweb:x:34:\n", None);
    archive.into_inner().expect("memory is there")
}

/// A directory with files, whose modes no umask has changed.
pub(crate) fn context(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, text).expect("a file");
    }
    dir
}

/// A copy of a directory; files are 0644 or 0755, directories 0755.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).expect("chmod");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let meta = from.symlink_metadata().expect("a file");
        if meta.is_symlink() {
            symlink(fs::read_link(&from).expect("a link"), &to).expect("a link");
        } else if meta.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("a file");
            let mode = if meta.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 };
            fs::set_permissions(&to, fs::Permissions::from_mode(mode)).expect("chmod");
        }
    }
}

/// `docker build` without BuildKit.
pub(crate) fn build(docker: &Docker, options: &[&str], context: &Path) -> Invocation {
    docker.docker(["build"]).args(options).arg(context).env("DOCKER_BUILDKIT", "0")
}

/// The same of a Dockerfile alone.
pub(crate) fn build_text(docker: &Docker, options: &[&str], dockerfile: &str) -> Output {
    let context = context(&[("Dockerfile", dockerfile)]);
    build(docker, options, context.path()).run()
}
