//! Docker's files: `config.json`, who we are at which registry (docker/cli 29, `cli/config`), and `daemon.json`.

mod address;
mod daemon;
mod file;
mod helper;
mod pool;
#[cfg(test)]
mod tests;

pub use address::DoorAddress;
pub(crate) use daemon::is_interface;
pub use daemon::{
    Bridge, BuilderGc, BuilderPolicy, CgroupDriver, DaemonContainers, DaemonNetwork, DaemonRegistry,
    DaemonRuntime, DaemonUlimit, DockerDaemon, DoorTls,
};
pub use file::{DockerConfig, Source};
pub use helper::Helper;
pub use pool::AddressPool;

use std::fmt;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// What opens a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerCredential {
    /// A name and a password.
    User {
        /// The name.
        username: String,
        /// The password.
        secret: Hidden,
    },
    /// A refresh token of the registry's token server.
    IdentityToken(Hidden),
    /// A bearer token.
    RegistryToken(Hidden),
}
