//! What is found at the start of the daemon: shims that live, and what dead ones left.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::iter;
use gantry_proto_shim::process::Status;
use gantry_proto_shim::task::{
    ConnectRequest, ConnectResponse, ShutdownRequest, StateRequest, StateResponse, method,
};
use gantry_types::{ErrorKind, Namespace};

use crate::bundle::Found;
use crate::client::Client;
use crate::shim::{Owned, Shim, clean, lost_task, open};
use crate::tasks::{Inner, Key, adopt, leave};
use crate::{Error, Tasks};

/// How long a shim may take to say that it lives.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait before a task that is being made is looked at again.
const SETTLE_PAUSE: Duration = Duration::from_millis(50);
/// How many shims are looked for at the same time.
const CONCURRENCY: usize = 64;

/// What was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Tasks whose shims were found, or started again.
    pub tasks: usize,
    /// Tasks that are gone, and were cleaned up after.
    pub lost: usize,
}

impl Tasks {
    /// Finds what was left by the daemon before. To be called once, before anything else.
    ///
    /// # Errors
    /// What the disk says of the directories; a shim that cannot be helped is logged.
    pub async fn recover(&self) -> Result<Recovered, Error> {
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
        let recover = |((_, group), bundles)| recover_group(&inner, group, bundles);
        let all = iter(groups).map(recover).buffer_unordered(CONCURRENCY);
        let all = all.fold(Recovered::default(), async |sum, one| Recovered {
            tasks: sum.tasks + one.tasks,
            lost: sum.lost + one.lost,
        });
        let all = all.await;
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move { end_strays(&inner, &known).await });
        Ok(all)
    }
}

/// Finds the shim of bundles that share one.
async fn recover_group(inner: &Arc<Inner>, group: String, bundles: Vec<Found>) -> Recovered {
    let mut recovered = Recovered::default();
    let shim = match reach(inner, &group, &bundles).await {
        Ok(shim) => shim,
        Err(error) => {
            for bundle in bundles {
                tracing::warn!(namespace = %bundle.namespace, container = bundle.id, %error, "a task has no shim");
                bury(inner, bundle).await;
                recovered.lost += 1;
            }
            return recovered;
        }
    };
    for bundle in bundles {
        let request = ConnectRequest { id: bundle.id.clone() };
        let answer: Result<ConnectResponse, Error> =
            shim.ask(&bundle.id, method::CONNECT, &request, Some(CONNECT_TIMEOUT)).await;
        let sandbox = bundle.is_sandbox;
        match answer {
            Ok(_) if sandbox => {
                shim.enter(&bundle.id, 0);
                inner.sandboxes().insert((bundle.namespace, bundle.id), Arc::clone(&shim));
            }
            // It died while it was asked to make it: the shim was there, and the task never was.
            Ok(answer) => match status(&shim, &bundle.id).await {
                // It died while it was asked to make it: the shim was there, and the task never was.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    inner.remove_bundle(bundle.namespace, bundle.id).await;
                    recovered.lost += 1;
                }
                status => {
                    let key = (bundle.namespace, bundle.id);
                    inner.insert(key.clone(), &shim, answer.task_pid);
                    if matches!(status, Ok(Status::Unknown)) {
                        settle(inner, key, Arc::clone(&shim)).await;
                    }
                    recovered.tasks += 1;
                }
            },
            Err(_) if sandbox => {
                shim.enter(&bundle.id, 0);
                inner.sandboxes().insert((bundle.namespace, bundle.id), Arc::clone(&shim));
            }
            // It was deleted, and its bundle was not.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                inner.remove_bundle(bundle.namespace, bundle.id).await;
                recovered.lost += 1;
            }
            Err(Error::Lost { .. }) => {
                bury(inner, bundle).await;
                recovered.lost += 1;
            }
            Err(error) => {
                tracing::warn!(namespace = %bundle.namespace, container = bundle.id, %error, "a shim does not answer");
                inner.insert((bundle.namespace, bundle.id), &shim, 0);
                recovered.tasks += 1;
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

/// The status of a container, which Connect does not tell. That of one which is being made is not known.
async fn status(shim: &Arc<Shim>, id: &str) -> Result<Status, Error> {
    let request = StateRequest { id: id.to_owned(), ..StateRequest::default() };
    let state: StateResponse = shim.ask(id, method::STATE, &request, Some(CONNECT_TIMEOUT)).await?;
    Ok(state.status())
}

/// Holds the lock of a task that its shim is still making, and removes what is left if it cannot be made: the daemon that asked
/// for it will not.
async fn settle(inner: &Arc<Inner>, key: Key, shim: Arc<Shim>) {
    let guard = inner.locks.lock(&key).await;
    let inner = Arc::clone(inner);
    tokio::spawn(async move {
        let settled = loop {
            match status(&shim, &key.1).await {
                Ok(Status::Unknown) => tokio::time::sleep(SETTLE_PAUSE).await,
                settled => break settled,
            }
        };
        if settled.is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            inner.forget(&key);
            leave(&inner, &key, &shim).await;
        }
        inner.locks.release(&key, guard, true);
    });
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
        let Some((address, socket)) =
            bundle.address.as_ref().and_then(|address| Some((address.clone(), address.socket()?)))
        else {
            continue;
        };
        match Client::connect(&socket).await {
            Ok(client) => return Ok(taken(address, client, None)),
            Err(error) => reason = format!("{}: {error}", socket.display()),
        }
    }
    if !program.ours {
        return Err(Error::Lost { id: first.id.clone(), reason });
    }
    let owned = Owned {
        namespace: first.namespace.clone(),
        id: first.id.clone(),
        bundle: first.path.clone(),
        group: group.to_owned(),
        options: first.options.clone(),
    };
    let (client, address, child) = open(&inner.launcher, &program, owned).await?;
    Ok(taken(address, client, child))
}

/// Cleans up after a task whose shim is gone, and tells of its end.
async fn bury(inner: &Arc<Inner>, bundle: Found) {
    let program = inner.launcher.binaries.known(&bundle.binary);
    let (namespace, id) = (bundle.namespace.clone(), bundle.id.clone());
    let owned = Owned {
        namespace: bundle.namespace,
        id: bundle.id,
        bundle: bundle.path,
        group: bundle.group,
        options: bundle.options,
    };
    let ended = clean(inner, &program, owned).await;
    inner.report(lost_task(&namespace, &id, 0, ended, "its shim died while the daemon was away"));
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
        let options = gantry_ttrpc::client::Options::default().timeout(CONNECT_TIMEOUT);
        let payload = gantry_proto_shim::Message::encode_to_vec(&request);
        let _ = client.call(gantry_proto_shim::task::SERVICE_V3, method::SHUTDOWN, payload, &options).await;
        client.close();
    }
}
