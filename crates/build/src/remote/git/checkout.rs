//! From a repository to files, by the program `git`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use gantry_engine::image::Proxies;
use gantry_types::ErrorKind;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::Source;
use crate::{Error, Result};

/// The longest time for all of it.
const LIMIT: Duration = Duration::from_secs(3600);
/// How much of what git says is kept: its end.
const SAID_BYTES: usize = 4096;
/// What is set whatever the operator's configuration says.
const SETTINGS: [&str; 10] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.askPass=",
    "gc.auto=0",
    "maintenance.auto=false",
    "protocol.file.allow=never",
    "protocol.ext.allow=never",
    // What does not advance for a minute has stalled.
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=60",
    "advice.detachedHead=false",
];
/// What may be asked over the network, by the repository and by its submodules.
const PROTOCOLS: &str = "http:https:git:ssh";
/// What of the daemon's environment git sees.
const ENVIRONMENT: [&str; 8] = [
    "PATH",
    "HOME",
    "LANG",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "SSH_AUTH_SOCK",
    "GIT_CONFIG_GLOBAL",
];

/// What becomes of git's own directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metadata {
    /// It stays among the files, as in docker's contexts.
    Kept,
    /// It goes.
    Removed,
}

/// One repository on its way.
struct Git<'a> {
    source: &'a Source,
    place: &'a Path,
    proxies: &'a Proxies,
}

/// Gets the files of a repository, and of its submodules, into a directory that is not there yet.
///
/// # Errors
/// Remote, with what git says; Unsupported where there is no git.
///
/// # Cancel safety
/// Dropping it ends git; what is in the directory is nobody's.
pub(crate) async fn checkout(
    source: &Source,
    place: &Path,
    proxies: &Proxies,
    metadata: Metadata,
) -> Result<()> {
    std::fs::create_dir_all(place).map_err(Error::io("making", place))?;
    let git = Git { source, place, proxies };
    let whole = git.all(metadata);
    tokio::time::timeout(LIMIT, whole).await.unwrap_or_else(|_| {
        Err(git.failed("fetching", format!("it took more than {LIMIT:?}"), ErrorKind::DeadlineExceeded))
    })
}

impl Git<'_> {
    async fn all(&self, metadata: Metadata) -> Result<()> {
        let Source { remote, reference, .. } = self.source;
        self.run("making", &["init", "--quiet", "--template="]).await?;
        // So that relative submodules are found, and branches have their names.
        self.run("naming", &["remote", "add", "--", "origin", remote]).await?;
        self.fetch(reference).await?;
        let by_name = self.run("checking out", &["checkout", "--quiet", reference, "--"]).await;
        if by_name.is_err() {
            self.run("checking out", &["checkout", "--quiet", "FETCH_HEAD", "--"]).await?;
        }
        self.submodules().await?;
        match metadata {
            // A password is for fetching, and not for the image.
            Metadata::Kept => {
                self.run("naming", &["remote", "set-url", "--", "origin", &self.source.shown()]).await
            }
            Metadata::Removed => self.remove_metadata().await,
        }
    }

    /// Without history, if the server can do that; with it, if a commit is asked for that is in a branch only.
    async fn fetch(&self, reference: &str) -> Result<()> {
        let Err(error) =
            self.run("fetching", &["fetch", "--quiet", "--depth=1", "origin", "--", reference]).await
        else {
            return Ok(());
        };
        if self.run("fetching", &["fetch", "--quiet", "origin", "--", reference]).await.is_ok() {
            return Ok(());
        }
        let is_commit = reference.len() >= 7 && reference.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_commit && self.run("fetching", &["fetch", "--quiet", "--tags", "origin"]).await.is_ok() {
            return Ok(());
        }
        Err(error)
    }

    async fn submodules(&self) -> Result<()> {
        let update = ["submodule", "--quiet", "update", "--init", "--recursive"];
        let shallow = [&update[..], &["--depth=1"]].concat();
        if self.run("fetching the submodules of", &shallow).await.is_ok() {
            return Ok(());
        }
        self.run("fetching the submodules of", &update).await
    }

    async fn remove_metadata(&self) -> Result<()> {
        let place = self.place.join(".git");
        tokio::task::spawn_blocking(move || {
            std::fs::remove_dir_all(&place).map_err(Error::io("removing", &place))
        })
        .await
        .map_err(|_| Error::Cancelled)?
    }

    fn failed(&self, verb: &str, reason: String, kind: ErrorKind) -> Error {
        let what = format!("error {verb} {}", self.source.shown());
        Error::Remote { what, reason: self.source.redact(&reason), kind }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.env_clear();
        for name in ENVIRONMENT {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        let proxies = [
            ("http_proxy", &self.proxies.http),
            ("https_proxy", &self.proxies.https),
            ("no_proxy", &self.proxies.none),
        ];
        command.envs(proxies.into_iter().filter(|(_, value)| !value.is_empty()));
        command
            .env("GIT_PROTOCOL_FROM_USER", "0")
            .env("GIT_ALLOW_PROTOCOL", PROTOCOLS)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
            .env("GIT_CEILING_DIRECTORIES", "/")
            .env("LC_ALL", "C.UTF-8");
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command.args(arguments).current_dir(self.place);
        // A group of its own, which ends as one.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        command
    }

    async fn run(&self, verb: &str, arguments: &[&str]) -> Result<()> {
        let mut child = self.command(arguments).spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Error::Unsupported("repositories of git need the program git on the engine's host".to_owned())
            }
            _ => Error::io("starting", "git")(error),
        })?;
        let mut group = Group(child.id());
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (_, said, status) = tokio::join!(tail(stdout), tail(stderr), child.wait());
        // Its number may be somebody else's from now on.
        group.0 = None;
        let status = status.map_err(Error::io("waiting for", "git"))?;
        if status.success() {
            return Ok(());
        }
        let said: String = said.chars().filter(|c| !c.is_control() || *c == '\n').collect();
        Err(self.failed(verb, said.trim().to_owned(), ErrorKind::InvalidArgument))
    }
}

/// Ends a group of processes when it is dropped, if there is one.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
            // Nobody left is the usual case.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// The end of what a program says, whatever it says.
async fn tail(stream: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let (mut kept, mut buffer) = (Vec::new(), [0; SAID_BYTES]);
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..count]);
        let excess = kept.len().saturating_sub(SAID_BYTES);
        kept.drain(..excess);
    }
    String::from_utf8_lossy(&kept).into_owned()
}
