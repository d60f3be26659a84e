//! Records of containers and sandboxes, and what shims say of their processes.

use gantry_primitives::{
    Container, EventSource, Opaque, Sandbox, ShimEvent, Store, Task, TaskState, Timestamp,
};
use gantry_proto_shim::any;
use gantry_proto_shim::events::{self, Event};
use gantry_testkit::{Need, require};
use gantry_types::ErrorKind;

use crate::harness::{Fixture, context};

/// As a shim forwards it.
fn event<E: Event>(event: &E) -> ShimEvent {
    let any::Any { type_url, value } = any::Any::pack(event);
    ShimEvent { namespace: context("test").namespace, topic: E::TOPIC.into(), type_url, value }
}

fn source(sequence: u64) -> Option<EventSource> {
    Some(EventSource { name: "pod".into(), sequence })
}

async fn task(store: &Store, exec: &str) -> Result<Task, ErrorKind> {
    let found = store.task_get(context("test").namespace, "c".into(), exec.into()).await;
    found.map_err(|error| error.kind())
}

fn exit(id: &str) -> events::TaskExit {
    let exited_at = Some(any::Timestamp { seconds: 9, nanos: 1 });
    let (container_id, id) = ("c".into(), id.into());
    events::TaskExit { container_id, id, pid: 7, exit_status: 3, exited_at, cause: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_are_found_by_what_they_are() {
    require!(Need::Root);
    let fixture = Fixture::new();
    let (store, ns) = (&fixture.store, context("test").namespace);
    for (id, image, runtime) in [("a", "x", "r1"), ("b", "y", "r1"), ("restart", "x", "r2")] {
        let mut container = Container::new(id, runtime, Opaque::default());
        image.clone_into(&mut container.image);
        container.labels.insert("app".into(), id.into());
        store.container_create(ns.clone(), container).await.unwrap();
    }
    for (filters, expected) in [
        (vec![], vec!["a", "b", "restart"]),
        (vec!["id==restart"], vec!["restart"]),
        (vec!["id==b,image==x"], vec![]),
        (vec!["id==none", "id==b", "id==a"], vec!["a", "b"]),
        (vec!["runtime.name==r1,image==x"], vec!["a"]),
        (vec!["labels.app==b", "id~=^re"], vec!["b", "restart"]),
        (vec!["runtime"], vec![]),
    ] {
        let given = filters.iter().map(|&filter| filter.to_owned()).collect();
        let found = store.container_list(ns.clone(), given).await.unwrap();
        assert_eq!(found.iter().map(|found| &found.id).collect::<Vec<_>>(), expected, "{filters:?}");
    }
    let other = store.container_list(context("other").namespace, Vec::new()).await.unwrap();
    assert!(other.is_empty());
    store.container_delete(ns.clone(), "a".into()).await.unwrap();
    let gone = store.container_get(ns, "a".into()).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn sandboxes_are_found_by_id_and_labels() {
    require!(Need::Root);
    let fixture = Fixture::new();
    let (store, ns) = (&fixture.store, context("test").namespace);
    for id in ["a", "b"] {
        let mut sandbox = Sandbox::new(id);
        sandbox.labels.insert("app".into(), id.into());
        store.sandbox_create(ns.clone(), sandbox).await.unwrap();
    }
    for filter in ["id==b", "labels.app==b"] {
        let found = store.sandbox_list(ns.clone(), vec![filter.into()]).await.unwrap();
        assert_eq!(found.iter().map(|found| found.id.as_str()).collect::<Vec<_>>(), ["b"], "{filter}");
    }
    assert!(store.sandbox_list(ns, vec!["runtime.name==x".into()]).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_task_are_its_record() {
    require!(Need::Root);
    let fixture = Fixture::new();
    let store = &fixture.store;
    let forward = async |event| store.forward(None, event).await.unwrap();
    let container_id = || "c".to_owned();
    forward(event(&events::TaskCreate { container_id: container_id(), pid: 7, ..Default::default() })).await;
    assert_eq!(task(store, "").await.unwrap(), Task { boot: store.boot().into(), ..Task::new("c", "", 7) });
    forward(event(&events::TaskStart { container_id: container_id(), pid: 7 })).await;
    assert_eq!(task(store, "").await.unwrap().state, TaskState::Running);
    forward(event(&events::TaskPaused { container_id: container_id() })).await;
    assert_eq!(task(store, "").await.unwrap().state, TaskState::Paused);
    forward(event(&events::TaskResumed { container_id: container_id() })).await;
    forward(event(&events::TaskExecAdded { container_id: container_id(), exec_id: "e".into() })).await;
    let started = events::TaskExecStarted { container_id: container_id(), exec_id: "e".into(), pid: 8 };
    forward(event(&started)).await;
    assert_eq!((task(store, "e").await.unwrap().pid, task(store, "").await.unwrap().pid), (8, 7));
    forward(event(&exit("e"))).await;
    assert_eq!(task(store, "").await.unwrap().state, TaskState::Running);
    let mut last = event(&exit("c"));
    // Field 1000, a message of three bytes.
    last.value.extend([0xc2, 0x3e, 3, 1, 2, 3]);
    forward(last).await;
    let ended = task(store, "").await.unwrap();
    assert_eq!(
        (ended.state, ended.exit_status, ended.cause.as_slice()),
        (TaskState::Stopped, 3, &[1, 2, 3][..])
    );
    assert_eq!(ended.exited, Some(Timestamp::new(9, 1).unwrap()));
    // The end is the last word.
    forward(event(&events::TaskResumed { container_id: container_id() })).await;
    assert_eq!(task(store, "").await.unwrap(), ended);
    forward(event(&events::TaskDelete { container_id: container_id(), ..Default::default() })).await;
    assert!(store.task_list_all().await.unwrap().is_empty());
    // What comes too late makes no record.
    forward(event(&exit("c"))).await;
    forward(event(&events::TaskExecAdded { container_id: container_id(), exec_id: "e".into() })).await;
    assert!(store.task_list_all().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn event_that_comes_again_is_there_once() {
    require!(Need::Root);
    let fixture = Fixture::new();
    let store = &fixture.store;
    let create = event(&events::TaskCreate { container_id: "c".into(), pid: 7, ..Default::default() });
    let start = event(&events::TaskStart { container_id: "c".into(), pid: 7 });
    assert!(store.forward(source(1), create.clone()).await.unwrap());
    assert!(store.forward(source(2), start).await.unwrap());
    assert!(!store.forward(source(1), create.clone()).await.unwrap());
    assert_eq!(task(store, "").await.unwrap().state, TaskState::Running);
    let mut journal = store.events(Some(0)).await.unwrap();
    for topic in ["/tasks/create", "/tasks/start"] {
        assert_eq!(journal.next().await.unwrap().topic, topic);
    }
    drop(journal);
    // So is what a restart of the daemon falls between.
    let fixture = fixture.reopened();
    let store = &fixture.store;
    assert!(!store.forward(source(2), create.clone()).await.unwrap());
    store.forget_source("pod".into()).await.unwrap();
    assert!(store.forward(source(1), create).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_event_is_kept_as_what_it_is() {
    require!(Need::Root);
    let fixture = Fixture::new();
    let store = &fixture.store;
    let good = event(&events::TaskCreate { container_id: "c".into(), ..Default::default() });
    store.forward(None, ShimEvent { value: vec![0x0a, 200], ..good.clone() }).await.unwrap();
    assert!(store.task_list_all().await.unwrap().is_empty());
    let written = store.events(Some(0)).await.unwrap().next().await.unwrap();
    let gantry_primitives::Event::Foreign { value, .. } = &written.event else { panic!("{written:?}") };
    assert_eq!(value.as_slice(), [0x0a, 200]);
    let refused = store.forward(source(1), ShimEvent { topic: "tasks".into(), ..good.clone() }).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
    let refused = store.forward(Some(EventSource { name: String::new(), sequence: 1 }), good.clone()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
    // Its number was not taken.
    assert!(store.forward(source(1), good).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_misses_nothing() {
    require!(Need::Root);
    let fixture = Fixture::new();
    let store = &fixture.store;
    let publish = async |count: u32| {
        for pid in 0..count {
            store.forward(None, event(&events::TaskStart { container_id: "c".into(), pid })).await.unwrap();
        }
    };
    // More than is read from the journal at once, and some that come meanwhile.
    publish(1500).await;
    let mut events = store.events(Some(0)).await.unwrap();
    publish(100).await;
    for cursor in 1..=1600 {
        assert_eq!(events.next().await.unwrap().cursor, cursor);
    }
    for unknown in [1601, u64::MAX] {
        assert_eq!(store.events(Some(unknown)).await.err().unwrap().kind(), ErrorKind::OutOfRange);
    }
}
