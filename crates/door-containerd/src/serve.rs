//! The server: which services there are, and the limits of all of them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use gantry_primitives::tasks::Tasks;
use gantry_primitives::{Access, Store};
use gantry_proto_containerd::containers::containers_server::ContainersServer;
use gantry_proto_containerd::content::content_server::ContentServer;
use gantry_proto_containerd::diff::diff_server::DiffServer;
use gantry_proto_containerd::events_service::events_server::EventsServer;
use gantry_proto_containerd::header::MAX_MESSAGE_BYTES;
use gantry_proto_containerd::health::health_server::HealthServer;
use gantry_proto_containerd::images::images_server::ImagesServer;
use gantry_proto_containerd::introspection::introspection_server::IntrospectionServer;
use gantry_proto_containerd::leases::leases_server::LeasesServer;
use gantry_proto_containerd::mounts::mounts_server::MountsServer;
use gantry_proto_containerd::namespaces::namespaces_server::NamespacesServer;
use gantry_proto_containerd::sandbox::controller_server::ControllerServer;
use gantry_proto_containerd::sandbox::store_server::StoreServer;
use gantry_proto_containerd::snapshots::snapshots_server::SnapshotsServer;
use gantry_proto_containerd::streaming::streaming_server::StreamingServer;
use gantry_proto_containerd::tasks::tasks_server::TasksServer;
use gantry_proto_containerd::transfer_service::transfer_server::TransferServer;
use gantry_proto_containerd::version::version_server::VersionServer;
use gantry_types::Platform;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::transport::Server;
use tower::util::MapResponseLayer;

use crate::containers::ContainersService;
use crate::content::ContentService;
use crate::diff::DiffService;
use crate::events::EventsService;
use crate::health::HealthService;
use crate::images::ImagesService;
use crate::introspection::{About, IntrospectionService, Proxy, Snapshotter};
use crate::leases::LeasesService;
use crate::mounts::MountsService;
use crate::namespaces::NamespacesService;
use crate::observe::{Observe, Observer};
use crate::oversize;
use crate::sandboxes::controller::ControllerService;
use crate::sandboxes::store::StoreService;
use crate::snapshots::SnapshotsService;
use crate::streaming::{StreamingService, Streams};
use crate::tasks::TasksService;
use crate::transfer::TransferService;
use crate::version::VersionService;

/// How many requests a connection may have open: dockerd waits for each of its containers by one.
const MAX_CONCURRENT_STREAMS: u32 = 16 << 10;
/// How far a client may send ahead, in bytes: in one request, and in all of a connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// The longest header list, in bytes.
const MAX_HEADER_BYTES: u32 = 64 << 10;
/// How long a silent client is waited for before it is asked whether it lives, and how long it has to answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(7200);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The services' names, for whoever asks for their health.
const SERVICES: &[&str] = &[
    "containerd.services.containers.v1.Containers",
    "containerd.services.content.v1.Content",
    "containerd.services.diff.v1.Diff",
    "containerd.services.events.v1.Events",
    "containerd.services.images.v1.Images",
    "containerd.services.introspection.v1.Introspection",
    "containerd.services.leases.v1.Leases",
    "containerd.services.mounts.v1.Mounts",
    "containerd.services.namespaces.v1.Namespaces",
    "containerd.services.sandbox.v1.Controller",
    "containerd.services.sandbox.v1.Store",
    "containerd.services.snapshots.v1.Snapshots",
    "containerd.services.streaming.v1.Streaming",
    "containerd.services.tasks.v1.Tasks",
    "containerd.services.transfer.v1.Transfer",
    "containerd.services.version.v1.Version",
    "grpc.health.v1.Health",
];

/// The longest messages, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From a client.
    pub receive_bytes: usize,
    /// To a client.
    pub send_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { receive_bytes: MAX_MESSAGE_BYTES, send_bytes: MAX_MESSAGE_BYTES }
    }
}

/// Everything that the services need.
#[derive(Clone)]
pub struct Door {
    /// What is served.
    pub store: Store,
    /// What runs of it.
    pub tasks: Tasks,
    /// Who serves.
    pub about: Arc<About>,
    /// Is told of every request.
    pub observer: Arc<dyn Observer>,
    /// False from when the end has begun: streams that would never end do.
    pub serving: watch::Receiver<bool>,
    /// How registries are reached where a request does not say it.
    pub access: watch::Receiver<Access>,
    /// Blobs that one push sends at a time.
    pub uploads: usize,
    /// The longest messages.
    pub limits: Limits,
}

impl Door {
    /// Serves connections until `serving` becomes false, and then those that are open until their requests have ended.
    ///
    /// # Errors
    /// What the transport says; a connection that fails is no error.
    pub async fn serve<S>(&self, connections: S) -> Result<(), tonic::transport::Error>
    where
        S: Stream<Item = io::Result<UnixStream>> + Send,
    {
        let mut serving = self.serving.clone();
        let stopped = async move {
            let _ = serving.wait_for(|serving| !serving).await;
        };
        Server::builder()
            .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .layer(Observe(self.observer.clone()))
            .layer(MapResponseLayer::new(oversize::correct))
            .add_routes(self.routes())
            .serve_with_incoming_shutdown(connections, stopped)
            .await
    }

    fn routes(&self) -> Routes {
        let Limits { receive_bytes, send_bytes } = self.limits;
        macro_rules! limited {
            ($server:ident, $service:expr) => {
                $server::new($service)
                    .max_decoding_message_size(receive_bytes)
                    .max_encoding_message_size(send_bytes)
            };
        }
        let (store, about) = (|| self.store.clone(), || self.about.clone());
        let serving = self.serving.clone();
        let snapshotters = self.snapshotters();
        let names: Arc<[String]> = snapshotters.iter().map(|snapshotter| snapshotter.name.clone()).collect();
        let streams = Streams::default();
        let transfer = TransferService {
            store: store(),
            streams: streams.clone(),
            access: self.access.clone(),
            uploads: self.uploads,
            snapshotters: names.clone(),
        };
        let health = HealthService { serving: serving.clone(), services: SERVICES };
        let version = VersionService { revision: self.about.revision.clone() };
        Routes::new(limited!(HealthServer, health))
            .add_service(limited!(VersionServer, version))
            .add_service(limited!(
                IntrospectionServer,
                IntrospectionService { about: about(), snapshotters, tasks: self.tasks.clone() }
            ))
            .add_service(limited!(NamespacesServer, NamespacesService { store: store() }))
            .add_service(limited!(LeasesServer, LeasesService { store: store() }))
            .add_service(limited!(ContentServer, ContentService { store: store() }))
            .add_service(limited!(ImagesServer, ImagesService { store: store() }))
            .add_service(limited!(ContainersServer, ContainersService { store: store() }))
            .add_service(limited!(
                TasksServer,
                TasksService { tasks: self.tasks.clone(), serving: serving.clone() }
            ))
            .add_service(limited!(
                ControllerServer,
                ControllerService { store: store(), tasks: self.tasks.clone(), serving: serving.clone() }
            ))
            .add_service(limited!(StoreServer, StoreService { store: store() }))
            .add_service(limited!(SnapshotsServer, SnapshotsService { store: store(), names }))
            .add_service(limited!(MountsServer, MountsService { store: store() }))
            .add_service(limited!(DiffServer, DiffService { store: store() }))
            .add_service(limited!(TransferServer, transfer))
            .add_service(limited!(EventsServer, EventsService { store: store(), serving }))
            .add_service(limited!(StreamingServer, StreamingService { streams }))
    }

    fn snapshotters(&self) -> Vec<Snapshotter> {
        let own = |(name, capabilities): (String, Vec<&'static str>)| {
            let capabilities = capabilities.into_iter().map(str::to_owned).collect();
            let root = self.about.root.join("snapshots").join(&name).display().to_string();
            let exports = [("root".to_owned(), root)].into();
            match self.about.proxies.get(&name).cloned() {
                None => Snapshotter { name, platform: Platform::host(), exports, capabilities },
                Some(Proxy { platform, exports, capabilities }) => {
                    let platform = platform.unwrap_or_else(Platform::host);
                    Snapshotter { name, platform, exports, capabilities }
                }
            }
        };
        self.store.snapshotters().into_iter().map(own).collect()
    }
}
