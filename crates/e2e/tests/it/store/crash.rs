//! The daemon is killed at any moment, and nothing that was said to be there is lost.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use gantry_e2e::{Access, Gantryd, Tenant, require_engine, tree};
use gantry_testkit::DEADLINE;

use super::{pull, sample};

/// How often a pull is killed before it may come to its end.
const KILLS: u32 = 12;

/// The whole of what an image is, as its namespace shows it.
fn check(tenant: &Tenant<'_>, name: &str) -> tree::Tree {
    assert_eq!(tenant.images(), [name.to_owned()]);
    let checked = tenant.ctr(["images", "check"]).run().ok();
    assert!(checked.stdout.contains("complete") && checked.text().ends_with("true"), "{checked}");
    let dir = tempfile::tempdir().unwrap();
    tenant.mounted(name, dir.path(), tree::describe)
}

/// Nothing is left on the disk when the image is removed.
fn clear(daemon: &Gantryd, tenant: &Tenant<'_>) {
    tenant.forget_clients();
    tenant.clear();
    daemon.settles("the blobs to go", || daemon.blob_names() == BTreeSet::new());
    assert_eq!(daemon.mounts(), [""; 0]);
}

#[test]
fn a_pull_that_is_killed_again_and_again_comes_to_its_end() {
    require_engine!("docker-registry");
    let daemon = Gantryd::new("gt-store-kill");
    let tenant = daemon.namespace("crash-pull");
    let (_, name) = sample(Access::Plain, "large");
    pull(&tenant, &name).run().ok();
    let expected = check(&tenant, &name);
    let whole = {
        let begin = Instant::now();
        tenant.clear();
        pull(&tenant, &name).run().ok();
        begin.elapsed()
    };
    tenant.clear();
    for kill in 0..KILLS {
        let mut client = pull(&tenant, &name).spawn();
        // Later each time, over the length of a pull.
        let end = Instant::now() + whole * kill / KILLS;
        while Instant::now() < end && !client.has_ended() {
            std::thread::sleep(Duration::from_millis(1));
        }
        daemon.kill();
        // It would wait for the daemon to come back, some of them for ever.
        drop(client);
        daemon.start();
        // A name that is there has all that it names.
        if !tenant.images().is_empty() {
            let missing = tenant.ctr(["images", "check"]).run().ok();
            assert!(missing.stdout.contains("complete"), "after {kill} kills: {missing}");
        }
    }
    pull(&tenant, &name).run().ok();
    tree::assert_same(&check(&tenant, &name), &expected);
    clear(&daemon, &tenant);
}

#[test]
fn a_killed_pull_does_not_ask_for_whole_layers_again() {
    require_engine!("docker-registry");
    let daemon = Gantryd::new("gt-store-resume");
    let tenant = daemon.namespace("crash-resume");
    let (registry, name) = sample(Access::Plain, "large");
    let before = registry.requests("GET /v2/samples/blobs/").len();
    let client = pull(&tenant, &name).spawn();
    // Some layers are there, others not.
    let end = Instant::now() + DEADLINE;
    while daemon.blob_names().len() < 4 {
        assert!(Instant::now() < end, "no layer arrives");
        std::thread::sleep(Duration::from_millis(1));
    }
    daemon.kill();
    drop(client);
    daemon.start();
    let kept = daemon.blob_names();
    pull(&tenant, &name).run().ok();
    let requests = registry.requests("GET /v2/samples/blobs/").split_off(before);
    for blob in &kept {
        let bytes: u64 = requests
            .iter()
            .filter(|line| line.contains(blob.as_str()))
            .filter_map(|line| line.split("HTTP/").nth(1)?.split_whitespace().nth(2)?.parse::<u64>().ok())
            .sum();
        assert!(bytes < (6 << 20) * 3 / 2, "{blob} was there, and {bytes} bytes were sent");
    }
    check(&tenant, &name);
    clear(&daemon, &tenant);
}

#[test]
fn what_was_there_before_a_kill_is_there_after_it() {
    require_engine!("docker-registry");
    let daemon = Gantryd::new("gt-store-keep");
    let tenant = daemon.namespace("crash-keep");
    let (_, name) = sample(Access::Plain, "everything");
    pull(&tenant, &name).run().ok();
    tenant.ctr(["images", "label", &name, "colour=blue"]).run().ok();
    tenant.ctr(["leases", "create", "--id", "kept"]).run().ok();
    tenant.ctr(["snapshots", "prepare", "kept"]).run().ok();
    let expected = check(&tenant, &name);
    let kept = super::content::ingest(&tenant, "kept", b"kept\n");
    let all = |tenant: &Tenant<'_>| (tenant.content(), tenant.snapshots());
    let before = all(&tenant);
    for _ in 0..3 {
        daemon.kill();
        daemon.start();
    }
    assert_eq!(all(&tenant), before);
    tree::assert_same(&check(&tenant, &name), &expected);
    let listed = tenant.ctr(["images", "ls", "--quiet", "labels.colour==blue"]).run().ok();
    assert_eq!(listed.lines(), [name.as_str()]);
    assert_eq!(tenant.ctr(["leases", "ls", "--quiet"]).run().ok().lines(), ["kept"]);
    tenant.ctr(["leases", "rm", "kept"]).run().ok();
    tenant.ctr(["snapshots", "rm", "kept"]).run().ok();
    tenant.ctr(["content", "rm", &kept]).run().ok();
    clear(&daemon, &tenant);
}

#[test]
fn a_removal_that_is_killed_leaves_nothing_for_ever() {
    require_engine!("docker-registry");
    let daemon = Gantryd::new("gt-store-rmkill");
    let tenant = daemon.namespace("crash-rm");
    let (_, name) = sample(Access::Plain, "large");
    for delay in [0, 2, 5, 10, 20] {
        pull(&tenant, &name).run().ok();
        let client = tenant.ctr(["images", "rm", "--sync", &name]).spawn();
        std::thread::sleep(Duration::from_millis(delay));
        daemon.kill();
        drop(client);
        daemon.start();
        for image in tenant.images() {
            assert!(tenant.ctr(["images", "check"]).run().ok().stdout.contains("complete"), "{image}");
        }
    }
    pull(&tenant, &name).run().ok();
    check(&tenant, &name);
    clear(&daemon, &tenant);
}

#[test]
fn a_daemon_opens_no_descriptor_for_ever() {
    require_engine!("docker-registry");
    let daemon = Gantryd::new("gt-store-fds");
    let tenant = daemon.namespace("crash-fds");
    let (_, name) = sample(Access::Plain, "busybox");
    let round = || {
        pull(&tenant, &name).run().ok();
        let dir = tempfile::tempdir().unwrap();
        tenant.mounted(&name, dir.path(), |_| ());
        tenant.clear();
        daemon.descriptors()
    };
    let first = (0..3).map(|_| round()).max().unwrap();
    for _ in 0..10 {
        round();
    }
    daemon.settles("the descriptors to be closed", || daemon.descriptors() <= first + 2);
}
