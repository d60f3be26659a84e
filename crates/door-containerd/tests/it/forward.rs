use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::stream::unfold;
use gantry_door_containerd::serve_events;
use gantry_primitives::{Options, Store, TaskState};
use gantry_proto_shim::any::{Empty, Timestamp};
use gantry_proto_shim::events::{Event, TaskCreate, TaskStart};
use gantry_proto_shim::forward::{Envelope, FORWARD, ForwardRequest, SERVICE};
use gantry_testkit::{Need, require};
use gantry_ttrpc::client::Options as CallOptions;
use gantry_ttrpc::message::KeyValue;
use gantry_ttrpc::{CallError, Client};
use gantry_types::ErrorKind;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A socket for events, and the store behind it.
struct Socket {
    store: Store,
    path: PathBuf,
    serving: watch::Sender<bool>,
    served: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

impl Socket {
    async fn open() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let options = Options::new(directory.path().join("root"));
        let opened = tokio::task::spawn_blocking(move || Store::open(options)).await.expect("no panic");
        let (store, path) = (opened.expect("a store"), directory.path().join("s"));
        let listener = UnixListener::bind(&path).expect("a socket");
        let connections = unfold(listener, |listener| async move {
            Some((listener.accept().await.map(|(stream, _)| stream), listener))
        });
        let (serving, receiver) = watch::channel(true);
        let served = tokio::spawn(serve_events(store.clone(), connections, receiver));
        Self { store, path, serving, served, _directory: directory }
    }
}

fn request(event: &impl Event) -> ForwardRequest {
    ForwardRequest { envelope: Some(Envelope::of("n", Timestamp { seconds: 1, nanos: 0 }, event)) }
}

fn options(source: &str) -> CallOptions {
    let metadata = vec![KeyValue { key: "gantry-event".into(), value: source.into() }];
    CallOptions { timeout: Some(Duration::from_secs(60)), metadata }
}

/// Runs `f` with a client on a thread that may wait.
async fn with_client<T: Send + 'static>(path: &Path, f: impl FnOnce(Client) -> T + Send + 'static) -> T {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || f(Client::connect(&path).expect("a connection")))
        .await
        .expect("no panic")
}

#[tokio::test]
async fn events_of_a_shim_are_taken_once_and_in_order() {
    require!(Need::Root);
    let socket = Socket::open().await;
    let send = |client: &Client, event: ForwardRequest, source: &str| {
        client.call_with::<_, Empty>(SERVICE, FORWARD, &event, &options(source)).expect("an answer");
    };
    with_client(&socket.path, move |client| {
        let create = TaskCreate { container_id: "c".into(), pid: 7, ..Default::default() };
        send(&client, request(&create), "pod/1");
        for number in 2..20 {
            let start = TaskStart { container_id: "c".into(), pid: number };
            send(&client, request(&start), &format!("pod/{number}"));
        }
    })
    .await;
    // The answer to the last one was lost, and it is sent again on another connection.
    with_client(&socket.path, move |client| {
        send(&client, request(&TaskStart { container_id: "c".into(), pid: 19 }), "pod/19");
        send(&client, request(&TaskStart { container_id: "c".into(), pid: 20 }), "pod/20");
    })
    .await;
    let mut events = socket.store.events(Some(0)).await.unwrap();
    assert_eq!(events.next().await.unwrap().topic, "/tasks/create");
    for cursor in 2..=20 {
        assert_eq!(events.next().await.unwrap().cursor, cursor);
    }
    assert_eq!(socket.store.events(Some(21)).await.err().unwrap().kind(), ErrorKind::OutOfRange);
    let task = socket.store.task_get("n".parse().unwrap(), "c".into(), String::new()).await.unwrap();
    assert_eq!((task.state, task.pid), (TaskState::Running, 20));
}

#[tokio::test]
async fn what_is_no_event_is_refused() {
    require!(Need::Root);
    let socket = Socket::open().await;
    let kind = |result: Result<Empty, CallError>| result.expect_err("a refusal").kind();
    with_client(&socket.path, move |client| {
        let good = request(&TaskStart::default());
        assert_eq!(kind(client.call("a.Service", FORWARD, &good)), ErrorKind::Unimplemented);
        assert_eq!(kind(client.call(SERVICE, "Backward", &good)), ErrorKind::Unimplemented);
        let nothing = ForwardRequest { envelope: None };
        assert_eq!(kind(client.call(SERVICE, FORWARD, &nothing)), ErrorKind::InvalidArgument);
        let mut topic = good.clone();
        topic.envelope.as_mut().expect("an envelope").topic = "tasks".into();
        assert_eq!(kind(client.call(SERVICE, FORWARD, &topic)), ErrorKind::InvalidArgument);
        let sourceless = client.call_with(SERVICE, FORWARD, &good, &options("pod"));
        assert_eq!(kind(sourceless), ErrorKind::InvalidArgument);
        client.call::<_, Empty>(SERVICE, FORWARD, &good).expect("the connection goes on");
    })
    .await;
}

#[tokio::test]
async fn connections_end_with_the_daemon() {
    require!(Need::Root);
    let socket = Socket::open().await;
    let client = with_client(&socket.path, |client| client).await;
    let (held, path) = (client.clone(), socket.path.clone());
    with_client(&path, move |_| {
        client.call::<_, Empty>(SERVICE, FORWARD, &request(&TaskStart::default())).expect("an answer");
    })
    .await;
    socket.serving.send(false).unwrap();
    socket.served.await.unwrap();
    let refused = tokio::task::spawn_blocking(move || {
        held.call::<_, Empty>(SERVICE, FORWARD, &request(&TaskStart::default()))
    });
    assert_eq!(refused.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
}
