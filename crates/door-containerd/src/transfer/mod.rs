//! `containerd.services.transfer.v1`: from a source to a destination, each of which says what it is.
//!
//! | from | to | what it is |
//! |---|---|---|
//! | `OCIRegistry` | `ImageStore` | pull |
//! | `ImageStore` | `OCIRegistry` | push |
//! | `ImageStore` | `ImageStore` | tag |
//! | `ImageImportStream` | `ImageStore` | import |
//! | `ImageStore` | `ImageExportStream` | export |
//! | `ImageImportStream` | `ImageExportStream` | echo: by which clients try their streams |
//!
//! A request that ends early ends its transfer; what was stored stays for the next one.

mod endpoint;
mod export;
mod import;
mod inflate;
mod names;
mod progress;
mod pull;
mod push;
mod registry;
mod tag;

use std::sync::Arc;

use gantry_primitives::{Access, Context, Store};
use gantry_proto_containerd::transfer_service::TransferRequest;
use gantry_proto_containerd::transfer_service::transfer_server::Transfer;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use self::endpoint::Endpoint;
use self::progress::Display;
use crate::streaming::Streams;
use crate::{from_proto, request, status, streaming};

pub(crate) struct TransferService {
    pub(crate) store: Store,
    pub(crate) streams: Streams,
    /// How registries are reached where a request does not say it.
    pub(crate) access: watch::Receiver<Access>,
    /// Blobs that one push sends at a time.
    pub(crate) uploads: usize,
    /// Those that requests may name.
    pub(crate) snapshotters: Arc<[String]>,
}

#[tonic::async_trait]
impl Transfer for TransferService {
    async fn transfer(&self, request: Request<TransferRequest>) -> Result<Response<()>, Status> {
        let context = request::context(request.metadata())?;
        let TransferRequest { source, destination, options } = request.into_inner();
        let stream = options.map(|options| options.progress_stream).filter(|stream| !stream.is_empty());
        let stream = stream.map(|stream| self.streams.take(&context.namespace, &stream)).transpose()?;
        let (display, shown) = progress::start(stream);
        let source = Endpoint::parse(from_proto::required("source", source)?)?;
        let destination = Endpoint::parse(from_proto::required("destination", destination)?)?;
        let result = self.run(&context, source, destination, &display).await;
        // Clients take the answer for the end of the progress.
        drop(display);
        shown.wait().await;
        result.map(Response::new)
    }
}

impl TransferService {
    async fn run(
        &self,
        context: &Context,
        source: Endpoint,
        destination: Endpoint,
        display: &Display,
    ) -> Result<(), Status> {
        match (source, destination) {
            (Endpoint::Registry(from), Endpoint::Store(to)) => self.pull(context, from, to, display).await,
            (Endpoint::Store(from), Endpoint::Registry(to)) => self.push(context, from, to, display).await,
            (Endpoint::Store(from), Endpoint::Store(to)) => self.tag(context, from, to).await,
            (Endpoint::Import(from), Endpoint::Store(to)) => self.import(context, from, to, display).await,
            (Endpoint::Store(from), Endpoint::Export(to)) => self.export(context, from, to, display).await,
            (Endpoint::Import(from), Endpoint::Export(to)) => {
                let from = self.streams.take(&context.namespace, &from.stream)?;
                streaming::relay(from, self.streams.take(&context.namespace, &to.stream)?).await
            }
            (source, destination) => {
                let (source, destination) = (source.name(), destination.name());
                Err(status::unimplemented(format!("transfer from {source} to {destination}")))
            }
        }
    }
}
