//! Pushes.

use gantry_primitives::PushRequest;
use gantry_primitives::progress::{Reporter, Stage};
use gantry_testkit::{Need, require};
use gantry_types::Reference;
use gantry_types::platform::Matcher;

use crate::harness::{Fixture, access, context, listener, registry, request};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pulled_can_be_pushed_elsewhere_and_pulled_again() {
    require!(Need::Root, Need::Program("docker-registry"), Need::Program("skopeo"));
    let fixture = Fixture::new();
    let test = context("test");
    for sample in ["busybox", "everything"] {
        let pulled = fixture.store.pull(test.clone(), request(sample, "")).await.unwrap();
        let name = registry().name(&format!("pushed/{sample}:2"));
        let push = PushRequest {
            target: pulled.target.clone(),
            reference: Reference::parse(&name).unwrap(),
            platforms: Matcher::default(),
            parallel: 3,
            access: access(),
            reporter: Reporter::default(),
        };
        fixture.store.push(test.clone(), push.clone()).await.unwrap();
        let mut back = request(sample, "");
        back.reference = Reference::parse(&name).unwrap();
        let again = Fixture::new().store.pull(test.clone(), back).await.unwrap();
        assert_eq!(again.target.digest, pulled.target.digest);
        // The second time there is nothing to send.
        let (reporter, heard) = listener();
        fixture.store.push(test.clone(), PushRequest { reporter, ..push }).await.unwrap();
        assert!(heard.lock().unwrap().iter().any(|step| step.stage == Stage::Exists));
    }
}
