//! Who is measured: a daemon, if there is one, and the command line in front of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gantry_testkit::until_within;

/// How long a daemon may take to serve.
const START: Duration = Duration::from_secs(60);

/// An engine and a client.
#[derive(Debug, Clone)]
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    kind: Kind,
    client: PathBuf,
    /// The daemon's binary.
    daemon: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ours,
    Dockerd,
    /// With containerd's image store, which is the current default.
    Dockerd28,
    Podman,
}

impl Contender {
    /// All that are there: ours with its own client and with docker's, then the others.
    pub(crate) fn all(bin: &Path, sid: Option<&Path>) -> Vec<Self> {
        let newer = sid.map(|dir| (dir.join("usr/sbin/dockerd"), dir.join("usr/bin/docker")));
        let newer = newer.filter(|(daemon, _)| daemon.exists());
        let docker = newer.as_ref().map_or_else(|| "/usr/bin/docker".into(), |(_, client)| client.clone());
        let one = |name, kind, client, daemon| Self { name, kind, client, daemon };
        let gantryd = Some(bin.join("gantryd"));
        let mut all = vec![
            one("gantry", Kind::Ours, bin.join("gantry"), gantryd.clone()),
            one("gantryd+docker", Kind::Ours, docker, gantryd),
        ];
        if let Some((daemon, client)) = newer {
            all.push(one("dockerd28", Kind::Dockerd28, client, Some(daemon)));
        }
        if Path::new("/usr/sbin/dockerd").exists() {
            all.push(one(
                "dockerd20",
                Kind::Dockerd,
                "/usr/bin/docker".into(),
                Some("/usr/sbin/dockerd".into()),
            ));
        }
        if Path::new("/usr/bin/podman").exists() {
            all.push(one("podman", Kind::Podman, "/usr/bin/podman".into(), None));
        }
        all
    }

    /// Whether it builds by docker's classic builder.
    pub(crate) fn builds(&self) -> bool {
        self.kind != Kind::Podman
    }
}

/// An engine that serves; on drop its daemon is killed.
pub(crate) struct Serving {
    pub(crate) contender: Contender,
    dir: PathBuf,
    daemon: Option<Child>,
}

impl Serving {
    /// Starts it, and loads the image.
    pub(crate) fn start(contender: &Contender, dir: &Path) -> Result<Self, String> {
        fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let mut serving = Self { contender: contender.clone(), dir: dir.to_owned(), daemon: None };
        if let Some(binary) = &contender.daemon {
            serving.daemon = Some(serving.spawn(binary)?);
            until_within(START, "the engine to answer", || {
                let status =
                    serving.client(&["version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
                status.is_ok_and(|status| status.success()).then_some(())
            });
        }
        let mut load = serving.client(&["load", "--quiet", "--input"]);
        load.arg(gantry_e2e::image_archive());
        super::timed(&mut load)?;
        Ok(serving)
    }

    fn spawn(&self, binary: &Path) -> Result<Child, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", binary.display());
        let log = fs::File::create(self.dir.join("log")).map_err(failed)?;
        let copy = log.try_clone().map_err(failed)?;
        let mut command = Command::new(binary);
        let path = |name: &str| self.dir.join(name);
        if self.contender.kind == Kind::Ours {
            let bridge = if self.contender.name == "gantry" { "bench0" } else { "bench1" };
            let shown = self.dir.display();
            let config = format!(
                "root = \"{shown}/root\"\nstate = \"{shown}/s\"\n[grpc]\naddress = \"{shown}/s/g.sock\"\n\
                 [docker]\nbridge = \"{bridge}\"\n"
            );
            fs::write(path("config.toml"), config).map_err(failed)?;
            command.arg("--config").arg(path("config.toml"));
        } else {
            let newer = self.contender.kind == Kind::Dockerd28;
            let features = if newer { r#"{"features":{"containerd-snapshotter":true}}"# } else { "{}" };
            fs::write(path("daemon.json"), features).map_err(failed)?;
            command.arg("--config-file").arg(path("daemon.json"));
            command.arg("--data-root").arg(path("root")).arg("--exec-root").arg(path("exec"));
            command
                .arg("--pidfile")
                .arg(path("pid"))
                .arg("--host")
                .arg(format!("unix://{}", self.socket().display()));
            // Two dockerds would fight over one bridge.
            let (bridge, range) =
                if newer { ("bench2", "172.30.0.1/16") } else { ("bench3", "172.31.0.1/16") };
            make_bridge(bridge, range)?;
            command.args(["--bridge", bridge]);
            if newer {
                let own = binary.parent().unwrap_or(binary).join("../bin");
                let others = std::env::var_os("PATH").unwrap_or_default();
                let all = std::iter::once(own).chain(std::env::split_paths(&others));
                command.env("PATH", std::env::join_paths(all).map_err(|error| error.to_string())?);
            } else {
                command.args(["--oom-score-adjust", "0"]);
            }
        }
        command.stdin(Stdio::null()).stdout(log).stderr(copy).spawn().map_err(failed)
    }

    fn socket(&self) -> PathBuf {
        self.dir.join(if self.contender.kind == Kind::Ours { "s/docker.sock" } else { "docker.sock" })
    }

    /// A command of its client.
    pub(crate) fn client(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.contender.client);
        command.env("HOME", &self.dir).env("DOCKER_BUILDKIT", "0");
        if self.contender.kind == Kind::Podman {
            command.arg("--root").arg(self.dir.join("root")).arg("--runroot").arg(self.dir.join("run"));
            command.args(["--cgroup-manager", "cgroupfs"]);
        } else {
            command.env("DOCKER_HOST", format!("unix://{}", self.socket().display()));
        }
        command.args(words);
        command
    }

    /// The daemon's process.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Child::id)
    }
}

fn make_bridge(name: &str, address: &str) -> Result<(), String> {
    for words in [
        vec!["link", "add", name, "type", "bridge"],
        vec!["address", "add", address, "dev", name],
        vec!["link", "set", name, "up"],
    ] {
        super::timed(Command::new("ip").args(words))?;
    }
    Ok(())
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}
