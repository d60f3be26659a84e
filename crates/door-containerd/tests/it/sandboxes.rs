use gantry_door_containerd::Code;
use gantry_proto_containerd::Any;
use gantry_proto_containerd::sandbox::store_client::StoreClient;
use gantry_proto_containerd::sandbox::{
    StoreCreateRequest, StoreDeleteRequest, StoreGetRequest, StoreListRequest, StoreUpdateRequest,
};
use gantry_proto_containerd::types::Sandbox;
use gantry_proto_containerd::types::sandbox::Runtime;
use gantry_testkit::{Need, require};

use crate::harness::{Served, refused};

fn sandbox(id: &str) -> Sandbox {
    let any = |name: &str| Any { type_url: name.into(), value: vec![0, 255].into() };
    Sandbox {
        sandbox_id: id.into(),
        runtime: Some(Runtime { name: "io.containerd.runc.v2".into(), options: Some(any("o")) }),
        spec: Some(any("host/spec")),
        labels: [("app".to_owned(), id.to_owned())].into(),
        extensions: [("metadata".to_owned(), any("m"))].into(),
        sandboxer: "podsandbox".into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn records_of_sandboxes_are_kept() {
    require!(Need::Root);
    let served = Served::open().await;
    let mut client = StoreClient::new(served.within("n"));
    let create = |id: &str| StoreCreateRequest { sandbox: Some(sandbox(id)) };
    let created = client.create(create("a")).await.unwrap().into_inner().sandbox.unwrap();
    assert!(created.created_at.is_some());
    assert_eq!(Sandbox { created_at: None, updated_at: None, ..created.clone() }, sandbox("a"));
    assert_eq!(refused(client.create(create("a")).await), Code::AlreadyExists);
    assert_eq!(refused(client.create(create("a b")).await), Code::InvalidArgument);
    let nothing = StoreCreateRequest { sandbox: None };
    assert_eq!(refused(client.create(nothing).await), Code::InvalidArgument);
    client.create(create("b")).await.unwrap();
    let get = |id: &str| StoreGetRequest { sandbox_id: id.into() };
    assert_eq!(client.get(get("a")).await.unwrap().into_inner().sandbox, Some(created));
    assert_eq!(refused(client.get(get("c")).await), Code::NotFound);
    let filters = vec!["labels.app==b".to_owned()];
    let found = client.list(StoreListRequest { filters }).await.unwrap().into_inner().list;
    assert_eq!(found.iter().map(|found| found.sandbox_id.as_str()).collect::<Vec<_>>(), ["b"]);

    let given = Sandbox { labels: [("k".to_owned(), "v".to_owned())].into(), ..sandbox("a") };
    let update = |fields: &[&str]| StoreUpdateRequest {
        sandbox: Some(given.clone()),
        fields: fields.iter().map(|&field| field.to_owned()).collect(),
    };
    let updated = client.update(update(&["labels.k"])).await.unwrap().into_inner().sandbox.unwrap();
    assert_eq!(updated.labels.len(), 2);
    let updated = client.update(update(&[])).await.unwrap().into_inner().sandbox.unwrap();
    assert_eq!((updated.labels, updated.sandboxer.as_str()), (given.labels.clone(), "podsandbox"));
    assert_eq!(refused(client.update(update(&["sandboxer"])).await), Code::InvalidArgument);

    let delete = || StoreDeleteRequest { sandbox_id: "a".into() };
    client.delete(delete()).await.unwrap();
    assert_eq!(refused(client.delete(delete()).await), Code::NotFound);
}
