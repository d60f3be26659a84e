//! Whether credentials open a registry.

use gantry_types::{ErrorKind, Reference};

use crate::image::Credential;
use crate::{Engine, Error, Result};

/// The registry behind no name, and behind the address that docker's command line sends for it.
const HUB: &str = "docker.io";
const HUB_ADDRESS: &str = "index.docker.io";
/// A repository that nobody has. Registries say that it is not there to those whom they know, and nothing to others.
const PROBE: &str = "gantry/login-probe:latest";

impl Engine {
    /// Asks a registry for something that it does not have, with credentials. A registry that lets strangers look cannot tell
    /// wrong ones, and accepts them.
    ///
    /// # Errors
    /// Unauthenticated and PermissionDenied for credentials that do not open it; Unavailable.
    pub async fn login(&self, server: &str, credential: Credential) -> Result<()> {
        let host = host(server);
        let reference = Reference::parse_familiar(&format!("{host}/{PROBE}"))
            .map_err(|error| Error::Invalid(format!("{server:?} is no registry: {error}")))?;
        match self.distribution(&reference, Some(credential)).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The registry of an address as people and programs write it.
fn host(server: &str) -> &str {
    let bare = server.split_once("://").map_or(server, |(_, rest)| rest);
    match bare.split('/').next().unwrap_or_default() {
        "" | HUB_ADDRESS => HUB,
        host => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_registries_have_hosts() {
        for (server, expect) in [
            ("", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("registry.test:5000", "registry.test:5000"),
            ("http://registry.test/v2/", "registry.test"),
        ] {
            assert_eq!(host(server), expect);
        }
    }
}
