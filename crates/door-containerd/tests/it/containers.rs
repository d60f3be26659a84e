use futures_util::TryStreamExt as _;
use gantry_door_containerd::Code;
use gantry_proto_containerd::containers::container::Runtime;
use gantry_proto_containerd::containers::containers_client::ContainersClient;
use gantry_proto_containerd::containers::{
    Container, CreateContainerRequest, DeleteContainerRequest, GetContainerRequest, ListContainersRequest,
    UpdateContainerRequest,
};
use gantry_proto_containerd::header::MAX_MESSAGE_BYTES;
use gantry_proto_containerd::{Any, FieldMask};
use gantry_testkit::{Need, require};

use crate::harness::{Served, Way, refused};

fn any(name: &str, value: &[u8]) -> Any {
    Any { type_url: name.into(), value: value.to_vec().into() }
}

fn container(id: &str) -> Container {
    Container {
        id: id.into(),
        labels: [("app".to_owned(), id.to_owned())].into(),
        image: "docker.io/library/busybox:1".into(),
        runtime: Some(Runtime { name: "io.containerd.runc.v2".into(), options: Some(any("o", &[8, 1])) }),
        spec: Some(any("types.containerd.io/opencontainers/runtime-spec/1/Spec", b"{ \"a\":1}")),
        snapshotter: "overlayfs".into(),
        snapshot_key: id.into(),
        extensions: [("x.y".to_owned(), any("no such/type", &[0, 255]))].into(),
        sandbox: "pod".into(),
        ..Default::default()
    }
}

async fn create(
    client: &mut ContainersClient<Way>,
    container: Container,
) -> Result<Container, tonic::Status> {
    let request = CreateContainerRequest { container: Some(container) };
    client.create(request).await.map(|answer| answer.into_inner().container.expect("a container"))
}

fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask { paths: paths.iter().map(|&path| path.to_owned()).collect() })
}

#[tokio::test]
async fn records_are_created_found_and_deleted() {
    require!(Need::Root);
    let served = Served::open().await;
    let mut client = ContainersClient::new(served.within("n"));
    let created = create(&mut client, container("a")).await.unwrap();
    assert!(created.created_at.is_some() && created.created_at == created.updated_at);
    let timeless = Container { created_at: None, updated_at: None, ..created.clone() };
    assert_eq!(timeless, container("a"), "nothing is changed on its way");
    assert_eq!(refused(create(&mut client, container("a")).await), Code::AlreadyExists);
    create(&mut client, Container { image: "other".into(), ..container("b") }).await.unwrap();
    let found = client.get(GetContainerRequest { id: "a".into() }).await.unwrap().into_inner();
    assert_eq!(found.container, Some(created));
    for (filter, expected) in
        [("", vec!["a", "b"]), ("image==other", vec!["b"]), ("labels.app==a", vec!["a"])]
    {
        let list = ListContainersRequest { filters: vec![filter.into()] };
        let found = client.list(list.clone()).await.unwrap().into_inner().containers;
        assert_eq!(found.iter().map(|found| found.id.as_str()).collect::<Vec<_>>(), expected, "{filter}");
        let streamed: Vec<_> =
            client.list_stream(list).await.unwrap().into_inner().try_collect().await.unwrap();
        let streamed: Vec<_> = streamed.into_iter().filter_map(|message| message.container).collect();
        assert_eq!(streamed, found);
    }
    let wrong = ListContainersRequest { filters: vec!["id~=[".into()] };
    assert_eq!(refused(client.list(wrong).await), Code::InvalidArgument);
    let delete = DeleteContainerRequest { id: "a".into() };
    client.delete(delete.clone()).await.unwrap();
    assert_eq!(refused(client.delete(delete).await), Code::NotFound);
    assert_eq!(refused(client.get(GetContainerRequest { id: "a".into() }).await), Code::NotFound);
    let mut bare = ContainersClient::new(served.bare());
    assert_eq!(refused(bare.list(ListContainersRequest::default()).await), Code::FailedPrecondition);
}

#[tokio::test]
async fn updates_change_what_their_mask_names() {
    require!(Need::Root);
    let served = Served::open().await;
    let mut client = ContainersClient::new(served.within("n"));
    let before = create(&mut client, container("a")).await.unwrap();
    let given = Container {
        image: "new".into(),
        labels: [("l.m".to_owned(), "w".to_owned())].into(),
        extensions: [("z".to_owned(), any("z", b"z"))].into(),
        spec: Some(any("s", b"{}")),
        ..container("a")
    };
    let update = async |client: &mut ContainersClient<Way>, container: Container, update_mask| {
        let request = UpdateContainerRequest { container: Some(container), update_mask };
        client.update(request).await.map(|answer| answer.into_inner().container.unwrap())
    };
    let paths = mask(&["labels.l.m", "extensions.z", "image"]);
    let after = update(&mut client, given.clone(), paths).await.unwrap();
    assert_eq!((after.labels.len(), after.extensions.len()), (2, 2));
    assert_eq!((after.image.as_str(), &after.spec), ("new", &before.spec));
    let all = update(&mut client, given.clone(), None).await.unwrap();
    assert_eq!((&all.labels, &all.spec, &all.extensions), (&given.labels, &given.spec, &given.extensions));
    assert_eq!((all.runtime, all.created_at), (before.runtime, before.created_at));
    let other = Some(Runtime { name: "other".into(), options: None });
    let other = update(&mut client, Container { runtime: other, ..given.clone() }, None).await;
    assert_eq!(refused(other), Code::InvalidArgument);
    assert_eq!(refused(update(&mut client, given, mask(&["runtime"])).await), Code::InvalidArgument);
    assert_eq!(refused(update(&mut client, container("b"), None).await), Code::NotFound);
    let nothing = UpdateContainerRequest::default();
    assert_eq!(refused(client.update(nothing).await), Code::InvalidArgument);
}

#[tokio::test]
async fn what_is_no_container_is_refused() {
    require!(Need::Root);
    let served = Served::open().await;
    let mut client = ContainersClient::new(served.within("n"));
    for wrong in [
        container(""),
        container("a/b"),
        Container { runtime: None, ..container("a") },
        Container { spec: None, ..container("a") },
        Container { snapshotter: String::new(), ..container("a") },
        Container { labels: [("k".to_owned(), "v".repeat(4096))].into(), ..container("a") },
    ] {
        assert_eq!(refused(create(&mut client, wrong.clone()).await), Code::InvalidArgument, "{wrong:?}");
    }
    let nothing = CreateContainerRequest { container: None };
    assert_eq!(refused(client.create(nothing).await), Code::InvalidArgument);
}

#[tokio::test]
async fn list_that_no_message_holds_is_streamed() {
    require!(Need::Root);
    let served = Served::open().await;
    let mut client = ContainersClient::new(served.within("n")).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let spec = Some(any("s", &vec![b' '; MAX_MESSAGE_BYTES / 2]));
    for id in ["a", "b"] {
        create(&mut client, Container { spec: spec.clone(), ..container(id) }).await.unwrap();
    }
    let list = ListContainersRequest::default;
    assert_eq!(refused(client.list(list()).await), Code::ResourceExhausted);
    let streamed: Vec<_> =
        client.list_stream(list()).await.unwrap().into_inner().try_collect().await.unwrap();
    assert_eq!(streamed.len(), 2);
    let large = Container { spec: Some(any("s", &vec![b' '; MAX_MESSAGE_BYTES])), ..container("c") };
    assert_eq!(refused(create(&mut client, large).await), Code::ResourceExhausted);
}
