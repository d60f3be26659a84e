//! Starting shims, and the other verbs of their binaries.

use std::collections::HashMap;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use gantry_proto_shim::Message;
use gantry_proto_shim::any::Any;
use gantry_proto_shim::bootstrap::{BootstrapParams, Extension, LogLevel};
use gantry_proto_shim::task::DeleteResponse;
use gantry_types::Namespace;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;

use crate::address::Address;
use crate::binary::{Binaries, OURS, Program, executable};
use crate::failpoint::hit;
use crate::{Error, Options};

/// The longest answer of a shim's binary, in bytes; a runtime's features are among them.
const MAX_OUTPUT_BYTES: u64 = 1 << 20;
/// How much of what a shim says goes into an error, in characters.
const MAX_SAID: usize = 2000;
/// The variable by which our shim learns where pods have their state.
const SHIM_ROOT: &str = "GANTRY_SHIM_ROOT";

/// The longest path of a directory below which our shims can have their sockets, in bytes: `shim/<64 digits>/streams` has to fit
/// into the 107 of unix(7).
const MAX_STATE_BYTES: usize = 107 - "/shim/".len() - 64 - "/streams".len();
/// Where a daemon whose state has a longer path has them, in a directory named by that.
const SHORT: &str = "/run/gantry";

/// What a shim is started for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Launch<'a> {
    pub(crate) namespace: &'a Namespace,
    pub(crate) id: &'a str,
    pub(crate) bundle: &'a Path,
    pub(crate) group: &'a str,
    pub(crate) options: Option<&'a Any>,
    /// Where one of ours is to serve, if not at its group's place.
    pub(crate) socket: Option<&'a Path>,
}

/// A shim that was started.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) address: Address,
    /// Our child, to be reaped; shims of others are nobody's.
    pub(crate) child: Option<Child>,
    /// A connection to it.
    pub(crate) stream: UnixStream,
}

/// What a binary wants on the standard input of `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// `BootstrapParams`: from containerd 2.3 on.
    Params,
    /// The runtime's options, or nothing.
    Options,
}

/// Starts shims.
#[derive(Debug)]
pub(crate) struct Launcher {
    options: Options,
    /// Where our shims have sockets and state.
    near: PathBuf,
    /// The daemon's own binary.
    daemon: PathBuf,
    pub(crate) binaries: Binaries,
    /// The dialect of each binary that was started: by device, inode and time of its last change.
    dialects: Mutex<HashMap<(u64, u64, i64), Dialect>>,
}

impl Launcher {
    pub(crate) fn new(options: &Options) -> Self {
        let binaries = Binaries::new(options.shim.clone(), options.runtimes.clone());
        let daemon = std::env::current_exe().unwrap_or_else(|_| "gantryd".into());
        let near = short(&options.state);
        Self { options: options.clone(), near, daemon, binaries, dialects: Mutex::default() }
    }

    /// Makes the directory of the sockets. Blocks.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn make_place(&self) -> Result<(), Error> {
        let make = |path: &Path, mode| {
            let made = std::fs::DirBuilder::new().recursive(true).mode(mode).create(path);
            made.map_err(Error::file("making", path))
        };
        // Another daemon's state may be there, which others than root pass.
        make(self.near.parent().unwrap_or(&self.near), 0o711)?;
        make(&self.sockets(), 0o700)
    }

    /// Where sockets of our shims are.
    pub(crate) fn sockets(&self) -> PathBuf {
        self.near.join("s")
    }

    /// Our shims' own state, a directory for each socket, of the same name.
    pub(crate) fn shim_root(&self) -> PathBuf {
        self.near.join("shim")
    }

    /// The socket of a group of our shims. Its name is the one that shims give themselves, so that their verbs find it.
    pub(crate) fn socket(&self, namespace: &Namespace, group: &str) -> PathBuf {
        let address = self.options.grpc.display().to_string();
        let hash = Sha256::digest([address.trim_end_matches('/'), namespace.as_str(), group].join("/"));
        let name: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        self.sockets().join(name)
    }

    /// Where a shim of ours serves.
    pub(crate) fn address(&self, namespace: &Namespace, group: &str) -> Address {
        Address::ttrpc(3, &self.socket(namespace, group))
    }

    /// Starts a shim of ours on a socket that we make, and connects to that. Returns once it is executed. Blocks.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn start_ours(&self, program: &Program, launch: &Launch<'_>) -> Result<Started, Error> {
        let binary = self.binaries.sealed(&program.path)?;
        let socket = match launch.socket {
            Some(socket) => socket.to_owned(),
            None => self.socket(launch.namespace, launch.group),
        };
        let listener = listen(&socket)?;
        hit("shim.bound");
        let message = self.params(launch).encode_to_vec();
        let failed = |doing, errno: rustix::io::Errno| Error::errno(doing, &program.path)(errno);
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(|errno| failed("a socket for", errno))?;
        // It waits there until the shim reads it.
        gantry_sys::fdpass::send(ours.as_fd(), &message, &[listener.as_fd()])
            .map_err(|errno| failed("telling", errno))?;
        hit("shim.told");
        let child = self
            .command(&executable(&binary), launch)
            .arg0(OURS)
            // Not by the working directory: with one, Rust's library forks this whole process in place of vfork(2).
            .arg("-bundle")
            .arg(launch.bundle)
            .arg("serve")
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::file("executing", &program.path))?;
        hit("shim.spawned");
        // The kernel has it wait in the queue.
        let stream = connect(&socket)?;
        hit("shim.connected");
        Ok(Started { address: Address::ttrpc(3, &socket), child: Some(child), stream })
    }

    /// Starts a shim as containerd does.
    ///
    /// # Errors
    /// What it says when it fails, or does not say in time.
    pub(crate) async fn start_foreign(
        &self,
        program: &Program,
        launch: &Launch<'_>,
    ) -> Result<Started, Error> {
        let key = program.path.metadata().ok().map(|file| (file.dev(), file.ino(), file.mtime()));
        let known = key.and_then(|key| self.dialects().get(&key).copied());
        let legacy = launch.options.map(Message::encode_to_vec).unwrap_or_default();
        let params = self.params(launch).encode_to_vec();
        let first = known.unwrap_or(Dialect::Params);
        let input = |dialect| match dialect {
            Dialect::Params => params.clone(),
            Dialect::Options => legacy.clone(),
        };
        let said = self.verb(program, launch, &["start"], input(first)).await;
        let (said, dialect) = match said {
            Err(_) if known.is_none() => {
                (self.verb(program, launch, &["start"], input(Dialect::Options)).await?, Dialect::Options)
            }
            said => (said?, first),
        };
        if let Some(key) = key {
            self.dialects().insert(key, dialect);
        }
        hit("foreign.started");
        let address = Address::parse(&said)
            .map_err(|error| Error::Start { program: program.path.clone(), reason: error.to_string() })?;
        Self::reach(address).await
    }

    /// Connects to somebody who serves already.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) async fn reach(address: Address) -> Result<Started, Error> {
        let socket = address.socket().unwrap_or_default();
        let stream = tokio::task::spawn_blocking(move || connect(&socket)).await;
        let stream = stream.map_err(|_| Error::Panicked)??;
        Ok(Started { address, child: None, stream })
    }

    /// Removes what a shim left that does not live.
    ///
    /// # Errors
    /// As those of [`start_foreign`](Self::start_foreign).
    pub(crate) async fn delete(
        &self,
        program: &Program,
        launch: &Launch<'_>,
    ) -> Result<DeleteResponse, Error> {
        let bundle = launch.bundle.display().to_string();
        let said = self.verb(program, launch, &["-bundle", &bundle, "delete"], Vec::new()).await?;
        DeleteResponse::decode(&*said).map_err(|error| Error::Start {
            program: program.path.clone(),
            reason: format!("delete answers with what cannot be read: {error}"),
        })
    }

    /// What `-info` prints: an encoded `containerd.types.RuntimeInfo`.
    ///
    /// # Errors
    /// As those of [`start_foreign`](Self::start_foreign).
    pub(crate) async fn info(&self, program: &Program, options: Option<&Any>) -> Result<Vec<u8>, Error> {
        let mut command = Command::new(&program.path);
        command.arg("-info");
        let input = options.map(Message::encode_to_vec).unwrap_or_default();
        run(command, &program.path, input, self.options.limits.verb).await
    }

    fn dialects(&self) -> std::sync::MutexGuard<'_, HashMap<(u64, u64, i64), Dialect>> {
        self.dialects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn verb(
        &self,
        program: &Program,
        launch: &Launch<'_>,
        arguments: &[&str],
        input: Vec<u8>,
    ) -> Result<Vec<u8>, Error> {
        let mut command = self.command(&program.path, launch);
        // As containerd does; ours makes a session of its own, which a leader cannot.
        command.args(arguments).current_dir(launch.bundle).process_group(0);
        run(command, &program.path, input, self.options.limits.verb).await
    }

    /// The flags and the environment that all verbs have.
    fn command(&self, binary: &Path, launch: &Launch<'_>) -> Command {
        let options = &self.options;
        let mut command = Command::new(binary);
        command
            .args(["-namespace", launch.namespace.as_str(), "-address"])
            .arg(&options.grpc)
            .arg("-publish-binary")
            .arg(&self.daemon)
            .args(["-id", launch.id])
            .env("NAMESPACE", launch.namespace.as_str())
            .env("TTRPC_ADDRESS", &options.events)
            .env("GRPC_ADDRESS", &options.grpc)
            .env("MAX_SHIM_VERSION", "2")
            .env("GOMAXPROCS", "2")
            .env(SHIM_ROOT, self.shim_root());
        if options.debug {
            command.arg("-debug");
        }
        if options.core_scheduling {
            command.env("SCHED_CORE", "1");
        }
        command
    }

    fn params(&self, launch: &Launch<'_>) -> BootstrapParams {
        let options = &self.options;
        let level = if options.debug { LogLevel::Debug } else { LogLevel::Info };
        let extension = |any: &Any| Extension { value: Some(any.clone()) };
        BootstrapParams {
            instance_id: launch.id.to_owned(),
            namespace: launch.namespace.to_string(),
            log_level: level.into(),
            containerd_version: options.version.clone(),
            containerd_ttrpc_address: options.events.display().to_string(),
            containerd_grpc_address: options.grpc.display().to_string(),
            containerd_binary: self.daemon.display().to_string(),
            extensions: launch.options.map(extension).into_iter().collect(),
            socket_dir: Some(self.sockets().display().to_string()),
        }
    }
}

/// A directory for a daemon's sockets: its state, or one whose path is short enough.
fn short(state: &Path) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    let bytes = state.as_os_str().as_bytes();
    if bytes.len() <= MAX_STATE_BYTES {
        return state.to_owned();
    }
    let name: String = Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Path::new(SHORT).join(name)
}

/// Makes a socket that listens, in the place of one that nobody serves any more.
fn listen(path: &Path) -> Result<UnixListener, Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::file("removing", path)(error));
        }
        _ => {}
    }
    // Its directory is for the daemon alone: nobody can connect before it has its mode.
    let listener = UnixListener::bind(path).map_err(Error::file("listening at", path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(Error::file("listening at", path))?;
    Ok(listener)
}

/// Connects to a shim's socket.
fn connect(path: &Path) -> Result<UnixStream, Error> {
    let stream = UnixStream::connect(path).map_err(Error::file("connecting to", path))?;
    stream.set_nonblocking(true).map_err(Error::file("connecting to", path))?;
    Ok(stream)
}

/// What a shim that has ended said. Blocks.
pub(crate) fn said(errors: std::process::ChildStderr) -> String {
    use std::io::Read as _;
    let mut text = Vec::new();
    // What it started may still have it: what is not there now is not waited for.
    let _ = rustix::io::ioctl_fionbio(&errors, true);
    let _ = errors.take(MAX_OUTPUT_BYTES).read_to_end(&mut text);
    shortened(&text)
}

fn shortened(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().chars().take(MAX_SAID).collect()
}

/// Executes a verb of a binary, and returns what it prints on its standard output.
async fn run(
    mut command: Command,
    program: &Path,
    input: Vec<u8>,
    limit: Duration,
) -> Result<Vec<u8>, Error> {
    let failed = |reason: String| Error::Start { program: program.to_owned(), reason };
    command.stdin(given(&input).map_err(|error| failed(format!("cannot be given its input: {error}")))?);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    let mut child = command.spawn().map_err(Error::file("executing", program))?;
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let talk = async {
        // What it starts may keep its standard error: nobody waits for the end of that.
        let out = async {
            match stdout {
                Some(stdout) => stdout.take(MAX_OUTPUT_BYTES).read_to_end(&mut output).await.map(drop),
                None => Ok(()),
            }
        };
        out.await?;
        child.wait().await
    };
    let ended = tokio::time::timeout(limit, talk).await;
    if let Some(mut stderr) = stderr {
        let mut buffer = [0; 4096];
        while let Ok(Ok(length @ 1..)) =
            tokio::time::timeout(Duration::from_millis(10), stderr.read(&mut buffer)).await
        {
            errors.extend_from_slice(&buffer[..length]);
            if errors.len() > MAX_SAID * 4 {
                break;
            }
        }
    }
    let said = || [shortened(&output), shortened(&errors)].join(" ").trim().to_owned();
    match ended {
        Err(_) => Err(failed(format!("does not end within {limit:?}: {}", said()))),
        Ok(Err(error)) => Err(failed(format!("{error}: {}", said()))),
        Ok(Ok(status)) if !status.success() => Err(failed(format!("{status}: {}", said()))),
        Ok(Ok(_)) => Ok(output),
    }
}

/// A standard input from which `bytes` can be read: a file in memory, so that nobody has to wait for a reader.
fn given(bytes: &[u8]) -> std::io::Result<Stdio> {
    if bytes.is_empty() {
        return Ok(Stdio::null());
    }
    let file: OwnedFd = rustix::fs::memfd_create(c"shim-input", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(file);
    file.write_all(bytes)?;
    std::io::Seek::rewind(&mut file)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_a_long_state_fit_into_their_names() {
        let name = "0".repeat(64);
        for length in [12, MAX_STATE_BYTES, MAX_STATE_BYTES + 1, 4000] {
            let state = PathBuf::from(format!("/{}", "s".repeat(length - 1)));
            let near = short(&state);
            assert_eq!(near == state, length <= MAX_STATE_BYTES);
            let longest = near.join("shim").join(&name).join("streams");
            assert!(longest.as_os_str().len() <= 107, "{}", longest.display());
        }
        assert_ne!(short(Path::new(&"/a".repeat(30))), short(Path::new(&"/b".repeat(30))));
    }
}
