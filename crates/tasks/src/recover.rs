//! What is found at the start of the daemon: shims that live, and what dead ones left.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::iter;
use gantry_proto_shim::process::Status;
use gantry_proto_shim::task::{
    ConnectRequest, ConnectResponse, DeleteRequest, DeleteResponse, ShutdownRequest, StateRequest,
    StateResponse, method,
};
use gantry_types::{ErrorKind, Namespace};
use serde::Deserialize;

use crate::bundle::Found;
use crate::burial::{clean, finish, lost_task};
use crate::client::Client;
use crate::shim::{Owned, Shim, open};
use crate::tasks::{Inner, Left, adopt, leave};
use crate::{Error, Key, Tasks};

/// How many shims are looked for at the same time.
const CONCURRENCY: usize = 64;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Tasks whose shims were found, or started again.
    pub tasks: usize,
    /// Tasks that are gone.
    pub lost: usize,
    /// Those of them after whom is cleaned up now, which may take a while; then their ends are told.
    pub ending: BTreeSet<Key>,
}

impl Tasks {
    /// Finds what was left by the daemon before. To be called once, before anything else. `pids` are first processes that ran when
    /// they were heard of last, as far as they are of this boot: nobody is told of their ends as long as they are there.
    ///
    /// # Errors
    /// What the disk says of the directories; a shim that cannot be helped is logged.
    pub async fn recover(&self, pids: BTreeMap<Key, u32>) -> Result<Recovered, Error> {
        let inner = Arc::clone(&self.inner);
        let place = inner.place.clone();
        let found =
            tokio::task::spawn_blocking(move || place.found()).await.map_err(|_| Error::Panicked)??;
        let mut groups: BTreeMap<(Namespace, String), Vec<Found>> = BTreeMap::new();
        for bundle in found {
            let ours = inner.launcher.binaries.known(&bundle.binary).ours;
            let group = if ours { bundle.group.clone() } else { bundle.id.clone() };
            groups.entry((bundle.namespace.clone(), group)).or_default().push(bundle);
        }
        let known: Vec<_> =
            groups.keys().map(|(namespace, group)| inner.launcher.socket(namespace, group)).collect();
        let recover = |((_, group), bundles)| recover_group(&inner, group, bundles, &pids);
        let all = iter(groups).map(recover).buffer_unordered(CONCURRENCY);
        let all = all.fold(Recovered::default(), async |mut sum, one| {
            sum.ending.extend(one.ending);
            Recovered { tasks: sum.tasks + one.tasks, lost: sum.lost + one.lost, ..sum }
        });
        let all = all.await;
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move { end_strays(&inner, &known).await });
        Ok(all)
    }
}

/// Finds the shim of bundles that share one.
async fn recover_group(
    inner: &Arc<Inner>,
    group: String,
    bundles: Vec<Found>,
    pids: &BTreeMap<Key, u32>,
) -> Recovered {
    let mut recovered = Recovered::default();
    let pid = |bundle: &Found| {
        let key = (bundle.namespace.clone(), bundle.id.clone());
        pids.get(&key).copied().unwrap_or_default()
    };
    let shim = match reach(inner, &group, &bundles).await {
        Ok(shim) => shim,
        Err(error) => {
            for bundle in bundles {
                recovered.lost += 1;
                if bundle.is_deleted {
                    inner.remove_bundle(bundle.namespace, bundle.id).await;
                    continue;
                }
                tracing::warn!(namespace = %bundle.namespace, container = bundle.id, %error, "a task has no shim");
                let pid = pid(&bundle);
                recovered.ending.insert(bury(inner, bundle, pid).await);
            }
            return recovered;
        }
    };
    // All at once: one that hangs holds up its group once.
    let asked = bundles.into_iter().map(|bundle| {
        let shim = Arc::clone(&shim);
        async move { (ask_in_time(&shim, &bundle).await, bundle) }
    });
    for (answer, bundle) in join_all(asked).await {
        let key = (bundle.namespace.clone(), bundle.id.clone());
        match answer {
            Ok(Answer::Gone) => {
                recovered.lost += 1;
                match Left::unknown_to(&shim) {
                    Left::Something if !bundle.is_deleted => remove_unknown(inner, &shim, bundle).await,
                    _ => inner.remove_bundle(bundle.namespace, bundle.id).await,
                }
            }
            Err(Error::Lost { .. }) if !bundle.is_sandbox => {
                recovered.lost += 1;
                let pid = pid(&bundle);
                recovered.ending.insert(bury(inner, bundle, pid).await);
            }
            answer if bundle.is_sandbox => {
                if let Err(error) = answer {
                    tracing::warn!(namespace = %bundle.namespace, sandbox = bundle.id, %error, "a shim does not answer");
                }
                shim.enter(&bundle.id, 0);
                inner.sandboxes().insert(key, Arc::clone(&shim));
            }
            Ok(Answer::There { pid }) => {
                inner.insert(key, &shim, pid);
                recovered.tasks += 1;
            }
            Err(error) => {
                tracing::warn!(namespace = %bundle.namespace, container = bundle.id, %error, "a shim does not answer");
                inner.insert(key, &shim, 0);
                recovered.tasks += 1;
                tokio::spawn(ask_on(Arc::clone(inner), Arc::clone(&shim), bundle));
            }
        }
    }
    if shim.is_empty() {
        shim.shut_down(&group).await;
    } else if shim.program.ours {
        inner.remember(&shim).await;
    }
    recovered
}

/// What a shim says of a container at the start.
#[derive(Debug, Clone, Copy)]
enum Answer {
    There {
        pid: u32,
    },
    /// It was deleted, and its bundle was not. Or the daemon died while it asked for it: then it may never have been there.
    Gone,
}

async fn ask_in_time(shim: &Arc<Shim>, bundle: &Found) -> Result<Answer, Error> {
    let (id, limit) = (bundle.id.clone(), shim.limits.connect);
    let answer = tokio::time::timeout(limit, ask(shim, bundle)).await;
    answer.unwrap_or(Err(Error::Timeout { id, method: method::CONNECT, limit }))
}

async fn ask(shim: &Arc<Shim>, bundle: &Found) -> Result<Answer, Error> {
    let id = bundle.id.as_str();
    let request = ConnectRequest { id: id.to_owned() };
    let connected: ConnectResponse = match shim.ask(id, method::CONNECT, &request, None).await {
        Err(error) if error.kind() == ErrorKind::NotFound && !bundle.is_sandbox => return Ok(Answer::Gone),
        connected => connected?,
    };
    shim.set_process(connected.shim_pid);
    if !bundle.is_sandbox && is_unknown(shim, id).await? {
        return Ok(Answer::Gone);
    }
    Ok(Answer::There { pid: connected.task_pid })
}

/// Waits for the answer of a shim that was not in time, whose task counts as there until then.
async fn ask_on(inner: Arc<Inner>, shim: Arc<Shim>, bundle: Found) {
    let answer = ask(&shim, &bundle).await;
    let key = (bundle.namespace, bundle.id);
    let guard = inner.locks.lock(&key).await;
    match answer {
        Ok(Answer::Gone) if inner.forget(&key) => leave(&inner, &key, &shim, Left::unknown_to(&shim)).await,
        Ok(Answer::There { pid }) if inner.has(&key) => inner.insert(key.clone(), &shim, pid),
        _ => {}
    }
    inner.locks.release(&key, guard, true);
}

/// Whether a shim has no such container, which Connect does not say. One that ours is still making has nobody who waits for it any
/// more, and may have no end: it is removed.
async fn is_unknown(shim: &Arc<Shim>, id: &str) -> Result<bool, Error> {
    let request = StateRequest { id: id.to_owned(), ..StateRequest::default() };
    let state: Result<StateResponse, Error> = shim.ask(id, method::STATE, &request, None).await;
    match state {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Ok(state) if shim.program.ours && state.status() == Status::Unknown => {}
        // What else it says, it says to whoever asks next.
        _ => return Ok(false),
    }
    let request = DeleteRequest { id: id.to_owned(), ..DeleteRequest::default() };
    let deleted: Result<DeleteResponse, Error> = shim.ask(id, method::DELETE, &request, None).await;
    match deleted {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(true),
    }
}

/// Connects to the shim of a group, or starts one of ours again.
async fn reach(inner: &Arc<Inner>, group: &str, bundles: &[Found]) -> Result<Arc<Shim>, Error> {
    let [first, ..] = bundles else { return Err(Error::NotFound { what: "task", id: group.to_owned() }) };
    let program = inner.launcher.binaries.known(&first.binary);
    let taken = |address, client, child| {
        let (namespace, options) = (first.namespace.clone(), first.options.clone());
        adopt(inner, namespace, group.to_owned(), program.clone(), options, address, client, child)
    };
    let mut reason = "it has no address".to_owned();
    for bundle in bundles {
        let Some(address) = &bundle.address else { continue };
        match Client::reach(address).await {
            Ok(client) => return Ok(taken(address.clone(), client, None)),
            Err(error) => reason = format!("{}: {error}", address.address),
        }
    }
    if !program.ours || bundles.iter().all(|bundle| bundle.is_deleted) {
        return Err(Error::Lost { id: first.id.clone(), reason });
    }
    let owned = Owned {
        namespace: first.namespace.clone(),
        id: first.id.clone(),
        bundle: first.path.clone(),
        group: group.to_owned(),
        options: first.options.clone(),
        socket: None,
    };
    let (client, address, child) = open(&inner.launcher, &program, owned).await?;
    Ok(taken(address, client, child))
}

/// Has the binary of a shim remove what that does not know, and ends the shim if nobody else is in it: the daemon before this one
/// died between the two. In its own time, as [`bury`]. Nobody has heard of a task, so nobody is told of its end.
async fn remove_unknown(inner: &Arc<Inner>, shim: &Arc<Shim>, bundle: Found) {
    let key = (bundle.namespace.clone(), bundle.id.clone());
    let (inner, shim, program, owned) =
        (Arc::clone(inner), Arc::clone(shim), shim.program.clone(), owned(bundle));
    let guard = inner.locks.lock(&key).await;
    tokio::spawn(async move {
        if shim.is_empty() {
            shim.shut_down(&key.1).await;
        }
        clean(&inner, &program, owned, 0, || {}).await;
        inner.locks.release(&key, guard, true);
    });
}

/// Cleans up after a task whose shim is gone, and tells of its end; in its own time, and whoever makes a task of that name waits.
async fn bury(inner: &Arc<Inner>, bundle: Found, pid: u32) -> Key {
    let program = inner.launcher.binaries.known(&bundle.binary);
    let key = (bundle.namespace.clone(), bundle.id.clone());
    let owned = owned(bundle);
    let (inner, own) = (Arc::clone(inner), key.clone());
    let guard = inner.locks.lock(&own).await;
    tokio::spawn(async move {
        let ended = clean(&inner, &program, owned, pid, || {}).await;
        inner.report(lost_task(&own.0, &own.1, pid, ended, "its shim died while the daemon was away"));
        inner.locks.release(&own, guard, true);
    });
    key
}

fn owned(bundle: Found) -> Owned {
    let Found { namespace, id, path, group, options, .. } = bundle;
    Owned { namespace, id, bundle: path, group, options, socket: None }
}

/// Ends shims of ours that no bundle has.
async fn end_strays(inner: &Arc<Inner>, known: &[std::path::PathBuf]) {
    let sockets = inner.launcher.sockets();
    let list = move || {
        let entries = std::fs::read_dir(&sockets).ok()?;
        Some(entries.filter_map(|entry| Some(entry.ok()?.path())).collect::<Vec<_>>())
    };
    let sockets = tokio::task::spawn_blocking(list).await.ok().flatten().unwrap_or_default();
    for socket in sockets.into_iter().filter(|socket| !known.contains(socket)) {
        // One that was started since is somebody's.
        if inner.uses(&socket) {
            continue;
        }
        let Ok(client) = Client::connect(&socket).await else {
            let _ = std::fs::remove_file(&socket);
            continue;
        };
        tracing::warn!(socket = %socket.display(), "a shim that has no bundle is asked to end");
        let request = ShutdownRequest { id: String::new(), now: false };
        let options = gantry_ttrpc::client::Options::default().timeout(inner.limits.connect);
        let payload = gantry_proto_shim::Message::encode_to_vec(&request);
        let _ = client.call(gantry_proto_shim::task::SERVICE_V3, method::SHUTDOWN, payload, &options).await;
        client.close();
    }
    end_remains(inner, known).await;
}

/// Has told what shims of ours had to say that are gone, and have no bundle any more.
async fn end_remains(inner: &Arc<Inner>, known: &[PathBuf]) {
    let root = inner.launcher.shim_root();
    let list = move || {
        let entries = std::fs::read_dir(&root).ok()?;
        Some(entries.filter_map(|entry| Some(entry.ok()?.path())).collect::<Vec<_>>())
    };
    let found = tokio::task::spawn_blocking(list).await.ok().flatten().unwrap_or_default();
    let program = inner.launcher.binaries.find("", "");
    for directory in found {
        let (Some(name), Ok(program)) = (directory.file_name().and_then(OsStr::to_str), &program) else {
            continue;
        };
        if name.starts_with('.') {
            // Its shim had done everything else.
            let _ = std::fs::remove_dir_all(&directory);
            continue;
        }
        let socket = inner.launcher.sockets().join(name);
        if known.contains(&socket) || inner.uses(&socket) {
            continue;
        }
        let Some(namespace) = namespace_of(&directory) else {
            // Its shim had not begun: there is no more than directories, and only then they go.
            let _ = std::fs::remove_dir(directory.join("containers"));
            if std::fs::metadata(directory.join("containers")).is_err() {
                let _ = std::fs::remove_dir_all(&directory);
            }
            continue;
        };
        let owned = Owned {
            namespace,
            id: "remains".to_owned(),
            bundle: directory.clone(),
            group: String::new(),
            options: None,
            socket: None,
        };
        finish(inner, program, owned, &socket).await;
    }
}

/// The namespace of a shim's directory.
fn namespace_of(directory: &Path) -> Option<Namespace> {
    #[derive(Deserialize)]
    struct Pod {
        namespace: String,
    }
    let text = std::fs::read(directory.join("pod.json")).ok()?;
    serde_json::from_slice::<Pod>(&text).ok()?.namespace.parse().ok()
}
