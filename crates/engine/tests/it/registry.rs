//! Images from a registry and to one: Debian's docker-registry.

use std::sync::Arc;

use gantry_e2e::{Access as Door, Registry};
use gantry_engine::Error;
use gantry_engine::image::{ImageProgress, ImagePull, ImagePush, LayerStep};
use gantry_testkit::{Need, require};
use gantry_types::ErrorKind;

use crate::harness::{Fixture, listener, reference};

fn push_of(name: &str) -> ImagePush {
    ImagePush {
        reference: reference(name),
        all_tags: false,
        platform: None,
        credential: None,
        listener: Arc::new(|_| {}),
    }
}

fn pull_of(name: &str) -> ImagePull {
    ImagePull {
        reference: reference(name),
        all_tags: false,
        platform: None,
        credential: None,
        listener: Arc::new(|_| {}),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_can_be_pulled_and_tells_whether_it_is_newer() {
    require!(Need::Root, Need::Program("docker-registry"));
    let registry = Registry::shared(Door::Plain);
    let (from, to) = (Fixture::new().await, Fixture::new().await);
    let name = registry.name("engine/moved:1");
    let first = from.import(&name, &[("a", "1")], &[]).await;
    let pushed = from.engine.image_push(push_of(&name)).await.unwrap();
    assert_eq!(pushed[0].digest, first);
    let (ear, heard) = listener();
    let pulled = to.engine.image_pull(ImagePull { listener: ear, ..pull_of(&name) }).await.unwrap();
    assert!(pulled[0].newer && pulled[0].digest == first);
    let heard = std::mem::take(&mut *heard.lock().unwrap());
    assert_eq!(heard[0], ImageProgress::Pulling(reference(&name)));
    let layer_step = |progress: &ImageProgress| match progress {
        ImageProgress::Layer(_, step) => Some(*step),
        _ => None,
    };
    let steps: Vec<LayerStep> = heard.iter().filter_map(layer_step).collect();
    assert_eq!((steps[0], steps[steps.len() - 1]), (LayerStep::Waiting, LayerStep::Complete), "{steps:?}");
    let again = to.engine.image_pull(pull_of(&name)).await.unwrap();
    assert!(!again[0].newer);
    // The tag moves on; what it named stays without a name.
    let second = from.import(&name, &[("a", "2")], &[]).await;
    from.engine.image_push(push_of(&name)).await.unwrap();
    assert!(to.engine.image_pull(pull_of(&name)).await.unwrap()[0].newer);
    let mut expected = vec![name.clone(), first.to_string()];
    expected.sort();
    assert_eq!(to.names().await, expected);
    let by_digest = format!("{}@{second}", registry.name("engine/moved"));
    assert!(
        !to.engine.image_pull(pull_of(&by_digest)).await.unwrap()[0].newer || to.names().await.len() == 2
    );
    let seen = to.engine.distribution(&reference(&name), None).await.unwrap();
    assert_eq!((seen.descriptor.digest, seen.platforms.len()), (second, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_tags_of_a_repository_go_and_come_together() {
    require!(Need::Root, Need::Program("docker-registry"));
    let registry = Registry::shared(Door::Plain);
    let (from, to) = (Fixture::new().await, Fixture::new().await);
    let name = |tag: &str| registry.name(&format!("engine/many:{tag}"));
    from.import(&name("1"), &[("a", "1")], &[]).await;
    from.import(&name("2"), &[("a", "2")], &[]).await;
    let pushed = from.engine.image_push(ImagePush { all_tags: true, ..push_of(&name("x")) }).await.unwrap();
    assert_eq!(pushed.len(), 2);
    let pulled = to.engine.image_pull(ImagePull { all_tags: true, ..pull_of(&name("x")) }).await.unwrap();
    assert_eq!(pulled.len(), 2);
    assert_eq!(to.names().await, [name("1"), name("2")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_not_found() {
    require!(Need::Root, Need::Program("docker-registry"));
    let registry = Registry::shared(Door::Plain);
    let fixture = Fixture::new().await;
    let error = fixture.engine.image_pull(pull_of(&registry.name("engine/none:1"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let error = fixture.engine.image_push(push_of(&registry.name("engine/none:1"))).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { what: "tag", .. }), "{error}");
    let error =
        fixture.engine.distribution(&reference(&registry.name("engine/none:1")), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(fixture.names().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_platform_than_the_image_has_is_not_found_and_leaves_nothing() {
    require!(Need::Root, Need::Program("docker-registry"));
    let registry = Registry::shared(Door::Plain);
    let (from, to) = (Fixture::new().await, Fixture::new().await);
    let name = registry.name("engine/one-platform:1");
    from.import(&name, &[("a", "1")], &[]).await;
    from.engine.image_push(push_of(&name)).await.unwrap();
    let platform = Some("linux/s390x".parse().unwrap());
    let error = to.engine.image_pull(ImagePull { platform, ..pull_of(&name) }).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { what: "platform of the image", .. }), "{error}");
    assert!(to.names().await.is_empty());
}
