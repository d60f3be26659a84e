use gantry_e2e::images::digest;
use gantry_e2e::{Access, Gantryd, Tenant, require_engine};
use gantry_testkit::until;

use super::{pulled, sample};

/// Ingests bytes, and makes them stay: nothing refers to them, and a collection may come between.
pub(crate) fn ingest(tenant: &Tenant<'_>, reference: &str, bytes: &[u8]) -> String {
    let name = digest(bytes);
    until("content that stays", || {
        tenant.ctr(["content", "ingest", reference]).stdin(bytes).run().ok();
        let label = tenant.ctr(["content", "label", &name, "containerd.io/gc.root=true"]).run();
        label.status.success().then_some(())
    });
    name
}

#[test]
fn ingested_content_is_listed_read_and_removed() {
    require_engine!("ctr");
    let tenant = Gantryd::shared().namespace("content-ingest");
    let bytes = b"some bytes of the tests\n";
    let name = ingest(&tenant, "first", bytes);
    assert!(tenant.content().contains(&name));
    assert_eq!(tenant.ctr(["content", "get", &name]).run().ok().stdout.as_bytes(), bytes);
    // Again, by another reference: the same blob.
    assert_eq!(ingest(&tenant, "second", bytes), name);
    tenant.ctr(["content", "rm", &name]).run().ok();
    assert!(!tenant.content().contains(&name));
    tenant.ctr(["content", "get", &name]).run().fails().says("not found");
}

#[test]
fn what_is_expected_is_checked() {
    require_engine!("ctr");
    let tenant = Gantryd::shared().namespace("content-expected");
    let bytes = b"checked bytes\n";
    let call =
        |flag: &str, value: &str| tenant.ctr(["content", "ingest", flag, value, "checked"]).stdin(bytes);
    call("--expected-digest", &digest(b"others")).run().fails();
    call("--expected-size", "3").run().fails();
    assert!(tenant.content().is_empty(), "{:?}", tenant.content());
    let both = ["content", "ingest", "--expected-size", "14", "--expected-digest", &digest(bytes), "right"];
    tenant.ctr(both).stdin(bytes).run().ok();
}

#[test]
fn a_large_blob_arrives_whole() {
    require_engine!("ctr");
    let tenant = Gantryd::shared().namespace("content-large");
    let bytes: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 251) as u8).collect();
    let name = ingest(&tenant, "large", &bytes);
    let kept = std::fs::read(Gantryd::shared().blobs().join(name.trim_start_matches("sha256:"))).unwrap();
    assert!(kept == bytes);
    tenant.ctr(["content", "rm", &name]).run().ok();
}

#[test]
fn labels_of_content() {
    require_engine!("ctr");
    let tenant = Gantryd::shared().namespace("content-label");
    let bytes = b"labelled\n";
    let name = ingest(&tenant, "labelled", bytes);
    tenant.ctr(["content", "label", &name, "colour=blue"]).run().ok();
    let listed = |filter: &str| tenant.ctr(["content", "ls", "--quiet", filter]).run().ok().lines().len();
    assert_eq!((listed("labels.colour==blue"), listed("labels.colour==red")), (1, 0));
    assert_eq!(listed(&format!("digest=={name}")), 1);
    tenant.ctr(["content", "label", &name, "colour="]).run().ok();
    assert_eq!(listed("labels.colour==blue"), 0);
    tenant.ctr(["content", "rm", &name]).run().ok();
}

#[test]
fn content_is_fetched_without_being_unpacked() {
    require_engine!("docker-registry");
    let tenant = Gantryd::shared().namespace("content-fetch");
    let (_, name) = sample(Access::Plain, "busybox");
    tenant.ctr(["content", "fetch", "--plain-http", &name]).run().ok();
    assert_eq!((tenant.content().len(), tenant.snapshots().len()), (4, 0));
    assert_eq!(tenant.images(), [name]);
    tenant.clear();
}

#[test]
fn an_object_is_fetched_and_pushed_by_its_digest() {
    require_engine!("docker-registry");
    let (tenant, name) = pulled("content-object", "plain");
    let digest = tenant
        .content()
        .into_iter()
        .find(|digest| tenant.ctr(["content", "get", digest]).run().ok().stdout.contains("rootfs"))
        .unwrap();
    let call = tenant.ctr(["content", "fetch-object", "--plain-http", &name]);
    let manifest = call.run().ok();
    assert!(manifest.stdout.contains("layers"), "{manifest}");
    let registry = sample(Access::Plain, "plain").0;
    let target = registry.name("pushed/object:1");
    tenant
        .ctr([
            "content",
            "push-object",
            "--plain-http",
            &target,
            &digest,
            "application/vnd.oci.image.config.v1+json",
        ])
        .run()
        .ok();
    tenant.clear();
}

#[test]
fn an_ingest_that_was_broken_off_is_active_and_goes_on() {
    require_engine!("ctr");
    let daemon = Gantryd::new("gt-store-ingest");
    let tenant = daemon.namespace("content-active");
    let bytes = vec![b'x'; 8 << 20];
    // A client that never sees the end of its input.
    let (reader, writer) = std::io::pipe().unwrap();
    let mut feed = std::fs::File::from(std::os::fd::OwnedFd::from(writer));
    let client = tenant.ctr(["content", "ingest", "broken"]).stdin_fd(reader).spawn();
    std::io::Write::write_all(&mut feed, &bytes[..6 << 20]).unwrap();
    let active = || tenant.ctr(["content", "active"]).run().ok();
    daemon.settles("the ingest to be active", || active().stdout.contains("broken"));
    client.signal(rustix::process::Signal::KILL);
    let _ = client.wait();
    drop(feed);
    daemon.kill();
    daemon.start();
    assert!(active().stdout.contains("broken"), "{}", active());
    assert!(tenant.content().is_empty());
    // The same reference, with the whole.
    ingest(&tenant, "broken", &bytes);
    assert_eq!(tenant.content().into_iter().collect::<Vec<_>>(), [digest(&bytes)]);
    assert!(!active().stdout.contains("broken"));
}

#[test]
fn leases_are_created_listed_and_deleted() {
    require_engine!("ctr");
    let tenant = Gantryd::shared().namespace("content-leases");
    tenant.ctr(["leases", "create", "--id", "mine", "colour=blue"]).run().ok();
    tenant.ctr(["leases", "create", "--id", "mine"]).run().fails().says("already exists");
    let made = tenant.ctr(["leases", "create", "--expires", "1h"]).run().ok();
    let listed = tenant.ctr(["leases", "ls", "--quiet"]).run().ok();
    assert_eq!(listed.lines().len(), 2, "{listed}");
    let filtered = tenant.ctr(["leases", "ls", "--quiet", "labels.colour==blue"]).run().ok();
    assert_eq!(filtered.lines(), ["mine"]);
    let whole = tenant.ctr(["leases", "ls"]).run().ok();
    assert!(
        whole.stdout.contains("colour=blue") && whole.stdout.contains("containerd.io/gc.expire="),
        "{whole}"
    );
    tenant.ctr(["leases", "rm", "mine", made.text()]).run().ok();
    tenant.ctr(["leases", "rm", "mine"]).run().says("not found");
    assert_eq!(tenant.ctr(["leases", "ls", "--quiet"]).run().ok().lines(), [""; 0]);
}
