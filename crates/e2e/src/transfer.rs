//! Pulls that the daemon does: the transfer service, which `ctr` of containerd 1.6 does not know.

use std::path::Path;
use std::time::Duration;

use gantry_proto_containerd::transfer::{ImageStore, OciRegistry, RegistryResolver, UnpackConfiguration};
use gantry_proto_containerd::transfer_service::TransferRequest;
use gantry_proto_containerd::transfer_service::transfer_client::TransferClient;
use gantry_proto_containerd::types::Platform;
use gantry_proto_containerd::{Any, header};
use tonic::metadata::MetadataValue;

use crate::caller;

/// Longer than any pull of the tests.
const LIMIT: Duration = Duration::from_secs(120);

/// A pull by the daemon.
#[derive(Debug, Clone)]
pub struct ServerPull {
    /// The name of the image.
    pub name: String,
    /// The namespace.
    pub namespace: String,
    /// A `certs.d`, for a registry that is not plain.
    pub hosts_dir: Option<String>,
    /// After this time the client hangs up.
    pub patience: Option<Duration>,
    /// The trace that the client is part of, as W3C's `traceparent` has it.
    pub trace: Option<&'static str>,
}

impl ServerPull {
    /// From a plain registry.
    pub fn new(namespace: &str, name: &str) -> Self {
        let (name, namespace) = (name.to_owned(), namespace.to_owned());
        Self { name, namespace, hosts_dir: None, patience: None, trace: None }
    }

    fn request(&self) -> Result<tonic::Request<TransferRequest>, String> {
        let plain = if self.hosts_dir.is_none() { "http" } else { "" };
        let resolver = RegistryResolver {
            host_dir: self.hosts_dir.clone().unwrap_or_default(),
            default_scheme: plain.to_owned(),
            ..RegistryResolver::default()
        };
        let platform = Platform { os: "linux".into(), architecture: "amd64".into(), ..Platform::default() };
        let unpack =
            UnpackConfiguration { platform: Some(platform.clone()), snapshotter: "overlayfs".into() };
        let source = OciRegistry { reference: self.name.clone(), resolver: Some(resolver) };
        let destination = ImageStore {
            name: self.name.clone(),
            platforms: vec![platform],
            unpacks: vec![unpack],
            ..ImageStore::default()
        };
        let mut request = tonic::Request::new(TransferRequest {
            source: Some(Any::pack(&source)),
            destination: Some(Any::pack(&destination)),
            options: None,
        });
        let namespace = MetadataValue::try_from(&self.namespace).map_err(|error| error.to_string())?;
        request.metadata_mut().insert(header::NAMESPACE, namespace);
        if let Some(trace) = self.trace {
            request.metadata_mut().insert("traceparent", MetadataValue::from_static(trace));
        }
        Ok(request)
    }

    /// Asks the daemon at `socket`, and waits for the end.
    ///
    /// # Errors
    /// What the daemon says, or that it hung up, or that the client did.
    pub fn run(&self, socket: &Path) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let request = self.request()?;
        runtime.block_on(async {
            let channel = caller::connect(socket).await.map_err(|error| format!("{error:?}"))?;
            let mut client = TransferClient::new(channel);
            let answer = tokio::time::timeout(self.patience.unwrap_or(LIMIT), client.transfer(request)).await;
            answer
                .map_err(|_| "the client hung up".to_owned())?
                .map(drop)
                .map_err(|status| status.to_string())
        })
    }
}
