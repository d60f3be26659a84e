//! An engine whose daemon serves.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gantry_testkit::until_within;

use super::engine::Engine;
use super::group::Group;
use super::store::Tmpfs;

/// How long a daemon may take to serve.
const START: Duration = Duration::from_secs(60);

/// A daemon with an empty store, or none where the engine has none; on drop it is ended.
#[derive(Debug)]
pub(crate) struct Serving<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) group: Arc<Group>,
    pub(crate) dir: PathBuf,
    daemon: Option<Child>,
    /// From its start to its first answer.
    pub(crate) start: Duration,
}

impl<'a> Serving<'a> {
    /// Starts it.
    pub(crate) fn start(engine: &'a Engine, store: &Tmpfs) -> Result<Self, String> {
        let (dir, group) = (store.path().to_owned(), Arc::new(Group::new(&engine.name)?));
        let mut serving = Self { engine, group, dir, daemon: None, start: Duration::ZERO };
        if let Some(mut command) = engine.daemon(&serving.dir, &serving.group)? {
            let begin = Instant::now();
            let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
            let socket = engine.socket(&serving.dir);
            let serves = until_within(START, "the daemon to serve", || match child.try_wait() {
                Ok(Some(status)) => Some(Err(format!("the daemon ended: {status}\n{}", serving.log()))),
                _ => answers(&socket).then_some(Ok(())),
            });
            serves?;
            serving.start = begin.elapsed();
            serving.daemon = Some(child);
        }
        Ok(serving)
    }

    /// Whether there is a daemon at all.
    pub(crate) fn has_daemon(&self) -> bool {
        self.daemon.is_some()
    }

    /// The end of its log, for messages.
    pub(crate) fn log(&self) -> String {
        const LINES: usize = 12;
        let log = std::fs::read_to_string(self.dir.join("daemon.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether a server of HTTP answers on a socket: with its settings to the preface of HTTP/2 (RFC 9113, 3.4), or with any
/// response to a request.
fn answers(socket: &Path) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::os::unix::net::UnixStream::connect(socket) else { return false };
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let sent =
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").and_then(|()| stream.write_all(&settings));
    let _ = stream.set_read_timeout(Some(START));
    sent.is_ok() && stream.read(&mut [0; 9]).is_ok_and(|got| got > 0)
}
