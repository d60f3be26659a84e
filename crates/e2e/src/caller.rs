//! Requests of our own over the daemon's socket: answers' codes, and the journal from its beginning.

mod echo;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gantry_proto_containerd::events_service::events_client::EventsClient;
use gantry_proto_containerd::events_service::{PublishRequest, SubscribeRequest};
use gantry_proto_containerd::{Any, header};
use hyper_util::rt::TokioIo;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};

/// Longer than any request of the tests.
const LIMIT: Duration = Duration::from_secs(60);
/// How often the journal was looked at: each look ends with an event of its own.
static LOOKS: AtomicU64 = AtomicU64::new(0);

/// A client in a namespace.
#[derive(Debug, Clone)]
pub struct Caller {
    socket: PathBuf,
    namespace: String,
}

/// An event of the journal.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its topic.
    pub topic: String,
    /// Its place.
    pub cursor: u64,
    /// What it says.
    pub event: Any,
}

pub(crate) async fn connect(socket: &Path) -> Result<Channel, tonic::transport::Error> {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://daemon").connect_with_connector(connector).await
}

impl Caller {
    pub(crate) fn new(socket: &Path, namespace: &str) -> Self {
        Self { socket: socket.to_owned(), namespace: namespace.to_owned() }
    }

    /// A request in the namespace.
    ///
    /// # Panics
    /// When the namespace is no name.
    pub fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        let namespace = MetadataValue::try_from(&self.namespace).expect("a name");
        request.metadata_mut().insert(header::NAMESPACE, namespace);
        request
    }

    /// Runs `calls` over a connection.
    ///
    /// # Panics
    /// When nobody listens, or it takes too long.
    pub fn run<T>(&self, calls: impl AsyncFnOnce(Channel) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let channel = connect(&self.socket).await.expect("a daemon that listens");
            tokio::time::timeout(LIMIT, calls(channel)).await.expect("an answer in time")
        })
    }

    /// What the journal has had since `cursor` in the namespace. Only our own daemon keeps one.
    ///
    /// # Panics
    /// When the daemon refuses.
    pub fn journal(&self, cursor: u64) -> Vec<Seen> {
        self.run(async |channel| {
            let mut client = EventsClient::new(channel);
            let filters = vec![format!("namespace=={}", self.namespace)];
            let mut request = self.request(SubscribeRequest { filters });
            request.metadata_mut().insert(header::SINCE, cursor.into());
            let mut stream = client.subscribe(request).await.expect("a subscription").into_inner();
            let topic = format!("/tests/mark{}", LOOKS.fetch_add(1, Ordering::Relaxed));
            let event = Any { type_url: "gantry.tests.Mark".into(), ..Any::default() };
            let mark = PublishRequest { topic: topic.clone(), event: Some(event) };
            client.publish(self.request(mark)).await.expect("a mark");
            let mut seen = Vec::new();
            while let Some(envelope) = stream.message().await.expect("an event") {
                if envelope.topic == topic {
                    break;
                }
                let event = envelope.event.unwrap_or_default();
                seen.push(Seen { topic: envelope.topic, cursor: envelope.cursor, event });
            }
            seen
        })
    }
}
