//! Which ids a container has, decided when it is made.

use gantry_sys::features::{Feature, has};

use super::ids::{Origin, Userns};
use super::mode::Asked;
use super::{DefaultMode, hold};
use crate::record::Record;
use crate::{Engine, Error, Result};

impl Engine {
    /// The user namespace of a container that is being made; None for the host's, and for one that is found at its start because it
    /// shares another container's. A range that is taken is the container's until [`crate::userns::Ranges::free`].
    ///
    /// # Errors
    /// Invalid for modes that exclude each other, with dockerd's words; Unsupported where ids cannot be mapped; Conflict where no
    /// range is free.
    pub(crate) async fn choose_ids(&self, record: &Record) -> Result<Option<Userns>> {
        let asked: Asked = record.options.isolation.userns_mode.parse()?;
        let joins = shared_with(record).next();
        let size = match (asked, self.shared.settings.userns.mode) {
            (Asked::Auto(_), _) if joins.is_some() => {
                return Err(Error::Invalid(
                    "a container with a range of ids of its own cannot share another one's namespaces"
                        .to_owned(),
                ));
            }
            (Asked::Host, _) => return Ok(None),
            (Asked::Default, _) if joins.is_some() => return Ok(None),
            (Asked::Auto(size), _) | (Asked::Default, DefaultMode::Auto { size }) => Some(size),
            (Asked::Default, DefaultMode::Usual) => None,
        };
        if size.is_none() && self.shared.userns.remap().is_none() {
            return Ok(None);
        }
        conflicts(record)?;
        self.check_mapping(record)?;
        let Some(size) = size else {
            let maps = self.shared.userns.remap().cloned().unwrap_or_default();
            return Ok(Some(Userns { origin: Origin::Remap, maps }));
        };
        let (engine, id) = (self.clone(), record.id.clone());
        let maps = self.blocking("choosing ids", move || engine.shared.userns.take(&id, size)).await?;
        Ok(Some(Userns { origin: Origin::Auto, maps }))
    }

    /// Whether the files of a container can be shown to it in other ids than they have.
    pub(super) fn check_mapping(&self, record: &Record) -> Result<()> {
        if !has(Feature::OverlayMappedLayers) {
            let text = "user namespaces need Linux 5.19, which maps the ids of overlayfs's layers";
            return Err(Error::Unsupported(text.to_owned()));
        }
        if self.shared.host.user_namespace {
            let text = "user namespaces need a daemon that is in the host's: in another one no ids of layers can be mapped";
            return Err(Error::Unsupported(text.to_owned()));
        }
        let runtime = crate::container::runtime_of(self, &record.options.runtime)?;
        if self.shared.tasks.is_own_shim(&runtime) {
            return Ok(());
        }
        Err(Error::Unsupported(format!(
            "the shim of the runtime {runtime} maps no ids of root file systems: use --userns=host with it, or another runtime"
        )))
    }

    /// What records say of ranges, and what is held for nobody.
    pub(crate) async fn recover_userns(&self) {
        let mut holding = Vec::new();
        for container in self.containers() {
            let record = container.record();
            if let Some(Userns { origin: Origin::Auto, maps }) = &record.userns {
                self.shared.userns.adopt(&record.id, maps);
            }
            if record.state.status.is_alive() {
                holding.push(record.id.clone());
            }
        }
        let state = self.shared.settings.state.clone();
        let swept = self.blocking("sweeping user namespaces", move || hold::sweep(&state, &holding));
        if let Err(error) = swept.await {
            tracing::warn!(%error, "user namespaces of containers that are gone are left");
        }
    }
}

/// The names of the containers whose namespaces one shares, with the kernel's names of those.
pub(super) fn shared_with(record: &Record) -> impl Iterator<Item = (&str, &'static str)> {
    let (network, isolation) = (&record.options.network, &record.options.isolation);
    let modes = [(&network.mode, "net"), (&isolation.ipc_mode, "ipc"), (&isolation.pid_mode, "pid")];
    modes.into_iter().filter_map(|(mode, kind)| Some((mode.strip_prefix("container:")?, kind)))
}

/// What dockerd refuses, in its order.
fn conflicts(record: &Record) -> Result<()> {
    let isolation = &record.options.isolation;
    let text = if isolation.privileged {
        "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running \
         privileged mode"
    } else if record.options.network.mode == "host" {
        "cannot share the host's network namespace when user namespaces are enabled"
    } else if isolation.pid_mode == "host" {
        "cannot share the host PID namespace when user namespaces are enabled"
    } else {
        return Ok(());
    };
    Err(Error::Invalid(text.to_owned()))
}
