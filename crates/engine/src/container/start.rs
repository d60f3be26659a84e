//! Starting a container: namespace and network beside files and mounts, then the task, then its clients, then the program.
//!
//! Each step stands beside its undo: a start that fails leaves the container as it was, with the reason in its state.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use gantry_network::{Attach, Endpoint, Network as Bridge};
use gantry_primitives::tasks::TaskRequest;
use gantry_primitives::{Opaque, Step};
use gantry_spec::{Network, UserNamespace};
use gantry_types::ErrorKind;
use jiff::Timestamp;

use super::create::SPEC_TYPE;
use super::specification::{Facts, Looks};
use super::{Container, RemoveRequest, event_of, files, mounts, put, specification, subpath};
use crate::record::{Health, Record, State, Status};
use crate::timing::Timings;
use crate::userns::{Entered, map_mounts};
use crate::{Engine, Error, Result};

/// Docker's exit statuses of what could not be started.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;
const NOT_STARTED: i32 = 128;

/// Whose wish a start is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// A person's.
    Hand,
    /// The restart policy's.
    Policy,
}

impl Engine {
    /// Starts a container.
    ///
    /// # Errors
    /// NotModified for one that runs; Conflict for one that is frozen or going; Start for a program that cannot be; what the
    /// network, the store and the shim say.
    pub async fn container_start(&self, container: &Arc<Container>) -> Result<()> {
        container.require_own()?;
        let (engine, container) = (self.clone(), Arc::clone(container));
        self.owned("starting a container", async move {
            let _gate = container.gate.lock().await;
            engine.start(&container, By::Hand).await
        })
        .await
    }

    /// The same with the gate held.
    pub(crate) async fn start(&self, container: &Arc<Container>, by: By) -> Result<()> {
        let record = container.record();
        match record.state.status {
            Status::Running => {
                return Err(Error::NotModified(format!("container {} is running already", record.id)));
            }
            Status::Paused => {
                let text = "cannot start a paused container, try unpause instead";
                return Err(Error::Conflict(text.to_owned()));
            }
            Status::Removing | Status::Dead => {
                let text = "container is marked for removal and cannot be started";
                return Err(Error::Conflict(text.to_owned()));
            }
            Status::Created | Status::Exited | Status::Restarting => {}
        }
        if let Some(timer) = container.transient().restart.take().filter(|_| by == By::Hand) {
            timer.abort();
        }
        let mut record = (*record).clone();
        if by == By::Hand {
            record.restart_count = 0;
            container.transient().backoff.reset();
        }
        match self.run(container, &mut record).await {
            Ok(()) => Ok(()),
            Err(error) => {
                let goes = record.options.auto_remove && by == By::Hand && !container.transient().kept;
                self.note_failure(container, record, &error).await;
                if goes {
                    let request = RemoveRequest { volumes: true, ..RemoveRequest::default() };
                    if let Err(error) = self.remove_now(container, request).await {
                        tracing::error!(container = %container.id, %error, "a container that did not start is left");
                    }
                }
                Err(error)
            }
        }
    }

    async fn run(&self, container: &Arc<Container>, record: &mut Record) -> Result<()> {
        container.transient().timings = Timings::default();
        // What an earlier daemon left of it, if it died between two steps.
        self.clear(container).await;
        // An upper directory is not mounted twice. Nobody new comes while the gate is held.
        drop(container.files.write().await);
        let started = self.run_joined(container, record).await;
        self.release_subpaths(record).await;
        if started.is_err() {
            self.clear(container).await;
            self.leave_network(record).await;
        }
        started
    }

    /// Its namespaces, and what runs in them.
    async fn run_joined(&self, container: &Arc<Container>, record: &mut Record) -> Result<()> {
        let Entered { user, netns } = self.enter_userns(record).await?;
        let network = self.join_network(record, netns).await?;
        container.step("network");
        self.run_in(container, record, (network, user)).await
    }

    async fn run_in(
        &self,
        container: &Arc<Container>,
        record: &mut Record,
        (network, user): (Network, UserNamespace),
    ) -> Result<()> {
        let mut rootfs = self.root_mounts(record).await?;
        container.step("snapshot");
        let (identity, mounts) =
            tokio::try_join!(self.identity(record, &rootfs), self.mounts_for_start(record))?;
        container.step("mounts");
        if let Some(userns) = &record.userns {
            userns.check(&identity)?;
            userns.maps.map_root(&mut rootfs);
        }
        let facts = Facts { network, user, identity, mounts };
        self.write_specification(container, record, facts).await?;
        container.step("config");
        let log = super::logs::target(self, record)?;
        let stdin = if record.options.process.open_stdin { "attach:" } else { "" };
        let request = TaskRequest {
            container: record.id.clone(),
            rootfs,
            stdin: stdin.to_owned(),
            stderr: if record.options.process.tty { String::new() } else { log.uri.clone() },
            stdout: log.uri,
            terminal: record.options.process.tty,
            options: specification::runtime_options(self, record)?,
            ..TaskRequest::default()
        };
        let pid = self.shared.tasks.create(self.context(), request).await.map_err(refused)?;
        container.step("task");
        self.admit(container).await;
        let size = container.transient().size.take();
        if let Some((columns, rows)) = size.filter(|_| record.options.process.tty) {
            let (columns, rows) = (columns.into(), rows.into());
            if let Err(error) = self.shared.tasks.resize(container.key(), String::new(), columns, rows).await
            {
                tracing::debug!(container = %record.id, %error, "a terminal keeps its size");
            }
        }
        // Before the program can end: its end looks at this.
        record.state = State {
            status: Status::Running,
            pid,
            started: Some(Timestamp::now()),
            finished: record.state.finished,
            health: record.process.health.is_some().then(Health::default),
            ..State::default()
        };
        container.set(record.clone());
        self.tell_linked(record).await;
        container.transient().started = Some(Instant::now());
        self.shared.tasks.start(container.key(), String::new()).await.map_err(refused)?;
        container.step("program");
        let event = event_of(record, "start");
        self.save_anyway(container, record.clone(), vec![event]).await;
        container.step("record");
        container.moment.send_modify(|moment| moment.starts += 1);
        self.watch_health(container);
        Ok(())
    }

    /// The configuration goes into the record of the container, from where the task takes it.
    async fn write_specification(&self, container: &Container, record: &Record, facts: Facts) -> Result<()> {
        let (engine, copy) = (self.clone(), record.clone());
        let (spec, profile) = self
            .blocking("making a configuration", move || {
                if copy.options.isolation.ipc_mode == "shareable" {
                    super::mounts::make_shm(&engine, &copy)?;
                }
                let spec = specification::make(&engine, &copy, facts, Looks::Closely)?;
                let profile = spec.process.as_ref().map(|process| process.apparmor_profile.clone());
                Ok((serde_json::to_vec(&spec).expect("a configuration is JSON"), profile))
            })
            .await?;
        self.shared.profiles.ensure(&profile.unwrap_or_default()).await?;
        let spec = Opaque { type_url: SPEC_TYPE.to_owned(), value: spec };
        let stored = gantry_primitives::Container::new(&container.id, String::new(), spec);
        let steps = vec![Step::UpdateContainer(Box::new(stored), vec!["spec".to_owned()]), put(record)];
        Ok(self.shared.store.commit(self.shared.namespace.clone(), steps).await?)
    }

    async fn root_mounts(&self, record: &Record) -> Result<Vec<gantry_types::Mount>> {
        let (snapshotter, key) = (self.snapshotter().to_owned(), record.id.clone());
        let mounts = self.shared.store.snapshot_mounts(self.context(), snapshotter, key).await?;
        self.with_init_layer(record, mounts).await
    }

    async fn mounts_for_start(&self, record: &Record) -> Result<Vec<gantry_spec::Mount>> {
        self.mount_volumes(record).await?;
        let directory = self.shared.directory(&record.id);
        let source = self.files_directory(record)?;
        self.release_subpaths(record).await;
        self.mount_views(record).await?;
        let subpaths = subpath::directory(self, &record.id);
        let (engine, record) = (self.clone(), record.clone());
        let volumes = match record.userns {
            Some(_) => {
                self.volumes().await?.into_iter().map(|volume| (volume.name.clone(), volume)).collect()
            }
            None => BTreeMap::new(),
        };
        self.blocking("preparing mounts", move || {
            if source == directory {
                files::Contents::of(&engine, &record)?.write(&directory)?;
            }
            let taken = |place: &str| record.mounts.iter().any(|point| point.target == place);
            let mut all = files::mounts(&source, record.options.isolation.read_only, taken);
            all.extend(mounts::for_start(&record.mounts, &subpaths)?);
            map_mounts(&record, &volumes, &mut all)?;
            Ok(all)
        })
        .await
    }

    /// Takes the places away where parts of volumes were mounted for the runtime.
    async fn release_subpaths(&self, record: &Record) {
        if !subpath::has_any(record) {
            return;
        }
        let directory = subpath::directory(self, &record.id);
        let released = self.blocking("unmounting parts of volumes", move || {
            subpath::release(&directory);
            Ok(())
        });
        if let Err(error) = released.await {
            tracing::warn!(container = %record.id, %error, "parts of volumes stay mounted");
        }
    }

    /// Whose `hosts` and so on a container sees: its own, or those of the one whose network it shares.
    pub(crate) fn files_directory(&self, record: &Record) -> Result<std::path::PathBuf> {
        match record.options.network.mode.strip_prefix("container:") {
            Some(name) => Ok(self.shared.directory(&self.container(name)?.id)),
            None => Ok(self.shared.directory(&record.id)),
        }
    }

    /// A namespace with an address, where it has its own.
    async fn join_network(&self, record: &mut Record, netns: Option<OwnedFd>) -> Result<Network> {
        let options = &record.options.network;
        if options.disabled {
            return Ok(Network::New);
        }
        match options.mode.as_str() {
            "none" => Ok(Network::New),
            "host" => Ok(Network::Host),
            "" | "default" | "bridge" => {
                let attach = attach(record)?;
                let network = self.shared.network.clone();
                let endpoint =
                    self.blocking("joining the network", move || join(&network, attach, netns)).await?;
                let path = endpoint.netns.display().to_string();
                record.endpoint = Some(endpoint);
                Ok(Network::Own(path))
            }
            mode => match mode.strip_prefix("container:") {
                Some(name) => Ok(Network::Shared(specification::joined(self, name, "net")?)),
                None => Err(Error::NotFound { what: "network", name: mode.to_owned() }),
            },
        }
    }

    /// Gives back what [`Self::join_network`] took.
    pub(crate) async fn leave_network(&self, record: &mut Record) {
        self.leave_userns(record).await;
        let Some(endpoint) = record.endpoint.take() else { return };
        let network = self.shared.network.clone();
        let left = self.blocking("leaving the network", move || {
            network.detach(&endpoint);
            Ok(network.remove_netns(&endpoint.id)?)
        });
        if let Err(error) = left.await {
            tracing::warn!(container = %record.id, %error, "a network namespace is left");
        }
    }

    /// Removes a task that is left, whatever it does.
    pub(crate) async fn clear(&self, container: &Container) {
        let (tasks, key) = (&self.shared.tasks, container.key());
        if !tasks.exists(&key) {
            return;
        }
        const SIGKILL: u32 = 9;
        let _ = tasks.kill(key.clone(), String::new(), SIGKILL, true).await;
        let _ = tasks.wait(&key, "").await;
        if let Err(error) = tasks.delete(key).await
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(container = %container.id, %error, "a task is left");
        }
    }

    async fn note_failure(&self, container: &Arc<Container>, mut record: Record, error: &Error) {
        record.state = State {
            status: if record.state.started.is_some() { Status::Exited } else { Status::Created },
            pid: 0,
            exit_code: match error {
                Error::Start { exit_code, .. } => *exit_code,
                _ => NOT_STARTED,
            },
            error: gantry_primitives::chain(error),
            finished: Some(Timestamp::now()),
            started: container.record().state.started.filter(|_| record.state.finished.is_some()),
            ..State::default()
        };
        record.endpoint = None;
        let code = record.state.exit_code;
        let text = record.state.error.clone();
        self.save_anyway(container, record, Vec::new()).await;
        container.transient().waiting.clear();
        container.moment.send_modify(|moment| {
            moment.ends += 1;
            moment.exit_code = code;
            moment.error = text;
        });
    }
}

fn attach(record: &Record) -> Result<Attach> {
    let options = &record.options.network;
    let mut attach = Attach::new(&record.id, "");
    attach.address = match options.address {
        Some(std::net::IpAddr::V4(address)) => Some(address),
        Some(address) => {
            return Err(Error::Unsupported(format!("{address}: containers have IPv4 addresses only")));
        }
        None => None,
    };
    if !options.mac_address.is_empty() {
        attach.mac = Some(options.mac_address.parse()?);
    }
    for port in &options.ports {
        attach.ports.push(gantry_network::PortRequest {
            host_ip: port.host_ip,
            host_port: port.host_port,
            host_port_end: port.host_port_end,
            container_port: port.container_port,
            protocol: port.protocol.parse()?,
        });
    }
    if options.publish_all {
        let is_asked = |port: u16, protocol| {
            attach.ports.iter().any(|other| other.container_port == port && other.protocol == protocol)
        };
        let mut more = Vec::new();
        for text in &record.process.exposed {
            let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
            let number =
                |text: &str| text.parse().map_err(|_| Error::Invalid(format!("{text:?} is no port")));
            let protocol = protocol.parse()?;
            let (first, last): (u16, u16) = (number(first)?, number(last)?);
            for container_port in (first..=last).filter(|port| !is_asked(*port, protocol)) {
                more.push(gantry_network::PortRequest {
                    host_ip: None,
                    host_port: 0,
                    host_port_end: 0,
                    container_port,
                    protocol,
                });
            }
        }
        attach.ports.extend(more);
    }
    Ok(attach)
}

/// A namespace, which is `netns` if there is one, and a place in the bridge's network for it. Blocks.
fn join(network: &Bridge, mut attach: Attach, netns: Option<OwnedFd>) -> Result<Endpoint> {
    // One that is left of a start that did not come to its end.
    network.remove_netns(&attach.id)?;
    attach.netns = match netns {
        Some(netns) => network.adopt_netns(&attach.id, netns)?,
        None => network.create_netns(&attach.id)?,
    };
    match network.attach(&attach) {
        Ok(endpoint) => Ok(endpoint),
        Err(error) => {
            if let Err(again) = network.remove_netns(&attach.id) {
                tracing::warn!(container = attach.id, error = %again, "a network namespace is left");
            }
            Err(error.into())
        }
    }
}

/// What the runtime says of a program that it cannot execute, as docker says it: 127 for one that is not there, 126 for one that
/// is none.
pub(super) fn refused(error: gantry_primitives::Error) -> Error {
    let message = gantry_primitives::chain(&error);
    let lower = message.to_lowercase();
    let missing = ["executable file not found", "no such file or directory"];
    let useless = ["permission denied", "is a directory", "exec format error", "not a directory"];
    let kind = error.kind();
    if missing.iter().any(|words| lower.contains(words)) {
        return Error::Start { message, exit_code: NOT_FOUND, kind };
    }
    if useless.iter().any(|words| lower.contains(words)) {
        return Error::Start { message, exit_code: NOT_EXECUTABLE, kind };
    }
    error.into()
}
