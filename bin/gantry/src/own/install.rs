//! `install` and `uninstall`: units and sockets of systemd, and the well-known paths as links to them.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::client::DEFAULT_SOCKET;
use crate::command::Verb;
use crate::output;
use crate::session::Session;

/// What our files begin with: only such are replaced and removed.
const MARK: &str = "# Written by `gantry install`; `gantry uninstall` removes it.\n";
const UNIT: &str = "etc/systemd/system/gantryd.service";
const SOCKET: &str = "etc/systemd/system/gantryd.socket";
const DOCKER_SOCKET: &str = "etc/systemd/system/gantryd-docker.socket";
/// What systemd starts, the sockets first.
const UNITS: [&str; 3] = ["gantryd.socket", "gantryd-docker.socket", "gantryd.service"];
/// Who may speak to docker's socket, where there is such a group: docker's word.
const GROUP: &str = "docker";
const LINKS: &str = "etc/tmpfiles.d/gantry.conf";

/// Install Gantry as this machine's engine
#[derive(Debug, Args)]
pub(crate) struct Install {
    /// Whose well-known sockets lead here, too: containerd, docker
    #[arg(long = "as", value_name = "LIST", value_delimiter = ',')]
    roles: Vec<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Below which directory the files go; nothing is started if it is not /
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

/// Remove what install made
#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Below which directory the files are
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

/// Somebody whose sockets are known by their paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Containerd,
    Docker,
}

impl Role {
    fn parse(text: &str) -> Result<Self> {
        match text {
            "containerd" => Ok(Self::Containerd),
            "docker" => Ok(Self::Docker),
            other => bail!("--as {other:?}: there are containerd and docker"),
        }
    }

    /// The well-known paths, and where they lead.
    fn links(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Containerd => &[
                ("/run/containerd/containerd.sock", "/run/gantry/gantry.sock"),
                ("/run/containerd/containerd.sock.ttrpc", "/run/gantry/gantry.sock.ttrpc"),
            ],
            Self::Docker => &[("/run/docker.sock", DEFAULT_SOCKET)],
        }
    }

    fn service(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Docker => "docker",
        }
    }
}

impl Verb for Install {
    async fn run(self, _: &Session) -> Result<u8> {
        let roles = self.roles.iter().map(|text| Role::parse(text)).collect::<Result<Vec<_>>>()?;
        let daemon = daemon(&self.root)?;
        let is_live = self.root == Path::new("/");
        if is_live {
            ensure!(
                self.dry_run || rustix::process::geteuid().is_root(),
                "installing needs root; --root DIR writes somewhere else, --dry-run only tells"
            );
            roles.iter().try_for_each(|role| check_free(*role))?;
        }
        let group = if has_group(&self.root) { GROUP } else { "root" };
        let files = [
            (UNIT, unit(&daemon)),
            (SOCKET, socket()),
            (DOCKER_SOCKET, docker_socket(group)),
            (LINKS, links(&roles)),
        ];
        for (path, text) in &files {
            let path = self.root.join(path);
            check_ours(&path)?;
            if self.dry_run {
                output::line(format!("would write {}:\n{text}", path.display()));
                continue;
            }
            let what = || format!("{} cannot be written", path.display());
            fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).with_context(what)?;
            fs::write(&path, text).with_context(what)?;
            output::line(format!("wrote {}", path.display()));
        }
        let enable = [&["systemctl", "enable", "--now"][..], &UNITS].concat();
        let commands: [&[&str]; 3] = [
            &["systemd-tmpfiles", "--create", "/etc/tmpfiles.d/gantry.conf"],
            &["systemctl", "daemon-reload"],
            &enable,
        ];
        if is_live {
            run_all(&commands, self.dry_run)?;
        }
        Ok(0)
    }
}

impl Verb for Uninstall {
    async fn run(self, _: &Session) -> Result<u8> {
        let is_live = self.root == Path::new("/");
        let links = fs::read_to_string(self.root.join(LINKS)).unwrap_or_default();
        if is_live && self.root.join(UNIT).exists() {
            let disable = [&["systemctl", "disable", "--now"][..], &UNITS].concat();
            run_all(&[&disable], self.dry_run)?;
        }
        for path in [UNIT, SOCKET, DOCKER_SOCKET, LINKS].map(|path| self.root.join(path)) {
            if !path.exists() {
                continue;
            }
            check_ours(&path)?;
            remove(&path, self.dry_run)?;
        }
        if is_live {
            for link in links.lines().filter_map(|line| line.strip_prefix("L+ ")?.split(' ').next()) {
                // Only a link of ours: another engine may have its socket there by now.
                let target = fs::read_link(link).unwrap_or_default();
                if target.starts_with("/run/gantry") {
                    remove(Path::new(link), self.dry_run)?;
                }
            }
            run_all(&[&["systemctl", "daemon-reload"]], self.dry_run)?;
        }
        output::line("containers, images and /etc/gantry stay as they are");
        Ok(0)
    }
}

fn remove(path: &Path, is_dry: bool) -> Result<()> {
    if is_dry {
        output::line(format!("would remove {}", path.display()));
        return Ok(());
    }
    fs::remove_file(path).with_context(|| format!("{} cannot be removed", path.display()))?;
    output::line(format!("removed {}", path.display()));
    Ok(())
}

/// The daemon's path in the unit: beside our own binary.
fn daemon(root: &Path) -> Result<PathBuf> {
    let own = std::env::current_exe().context("our own path is not known")?;
    let daemon = own.with_file_name("gantryd");
    if root == Path::new("/") {
        ensure!(
            daemon.is_file(),
            "{} is not there: install both binaries beside each other",
            daemon.display()
        );
    }
    let text = daemon.to_str().context("the path of gantryd is no UTF-8")?;
    ensure!(
        !text.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '\\' | '%' | '$' | ';')),
        "the path {text:?} cannot stand in a unit"
    );
    Ok(daemon)
}

/// Whether nobody else has the well-known paths.
fn check_free(role: Role) -> Result<()> {
    for (path, target) in role.links() {
        let is_link = fs::read_link(path).is_ok_and(|found| found == Path::new(target));
        if !is_link && UnixStream::connect(path).is_ok() {
            bail!(
                "another engine serves {path}: stop it first (systemctl disable --now {service}.socket {service}.service)",
                service = role.service()
            );
        }
    }
    let service = role.service();
    for unit in [format!("{service}.socket"), format!("{service}.service")] {
        let asked = Command::new("systemctl").args(["is-enabled", "--quiet", &unit]).output();
        ensure!(
            !asked.is_ok_and(|output| output.status.success()),
            "another engine's {unit} is enabled, and would have these sockets from the next boot on: systemctl disable --now {unit}"
        );
    }
    Ok(())
}

fn has_group(root: &Path) -> bool {
    let groups = fs::read_to_string(root.join("etc/group")).unwrap_or_default();
    groups.lines().any(|line| line.split(':').next() == Some(GROUP))
}

/// A file that somebody else wrote stays.
fn check_ours(path: &Path) -> Result<()> {
    match fs::read_to_string(path) {
        Ok(text) => {
            ensure!(
                text.starts_with(MARK),
                "{} is not from `gantry install`: move it away first",
                path.display()
            );
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}

fn unit(daemon: &Path) -> String {
    format!(
        "{MARK}[Unit]
Description=Gantry container engine
After=network-online.target nss-lookup.target firewalld.service time-set.target local-fs.target dbus.service
After=gantryd.socket gantryd-docker.socket
Wants=network-online.target gantryd-docker.socket
Requires=gantryd.socket

[Service]
Type=notify
ExecStartPre=-/sbin/modprobe overlay
ExecStart={}
ExecReload=/bin/kill -HUP $MAINPID
# Containers are not the daemon's: they stay when it goes.
KillMode=process
Delegate=yes
Restart=always
RestartSec=1
OOMScoreAdjust=-999
LimitNOFILE=infinity
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
# Containers have a minute to end when the machine goes down.
TimeoutStopSec=90
UMask=0022

[Install]
WantedBy=multi-user.target
",
        daemon.display()
    )
}

fn socket() -> String {
    format!(
        "{MARK}[Unit]
Description=Sockets of the Gantry container engine

[Socket]
ListenStream=/run/gantry/gantry.sock
ListenStream=/run/gantry/gantry.sock.ttrpc
SocketMode=0660
SocketUser=root
SocketGroup=root
DirectoryMode=0711
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
"
    )
}

/// The socket of Docker's API: one of its own, as others may speak to it.
fn docker_socket(group: &str) -> String {
    format!(
        "{MARK}[Unit]
Description=Socket of the Docker API of the Gantry container engine

[Socket]
ListenStream={DEFAULT_SOCKET}
Service=gantryd.service
SocketMode=0660
SocketUser=root
SocketGroup={group}
DirectoryMode=0711
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
"
    )
}

/// Directories and links that a boot makes again.
fn links(roles: &[Role]) -> String {
    let mut text = format!("{MARK}d /run/gantry 0711 root root -\n");
    for role in roles {
        for (path, target) in role.links() {
            if *role == Role::Containerd && path.ends_with("containerd.sock") {
                text += "d /run/containerd 0711 root root -\n";
            }
            text += &format!("L+ {path} - - - - {target}\n");
        }
    }
    text
}

fn run_all(commands: &[&[&str]], is_dry: bool) -> Result<()> {
    if !is_dry && !Path::new("/run/systemd/system").exists() {
        output::note(
            "systemd does not run here: the files are there, and nothing was started (gantryd serve does that)",
        );
        return Ok(());
    }
    for command in commands {
        let text = command.join(" ");
        if is_dry {
            output::line(format!("would run {text}"));
            continue;
        }
        let status = Command::new(command[0]).args(&command[1..]).status();
        let status = status.with_context(|| format!("{text} cannot be started"))?;
        ensure!(status.success(), "{text} failed: {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_from_the_well_known_paths() {
        let text = links(&[Role::Containerd, Role::Docker]);
        assert!(text.contains("L+ /run/docker.sock - - - - /run/gantry/docker.sock\n"), "{text}");
        assert!(text.contains("d /run/containerd 0711"), "{text}");
        assert!(Role::parse("podman").is_err());
    }

    #[test]
    fn files_of_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("unit");
        assert!(check_ours(&path).is_ok());
        fs::write(&path, "[Unit]\n").unwrap();
        assert!(check_ours(&path).is_err());
        fs::write(&path, unit(Path::new("/usr/bin/gantryd"))).unwrap();
        assert!(check_ours(&path).is_ok());
    }
}
