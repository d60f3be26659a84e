//! User namespaces of containers: which ids they have, and who holds the namespaces.
//!
//! `container` calls it when a container is made ([`Engine::choose_ids`]), started ([`Engine::enter_userns`]) and gone;
//! `docs/design/0009-user-namespaces.md` says why it is so. It never runs a program, and changes no file below /etc.

mod create;
mod files;
mod hold;
mod ids;
mod mode;
mod ranges;
mod start;
mod subordinate;

pub use ids::{IdMaps, Origin, Userns};
pub use mode::DefaultMode;

pub(crate) use files::{Shift, is_bind, map_mounts, tmpfs_owner};
pub(crate) use ranges::Ranges;
pub(crate) use start::Entered;

/// What an operator chooses of user namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsernsSettings {
    /// `userns-remap`: `default`, `user`, `user:group`, or their numbers; None for none.
    pub remap: Option<String>,
    /// What containers get that do not say.
    pub mode: DefaultMode,
    /// Whose lines of /etc/subuid and /etc/subgid automatic ranges are taken from.
    pub auto_user: String,
}

impl Default for UsernsSettings {
    fn default() -> Self {
        Self { remap: None, mode: DefaultMode::default(), auto_user: "containers".to_owned() }
    }
}

impl UsernsSettings {
    /// Whether containers that do not say are in a user namespace of their own.
    pub fn is_default(&self) -> bool {
        self.remap.as_deref().is_some_and(|user| !subordinate::is_root(user))
            || matches!(self.mode, DefaultMode::Auto { .. })
    }
}
