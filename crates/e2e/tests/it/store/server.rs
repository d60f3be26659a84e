//! Pulls that the daemon does itself, broken off everywhere.

use std::collections::BTreeSet;
use std::time::Duration;

use gantry_e2e::{
    Access, Gantryd, ServerPull, Tenant, Trust, client_is_2, on_reference, require_engine, tree,
};
use gantry_primitives::failpoint::PLACES;

use super::sample;

/// Leaves the test on a reference whose transfer service this is not: 1.6 has none.
macro_rules! require_ours {
    () => {
        require_engine!("docker-registry");
        if on_reference() {
            gantry_testkit::skip_test!("a contract of Gantry alone");
        }
    };
}

fn check(tenant: &Tenant<'_>, name: &str) -> tree::Tree {
    let checked = tenant.ctr(["images", "check"]).run().ok();
    assert!(checked.stdout.contains("complete") && checked.text().ends_with("true"), "{checked}");
    let dir = tempfile::tempdir().unwrap();
    tenant.mounted(name, dir.path(), tree::describe)
}

fn clear(daemon: &Gantryd, tenant: &Tenant<'_>) {
    tenant.clear();
    daemon.settles("the blobs to go", || daemon.blob_names() == BTreeSet::new());
    assert_eq!(daemon.mounts(), [""; 0]);
    daemon
        .settles("the leases to go", || tenant.ctr(["leases", "ls", "--quiet"]).run().ok().text().is_empty());
}

#[test]
fn what_the_daemon_pulls_is_what_a_client_pulls() {
    require_ours!();
    let daemon = Gantryd::new("gt-store-server");
    let tenant = daemon.namespace("server-same");
    let (_, name) = sample(Access::Plain, "everything");
    ServerPull::new("server-same", &name).run(daemon.socket()).unwrap();
    let (content, snapshots, found) = (tenant.content(), tenant.snapshots(), check(&tenant, &name));
    clear(&daemon, &tenant);
    super::pull(&tenant, &name).run().ok();
    assert_eq!((tenant.content(), tenant.snapshots()), (content, snapshots));
    tree::assert_same(&check(&tenant, &name), &found);
    clear(&daemon, &tenant);
}

#[test]
fn the_daemon_trusts_what_hosts_toml_says() {
    require_ours!();
    let daemon = Gantryd::new("gt-store-trust");
    let (registry, name) = sample(Access::Tls, "busybox");
    let mut pull = ServerPull::new("server-trust", &name);
    pull.hosts_dir = Some(registry.hosts_dir(Trust::System).display().to_string());
    pull.run(daemon.socket()).unwrap_err();
    pull.hosts_dir = Some(registry.hosts_dir(Trust::Authority).display().to_string());
    pull.run(daemon.socket()).unwrap();
    let tenant = daemon.namespace("server-trust");
    check(&tenant, &name);
    clear(&daemon, &tenant);
}

#[test]
fn a_pull_killed_at_every_step_resumes() {
    require_ours!();
    let daemon = Gantryd::new("gt-store-steps");
    let tenant = daemon.namespace("server-steps");
    let (_, name) = sample(Access::Plain, "everything");
    let pull = ServerPull::new("server-steps", &name);
    pull.run(daemon.socket()).unwrap();
    let expected = check(&tenant, &name);
    clear(&daemon, &tenant);
    // What is done for each layer, also after the first of them.
    let once = ["pull.", "image.", "unpack.finished"];
    let later = PLACES.iter().filter(|place| once.iter().all(|start| !place.starts_with(start)));
    let all = PLACES.iter().map(|place| (*place).to_owned());
    for place in all.chain(later.map(|place| format!("{place}:2"))) {
        daemon.kill();
        daemon.set_failpoint(Some(&place));
        daemon.start();
        let failed = pull.run(daemon.socket());
        assert!(failed.is_err(), "{place} was never reached");
        daemon.settles("the daemon to die", || daemon.has_ended());
        daemon.set_failpoint(None);
        daemon.start();
        // A name that is there has all that it names.
        if !tenant.images().is_empty() {
            tree::assert_same(&check(&tenant, &name), &expected);
        }
        pull.run(daemon.socket()).unwrap_or_else(|error| panic!("after {place}: {error}"));
        tree::assert_same(&check(&tenant, &name), &expected);
        // The lease of the pull that died keeps its bytes until it expires.
        tenant.forget_clients();
        clear(&daemon, &tenant);
    }
}

#[test]
fn a_pull_that_a_client_leaves_goes_on_from_its_bytes() {
    require_ours!();
    let daemon = Gantryd::new("gt-store-leave");
    let tenant = daemon.namespace("server-leave");
    let (_, name) = sample(Access::Plain, "large");
    let mut pull = ServerPull::new("server-leave", &name);
    for milliseconds in [5, 20, 50, 100, 200] {
        pull.patience = Some(Duration::from_millis(milliseconds));
        let _ = pull.run(daemon.socket());
    }
    pull.patience = None;
    pull.run(daemon.socket()).unwrap();
    check(&tenant, &name);
    let kept = daemon.blob_names();
    assert_eq!(kept.len(), 10, "{kept:?}");
    clear(&daemon, &tenant);
}

#[test]
fn many_pulls_at_once_fetch_every_blob_once() {
    require_ours!();
    let daemon = Gantryd::new("gt-store-many");
    let (registry, name) = sample(Access::Plain, "large");
    let before = registry.requests("GET /v2/samples/blobs/").len();
    let namespaces = ["server-many1", "server-many2", "server-many1", "server-many3"];
    std::thread::scope(|scope| {
        let pulls = namespaces.map(|namespace| {
            let (pull, socket) = (ServerPull::new(namespace, &name), daemon.socket());
            scope.spawn(move || pull.run(socket))
        });
        for pull in pulls {
            pull.join().unwrap().unwrap();
        }
    });
    let requests = registry.requests("GET /v2/samples/blobs/").split_off(before);
    let sent: u64 = super::pull::bytes_sent(&requests, "sha256:");
    assert!(sent < ((8 + 1) * 6) << 20, "{sent} bytes in {} requests", requests.len());
    for namespace in ["server-many1", "server-many2", "server-many3"] {
        let tenant = daemon.namespace(namespace);
        check(&tenant, &name);
        tenant.clear();
    }
    daemon.settles("the blobs to go", || daemon.blob_names() == BTreeSet::new());
}

#[test]
fn bytes_come_back_as_they_were_sent() {
    require_engine!("ctr");
    if on_reference() && !client_is_2() {
        gantry_testkit::skip_test!("containerd 1.6 has no transfer service");
    }
    let tenant = Gantryd::shared().namespace("server-echo");
    // containerd's TestTransferEcho.
    for length in [0, 11, 187 << 10] {
        let sent: Vec<u8> = (0..length).map(|number| (number % 251) as u8).collect();
        let caller = tenant.caller();
        let back = caller.run(async |channel| caller.echo(channel, &sent).await).unwrap();
        assert!(back == sent, "{} bytes of {length}", back.len());
    }
}
