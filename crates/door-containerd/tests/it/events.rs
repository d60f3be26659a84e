use gantry_door_containerd::Code;
use gantry_proto_containerd::events_service::events_client::EventsClient;
use gantry_proto_containerd::events_service::{ForwardRequest, PublishRequest, SubscribeRequest};
use gantry_proto_containerd::images::images_client::ImagesClient;
use gantry_proto_containerd::images::{CreateImageRequest, Image, ImageCreate};
use gantry_proto_containerd::types::{Descriptor, Envelope};
use gantry_proto_containerd::{Any, Timestamp, events};
use gantry_testkit::{Need, require};
use gantry_types::Digest;
use tonic::{Request, Response, Status, Streaming};

use crate::harness::{Served, refused};

async fn subscribe(served: &Served, filters: &[&str]) -> Streaming<Envelope> {
    let filters = filters.iter().map(|&filter| filter.to_owned()).collect();
    EventsClient::new(served.bare())
        .subscribe(SubscribeRequest { filters })
        .await
        .expect("an answer")
        .into_inner()
}

async fn publish(served: &Served, topic: &str, id: &str) {
    let event = events::TaskExit { container_id: id.into(), ..Default::default() };
    let request = PublishRequest { topic: topic.into(), event: Some(Any::pack(&event)) };
    EventsClient::new(served.within("moby")).publish(request).await.expect("an answer");
}

#[tokio::test]
async fn changes_are_told_to_whom_they_concern() {
    require!(Need::Root);
    let served = Served::open().await;
    let mut all = subscribe(&served, &[]).await;
    let mut tasks = subscribe(&served, &["namespace==moby,topic~=|^/tasks/|"]).await;
    let target = Descriptor {
        media_type: "application/vnd.oci.image.index.v1+json".into(),
        digest: Digest::sha256(b"x").to_string(),
        size: 1,
        ..Default::default()
    };
    let image = Some(Image { name: "a:1".into(), target: Some(target), ..Default::default() });
    let create = CreateImageRequest { image, ..Default::default() };
    ImagesClient::new(served.within("moby")).create(create).await.unwrap();
    publish(&served, "/tasks/exit", "c").await;

    let first = all.message().await.unwrap().unwrap();
    assert_eq!((first.namespace.as_str(), first.topic.as_str()), ("moby", "/images/create"));
    assert!(first.timestamp.is_some());
    let created: ImageCreate = first.event.unwrap().unpack().unwrap().unwrap();
    assert_eq!(created.name, "a:1");
    let second = all.message().await.unwrap().unwrap();
    let task = tasks.message().await.unwrap().unwrap();
    assert_eq!(second, task);
    let exit: events::TaskExit = task.event.unwrap().unpack().unwrap().unwrap();
    assert_eq!(exit.container_id, "c");
}

async fn subscribe_since(
    served: &Served,
    since: &str,
    filters: &[&str],
) -> Result<Streaming<Envelope>, Status> {
    let filters = filters.iter().map(|&filter| filter.to_owned()).collect();
    let mut request = Request::new(SubscribeRequest { filters });
    request.metadata_mut().insert("since", since.parse().expect("text"));
    EventsClient::new(served.bare()).subscribe(request).await.map(Response::into_inner)
}

#[tokio::test]
async fn who_was_away_misses_nothing() {
    require!(Need::Root);
    let served = Served::open().await;
    let mut first = subscribe(&served, &[]).await;
    publish(&served, "/tasks/exit", "a").await;
    let seen = first.message().await.unwrap().unwrap();
    assert_ne!(seen.cursor, 0);
    drop(first);
    for id in ["b", "c"] {
        publish(&served, "/tasks/exit", id).await;
    }
    publish(&served, "/tasks/oom", "c").await;
    let since = seen.cursor.to_string();
    let mut all = subscribe_since(&served, &since, &[]).await.unwrap();
    let mut some = subscribe_since(&served, &since, &["topic==/tasks/oom"]).await.unwrap();
    publish(&served, "/tasks/exit", "d").await;
    let mut last = seen.cursor;
    for id in ["b", "c", "c", "d"] {
        let envelope = all.message().await.unwrap().unwrap();
        let exit: Option<events::TaskExit> = envelope.event.unwrap().unpack().unwrap();
        assert_eq!(exit.unwrap().container_id, id);
        assert!(envelope.cursor > last);
        last = envelope.cursor;
    }
    assert_eq!(some.message().await.unwrap().unwrap().topic, "/tasks/oom");
    // Where the journal ends there is nothing to send, but to wait for.
    let mut end = subscribe_since(&served, &last.to_string(), &[]).await.unwrap();
    publish(&served, "/tasks/exit", "e").await;
    assert_eq!(end.message().await.unwrap().unwrap().cursor, last + 1);
}

#[tokio::test]
async fn cursor_that_is_none_is_refused() {
    require!(Need::Root);
    let served = Served::open().await;
    publish(&served, "/tasks/exit", "a").await;
    for (since, code) in [
        ("1000", Code::OutOfRange),
        ("18446744073709551615", Code::OutOfRange),
        ("18446744073709551616", Code::InvalidArgument),
        ("yesterday", Code::InvalidArgument),
        ("-1", Code::InvalidArgument),
    ] {
        assert_eq!(refused(subscribe_since(&served, since, &[]).await), code, "{since}");
    }
}

#[tokio::test]
async fn subscriptions_end_with_the_daemon() {
    require!(Need::Root);
    let served = Served::open().await;
    let mut all = subscribe(&served, &[]).await;
    served.serving.send(false).unwrap();
    assert_eq!(refused(all.message().await), Code::Unavailable);
}

#[tokio::test]
async fn events_need_a_topic_a_namespace_and_a_time() {
    require!(Need::Root);
    let served = Served::open().await;
    let mut client = EventsClient::new(served.bare());
    let event = Some(Any::pack(&events::TaskStart::default()));
    let publish = PublishRequest { topic: "/tasks/start".into(), event: event.clone() };
    assert_eq!(refused(client.publish(publish).await), Code::FailedPrecondition);
    let timestamp = Some(Timestamp { seconds: 1, nanos: 0 });
    let good = Envelope { timestamp, namespace: "n".into(), topic: "/tasks/start".into(), event, cursor: 0 };
    client.forward(ForwardRequest { envelope: Some(good.clone()) }).await.unwrap();
    for envelope in [
        Envelope { timestamp: None, ..good.clone() },
        Envelope { namespace: "a/b".into(), ..good.clone() },
        Envelope { topic: "tasks".into(), ..good.clone() },
        Envelope { event: None, ..good },
    ] {
        let refusal = client.forward(ForwardRequest { envelope: Some(envelope.clone()) }).await;
        assert_eq!(refused(refusal), Code::InvalidArgument, "{envelope:?}");
    }
    let wrong = SubscribeRequest { filters: vec!["topic~=[".into()] };
    assert_eq!(refused(client.subscribe(wrong).await), Code::InvalidArgument);
}
