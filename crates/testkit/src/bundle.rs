use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Cgroups, User, config, leaks, probe, rootfs};

/// A bundle in a directory of its own: a busybox root file system and a `config.json`.
///
/// Its cgroup is below a parent that no other bundle has. On drop it checks that no mount, process or cgroup of it is
/// left, and removes what is.
#[derive(Debug)]
pub struct Bundle {
    dir: TempDir,
    config: Value,
    parent: String,
}

impl Bundle {
    /// A bundle with the configuration of `runc spec`, less the terminal, that runs `/bin/true`.
    pub fn new() -> Self {
        Self::with(config::runc_spec())
    }

    /// A bundle with the configuration that dockerd makes by default.
    pub fn docker() -> Self {
        Self::with(config::docker_default())
    }

    /// A bundle with a configuration of the caller's, in which the arguments and the cgroup are replaced.
    pub fn with(config: Value) -> Self {
        let dir = tempfile::Builder::new().prefix("gantry-test.").tempdir().expect("a temporary directory");
        // An ordinary user has to reach its bundle in a rootless test.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).expect("chmod");
        rootfs::build(&dir.path().join("rootfs"));
        let parent = unique_parent();
        let bundle = Self { dir, config, parent };
        let group = bundle.cgroup();
        bundle.edit(|c| {
            c["process"]["terminal"] = json!(false);
            c["process"]["args"] = json!(["/bin/true"]);
            c["linux"]["cgroupsPath"] = json!(group);
        })
    }

    /// A bundle of the user's, with the configuration of `runc spec --rootless`: the user itself is root inside.
    pub fn rootless(user: &User) -> Self {
        let bundle = Self::with(config::runc_spec_rootless()).edit(|c| {
            c["linux"]["uidMappings"] = config::id_map(user.uid, 1);
            c["linux"]["gidMappings"] = config::id_map(user.gid, 1);
            // Without delegated cgroups an ordinary user may not name one.
            c["linux"].as_object_mut().expect("an object").remove("cgroupsPath");
        });
        user.own(bundle.path());
        bundle
    }

    /// Gives the container a user namespace with ids from 100000 on the host, and the root file system to its root.
    #[must_use]
    pub fn userns(self) -> Self {
        let bundle = self.edit(|c| {
            c["linux"]["uidMappings"] = config::id_map(100_000, 65_536);
            c["linux"]["gidMappings"] = config::id_map(100_000, 65_536);
        });
        let bundle = bundle.namespace("user", None);
        let status = process::Command::new("chown")
            .args(["-hR", "100000:100000"])
            .arg(bundle.rootfs())
            .status()
            .expect("chown runs");
        assert!(status.success(), "chown of the root file system: {status}");
        bundle
    }

    /// Changes the configuration, and writes it.
    #[must_use]
    pub fn edit(mut self, change: impl FnOnce(&mut Value)) -> Self {
        self.change(change);
        self
    }

    /// Changes the configuration in place, and writes it.
    pub fn change(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.config);
        let text = serde_json::to_vec_pretty(&self.config).expect("a value is JSON");
        self.write_raw(&text);
    }

    /// Writes `text` as `config.json`, whatever it is.
    pub fn write_raw(&self, text: &[u8]) {
        fs::write(self.path().join("config.json"), text).expect("config.json");
    }

    /// Replaces the arguments.
    #[must_use]
    pub fn args<S: AsRef<str>>(self, args: impl IntoIterator<Item = S>) -> Self {
        let args: Vec<String> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        self.edit(|c| c["process"]["args"] = json!(args))
    }

    /// Runs a shell script.
    #[must_use]
    pub fn sh(self, script: &str) -> Self {
        self.args(["/bin/sh", "-c", script])
    }

    /// Runs the probe, which prints a [`crate::Report`]; `args` ask for more.
    #[must_use]
    pub fn probe(self, args: &[&str]) -> Self {
        self.install(&probe::probe_binary(), "bin/gantry-probe");
        self.args(std::iter::once(&"/bin/gantry-probe").chain(args).copied())
    }

    /// Puts the program `syscall` into the root file system, which makes one raw system call.
    #[must_use]
    pub fn with_syscall(self) -> Self {
        let target = self.rootfs().join("bin/syscall");
        fs::write(&target, probe::syscall_binary()).expect("the fixture can be written");
        fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).expect("chmod");
        self
    }

    /// Runs a command that waits until it is killed, ignoring nothing.
    #[must_use]
    pub fn sleeping(self) -> Self {
        self.args(["/bin/sleep", "1000"])
    }

    /// Makes the root file system writable.
    #[must_use]
    pub fn writable(self) -> Self {
        self.edit(|c| c["root"]["readonly"] = json!(false))
    }

    /// Adds a mount.
    #[must_use]
    pub fn mount(self, destination: &str, kind: &str, source: impl AsRef<Path>, options: &[&str]) -> Self {
        let mount = json!({
            "destination": destination, "type": kind, "source": source.as_ref(), "options": options
        });
        self.edit(|c| c["mounts"].as_array_mut().expect("an array").push(mount))
    }

    /// Bind mounts a directory or file of the host.
    #[must_use]
    pub fn bind(self, source: impl AsRef<Path>, destination: &str, options: &[&str]) -> Self {
        self.mount(destination, "bind", source, options)
    }

    /// Removes the mount at `destination`.
    #[must_use]
    pub fn without_mount(self, destination: &str) -> Self {
        self.edit(|c| {
            c["mounts"].as_array_mut().expect("an array").retain(|mount| mount["destination"] != destination);
        })
    }

    /// Adds a namespace, or replaces it, new or (with a path) joined.
    #[must_use]
    pub fn namespace(self, kind: &str, path: Option<&Path>) -> Self {
        let bundle = self.without_namespace(kind);
        let entry = match path {
            Some(path) => json!({ "type": kind, "path": path }),
            None => json!({ "type": kind }),
        };
        bundle.edit(|c| c["linux"]["namespaces"].as_array_mut().expect("an array").push(entry))
    }

    /// Removes a namespace: the host's is used.
    #[must_use]
    pub fn without_namespace(self, kind: &str) -> Self {
        self.edit(|c| {
            c["linux"]["namespaces"].as_array_mut().expect("an array").retain(|entry| entry["type"] != kind);
        })
    }

    /// Gives the process exactly these capabilities, in its bounding, permitted and effective sets.
    #[must_use]
    pub fn capabilities(self, names: &[&str]) -> Self {
        self.edit(|c| {
            c["process"]["capabilities"] =
                json!({ "bounding": names, "permitted": names, "effective": names });
        })
    }

    /// The directory of the bundle.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The root file system.
    pub fn rootfs(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    /// The configuration as it was written last.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// The cgroup that the configuration names unless a test replaced it.
    pub fn cgroup(&self) -> String {
        format!("{}/c", self.parent)
    }

    /// The cgroup above [`Self::cgroup`], of this bundle alone.
    pub fn cgroup_parent(&self) -> &str {
        &self.parent
    }

    /// A new directory beside the root file system, for a bind mount or a socket.
    pub fn make_dir(&self, name: &str) -> PathBuf {
        let dir = self.path().join(name);
        fs::create_dir_all(&dir).expect("a directory");
        dir
    }

    /// Writes a file into the root file system.
    pub fn write(&self, path: &str, contents: impl AsRef<[u8]>) {
        let target = self.rootfs().join(path.trim_start_matches('/'));
        fs::create_dir_all(target.parent().expect("a file is in a directory")).expect("a directory");
        fs::write(target, contents).expect("a file");
    }

    /// Copies a program of the host into the root file system.
    pub fn install(&self, program: &Path, path: &str) {
        crate::copy_program(program, &self.rootfs().join(path));
    }

    fn remains(&self) -> Vec<String> {
        let mut found: Vec<String> =
            leaks::mounts_below(self.path()).into_iter().map(|mount| format!("mount {mount}")).collect();
        let cgroups = Cgroups::detect();
        found.extend(cgroups.processes(&self.parent).iter().map(|pid| format!("process {pid}")));
        found.extend(cgroups.below(&self.parent).iter().map(|dir| format!("cgroup {}", dir.display())));
        found
    }
}

impl Default for Bundle {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let mut remains = self.remains();
        if remains.iter().any(|what| what.starts_with("process ")) {
            // A killed process leaves its cgroup only when it is reaped, by pid 1.
            remains = leaks::settle(|| self.remains());
        }
        leaks::clean(self.path(), &self.parent);
        if !std::thread::panicking() {
            assert!(remains.is_empty(), "left by the containers of {}: {remains:#?}", self.path().display());
        }
    }
}

/// A cgroup that no other bundle of this or another test process uses.
fn unique_parent() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("/{}{}-{}", leaks::PREFIX, process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
