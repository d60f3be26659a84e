//! Making a container: its record, its snapshot, its volumes. Nothing runs yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gantry_primitives::{Container as ContainerRecord, Opaque, SnapshotRequest, Step};
use gantry_types::{ErrorKind, Labels, Platform};
use jiff::Timestamp;

use super::{Container, Owner, event_of, mounts, put};
use crate::image::{FoundImage, ImageSettings};
use crate::options::{HealthCheck, Options};
use crate::record::{Command, Record, State};
use crate::timing::Timings;
use crate::{Engine, Error, Result, names};

/// The type of the OCI configuration in a record.
pub(crate) const SPEC_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
/// How often a name is invented.
const NAME_ATTEMPTS: u32 = 8;
/// Docker's of a Dockerfile's shell form.
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];
/// The most labels, by the length of all.
const MAX_LABEL_BYTES: usize = 1 << 20;

/// A container that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its id.
    pub id: String,
    /// What was asked for and is not done, in words.
    pub warnings: Vec<String>,
    /// Where the time went.
    pub timings: Timings,
}

impl Engine {
    /// Makes a container of an image.
    ///
    /// # Errors
    /// NotFound for the image; Conflict for the name; Invalid for options; what the store says. Nothing is left then.
    pub async fn container_create(
        &self,
        name: Option<&str>,
        image: &str,
        platform: Option<Platform>,
        options: Options,
    ) -> Result<Created> {
        let mut timings = Timings::default();
        let found = self.image(image, platform.as_ref()).await?;
        timings.step("image");
        let id = names::id();
        let name = self.reserve(name, &id)?;
        let engine = self.clone();
        let reference = image.to_owned();
        self.owned("making a container", async move {
            let made = engine.make((&id, &name), reference, found, options, timings).await;
            if made.is_err() {
                engine.free_name(&name, &id);
                engine.shared.userns.free(&id);
            }
            made
        })
        .await
    }

    fn reserve(&self, name: Option<&str>, id: &str) -> Result<String> {
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            let name = names::validate(name)?;
            self.take_name(name, id)?;
            return Ok(name.to_owned());
        }
        let free = (0..NAME_ATTEMPTS).map(names::suggestion).find(|name| self.take_name(name, id).is_ok());
        match free {
            Some(name) => Ok(name),
            None => {
                let name = id[..12].to_owned();
                self.take_name(&name, id)?;
                Ok(name)
            }
        }
    }

    async fn make(
        &self,
        (id, name): (&str, &str),
        reference: String,
        found: FoundImage,
        options: Options,
        mut timings: Timings,
    ) -> Result<Created> {
        let process = merge(&found.document.config, &options, id)?;
        let labels = labels(&found.document.config, &options)?;
        let mut record = Record {
            id: id.to_owned(),
            name: name.to_owned(),
            created: Timestamp::now(),
            image: crate::ImageOf { reference, ..found.of.clone() },
            process,
            mounts: Vec::new(),
            state: State::default(),
            endpoint: None,
            userns: None,
            restart_count: 0,
            log_path: None,
            labels,
            options,
        };
        record.options.log = super::logs::merged(self, &record.options.log);
        let log = super::logs::target(self, &record)?;
        record.log_path = log.path;
        record.userns = self.choose_ids(&record).await?;
        let warnings = self.check(&record).await?;
        timings.step("config");
        let made = mounts::resolve(self, &record).await?;
        record.mounts = made.points;
        timings.step("volumes");
        if let Err(error) = self.write(&record, (&found, &made.images), &mut timings).await {
            self.undo(&record, made.new_volumes).await;
            return Err(error);
        }
        let key = (self.shared.namespace.clone(), id.to_owned());
        self.insert(Arc::new(Container::new(key, Owner::Docker, record)));
        timings.step("files");
        Ok(Created { id: id.to_owned(), warnings, timings })
    }

    /// What can be known to be wrong before there is a process.
    async fn check(&self, record: &Record) -> Result<Vec<String>> {
        if record.args().is_empty() {
            return Err(Error::Invalid("no command specified".to_owned()));
        }
        super::unhealthy::OnUnhealthy::of(&record.options.labels)?;
        if record.options.auto_remove && record.options.restart != crate::RestartPolicy::No {
            let text = "can't create 'AutoRemove' container with restart policy";
            return Err(Error::Invalid(text.to_owned()));
        }
        for link in &record.options.network.links {
            let name = link.split(':').next().unwrap_or_default();
            if self.container(name).is_err() {
                let text = format!("could not get container for {name}: No such container: {name}");
                return Err(Error::Invalid(text));
            }
        }
        super::specification::dry_run(self, record).await
    }

    /// Snapshot, directory and records. What names the snapshot is written first: it is never garbage.
    async fn write(
        &self,
        record: &Record,
        (found, images): (&FoundImage, &[FoundImage]),
        timings: &mut Timings,
    ) -> Result<()> {
        let runtime = super::specification::runtime(self, &record.options.runtime)?;
        let spec = Opaque { type_url: SPEC_TYPE.to_owned(), value: b"{}".to_vec() };
        let mut container = ContainerRecord::new(&record.id, runtime, spec);
        container.image.clone_from(&record.image.name);
        container.snapshotter = self.snapshotter().to_owned();
        container.snapshot_key.clone_from(&record.id);
        container.labels = super::image_mounts::labels(record, self.snapshotter());
        let event = event_of(record, "create");
        let steps = vec![Step::CreateContainer(Box::new(container)), put(record), event.step()];
        self.shared.store.commit(self.shared.namespace.clone(), steps).await?;
        timings.step("record");
        self.prepare(&record.id, found).await?;
        self.make_views(record, images).await?;
        timings.step("snapshot");
        self.fill_volumes(record).await?;
        let directory = self.shared.directory(&record.id);
        self.blocking("making a directory", move || super::files::make_directory(&directory)).await
    }

    /// The snapshot of a container. An image that is not unpacked, because another door pulled it or because the machine lost
    /// its power, is unpacked now.
    pub(crate) async fn prepare(&self, key: &str, found: &FoundImage) -> Result<()> {
        let request = SnapshotRequest {
            snapshotter: self.snapshotter().to_owned(),
            key: key.to_owned(),
            parent: found.of.chain.clone(),
            labels: Labels::new(),
        };
        match self.shared.store.snapshot_prepare(self.context(), request.clone()).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            result => return Ok(result.map(drop)?),
        }
        self.unpack(found).await?;
        self.shared.store.snapshot_prepare(self.context(), request).await?;
        Ok(())
    }

    /// Unpacks an image, as of now.
    pub(crate) async fn unpack(&self, found: &FoundImage) -> Result<()> {
        let unpack = gantry_primitives::Unpack {
            snapshotter: self.snapshotter().to_owned(),
            platform: gantry_types::platform::Matcher(vec![found.of.platform.parse().map_err(
                |error: gantry_types::platform::InvalidPlatform| Error::Invalid(error.to_string()),
            )?]),
        };
        let (target, quiet) = (found.image.target.clone(), gantry_primitives::progress::Reporter::default());
        self.shared.store.unpack(self.context(), target, unpack, quiet).await?;
        Ok(())
    }

    pub(crate) fn snapshotter(&self) -> &'static str {
        gantry_primitives::DEFAULT_SNAPSHOTTER
    }

    async fn undo(&self, record: &Record, volumes: Vec<String>) {
        let (store, id) = (&self.shared.store, record.id.clone());
        let snapshot = store.snapshot_remove(self.context(), self.snapshotter().to_owned(), id.clone()).await;
        if let Err(error) = snapshot
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(container = %id, %error, "the snapshot of a container that was not made is left");
        }
        if let Err(error) = self.remove_views(record).await {
            tracing::warn!(container = %id, %error, "views of images of a container that was not made are left");
        }
        let steps = vec![
            Step::RemoveContainer(id.clone()),
            Step::RemoveDocument { kind: super::DOCUMENT, name: id.clone() },
        ];
        if let Err(error) = store.commit(self.shared.namespace.clone(), steps).await {
            tracing::warn!(container = %id, %error, "the record of a container that was not made is left");
        }
        let directory = self.shared.directory(&id);
        let removed =
            self.blocking("removing a directory", move || crate::volume::remove_tree(&directory)).await;
        if let Err(error) = removed {
            tracing::warn!(container = %id, %error, "the files of a container that was not made are left");
        }
        for volume in volumes {
            if let Err(error) = self.volume_remove(&volume).await {
                tracing::warn!(volume, %error, "a volume that was made for nothing is left");
            }
        }
    }
}

/// What the image and the request make together.
fn merge(image: &ImageSettings, options: &Options, id: &str) -> Result<Command> {
    let process = &options.process;
    let command = gantry_spec::process_args(
        &gantry_spec::Command { entrypoint: image.entrypoint.clone(), cmd: image.cmd.clone() },
        process.entrypoint.as_deref(),
        process.cmd.as_deref().unwrap_or_default(),
    );
    let or = |own: &str, other: &str| if own.is_empty() { other.to_owned() } else { own.to_owned() };
    let exposed: BTreeSet<String> =
        image.exposed_ports.keys().chain(&options.network.exposed).map(|port| with_protocol(port)).collect();
    let hosts_own = options.network.mode == "host" || options.isolation.uts_mode == "host";
    let hostname = match options.isolation.hostname.as_str() {
        "" if hosts_own => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        "" => id[..12].to_owned(),
        own => own.to_owned(),
    };
    let shells = [process.shell.clone(), image.shell.clone(), DEFAULT_SHELL.map(str::to_owned).to_vec()];
    let shell = shells.into_iter().find(|shell| !shell.is_empty()).unwrap_or_default();
    Ok(Command {
        entrypoint: command.entrypoint,
        cmd: command.cmd,
        env: gantry_spec::merge_env(&image.env, &process.env),
        working_dir: or(&process.working_dir, &image.working_dir),
        user: or(&process.user, &image.user),
        stop_signal: or(&options.stop_signal, &image.stop_signal),
        exposed: exposed.into_iter().collect(),
        volumes: image.volumes.keys().cloned().collect(),
        health: health(image, options),
        shell,
        hostname,
    })
}

/// A port with its protocol.
fn with_protocol(port: &str) -> String {
    if port.contains('/') { port.to_owned() } else { format!("{port}/tcp") }
}

/// Field by field: what the request does not say, the image does.
fn health(image: &ImageSettings, options: &Options) -> Option<HealthCheck> {
    let below = image.healthcheck.as_ref().map(HealthCheck::from);
    let merged = match (options.health.clone(), below) {
        (None, below) => below?,
        (Some(own), None) => own,
        (Some(own), Some(below)) => {
            let time = |own: std::time::Duration, below| if own.is_zero() { below } else { own };
            HealthCheck {
                test: if own.test.is_empty() { below.test } else { own.test },
                interval: time(own.interval, below.interval),
                timeout: time(own.timeout, below.timeout),
                start_period: time(own.start_period, below.start_period),
                start_interval: time(own.start_interval, below.start_interval),
                retries: if own.retries == 0 { below.retries } else { own.retries },
            }
        }
    };
    let asks = merged.test.first().is_some_and(|first| first != "NONE");
    asks.then_some(merged)
}

fn labels(image: &ImageSettings, options: &Options) -> Result<BTreeMap<String, String>> {
    let mut labels = image.labels.clone();
    labels.extend(options.labels.clone());
    let bytes: usize = labels.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > MAX_LABEL_BYTES {
        return Err(Error::Invalid(format!("{bytes} bytes of labels are more than {MAX_LABEL_BYTES}")));
    }
    Ok(labels)
}
