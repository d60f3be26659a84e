//! Who is measured, and a daemon of each.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gantry_proto_containerd::Any;
use gantry_proto_shim::Message as _;
use gantry_proto_shim::any::Named as _;
use gantry_proto_shim::options::Options as RuncOptions;
use gantry_testkit::until_within;

use gantry_e2e::Api;

/// How long a daemon may take to serve.
const START: Duration = Duration::from_secs(60);

/// A daemon with a runtime.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) name: String,
    daemon: PathBuf,
    ours: bool,
    /// Where it finds its shim before the host's.
    path: Option<PathBuf>,
    pub(crate) runtime: &'static str,
    /// The OCI runtime, if it is not the default one.
    binary: Option<&'static str>,
    /// The same for `ctr run`.
    pub(crate) run_flags: Vec<String>,
}

impl Contender {
    /// Ours first, then each containerd that is there, with runc and with crun.
    pub(crate) fn all(gantryd: &Path, others: &[PathBuf]) -> Vec<Self> {
        let one = |name: String, daemon: PathBuf, ours, path| Self {
            name,
            daemon,
            ours,
            path,
            runtime: if ours { "io.containerd.gantry.v2" } else { "io.containerd.runc.v2" },
            binary: None,
            run_flags: Vec::new(),
        };
        let mut all = vec![one("gantryd".into(), gantryd.to_owned(), true, None)];
        let mut peers: Vec<(String, PathBuf, Option<PathBuf>)> = Vec::new();
        for (index, dir) in others.iter().enumerate() {
            let bin = dir.join("usr/bin");
            peers.push((format!("containerd2{}", "+".repeat(index)), bin.join("containerd"), Some(bin)));
        }
        let host = Path::new("/usr/bin/containerd");
        if host.exists() {
            peers.push(("containerd1".into(), host.to_owned(), None));
        }
        let has_crun = ["/usr/bin/crun", "/usr/sbin/crun"].iter().any(|path| Path::new(path).exists());
        for (name, daemon, path) in peers {
            all.push(one(format!("{name}-runc"), daemon.clone(), false, path.clone()));
            if has_crun {
                let mut crun = one(format!("{name}-crun"), daemon, false, path);
                crun.binary = Some("crun");
                crun.run_flags = vec!["--runc-binary".into(), "crun".into()];
                all.push(crun);
            }
        }
        all
    }

    /// Whether it is one of those before with another OCI runtime.
    pub(crate) fn is_variant(&self) -> bool {
        self.binary.is_some()
    }

    /// The options of its runtime.
    pub(crate) fn options(&self) -> Option<Any> {
        let binary_name = self.binary?.to_owned();
        let options = RuncOptions { binary_name, ..RuncOptions::default() };
        let type_url = RuncOptions::TYPE_URL.to_owned();
        Some(Any { type_url, value: options.encode_to_vec().into() })
    }
}

/// A daemon that serves; on drop it is killed.
pub(crate) struct Serving<'a> {
    pub(crate) contender: &'a Contender,
    pub(crate) dir: PathBuf,
    level: &'static str,
    daemon: Child,
    pub(crate) api: Api,
}

impl<'a> Serving<'a> {
    /// Starts it, and loads the image.
    pub(crate) fn start(contender: &'a Contender, dir: &Path) -> Result<Self, String> {
        Self::at_level(contender, dir, "info")
    }

    /// The same with another level of its log.
    pub(crate) fn at_level(
        contender: &'a Contender,
        dir: &Path,
        level: &'static str,
    ) -> Result<Self, String> {
        fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let shown = dir.display();
        let disabled = if contender.ours {
            ""
        } else {
            "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.cri.v1.images\", \
             \"io.containerd.cri.v1.runtime\"]\n"
        };
        let config = format!(
            "{disabled}root = \"{shown}/root\"\nstate = \"{shown}/state\"\n[grpc]\naddress = \"{shown}/s\"\n\
             [ttrpc]\naddress = \"{shown}/s.ttrpc\"\n"
        );
        fs::write(dir.join("config.toml"), config).map_err(|error| error.to_string())?;
        let daemon = spawn(contender, dir, level)?;
        let api = Api::connect(&dir.join("s"), START)?;
        let mut serving = Self { contender, dir: dir.to_owned(), level, daemon, api };
        serving.load()?;
        Ok(serving)
    }

    fn load(&mut self) -> Result<(), String> {
        let mut import = self.ctr(Path::new("ctr"));
        import.args(["images", "import"]).arg(gantry_e2e::image_archive());
        super::timed(&mut import)?;
        let mut create = self.ctr(Path::new("ctr"));
        create.args(["containers", "create", gantry_e2e::IMAGE, "model", "/bin/true"]);
        super::timed(&mut create)?;
        Ok(())
    }

    /// A command of a client.
    pub(crate) fn ctr(&self, ctr: &Path) -> Command {
        let mut command = Command::new(ctr);
        command.arg("--address").arg(self.dir.join("s"));
        command
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// The daemon's process.
    pub(crate) fn pid(&self) -> u32 {
        self.daemon.id()
    }

    /// Kills the daemon and starts it again; how long until it serves.
    pub(crate) fn restart(&mut self) -> Result<Duration, String> {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let begin = Instant::now();
        self.daemon = spawn(self.contender, &self.dir, self.level)?;
        self.api = Api::connect(&self.dir.join("s"), START)?;
        Ok(begin.elapsed())
    }
}

fn spawn(contender: &Contender, dir: &Path, level: &str) -> Result<Child, String> {
    let log = fs::File::create(dir.join("log")).map_err(|error| error.to_string())?;
    let copy = log.try_clone().map_err(|error| error.to_string())?;
    let mut command = Command::new(&contender.daemon);
    command.arg("--config").arg(dir.join("config.toml")).args(["--log-level", level]);
    command.stdin(Stdio::null()).stdout(log).stderr(copy);
    if let Some(first) = &contender.path {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(first.clone()).chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(all).map_err(|error| error.to_string())?);
    }
    let child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
    until_within(START, "the daemon's socket", || dir.join("s").exists().then_some(()));
    Ok(child)
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
