//! A door at a socket of its own, and clients of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::unfold;
use gantry_door_containerd::{About, Code, Door, Limits, Observer};
use gantry_primitives::access::TreeHosts;
use gantry_primitives::registry::Anonymous;
use gantry_primitives::tasks::{TaskLimits, TaskOptions, Tasks};
use gantry_primitives::{Access, Options, Schedule, Store};
use gantry_proto_containerd::content::content_client::ContentClient;
use gantry_proto_containerd::header;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};

const HOUR: Duration = Duration::from_secs(3600);

struct Nobody;

impl Observer for Nobody {
    fn answered(&self, _: &str, _: Code, _: Duration) {}
}

/// A door that is open as long as this is kept.
pub(crate) struct Served {
    channel: Channel,
    pub(crate) serving: watch::Sender<bool>,
    _directory: tempfile::TempDir,
}

/// What a client puts into the head of each request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    namespace: Option<&'static str>,
    lease: Option<String>,
}

impl Interceptor for Head {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        if let Some(namespace) = self.namespace {
            metadata.insert(header::NAMESPACE, MetadataValue::from_static(namespace));
        }
        if let Some(lease) = &self.lease {
            metadata.insert(header::LEASE, lease.parse().expect("an id"));
        }
        Ok(request)
    }
}

/// How a client reaches the door.
pub(crate) type Way = InterceptedService<Channel, Head>;

impl Served {
    pub(crate) async fn open() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut options = Options::new(directory.path().join("root"));
        // What no test refers to stays, for the tests to look at.
        options.collection =
            Schedule { startup_delay: HOUR, delay: HOUR, deletions: u64::MAX, mutations: u64::MAX };
        let opened = tokio::task::spawn_blocking(move || Store::open(options)).await.expect("no panic");
        let store = opened.expect("a store");
        let state = directory.path().join("state");
        let tasks = TaskOptions {
            root: directory.path().join("root"),
            events: state.join("events"),
            grpc: state.join("grpc"),
            shim: "/nowhere".into(),
            state,
            runtimes: BTreeMap::new(),
            version: String::new(),
            debug: false,
            core_scheduling: false,
            limits: TaskLimits::default(),
        };
        let (tasks, _) = Tasks::open(store.clone(), tasks, |_| {}).await.expect("tasks");
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).expect("a socket");
        let (serving, receiver) = watch::channel(true);
        let access = Access { hosts: Arc::new(TreeHosts::new(Vec::new())), credentials: Arc::new(Anonymous) };
        let door = Door {
            store,
            tasks,
            about: Arc::new(About { uuid: "u".into(), ..About::default() }),
            observer: Arc::new(Nobody),
            serving: receiver,
            access: watch::channel(access).1,
            uploads: 1,
            limits: Limits::default(),
        };
        let connections = unfold(listener, |listener| async move {
            Some((listener.accept().await.map(|(stream, _)| stream), listener))
        });
        tokio::spawn(async move { door.serve(connections).await });
        let connect = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(hyper_util::rt::TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://door");
        let channel = endpoint.connect_with_connector(connect).await.expect("a connection");
        Self { channel, serving, _directory: directory }
    }

    /// For a client in a namespace.
    pub(crate) fn within(&self, namespace: &'static str) -> Way {
        self.way(Head { namespace: Some(namespace), lease: None })
    }

    /// For a client with a lease.
    pub(crate) fn leased(&self, namespace: &'static str, lease: &str) -> Way {
        self.way(Head { namespace: Some(namespace), lease: Some(lease.to_owned()) })
    }

    /// For a client that says nothing.
    pub(crate) fn bare(&self) -> Way {
        self.way(Head::default())
    }

    fn way(&self, head: Head) -> Way {
        InterceptedService::new(self.channel.clone(), head)
    }

    /// A client of the content that takes large messages.
    pub(crate) fn content(&self, namespace: &'static str) -> ContentClient<Way> {
        ContentClient::new(self.within(namespace)).max_decoding_message_size(header::MAX_MESSAGE_BYTES)
    }
}

/// The code that a request was refused with.
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, Status>) -> Code {
    result.expect_err("a refusal").code()
}
