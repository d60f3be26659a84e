//! Containers that are to be running, or stopped: what containerd's restart monitor does with labels.
//!
//! | label | |
//! |---|---|
//! | `containerd.io/restart.status` | `running` or `stopped`: what the task is to be; others are left alone |
//! | `containerd.io/restart.policy` | `always` (also if there is none), `unless-stopped`, `on-failure`, `on-failure:<times>`, `no` |
//! | `containerd.io/restart.explicitly-stopped` | a truth value, for `unless-stopped` |
//! | `containerd.io/restart.count` | how often it was restarted; written here |
//! | `containerd.io/restart.loguri` | the standard output and error of the next task |
//!
//! Who has such a label is known from the journal; an end is looked at when it is told, and everything from time to time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Weak;
use std::time::Duration;

use gantry_metadata::{Container, Event};
use gantry_proto_shim::any::Any;
use gantry_proto_shim::events::TaskExit;
use gantry_proto_shim::process::Status;
use gantry_tasks::Key;
use gantry_types::{ErrorKind, Labels, Namespace};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::{TaskRequest, Tasks};
use crate::{Context, Events, Result};

const STATUS: &str = "containerd.io/restart.status";
const POLICY: &str = "containerd.io/restart.policy";
const COUNT: &str = "containerd.io/restart.count";
const STOPPED: &str = "containerd.io/restart.explicitly-stopped";
const LOG_URI: &str = "containerd.io/restart.loguri";
/// The older name of the file that is logged to.
const LOG_PATH: &str = "containerd.io/restart.logpath";

/// The policies, as whoever asks for them is told.
pub const RESTART_POLICIES: [&str; 4] = ["no", "always", "on-failure", "unless-stopped"];

/// How long the second restart in a row waits; each further one twice as long, and none longer than the interval.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A task that ran so long has not failed at once.
const STEADY: Duration = Duration::from_secs(10);

const SIGKILL: u32 = 9;

/// What is to be done with a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Start,
    Stop,
    Leave,
}

/// A policy, read from its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Always,
    UnlessStopped,
    OnFailure { times: u64 },
    No,
}

impl Policy {
    fn parse(text: &str) -> Self {
        let (name, times) = text.split_once(':').unwrap_or((text, ""));
        match name {
            "" | "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            "on-failure" => Self::OnFailure { times: times.parse().unwrap_or_default() },
            _ => Self::No,
        }
    }
}

fn verdict(labels: &Labels, status: Status, exit_status: u32) -> Verdict {
    let label = |name: &str| labels.get(name).map(String::as_str).unwrap_or_default();
    let runs = matches!(status, Status::Running | Status::Paused | Status::Pausing | Status::Created);
    match label(STATUS) {
        "running" if !runs => {
            let count: u64 = label(COUNT).parse().unwrap_or_default();
            let wanted = match Policy::parse(label(POLICY)) {
                Policy::Always => true,
                Policy::UnlessStopped => {
                    !matches!(label(STOPPED), "1" | "t" | "T" | "true" | "TRUE" | "True")
                }
                Policy::OnFailure { times } => exit_status != 0 && (times == 0 || count < times),
                Policy::No => false,
            };
            if wanted { Verdict::Start } else { Verdict::Leave }
        }
        "stopped" if runs => Verdict::Stop,
        _ => Verdict::Leave,
    }
}

/// When a container may be started again.
#[derive(Debug, Clone, Copy)]
struct Pause {
    length: Duration,
    started: Instant,
}

struct Monitor {
    tasks: Weak<Tasks>,
    interval: Duration,
    watched: BTreeSet<Key>,
    due: BTreeMap<Key, Instant>,
    pauses: BTreeMap<Key, Pause>,
}

/// Looks after containers with the labels until the tasks have gone.
pub(super) async fn monitor(tasks: Weak<Tasks>, events: Events, interval: Duration) {
    let now = Instant::now();
    let (watched, due, pauses) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
    let mut monitor = Monitor { tasks, interval, watched, due, pauses };
    let mut events = events;
    if let Err(error) = monitor.find().await {
        tracing::error!(%error, "containers to be restarted cannot be looked for");
    }
    let mut round = now + interval;
    loop {
        let next = monitor.due.values().min().copied();
        let next = next.into_iter().chain((!monitor.watched.is_empty()).then_some(round)).min();
        let wait = async {
            match next {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            heard = events.next() => match heard {
                Ok(envelope) => monitor.heard(&envelope.namespace, &envelope.event).await,
                // So far behind: everything is looked at.
                Err(_) => {
                    let Some(tasks) = monitor.tasks.upgrade() else { return };
                    match tasks.store.events(None).await {
                        Ok(newer) => events = newer,
                        Err(error) => {
                            tracing::error!(%error, "containers are restarted no more");
                            return;
                        }
                    }
                    drop(tasks);
                    let _ = monitor.find().await;
                }
            },
            () = wait => {
                let now = Instant::now();
                if now >= round {
                    round = now + interval;
                    let watched = monitor.watched.clone();
                    monitor.due.extend(watched.into_iter().map(|key| (key, now)));
                }
            }
        }
        let now = Instant::now();
        let due: Vec<Key> =
            monitor.due.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for key in due {
            monitor.due.remove(&key);
            monitor.look(key).await;
        }
        if monitor.tasks.strong_count() == 0 {
            return;
        }
    }
}

impl Monitor {
    /// Finds all containers with the label.
    async fn find(&mut self) -> Result<()> {
        let Some(tasks) = self.tasks.upgrade() else { return Ok(()) };
        for (namespace, _) in tasks.store.namespace_list().await? {
            let filter = format!("labels.\"{STATUS}\"");
            for container in tasks.store.container_list(namespace.clone(), vec![filter]).await? {
                let key = (namespace.clone(), container.id);
                self.due.insert(key.clone(), Instant::now());
                self.watched.insert(key);
            }
        }
        Ok(())
    }

    async fn heard(&mut self, namespace: &Namespace, event: &Event) {
        let key = |id: &str| (namespace.clone(), id.to_owned());
        match event {
            Event::ContainerCreate { id, .. } => {
                let Some(tasks) = self.tasks.upgrade() else { return };
                if tasks.container(namespace, id).await.is_ok_and(|found| found.labels.contains_key(STATUS)) {
                    // Who made it is about to start it.
                    self.due.insert(key(id), Instant::now() + self.interval);
                    self.watched.insert(key(id));
                }
            }
            Event::ContainerUpdate { id, labels, .. } if labels.contains_key(STATUS) => {
                // Our own note of a restart is one of these.
                let is_new = self.watched.insert(key(id));
                if is_new || !self.pauses.contains_key(&key(id)) {
                    self.due.insert(key(id), Instant::now());
                }
            }
            Event::ContainerUpdate { id, .. } | Event::ContainerDelete { id } => self.forget(&key(id)),
            Event::Foreign { topic, type_url, value } if topic == "/tasks/exit" => {
                let any = Any { type_url: type_url.clone(), value: value.clone() };
                let Ok(exit) = any.unpack::<TaskExit>() else { return };
                let key = key(&exit.container_id);
                let first = exit.id.is_empty() || exit.id == exit.container_id;
                if first && self.watched.contains(&key) {
                    let at = self.next_start(&key);
                    self.due.insert(key, at);
                }
            }
            _ => {}
        }
    }

    fn forget(&mut self, key: &Key) {
        self.watched.remove(key);
        self.due.remove(key);
        self.pauses.remove(key);
    }

    /// When a container that has ended just now may be started again.
    fn next_start(&mut self, key: &Key) -> Instant {
        let now = Instant::now();
        match self.pauses.get(key) {
            Some(pause) if now.duration_since(pause.started) < STEADY => now + pause.length,
            _ => now,
        }
    }

    async fn look(&mut self, key: Key) {
        let Some(tasks) = self.tasks.upgrade() else { return };
        let container = match tasks.container(&key.0, &key.1).await {
            Ok(container) if container.labels.contains_key(STATUS) => container,
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return tracing::error!(namespace = %key.0, container = key.1, %error, "cannot look after a container");
            }
            _ => return self.forget(&key),
        };
        let (status, exit_status) = match tasks.state(&key, "").await {
            Ok(state) => (state.status(), state.exit_status),
            // Nothing is known of how it ended.
            Err(error) if error.kind() == ErrorKind::NotFound => (Status::Stopped, 0),
            Err(_) => return,
        };
        let done = match verdict(&container.labels, status, exit_status) {
            Verdict::Leave => return,
            Verdict::Stop => stop(&tasks, &key).await,
            Verdict::Start => {
                let now = Instant::now();
                let before = self.pauses.get(&key).copied();
                if let Some(pause) = before
                    && now < pause.started + pause.length
                {
                    self.due.insert(key, pause.started + pause.length);
                    return;
                }
                let length = before
                    .filter(|pause| now.duration_since(pause.started) < STEADY)
                    .map_or(FIRST_PAUSE, |pause| (pause.length * 2).min(self.interval));
                self.pauses.insert(key.clone(), Pause { length, started: now });
                start(&tasks, &key, container).await
            }
        };
        if let Err(error) = done {
            tracing::error!(namespace = %key.0, container = key.1, %error, "a container is not as it is to be");
        }
    }
}

/// Ends a task and removes it; that there is none is well.
async fn stop(tasks: &Tasks, key: &Key) -> Result<()> {
    let gone = |error: &crate::Error| error.kind() == ErrorKind::NotFound;
    match tasks.kill(key.clone(), String::new(), SIGKILL, true).await {
        Ok(()) => {
            tasks.wait(key, "").await?;
        }
        Err(error) if gone(&error) => {}
        Err(error) => return Err(error),
    }
    match tasks.delete(key.clone()).await {
        Err(error) if !gone(&error) => Err(error),
        _ => Ok(()),
    }
}

async fn start(tasks: &Tasks, key: &Key, mut container: Container) -> Result<()> {
    stop(tasks, key).await?;
    let count: u64 = container.labels.get(COUNT).and_then(|count| count.parse().ok()).unwrap_or_default();
    container.labels.insert(COUNT.to_owned(), (count + 1).to_string());
    let fields = vec![format!("labels.{COUNT}")];
    let container = tasks.store.container_update(key.0.clone(), container, fields).await?;
    let context = Context::new(key.0.clone());
    let rootfs = if container.snapshot_key.is_empty() {
        Vec::new()
    } else {
        let (driver, name) = (container.snapshotter.clone(), container.snapshot_key.clone());
        tasks.store.snapshot_mounts(context.clone(), driver, name).await?
    };
    let log = container
        .labels
        .get(LOG_URI)
        .cloned()
        .or_else(|| container.labels.get(LOG_PATH).map(|path| format!("file://{path}")));
    let log = log.unwrap_or_default();
    let terminal = container.spec.as_ref().is_some_and(|spec| has_terminal(&spec.value));
    let request = TaskRequest {
        container: key.1.clone(),
        rootfs,
        stderr: if terminal { String::new() } else { log.clone() },
        stdout: log,
        terminal,
        ..TaskRequest::default()
    };
    tasks.create(context, request).await?;
    tasks.start(key.clone(), String::new()).await?;
    tracing::info!(namespace = %key.0, container = key.1, count = count + 1, "restarted a container");
    Ok(())
}

fn has_terminal(spec: &[u8]) -> bool {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Process {
        terminal: bool,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Spec {
        process: Process,
    }
    serde_json::from_slice::<Spec>(spec).is_ok_and(|spec| spec.process.terminal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_those_of_containerd() {
        let check = |labels: &[(&str, &str)], status, exit_status, expected| {
            let name = |short: &str| format!("containerd.io/restart.{short}");
            let labels: Labels = labels.iter().map(|(key, value)| (name(key), (*value).to_owned())).collect();
            assert_eq!(
                verdict(&labels, status, exit_status),
                expected,
                "{labels:?} {status:?} {exit_status}"
            );
        };
        let (stopped, running) = (Status::Stopped, Status::Running);
        check(&[], stopped, 1, Verdict::Leave);
        check(&[("status", "running")], stopped, 0, Verdict::Start);
        check(&[("status", "running")], running, 0, Verdict::Leave);
        check(&[("status", "stopped")], running, 0, Verdict::Stop);
        check(&[("status", "stopped")], stopped, 0, Verdict::Leave);
        let with = |policy| [("status", "running"), ("policy", policy)];
        check(&with("always"), stopped, 0, Verdict::Start);
        check(&with("no"), stopped, 1, Verdict::Leave);
        check(&with("on-failure"), stopped, 0, Verdict::Leave);
        check(&with("on-failure"), stopped, 3, Verdict::Start);
        check(&[with("on-failure:2"), [("count", "1"), ("x", "")]].concat(), stopped, 3, Verdict::Start);
        check(&[with("on-failure:2"), [("count", "2"), ("x", "")]].concat(), stopped, 3, Verdict::Leave);
        check(&with("unless-stopped"), stopped, 0, Verdict::Start);
        let explicitly = [with("unless-stopped"), [("explicitly-stopped", "true"), ("x", "")]].concat();
        check(&explicitly, stopped, 0, Verdict::Leave);
    }
}
