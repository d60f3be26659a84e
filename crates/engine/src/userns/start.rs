//! The user namespace of a container that is being started.

use std::os::fd::OwnedFd;

use gantry_spec::UserNamespace;

use super::hold::{self, Net};
use super::ids::{IdMaps, Origin, Userns};
use super::mode::Asked;
use super::{DefaultMode, create};
use crate::container::Identity;
use crate::record::Record;
use crate::{Engine, Error, Result};

/// What a container is started in.
#[derive(Debug, Default)]
pub(crate) struct Entered {
    /// For its configuration.
    pub(crate) user: UserNamespace,
    /// An empty network namespace that belongs to it, where the container has one of the engine's making.
    pub(crate) netns: Option<OwnedFd>,
}

impl Engine {
    /// Makes the user namespace of a container, or finds that of the containers whose namespaces it shares.
    /// [`Self::leave_userns`] lets it go.
    ///
    /// # Errors
    /// Conflict for containers that do not run or have different ones; what the kernel says.
    pub(crate) async fn enter_userns(&self, record: &mut Record) -> Result<Entered> {
        let asked: Asked = record.options.isolation.userns_mode.parse()?;
        if asked == Asked::Default && create::shared_with(record).next().is_some() {
            return self.share_userns(record);
        }
        let Some(userns) = record.userns.clone() else { return Ok(Entered::default()) };
        let network = &record.options.network;
        let is_made = !network.disabled && network.mode != "none" && !network.mode.starts_with("container:");
        let net = if is_made { Net::Own } else { Net::Not };
        let (state, id) = (self.shared.settings.state.clone(), record.id.clone());
        self.blocking("making a user namespace", move || {
            // One that is left of a start that did not come to its end.
            hold::release(&state, &id)?;
            let (user, netns) = hold::make(&userns.maps, net)?;
            let namespace = hold::hold(&state, &id, &user)?.display().to_string();
            let IdMaps { uids, gids } = userns.maps;
            Ok(Entered { user: UserNamespace::Shared { namespace, uids, gids }, netns })
        })
        .await
    }

    /// Who shares a container's namespaces is in its user namespace: the kernel lets nobody else use them.
    fn share_userns(&self, record: &mut Record) -> Result<Entered> {
        let mut found: Option<(String, Option<IdMaps>)> = None;
        for (name, kind) in create::shared_with(record) {
            let other = self.container(name)?.record();
            crate::container::joined(self, name, kind)?;
            let namespace = crate::container::joined(self, name, "user")?;
            let maps = other.userns.as_ref().map(|userns| userns.maps.clone());
            match &found {
                Some((_, before)) if *before != maps => {
                    let text =
                        "cannot share the namespaces of containers that are in different user namespaces";
                    return Err(Error::Conflict(text.to_owned()));
                }
                Some(_) => {}
                None => found = Some((namespace, maps)),
            }
        }
        match found {
            Some((namespace, Some(maps))) => {
                self.check_mapping(record)?;
                record.userns = Some(Userns { origin: Origin::Joined, maps: maps.clone() });
                let IdMaps { uids, gids } = maps;
                Ok(Entered { user: UserNamespace::Shared { namespace, uids, gids }, netns: None })
            }
            _ if self.has_userns_by_default() => Err(Error::Conflict(
                "cannot share the namespaces of a container that is in the host's user namespace: use --userns=host".to_owned(),
            )),
            _ => {
                record.userns = None;
                Ok(Entered::default())
            }
        }
    }

    fn has_userns_by_default(&self) -> bool {
        self.shared.userns.remap().is_some()
            || matches!(self.shared.settings.userns.mode, DefaultMode::Auto { .. })
    }

    /// Lets go of what [`Self::enter_userns`] made.
    pub(crate) async fn leave_userns(&self, record: &Record) {
        if !record.userns.as_ref().is_some_and(|userns| userns.origin != Origin::Joined) {
            return;
        }
        let (state, id) = (self.shared.settings.state.clone(), record.id.clone());
        let left = self.blocking("leaving a user namespace", move || hold::release(&state, &id));
        if let Err(error) = left.await {
            tracing::warn!(container = %record.id, %error, "a user namespace is left");
        }
    }
}

impl Userns {
    /// Checks that the ids of a container's process are among its own.
    ///
    /// # Errors
    /// Invalid.
    pub(crate) fn check(&self, identity: &Identity) -> Result<()> {
        let (user, (users, groups)) = (&identity.user, self.maps.sizes());
        let more = "give it more ids (--userns=auto:size=N, or more in /etc/subuid and /etc/subgid)";
        if !self.maps.has_user(user.uid) {
            return Err(Error::Invalid(format!(
                "the user {} is not among the {users} ids of the container's user namespace: {more}",
                user.uid
            )));
        }
        let mut all = identity.groups.iter().chain(&user.additional_gids).chain([&user.gid]);
        match all.find(|gid| !self.maps.has_group(**gid)) {
            Some(gid) => Err(Error::Invalid(format!(
                "the group {gid} is not among the {groups} ids of the container's user namespace: {more}"
            ))),
            None => Ok(()),
        }
    }
}
