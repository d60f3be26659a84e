use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use gantry_testkit::{Invocation, runtime_binary};

use crate::image::image_archive;

/// podman with directories of the tests.
#[derive(Debug)]
pub struct Podman {
    dir: PathBuf,
}

impl Podman {
    /// The one of this test process; loaded with the image when it is first asked for.
    ///
    /// # Panics
    /// When the image cannot be loaded.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Podman> = OnceLock::new();
        SHARED.get_or_init(|| {
            let podman = Self::new();
            podman.podman(["load", "--quiet", "--input"]).arg(image_archive()).run().ok();
            podman
        })
    }

    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory").keep();
        let write = |name: &str, text: String| fs::write(dir.join(name), text).expect("a file of podman's");
        // podman asks for limits above the hard ones by default, which needs CAP_SYS_RESOURCE.
        let runtime = runtime_binary();
        let engine = format!(
            "[containers]\ndefault_ulimits = []\n[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
             runtime = \"{0}\"\n",
            runtime.display()
        );
        write("containers.conf", engine);
        let storage = format!(
            "[storage]\ndriver = \"overlay\"\nrunroot = \"/run/gt-pm\"\ngraphroot = \"{}/root\"\n",
            dir.display()
        );
        write("storage.conf", storage);
        write("registries.conf", String::new());
        let policy = dir.join(".config/containers");
        fs::create_dir_all(&policy).expect("a directory");
        fs::write(policy.join("policy.json"), r#"{"default":[{"type":"insecureAcceptAnything"}]}"#)
            .expect("a policy");
        Self { dir }
    }

    /// A command of podman.
    pub fn podman<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Invocation {
        self.configured("podman")
            .arg("--runtime")
            .arg(runtime_binary())
            .args(["--cgroup-manager", "cgroupfs", "--log-level", "error"])
            .args(args)
    }

    /// A command of buildah, on the same images.
    pub fn buildah<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Invocation {
        self.configured("buildah").args(args)
    }

    fn configured(&self, program: &str) -> Invocation {
        let conf = |name: &str| self.dir.join(name);
        // conmon leaves a file in the working directory when memory runs out.
        Invocation::new(program)
            .cwd(&self.dir)
            .env("HOME", &self.dir)
            .env("CONTAINERS_CONF", conf("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", conf("storage.conf"))
            .env("CONTAINERS_REGISTRIES_CONF", conf("registries.conf"))
    }

    /// `podman run --rm` without a network.
    pub fn run(&self, options: &[&str], args: &[&str]) -> Invocation {
        self.podman(["run", "--rm", "--network", "none"]).args(options).arg("busybox").args(args)
    }
}
