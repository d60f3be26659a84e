//! `containerd.services.version.v1`.

use gantry_proto_containerd::version::VersionResponse;
use gantry_proto_containerd::version::version_server::Version;
use tonic::{Request, Response, Status};

/// The version of containerd whose API this is, then our own. nerdctl parses it: from 2.0.0 on it uses transfers.
pub const VERSION: &str = concat!("v2.2.0+gantry.", env!("CARGO_PKG_VERSION"));

#[derive(Debug)]
pub(crate) struct VersionService {
    /// Of the source; may be empty.
    pub(crate) revision: String,
}

#[tonic::async_trait]
impl Version for VersionService {
    async fn version(&self, _: Request<()>) -> Result<Response<VersionResponse>, Status> {
        Ok(Response::new(VersionResponse { version: VERSION.to_owned(), revision: self.revision.clone() }))
    }
}
