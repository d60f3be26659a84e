//! Starting `gantryd` where nobody said where the engine is, and it does not run.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::net::UnixStream;

/// Where the daemon's output goes.
const LOG: &str = "/var/log/gantry/gantryd.log";
/// How long it may take to serve.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often its socket is tried.
const STEP: Duration = Duration::from_millis(5);

/// Whether nobody listens there.
pub(super) fn is_absent(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(kind, Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused))
}

/// Starts the daemon, and waits until it serves.
pub(super) async fn start(socket: &Path) -> Result<()> {
    let program = program().context("gantryd does not run, and is neither beside gantry nor in PATH")?;
    let log = Path::new(LOG);
    let dir = log.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("{} cannot be made", dir.display()))?;
    let output = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("{LOG} cannot be opened"))?;
    let errors = output.try_clone().context("a descriptor cannot be copied")?;
    let mut child = Command::new(&program)
        .arg("serve")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        // Its own group: the terminal's signals are not for it.
        .process_group(0)
        .spawn()
        .with_context(|| format!("{} cannot be started", program.display()))?;
    let deadline = Instant::now() + PATIENCE;
    while UnixStream::connect(socket).await.is_err() {
        if let Some(status) = child.try_wait().context("gantryd cannot be waited for")? {
            // One that was started at the same time by somebody else may have won.
            if UnixStream::connect(socket).await.is_ok() {
                return Ok(());
            }
            bail!("gantryd ended at its start ({status}); {LOG} says why");
        }
        if Instant::now() >= deadline {
            bail!("gantryd does not serve {} after {PATIENCE:?}; {LOG} says why", socket.display());
        }
        tokio::time::sleep(STEP).await;
    }
    Ok(())
}

/// Beside our own binary, or in `PATH`.
pub(crate) fn program() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join("gantryd")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join("gantryd"));
    beside.into_iter().chain(in_path).find(|file| file.is_file())
}
