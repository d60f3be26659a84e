use std::fs;

use gantry_e2e::images::samples;
use gantry_e2e::{Access, Gantryd, PASSWORD, Trust, USER, client_is_2, on_reference, require_engine};

use super::{pull, pulled, sample};

#[test]
fn a_pulled_image_is_listed_and_runnable_and_goes() {
    require_engine!("docker-registry");
    let (tenant, name) = pulled("pull-plain", "busybox");
    assert_eq!(tenant.images(), std::slice::from_ref(&name));
    // The manifest, the configuration and two layers.
    assert_eq!(tenant.content().len(), 4);
    assert_eq!(tenant.snapshots().len(), 2);
    let dir = tempfile::tempdir().unwrap();
    let seen = tenant.mounted(&name, dir.path(), |root| {
        (fs::read_to_string(root.join("etc/layer")).unwrap(), fs::read_link(root.join("bin/sh")).unwrap())
    });
    assert_eq!((seen.0.as_str(), seen.1.to_str().unwrap()), ("of the second layer\n", "busybox"));
    tenant.clear();
}

#[test]
fn every_compression_gives_the_same_snapshots() {
    require_engine!("docker-registry");
    let chains = ["busybox", "plain", "zstd"].map(|tag| {
        let tenant = Gantryd::shared().namespace("pull-compressions");
        let (_, name) = sample(Access::Plain, tag);
        pull(&tenant, &name).run().ok();
        let chains = tenant.snapshots();
        tenant.clear();
        chains
    });
    assert_eq!(chains[0].len(), 2);
    assert!(chains.iter().all(|chain| *chain == chains[0]), "{chains:?}");
}

#[test]
fn a_registry_with_a_certificate_of_its_own_authority() {
    require_engine!("docker-registry");
    let tenant = Gantryd::shared().namespace("pull-tls");
    let (registry, name) = sample(Access::Tls, "busybox");
    let call =
        |trust| tenant.ctr(["images", "pull", "--hosts-dir"]).arg(registry.hosts_dir(trust)).arg(&name);
    call(Trust::System).run().fails().says("certificate");
    assert_eq!(tenant.images(), [""; 0]);
    for trust in [Trust::Authority, Trust::Blind] {
        call(trust).run().ok();
        assert_eq!(tenant.images(), std::slice::from_ref(&name));
        tenant.clear();
    }
}

#[test]
fn a_registry_with_a_password() {
    require_engine!("docker-registry");
    let tenant = Gantryd::shared().namespace("pull-password");
    let (registry, name) = sample(Access::Password, "busybox");
    let call = || tenant.ctr(["images", "pull", "--hosts-dir"]).arg(registry.hosts_dir(Trust::Authority));
    call().arg(&name).run().fails();
    call().args(["--user", &format!("{USER}:wrong")]).arg(&name).run().fails();
    assert_eq!(tenant.images(), [""; 0]);
    call().args(["--user", &format!("{USER}:{PASSWORD}")]).arg(&name).run().ok();
    assert_eq!(tenant.images(), [name]);
    tenant.clear();
}

#[test]
fn what_is_not_there_is_not_found() {
    require_engine!("docker-registry");
    let tenant = Gantryd::shared().namespace("pull-missing");
    let (registry, _) = sample(Access::Plain, "busybox");
    for missing in ["samples:no-such-tag", "no/such/repository:latest"] {
        pull(&tenant, &registry.name(missing)).run().fails().says_any(&["not found", "is not in"]);
    }
    assert!(tenant.images().is_empty() && tenant.content().is_empty());
}

#[test]
fn an_index_is_pulled_for_this_platform_another_one_or_all() {
    require_engine!("docker-registry");
    let tenant = Gantryd::shared().namespace("pull-platforms");
    let (_, name) = sample(Access::Plain, "multi");
    // Index, manifest, configuration, layers.
    let cases: [(&[&str], usize); 4] = [
        (&[], 1 + 1 + 1 + 2),
        (&["--platform", "linux/arm/v7"], 1 + 1 + 1 + 1),
        (&["--platform", "linux/arm64"], 1 + 1 + 1 + 1),
        (&["--all-platforms"], 1 + 3 + 3 + 4),
    ];
    // The client of containerd 2 wants the manifests and configurations of all platforms.
    let more = if client_is_2() { 2 + 2 } else { 0 };
    for (options, blobs) in cases {
        tenant.ctr(["images", "pull", "--plain-http"]).args(options).arg(&name).run().ok();
        let more = if options.first() == Some(&"--all-platforms") { 0 } else { more };
        assert_eq!(tenant.content().len(), blobs + more, "{options:?}");
        let listed = tenant.ctr(["images", "ls"]).run().ok();
        assert!(listed.stdout.contains("image.index.v1"), "{listed}");
        tenant.clear();
    }
    let missing =
        tenant.ctr(["images", "pull", "--plain-http", "--platform", "linux/s390x"]).arg(&name).run();
    // containerd 2 is content with the documents of the others.
    if !(on_reference() && client_is_2()) {
        missing.fails();
    }
}

#[test]
fn an_image_by_digest() {
    require_engine!("docker-registry");
    let tenant = Gantryd::shared().namespace("pull-digest");
    let (registry, _) = sample(Access::Plain, "busybox");
    let inspected = registry
        .skopeo("inspect")
        .args(["--tls-verify=false", "--format", "{{.Digest}}"])
        .arg(format!("docker://{}", registry.name("samples:busybox")))
        .run()
        .ok();
    let name = registry.name(&format!("samples@{}", inspected.text()));
    pull(&tenant, &name).run().ok();
    assert_eq!(tenant.images(), [name]);
    tenant.clear();
}

#[test]
fn an_image_that_is_there_costs_no_blob() {
    require_engine!("docker-registry");
    let (tenant, name) = pulled("pull-present", "everything");
    let registry = sample(Access::Plain, "everything").0;
    let layers = layers(&tenant, &name);
    let gets = || {
        layers
            .iter()
            .map(|layer| registry.requests(&format!("GET /v2/samples/blobs/{layer}")).len())
            .sum::<usize>()
    };
    let before = gets();
    pull(&tenant, &name).run().ok();
    assert_eq!(gets(), before);
    tenant.clear();
}

#[test]
fn two_pulls_at_once_share_the_work() {
    require_engine!("docker-registry");
    let daemon = Gantryd::new("gt-store-two");
    let tenant = daemon.namespace("pull-two");
    let (registry, name) = sample(Access::Plain, "large");
    let before = registry.requests("GET /v2/samples/blobs/");
    let running: Vec<_> = (0..2).map(|_| pull(&tenant, &name).spawn()).collect();
    for one in running {
        one.wait().ok();
    }
    let layers = layers(&tenant, &name);
    assert_eq!(layers.len(), 8);
    let after = registry.requests("GET /v2/samples/blobs/");
    for layer in &layers {
        let count = |lines: &[String]| lines.iter().filter(|line| line.contains(layer.as_str())).count();
        // Large blobs may be fetched in parts, but no part twice.
        let (got, length) = (count(&after) - count(&before), 6_u64 << 20);
        assert!(got >= 1, "{layer} was never asked for");
        let bytes = bytes_sent(&after[before.len()..], layer);
        assert!(bytes <= length + length / 10, "{layer}: {bytes} bytes in {got} requests");
    }
    tenant.clear();
}

#[test]
fn the_bytes_are_those_of_the_registry() {
    require_engine!("docker-registry");
    let (tenant, name) = pulled("pull-bytes", "zstd");
    for digest in tenant.content() {
        let blob = samples().layout.dir().join("blobs/sha256").join(digest.trim_start_matches("sha256:"));
        let kept = fs::read(Gantryd::shared().blobs().join(digest.trim_start_matches("sha256:"))).unwrap();
        assert!(kept == fs::read(&blob).unwrap(), "{digest} of {name}");
    }
    tenant.clear();
}

/// The digests of an image's layers.
fn layers(tenant: &gantry_e2e::Tenant<'_>, name: &str) -> Vec<String> {
    let listed = tenant.ctr(["images", "ls", &format!("name=={name}")]).run().ok();
    let row = listed.lines().into_iter().find(|line| line.starts_with(name)).unwrap().to_owned();
    let digest = row.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap();
    let manifest = tenant.json(digest);
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers.map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect()
}

/// What the access log says was sent of a blob: the number behind the status of each GET.
pub(crate) fn bytes_sent(lines: &[String], blob: &str) -> u64 {
    let of_blob = lines.iter().filter(|line| line.contains(blob));
    let sizes =
        of_blob.filter_map(|line| line.split("HTTP/").nth(1)?.split_whitespace().nth(2)?.parse::<u64>().ok());
    sizes.sum()
}

#[test]
fn documents_of_other_platforms_come_where_they_are_asked_for() {
    require_engine!("docker-registry");
    let tenant = Gantryd::shared().namespace("pull-metadata");
    let (_, name) = sample(Access::Plain, "multi");
    let count = |options: &[&str]| {
        tenant.ctr(["images", "pull", "--plain-http"]).args(options).arg(&name).run().ok();
        let count = tenant.content().len();
        tenant.clear();
        count
    };
    let with: &[&str] = if client_is_2() { &[] } else { &["--all-metadata"] };
    let without: &[&str] = if client_is_2() { &["--skip-metadata"] } else { &[] };
    let one = count(without);
    // A manifest and a configuration for each of the other two.
    assert_eq!(count(with), one + 4);
    assert!(count(&["--all-platforms"]) > one + 4);
}
