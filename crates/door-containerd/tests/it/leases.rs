use gantry_door_containerd::Code;
use gantry_proto_containerd::leases::leases_client::LeasesClient;
use gantry_proto_containerd::leases::{
    AddResourceRequest, CreateRequest, DeleteRequest, DeleteResourceRequest, ListRequest,
    ListResourcesRequest, Resource,
};
use gantry_proto_containerd::snapshots::PrepareSnapshotRequest;
use gantry_proto_containerd::snapshots::snapshots_client::SnapshotsClient;
use gantry_testkit::{Need, require};
use gantry_types::Digest;

use crate::harness::{Served, refused};

fn resource(kind: &str, id: &str) -> Option<Resource> {
    Some(Resource { id: id.into(), r#type: kind.into() })
}

#[tokio::test]
async fn what_a_request_with_a_lease_creates_belongs_to_it() {
    require!(Need::Root);
    let served = Served::open().await;
    let mut client = LeasesClient::new(served.within("n"));
    let lease = client.create(CreateRequest::default()).await.unwrap().into_inner().lease.unwrap();
    assert!(!lease.id.is_empty());
    let prepare =
        PrepareSnapshotRequest { snapshotter: "overlayfs".into(), key: "k".into(), ..Default::default() };
    SnapshotsClient::new(served.leased("n", &lease.id)).prepare(prepare.clone()).await.unwrap();
    let list = ListResourcesRequest { id: lease.id.clone() };
    let resources = client.list_resources(list).await.unwrap().into_inner().resources;
    assert_eq!(resources, Vec::from_iter(resource("snapshots/overlayfs", "k")));
    let other = PrepareSnapshotRequest { key: "l".into(), ..prepare };
    let unknown = SnapshotsClient::new(served.leased("n", "nobody")).prepare(other).await;
    assert_eq!(refused(unknown), Code::NotFound);
    client.delete(DeleteRequest { id: lease.id.clone(), sync: true }).await.unwrap();
    assert_eq!(refused(client.delete(DeleteRequest { id: lease.id, sync: false }).await), Code::NotFound);
}

#[tokio::test]
async fn resources_have_the_types_of_containerd() {
    require!(Need::Root);
    let served = Served::open().await;
    let mut client = LeasesClient::new(served.within("n"));
    let labels = [("containerd.io/gc.flat".to_owned(), "1".to_owned())].into();
    client.create(CreateRequest { id: "l".into(), labels }).await.unwrap();
    let digest = Digest::sha256(b"x").to_string();
    for (kind, id, code) in [
        ("content", digest.as_str(), None),
        ("content", "no digest", Some(Code::InvalidArgument)),
        ("snapshots/overlayfs", "k", None),
        ("ingests", "r", None),
        ("pods", "p", Some(Code::Unimplemented)),
    ] {
        let added =
            client.add_resource(AddResourceRequest { id: "l".into(), resource: resource(kind, id) }).await;
        assert_eq!(added.err().map(|status| status.code()), code, "{kind}");
    }
    let gone = DeleteResourceRequest { id: "l".into(), resource: resource("ingests", "r") };
    client.delete_resource(gone).await.unwrap();
    let listed = client.list_resources(ListResourcesRequest { id: "l".into() }).await.unwrap().into_inner();
    assert_eq!(listed.resources.len(), 2);
    let filters = vec!["labels.\"containerd.io/gc.flat\"==1".to_owned()];
    let leases = client.list(ListRequest { filters }).await.unwrap().into_inner().leases;
    assert_eq!(leases.iter().map(|lease| lease.id.as_str()).collect::<Vec<_>>(), ["l"]);
    let again = CreateRequest { id: "l".into(), ..Default::default() };
    assert_eq!(refused(client.create(again).await), Code::AlreadyExists);
}
