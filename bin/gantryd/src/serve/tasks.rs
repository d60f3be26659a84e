//! From the configuration to tasks, and the log of their shims.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use gantry_config::{Config, Level};
use gantry_primitives::Store;
use gantry_primitives::tasks::{Runtime, TaskLimits, TaskOptions, Tasks};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::unix::pipe;

/// The name of our shim's binary.
const SHIM: &str = "containerd-shim-gantry-v2";
/// The longest line of a shim that is logged whole, in bytes.
const MAX_LINE_BYTES: u64 = 16 << 10;

/// Opens the tasks, and finds again what runs.
pub(crate) async fn open(config: &Config, store: &Store, version: &str) -> Result<Arc<Tasks>> {
    let options = options(config, version);
    tracing::debug!(shim = %options.shim.display(), "our shim");
    let log = |path: &Path| drop(tokio::spawn(read_log(path.to_owned())));
    let opened = Tasks::open(store.clone(), options, log).await;
    let (tasks, recovered) = opened.context("cannot open the tasks")?;
    if recovered.tasks + recovered.lost > 0 {
        tracing::info!(tasks = recovered.tasks, lost = recovered.lost, "found tasks of the daemon before");
    }
    let tasks = Arc::new(tasks);
    let interval = config.tasks.restart_interval.max(Duration::from_millis(1));
    Tasks::watch_restarts(&tasks, interval).await.context("cannot watch for containers to be restarted")?;
    Ok(tasks)
}

fn options(config: &Config, version: &str) -> TaskOptions {
    let runtime = |runtime: &gantry_config::Runtime| Runtime {
        path: runtime.path.clone(),
        binary: runtime.binary.clone(),
        root: runtime.root.as_ref().map(|root| root.display().to_string()).unwrap_or_default(),
        systemd_cgroup: runtime.systemd_cgroup,
    };
    let runtimes = config.runtimes.iter().map(|(name, said)| (name.clone(), runtime(said)));
    TaskOptions {
        state: config.store.state.clone(),
        root: config.store.root.clone(),
        events: config.ttrpc_address(),
        grpc: config.grpc.address.clone(),
        shim: config.tasks.shim.clone().unwrap_or_else(shim),
        runtimes: runtimes.collect(),
        version: version.trim_start_matches('v').to_owned(),
        debug: config.tasks.shim_debug || matches!(config.debug.level, Level::Trace | Level::Debug),
        core_scheduling: config.tasks.core_scheduling,
        limits: TaskLimits::default(),
    }
}

/// Our shim's binary: beside us, or in `PATH`.
fn shim() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|path| path.with_file_name(SHIM));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = beside.into_iter().chain(std::env::split_paths(&path).map(|path| path.join(SHIM)));
    let all: Vec<_> = all.collect();
    let found = all.iter().find(|path| path.is_file()).or(all.first());
    found.cloned().unwrap_or_else(|| SHIM.into())
}

/// Passes on what shims log, line by line.
async fn read_log(path: PathBuf) {
    loop {
        if let Err(error) = copy_log(&path).await {
            tracing::warn!(path = %path.display(), %error, "the log of shims cannot be read");
            return;
        }
    }
}

async fn copy_log(path: &Path) -> std::io::Result<()> {
    // For writing, too: without a writer there would be no end of ends.
    let fifo = pipe::OpenOptions::new().read_write(true).open_receiver(path)?;
    let mut lines = BufReader::new(fifo);
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut lines).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim();
        match () {
            () if text.contains("level=error") => tracing::error!(target: "shim", "{text}"),
            () if text.contains("level=warn") => tracing::warn!(target: "shim", "{text}"),
            // What shims find worth telling is for developers.
            () => tracing::debug!(target: "shim", "{text}"),
        }
    }
}
