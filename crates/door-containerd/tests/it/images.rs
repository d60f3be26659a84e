use gantry_door_containerd::Code;
use gantry_proto_containerd::images::images_client::ImagesClient;
use gantry_proto_containerd::images::{
    CreateImageRequest, DeleteImageRequest, GetImageRequest, Image, ListImagesRequest, UpdateImageRequest,
};
use gantry_proto_containerd::types::Descriptor;
use gantry_proto_containerd::{FieldMask, Timestamp};
use gantry_testkit::{Need, require};
use gantry_types::Digest;

use crate::harness::{Served, refused};

fn target(bytes: &[u8]) -> Option<Descriptor> {
    Some(Descriptor {
        media_type: "application/vnd.oci.image.index.v1+json".into(),
        digest: Digest::sha256(bytes).to_string(),
        size: bytes.len() as i64,
        ..Default::default()
    })
}

fn image(name: &str, bytes: &[u8], labels: &[(&str, &str)]) -> Option<Image> {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Some(Image { name: name.into(), labels, target: target(bytes), ..Default::default() })
}

#[tokio::test]
async fn names_are_created_changed_listed_and_deleted() {
    require!(Need::Root);
    let served = Served::open().await;
    let mut client = ImagesClient::new(served.within("n"));
    let epoch = Timestamp { seconds: 1_000_000, nanos: 0 };
    let create =
        CreateImageRequest { image: image("a:1", b"x", &[("k", "v")]), source_date_epoch: Some(epoch) };
    let created = client.create(create.clone()).await.unwrap().into_inner().image.unwrap();
    assert_eq!(created.created_at, Some(epoch));
    assert_eq!(refused(client.create(create).await), Code::AlreadyExists);

    let labelled =
        Image { name: "a:1".into(), labels: [("l".to_owned(), "w".to_owned())].into(), ..Default::default() };
    let mask = Some(FieldMask { paths: vec!["labels.l".into()] });
    let update = UpdateImageRequest { image: Some(labelled), update_mask: mask, ..Default::default() };
    let updated = client.update(update).await.unwrap().into_inner().image.unwrap();
    assert_eq!((updated.labels.len(), updated.target), (2, target(b"x")));
    let moved = UpdateImageRequest { image: image("a:1", b"y", &[]), ..Default::default() };
    client.update(moved).await.unwrap();
    let found = client.get(GetImageRequest { name: "a:1".into() }).await.unwrap().into_inner().image.unwrap();
    assert_eq!((found.target, found.labels.len()), (target(b"y"), 0));

    client.create(CreateImageRequest { image: image("b:1", b"z", &[]), ..Default::default() }).await.unwrap();
    let filters = vec![format!("target.digest=={}", Digest::sha256(b"z")), "name~=^nothing".into()];
    let found = client.list(ListImagesRequest { filters }).await.unwrap().into_inner().images;
    assert_eq!(found.iter().map(|image| image.name.as_str()).collect::<Vec<_>>(), ["b:1"]);

    let other = DeleteImageRequest { name: "b:1".into(), target: target(b"x"), sync: false };
    assert_eq!(refused(client.delete(other).await), Code::NotFound);
    let same = DeleteImageRequest { name: "b:1".into(), target: target(b"z"), sync: true };
    client.delete(same).await.unwrap();
    assert_eq!(refused(client.get(GetImageRequest { name: "b:1".into() }).await), Code::NotFound);
}

#[tokio::test]
async fn a_name_without_a_target_is_refused() {
    require!(Need::Root);
    let served = Served::open().await;
    let mut client = ImagesClient::new(served.within("n"));
    let nothing = Some(Image { name: "a".into(), ..Default::default() });
    for image in [None, nothing, image("", b"x", &[])] {
        let request = CreateImageRequest { image, ..Default::default() };
        assert_eq!(refused(client.create(request).await), Code::InvalidArgument);
    }
}
