use gantry_door_containerd::Code;
use gantry_proto_containerd::FieldMask;
use gantry_proto_containerd::images::ListImagesRequest;
use gantry_proto_containerd::images::images_client::ImagesClient;
use gantry_proto_containerd::leases::CreateRequest;
use gantry_proto_containerd::leases::leases_client::LeasesClient;
use gantry_proto_containerd::namespaces::namespaces_client::NamespacesClient;
use gantry_proto_containerd::namespaces::{
    CreateNamespaceRequest, DeleteNamespaceRequest, GetNamespaceRequest, ListNamespacesRequest, Namespace,
    UpdateNamespaceRequest,
};
use gantry_testkit::{Need, require};

use crate::harness::{Served, refused};

fn namespace(name: &str, labels: &[(&str, &str)]) -> Option<Namespace> {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Some(Namespace { name: name.into(), labels })
}

#[tokio::test]
async fn a_request_without_a_namespace_is_failed_precondition() {
    require!(Need::Root);
    let served = Served::open().await;
    let mut images = ImagesClient::new(served.bare());
    assert_eq!(refused(images.list(ListImagesRequest::default()).await), Code::FailedPrecondition);
    let mut images = ImagesClient::new(served.within("a/b"));
    assert_eq!(refused(images.list(ListImagesRequest::default()).await), Code::InvalidArgument);
}

#[tokio::test]
async fn labels_change_by_key_or_all_at_once() {
    require!(Need::Root);
    let served = Served::open().await;
    let mut client = NamespacesClient::new(served.bare());
    client
        .create(CreateNamespaceRequest { namespace: namespace("n", &[("a", "1"), ("b", "2")]) })
        .await
        .unwrap();
    let again = client.create(CreateNamespaceRequest { namespace: namespace("n", &[]) }).await;
    assert_eq!(refused(again), Code::AlreadyExists);

    let mask = |path: &str| Some(FieldMask { paths: vec![path.to_owned()] });
    let one =
        UpdateNamespaceRequest { namespace: namespace("n", &[("a", "3")]), update_mask: mask("labels.a") };
    let updated = client.update(one).await.unwrap().into_inner().namespace;
    assert_eq!(updated, namespace("n", &[("a", "3"), ("b", "2")]));
    let all = UpdateNamespaceRequest { namespace: namespace("n", &[("c", "4")]), update_mask: None };
    client.update(all).await.unwrap();
    let found = client.get(GetNamespaceRequest { name: "n".into() }).await.unwrap().into_inner().namespace;
    assert_eq!(found, namespace("n", &[("c", "4")]));
    let wrong = UpdateNamespaceRequest { namespace: namespace("n", &[]), update_mask: mask("name") };
    assert_eq!(refused(client.update(wrong).await), Code::InvalidArgument);
}

#[tokio::test]
async fn a_namespace_comes_with_its_first_thing_and_goes_when_it_is_empty() {
    require!(Need::Root);
    let served = Served::open().await;
    let mut client = NamespacesClient::new(served.bare());
    let mut leases = LeasesClient::new(served.within("made"));
    leases.create(CreateRequest::default()).await.unwrap();
    let all = client.list(ListNamespacesRequest::default()).await.unwrap().into_inner().namespaces;
    assert!(all.iter().any(|found| found.name == "made"), "{all:?}");
    client.delete(DeleteNamespaceRequest { name: "made".into() }).await.unwrap();
    let again = client.delete(DeleteNamespaceRequest { name: "made".into() }).await;
    assert_eq!(refused(again), Code::NotFound);
}
