//! What a shim left that stays dead: its containers are removed by its binary's `delete`, and only then their ends are told.
//!
//! `delete` may fail, or be killed as the shim was. Who then said that the container has ended would leave it running, with nobody
//! who knows of it: so it is run again, a few times, and as long as the first process is there.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt as _;
use futures_util::stream::iter;
use gantry_proto_shim::Message as _;
use gantry_proto_shim::any::Timestamp;
use gantry_proto_shim::own::Cause;
use gantry_proto_shim::task::{DeleteResponse, SERVICE_V3, ShutdownRequest, WaitResponse, method};
use gantry_ttrpc::client::Options as CallOptions;
use gantry_types::Namespace;

use crate::binary::Program;
use crate::client::Client;
use crate::shim::{NAMESPACE, Owned, Shim, open};
use crate::tasks::Inner;

/// What is reported of a container whose shim cannot say how it ended: as of one that was killed.
const UNKNOWN_STATUS: u32 = 137;
/// How many containers of a shim are removed at the same time.
const CONCURRENCY: usize = 8;
/// How often `delete` is tried for a container whose process is gone, or not known.
const DELETIONS: u32 = 4;
/// How long after the first time that it failed it is tried again; each time after that, twice as long, up to this.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A task that ended with its shim, or while nobody looked.
#[derive(Debug, Clone)]
pub struct Lost {
    /// Whose it was.
    pub namespace: Namespace,
    /// Its container.
    pub id: String,
    /// Its first process.
    pub pid: u32,
    /// 137 if nobody knows it.
    pub exit_status: u32,
    /// When it ended, or was found ended.
    pub exited_at: Timestamp,
    /// What is known of the reason.
    pub cause: String,
}

/// Has what a shim of ours left that was killed in its end taken up by another one, which tells what there is to tell, and ends:
/// events may wait in its journal. Without anything left, nothing is done.
pub(crate) async fn finish(inner: &Arc<Inner>, program: &Program, owned: Owned, socket: &Path) {
    let Some(name) = socket.file_name() else { return };
    let state = inner.launcher.shim_root().join(name);
    // A shim that ends well takes its directory along. One that still serves has somebody in it.
    if Client::connect(socket).await.is_ok() {
        return;
    }
    if !state.exists() {
        // One that was killed before it had begun leaves the socket that it was given.
        let _ = std::fs::remove_file(socket);
        return;
    }
    let (namespace, id) = (owned.namespace.clone(), owned.id.clone());
    tracing::warn!(%namespace, container = id, "a shim died in its end: another one tells what it had to say");
    let owned = Owned { socket: Some(socket.to_owned()), ..owned };
    let (client, child) = match open(&inner.launcher, program, owned).await {
        Ok((client, _, child)) => (client, child),
        Err(error) => {
            tracing::error!(%namespace, container = id, %error, "what a shim left cannot be taken up");
            return;
        }
    };
    let request = ShutdownRequest { id: id.clone(), now: false };
    let options =
        CallOptions::default().metadata(NAMESPACE, namespace.as_str()).timeout(inner.limits.shutdown);
    let asked = client.call(SERVICE_V3, method::SHUTDOWN, request.encode_to_vec(), &options).await;
    if asked.is_err() || tokio::time::timeout(inner.limits.shutdown, client.ended()).await.is_err() {
        tracing::warn!(%namespace, container = id, "the shim does not end: it has found containers");
    }
    client.close();
    if let Some(mut child) = child {
        // In its own time: one that has found something stays.
        tokio::task::spawn_blocking(move || child.wait());
    }
}

/// Cleans up after a shim that stays dead, and tells how its containers ended.
pub(crate) async fn bury(inner: &Arc<Inner>, shim: &Arc<Shim>) {
    let each = |id| bury_one(inner, shim, id);
    iter(shim.containers()).for_each_concurrent(CONCURRENCY, each).await;
    shim.note_death("it died");
}

async fn bury_one(inner: &Arc<Inner>, shim: &Arc<Shim>, id: String) {
    let key = (shim.namespace.clone(), id.clone());
    let pid = shim.pid(&id);
    let owned = Owned {
        namespace: shim.namespace.clone(),
        id: id.clone(),
        bundle: inner.place.path(&shim.namespace, &id),
        group: shim.group.clone(),
        options: shim.options.clone(),
        socket: None,
    };
    let held_up = || shim.note_burial("it died, and a container that it left cannot be removed yet");
    let ended = clean(inner, &shim.program, owned, pid, held_up).await;
    if inner.sandboxes().remove(&key).is_some() {
        // Who waits for it hears that the shim is gone.
        return;
    }
    let lost = lost_task(&shim.namespace, &id, pid, ended, "its shim died");
    shim.note_lost(lost.clone());
    // Of one that was only being made, whoever makes it is told.
    if inner.forget(&key) {
        inner.report(lost);
    }
}

/// Has the binary remove what is left of a container, and removes its bundle.
///
/// A `delete` that fails is tried again. It has no end as long as the process `pid` is there, if that is known: `held_up` is called
/// then. A bundle that is still there at the daemon's next start has it tried again, too.
pub(crate) async fn clean(
    inner: &Arc<Inner>,
    program: &Program,
    owned: Owned,
    pid: u32,
    held_up: impl Fn(),
) -> Option<DeleteResponse> {
    let begun = Instant::now();
    let mut pause = PAUSE;
    let mut tries = 1;
    let ended = loop {
        let error = match inner.launcher.delete(program, &owned.launch()).await {
            Ok(ended) => break Some(ended),
            Err(error) => error,
        };
        let (namespace, id) = (&owned.namespace, &owned.id);
        tracing::warn!(%namespace, container = id, tries, %error, "what a shim left cannot be removed by its binary");
        if lives(pid) {
            held_up();
        } else if tries >= DELETIONS || begun.elapsed() > inner.limits.verb {
            break None;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        tries += 1;
    };
    inner.remove_bundle(owned.namespace, owned.id).await;
    ended
}

/// Whether a process is there, and is no zombie. Somebody else may have its number by now: then what waits for its end waits for
/// that one's.
fn lives(pid: u32) -> bool {
    // proc_pid_stat(5): the name stands in parentheses and may have such itself; the state comes next.
    let stat = if pid == 0 { None } else { std::fs::read_to_string(format!("/proc/{pid}/stat")).ok() };
    let state =
        stat.as_deref().and_then(|stat| stat.rsplit_once(") ")).and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X' | 'x'))
}

/// What is told of a task that ended without its shim.
pub(crate) fn lost_task(
    namespace: &Namespace,
    id: &str,
    pid: u32,
    ended: Option<DeleteResponse>,
    cause: &str,
) -> Lost {
    let ended = ended.unwrap_or_default();
    let known = ended.exited_at.is_some_and(|time| time.seconds > 0);
    Lost {
        namespace: namespace.clone(),
        id: id.to_owned(),
        pid: if ended.pid == 0 { pid } else { ended.pid },
        exit_status: if known { ended.exit_status } else { UNKNOWN_STATUS },
        exited_at: ended.exited_at.filter(|_| known).unwrap_or_else(|| SystemTime::now().into()),
        cause: cause.to_owned(),
    }
}

impl From<Lost> for WaitResponse {
    fn from(lost: Lost) -> Self {
        let Lost { exit_status, exited_at, cause, .. } = lost;
        let cause = Some(Cause { text: cause, ..Cause::default() });
        Self { exit_status, exited_at: Some(exited_at), cause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_lives_until_it_has_ended() {
        assert!(lives(std::process::id()) && lives(1));
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while lives(child.id()) {
            assert!(Instant::now() < deadline, "a zombie is no process that lives");
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(!lives(child.id()) && !lives(0) && !lives(u32::MAX));
    }
}
