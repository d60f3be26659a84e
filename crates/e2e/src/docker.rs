use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use gantry_testkit::{Invocation, Namespace, Need, client_binary, missing, runtime_binary, until_within};

use crate::gantryd::{Gantryd, inside, on_reference};
use crate::image::image_archive;
use crate::raw::Raw;

/// A dockerd of the tests, and `docker` as its client.
#[derive(Debug)]
pub struct Docker {
    dir: PathBuf,
    socket: String,
}

/// Names another dockerd, and its client: newer ones than Debian 12's.
const DOCKERD: &str = "GANTRY_DOCKERD";
const DOCKER: &str = "GANTRY_DOCKER";

fn program(variable: &str, name: &str) -> std::ffi::OsString {
    std::env::var_os(variable).unwrap_or_else(|| name.into())
}

/// How long the daemon may take to answer for the first time, on a busy machine.
const START: Duration = Duration::from_secs(90);

const WITHOUT_NETWORK: [&str; 2] = ["--bridge=none", "--iptables=false"];

/// Options for the runtime under test as the default.
fn under_test() -> Vec<String> {
    let add = format!("--add-runtime=ours={}", runtime_binary().display());
    vec!["--default-runtime".into(), "ours".into(), add]
}

impl Docker {
    /// The one of this test process; started, and loaded with the image, when it is first asked for.
    ///
    /// # Panics
    /// When it does not start.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Docker> = OnceLock::new();
        SHARED.get_or_init(|| Self::start("gt-dk", &under_test()))
    }

    /// One that maps the root of its containers to the user `gantry-test`'s subordinate ids.
    ///
    /// # Panics
    /// When it does not start.
    pub fn remapped() -> &'static Self {
        static REMAPPED: OnceLock<Docker> = OnceLock::new();
        REMAPPED.get_or_init(|| {
            let mut options = under_test();
            options.push("--userns-remap=gantry-test".into());
            options.extend(WITHOUT_NETWORK.map(str::to_owned));
            Self::start("gt-dkr", &options)
        })
    }

    /// One on the socket of a containerd that runs already, with the runtime that dockerd has by default and no network.
    ///
    /// # Panics
    /// When it does not start.
    pub fn on(name: &str, containerd: &Path) -> Self {
        let mut options = vec!["--containerd".to_owned(), containerd.display().to_string()];
        options.extend(WITHOUT_NETWORK.map(str::to_owned));
        Self::start(name, &options)
    }

    /// The engine of a daemon of ours, loaded with the image; with `GANTRY_DAEMON=containerd` the reference, a dockerd.
    ///
    /// # Panics
    /// When it does not start.
    pub fn engine(name: &str) -> (Option<Gantryd>, Self) {
        Self::engine_in(None, name, "", &[])
    }

    /// The same in a network namespace, which is its host's: a daemon writes the rules of all ports that are published there, and so
    /// only one can.
    ///
    /// # Panics
    /// When it does not start.
    pub fn engine_apart(netns: &Namespace, name: &str) -> (Option<Gantryd>, Self) {
        // Its own loopback device is down.
        let up = Invocation::new("nsenter").arg(format!("--net={}", netns.path().display()));
        up.args(["ip", "link", "set", "lo", "up"]).run().ok();
        Self::engine_in(Some(netns.path()), name, "", &[])
    }

    /// The same with more lines for ours, in the section `[docker]`, and more options for a dockerd.
    ///
    /// # Panics
    /// When it does not start.
    pub fn engine_with(
        netns: &Namespace,
        name: &str,
        ours: &str,
        theirs: &[String],
    ) -> (Option<Gantryd>, Self) {
        let up = Invocation::new("nsenter").arg(format!("--net={}", netns.path().display()));
        up.args(["ip", "link", "set", "lo", "up"]).run().ok();
        Self::engine_in(Some(netns.path()), name, ours, theirs)
    }

    fn engine_in(netns: Option<&Path>, name: &str, more: &str, theirs: &[String]) -> (Option<Gantryd>, Self) {
        if on_reference() {
            return (None, Self::start_in(netns, name, theirs));
        }
        let dir = tempfile::tempdir().expect("a temporary directory").keep();
        let ours = dir.join("ours.toml");
        // Names of devices have 15 bytes.
        let bridge = name.trim_start_matches("gt-");
        fs::write(&ours, format!("[docker]\nbridge = \"{bridge}\"\n{more}")).expect("a configuration");
        let daemon = match netns {
            Some(netns) => Gantryd::with_imports_in(netns, name, &[&ours]),
            None => Gantryd::with_imports(name, &[&ours]),
        };
        let docker = Self { dir, socket: daemon.state().join("docker.sock").display().to_string() };
        docker.docker(["load", "--quiet", "--input"]).arg(image_archive()).run().ok();
        (Some(daemon), docker)
    }

    fn start(name: &str, options: &[String]) -> Self {
        Self::start_in(None, name, options)
    }

    fn start_in(netns: Option<&Path>, name: &str, options: &[String]) -> Self {
        // Two daemons at once would fight over the chains of iptables and the bridge.
        static STARTING: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _alone = STARTING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let dir = tempfile::tempdir().expect("a temporary directory").keep();
        // The users of remapped containers must get through.
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o711)).expect("chmod");
        let socket = format!("/run/{name}.sock");
        let log = || fs::File::options().create(true).append(true).open(dir.join("log")).expect("a log");
        // It ends with the pid namespace of the tests, and so does the containerd that it starts.
        let newer = std::env::var_os(DOCKERD).is_some();
        // It keeps its images in containerd, so that all of a store is used.
        let config = if newer { r#"{"features":{"containerd-snapshotter":true}}"# } else { "{}" };
        fs::write(dir.join("daemon.json"), config).expect("a configuration");
        let mut command = inside(netns, &program(DOCKERD, "dockerd"));
        if newer {
            // Its containerd and its proxy of ports, not the host's.
            let sbin = PathBuf::from(program(DOCKERD, "")).parent().map(Path::to_owned).unwrap_or_default();
            let path = std::env::var_os("PATH").unwrap_or_default();
            let path = [sbin.with_file_name("bin"), sbin].into_iter().chain(std::env::split_paths(&path));
            command.env("PATH", std::env::join_paths(path).expect("a path"));
        } else if missing(&[Need::SYS_RESOURCE]).is_some() {
            command.args(["--oom-score-adjust", "0"]);
        }
        let storage = if newer { "overlayfs" } else { "overlay2" };
        let mut daemon = command
            .arg("--config-file")
            .arg(dir.join("daemon.json"))
            .arg("--data-root")
            .arg(dir.join("root"))
            .args(["--exec-root", &format!("/run/{name}"), "--pidfile", &format!("/run/{name}.pid")])
            .args(["--host", &format!("unix://{socket}"), "--storage-driver", storage])
            .args(options)
            .stdin(Stdio::null())
            .stdout(log())
            .stderr(log())
            .spawn()
            .expect("dockerd starts");
        let docker = Self { dir, socket };
        until_within(START, "dockerd to answer", || {
            if let Some(status) = daemon.try_wait().expect("the daemon is ours") {
                panic!("dockerd: {status}\n{}", docker.log());
            }
            docker.docker(["version"]).run().status.success().then_some(())
        });
        docker.docker(["load", "--quiet", "--input"]).arg(image_archive()).run().ok();
        docker
    }

    /// Its socket, for requests that no client sends.
    pub fn raw(&self) -> Raw {
        Raw::new(Path::new(&self.socket))
    }

    /// A command of the docker client.
    pub fn docker<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Invocation {
        Invocation::new(program(DOCKER, "docker"))
            .env("HOME", &self.dir)
            .env("DOCKER_CONFIG", self.dir.join("config"))
            .env("DOCKER_HOST", format!("unix://{}", self.socket))
            .args(args)
    }

    /// A command of our own client.
    pub fn gantry<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Invocation {
        Invocation::new(client_binary())
            .env("HOME", &self.dir)
            .env("DOCKER_CONFIG", self.dir.join("config"))
            .env("DOCKER_HOST", format!("unix://{}", self.socket))
            .args(args)
    }

    /// `docker run --rm` without a network.
    pub fn run(&self, options: &[&str], args: &[&str]) -> Invocation {
        self.docker(["run", "--rm", "--network", "none"]).args(options).arg("busybox").args(args)
    }

    /// A property of a container.
    ///
    /// # Panics
    /// When there is no such container.
    #[track_caller]
    pub fn inspect(&self, name: &str, format: &str) -> String {
        self.docker(["inspect", "--format", format, name]).run().ok().text().to_owned()
    }

    /// The daemon's log, for messages.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}
