//! Who is measured: how each one is started with an empty store, and what its client is told.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::group::Group;

/// Where programs that the host has not installed are.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    /// An unpacked containerd, dockerd and docker of sid.
    pub(crate) sid: Option<PathBuf>,
    /// igzip and pigz, which containerd and docker use where they find them.
    pub(crate) inflaters: Option<PathBuf>,
    pub(crate) gantryd: Option<PathBuf>,
}

/// An engine with its client.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    pub(crate) name: String,
    kind: Kind,
    /// Where it finds the programs that it executes before the host's.
    path: Vec<PathBuf>,
    libraries: Option<PathBuf>,
}

#[derive(Debug, Clone)]
enum Kind {
    Gantryd { daemon: PathBuf, ctr: PathBuf },
    Containerd { daemon: PathBuf, ctr: PathBuf },
    Docker { daemon: PathBuf, docker: PathBuf },
    Podman,
}

impl Engine {
    /// Ours first, then the peers that are there.
    pub(crate) fn all(programs: &Programs) -> Vec<Self> {
        let sid = |name: &str| {
            programs.sid.as_ref().map(|dir| dir.join("usr").join(name)).filter(|path| path.exists())
        };
        let host = |name: &str| {
            ["/usr/bin", "/usr/sbin"]
                .map(|dir| Path::new(dir).join(name))
                .into_iter()
                .find(|path| path.exists())
        };
        let mut all = Vec::new();
        let mut add = |name: &str, kind: Option<Kind>| {
            all.extend(kind.map(|kind| Self {
                name: name.to_owned(),
                kind,
                path: Vec::new(),
                libraries: None,
            }));
        };
        let gantryd = |ctr: Option<PathBuf>| {
            programs.gantryd.clone().zip(ctr).map(|(daemon, ctr)| Kind::Gantryd { daemon, ctr })
        };
        let containerd = |daemon: Option<PathBuf>, ctr: Option<PathBuf>| {
            daemon.zip(ctr).map(|(daemon, ctr)| Kind::Containerd { daemon, ctr })
        };
        let docker = |daemon: Option<PathBuf>, docker: Option<PathBuf>| {
            daemon.zip(docker).map(|(daemon, docker)| Kind::Docker { daemon, docker })
        };
        add("gantryd-ctr2", gantryd(sid("bin/ctr")));
        add("gantryd-ctr1", gantryd(host("ctr")));
        add("containerd2", containerd(sid("bin/containerd"), sid("bin/ctr")));
        add("containerd1", containerd(host("containerd"), host("ctr")));
        add("docker28", docker(sid("sbin/dockerd"), sid("bin/docker")));
        add("docker20", docker(host("dockerd"), host("docker").or_else(|| sid("bin/docker"))));
        add("podman4", host("podman").map(|_| Kind::Podman));
        for engine in &mut all {
            if let (Kind::Docker { .. }, "docker28", Some(dir)) =
                (&engine.kind, engine.name.as_str(), &programs.sid)
            {
                engine.path.push(dir.join("usr/bin"));
            }
        }
        if let Some(dir) = &programs.inflaters {
            let assisted =
                all.iter().filter(|engine| ["containerd2", "docker28"].contains(&engine.name.as_str()));
            let assisted: Vec<Self> = assisted.map(|engine| engine.with_inflaters(dir)).collect();
            all.extend(assisted);
        }
        all
    }

    fn with_inflaters(&self, dir: &Path) -> Self {
        let mut engine = self.clone();
        engine.name.push_str("+igzip");
        engine.path.push(dir.join("usr/bin"));
        engine.libraries = Some(dir.join("usr/lib/x86_64-linux-gnu"));
        engine
    }

    /// Whether its daemon has containerd's API.
    pub(crate) fn speaks_grpc(&self) -> bool {
        matches!(self.kind, Kind::Gantryd { .. } | Kind::Containerd { .. })
    }

    /// The daemon's program.
    pub(crate) fn program(&self) -> PathBuf {
        match &self.kind {
            Kind::Gantryd { daemon, .. } | Kind::Containerd { daemon, .. } | Kind::Docker { daemon, .. } => {
                daemon.clone()
            }
            Kind::Podman => "/usr/bin/podman".into(),
        }
    }

    /// Starts the daemon in `group` with everything of it below `dir`; nothing where there is none.
    pub(crate) fn daemon(&self, dir: &Path, group: &Group) -> Result<Option<Command>, String> {
        let write = |name: &str, text: String| {
            fs::write(dir.join(name), text).map_err(|error| format!("{}/{name}: {error}", dir.display()))
        };
        let shown = dir.display();
        let mut command = match &self.kind {
            Kind::Gantryd { daemon, .. } => {
                write(
                    "config.toml",
                    format!(
                        "root = \"{shown}/root\"\nstate = \"{shown}/state\"\n[grpc]\naddress = \"{shown}/sock\"\n"
                    ),
                )?;
                let mut command = group.command(daemon);
                command.arg("--config").arg(dir.join("config.toml"));
                command
            }
            Kind::Containerd { daemon, .. } => {
                write(
                    "config.toml",
                    format!(
                        "version = 2\nroot = \"{shown}/root\"\nstate = \"{shown}/state\"\n\
                     disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{shown}/sock\"\n\
                     [ttrpc]\naddress = \"{shown}/sock.ttrpc\"\n"
                    ),
                )?;
                let mut command = group.command(daemon);
                command.arg("--config").arg(dir.join("config.toml"));
                command
            }
            Kind::Docker { daemon, .. } => {
                let mut command = group.command(daemon);
                command
                    .args(["--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"])
                    .arg("--storage-driver=overlay2")
                    .arg(format!("--data-root={shown}/root"))
                    .arg(format!("--exec-root={shown}/exec"))
                    .arg(format!("--pidfile={shown}/pid"))
                    .arg(format!("--host=unix://{shown}/sock"));
                // The old one asks for less of the kernel's mercy than some hosts allow.
                command.arg(if self.name.starts_with("docker20") {
                    "--oom-score-adjust=0"
                } else {
                    "--ip6tables=false"
                });
                command
            }
            Kind::Podman => {
                write(
                    "containers.conf",
                    "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n".into(),
                )?;
                write(
                    "storage.conf",
                    format!(
                        "[storage]\ndriver = \"overlay\"\nrunroot = \"{shown}/run\"\ngraphroot = \"{shown}/root\"\n"
                    ),
                )?;
                write("registries.conf", String::new())?;
                fs::create_dir_all(dir.join(".config/containers")).map_err(|error| error.to_string())?;
                write(
                    ".config/containers/policy.json",
                    r#"{"default":[{"type":"insecureAcceptAnything"}]}"#.into(),
                )?;
                return Ok(None);
            }
        };
        let log = fs::File::create(dir.join("daemon.log")).map_err(|error| error.to_string())?;
        let copy = log.try_clone().map_err(|error| error.to_string())?;
        command.stdin(Stdio::null()).stdout(log).stderr(copy);
        self.environment(&mut command);
        Ok(Some(command))
    }

    fn environment(&self, command: &mut Command) {
        let standard = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
        let path = self.path.iter().cloned().chain(standard.map(PathBuf::from));
        let path = std::env::join_paths(path).unwrap_or_else(|_| OsString::from("/usr/sbin:/usr/bin"));
        command.env_clear().env("PATH", path);
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
    }

    /// The client with its address; one that has no daemon begins in the group.
    fn client(&self, dir: &Path, group: &Group) -> Command {
        let socket = dir.join("sock");
        let mut command = match &self.kind {
            Kind::Gantryd { ctr, .. } | Kind::Containerd { ctr, .. } => {
                let mut command = Command::new(ctr);
                command.arg("--address").arg(socket);
                command
            }
            Kind::Docker { docker, .. } => {
                let mut command = Command::new(docker);
                command.arg("--host").arg(format!("unix://{}", socket.display()));
                command
            }
            Kind::Podman => group.command(Path::new("/usr/bin/podman")),
        };
        self.environment(&mut command);
        command.env("HOME", dir);
        for name in ["CONTAINERS_CONF", "CONTAINERS_STORAGE_CONF", "CONTAINERS_REGISTRIES_CONF"] {
            let file = match name {
                "CONTAINERS_CONF" => "containers.conf",
                "CONTAINERS_STORAGE_CONF" => "storage.conf",
                _ => "registries.conf",
            };
            command.env(name, dir.join(file));
        }
        command
    }

    /// Pulls an image.
    pub(crate) fn pull(&self, dir: &Path, group: &Group, image: &str) -> Command {
        let mut command = self.client(dir, group);
        match &self.kind {
            Kind::Gantryd { .. } | Kind::Containerd { .. } => {
                command.args(["images", "pull", "--plain-http", image])
            }
            Kind::Docker { .. } => command.args(["pull", "--quiet", image]),
            Kind::Podman => command.args(["pull", "--quiet", "--tls-verify=false", image]),
        };
        command
    }

    /// One round trip to the daemon and back.
    pub(crate) fn trip(&self, dir: &Path, group: &Group) -> Command {
        let mut command = self.client(dir, group);
        command.arg("version");
        command
    }

    /// The socket that the daemon serves.
    pub(crate) fn socket(&self, dir: &Path) -> PathBuf {
        dir.join("sock")
    }
}
