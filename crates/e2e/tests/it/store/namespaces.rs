use gantry_e2e::{Access, Gantryd, require_engine};
use gantry_testkit::until_true;

use super::{pull, pulled, sample};

#[test]
fn namespaces_are_created_labelled_and_removed() {
    require_engine!("ctr");
    let daemon = Gantryd::shared();
    daemon.ctr(["namespaces", "create", "ns-one", "colour=blue"]).run().ok();
    daemon.ctr(["namespaces", "create", "ns-one"]).run().fails().says("already exists");
    daemon.ctr(["namespaces", "label", "ns-one", "size=large"]).run().ok();
    let row = || {
        let listed = daemon.ctr(["namespaces", "ls"]).run().ok();
        listed.lines().into_iter().find(|row| row.starts_with("ns-one")).unwrap_or_default().to_owned()
    };
    assert!(row().contains("colour=blue") && row().contains("size=large"), "{}", row());
    daemon.ctr(["namespaces", "label", "ns-one", "colour="]).run().ok();
    assert!(!row().contains("colour"), "{}", row());
    daemon.ctr(["namespaces", "rm", "ns-one"]).run().ok();
    assert_eq!(row(), "");
    daemon.ctr(["namespaces", "create", "not a name"]).run().fails();
}

#[test]
fn a_namespace_with_something_in_it_stays() {
    require_engine!("docker-registry");
    let (tenant, _) = pulled("ns-full", "busybox");
    tenant
        .daemon()
        .ctr(["namespaces", "rm", "ns-full"])
        .run()
        .fails()
        .says_any(&["failed precondition", "must be empty"]);
    tenant.clear();
    tenant.daemon().ctr(["namespaces", "rm", "ns-full"]).run().ok();
}

#[test]
fn a_namespace_does_not_see_another_ones_things() {
    require_engine!("docker-registry");
    let (one, name) = pulled("ns-apart1", "zstd");
    let two = one.daemon().namespace("ns-apart2");
    assert!(two.images().is_empty() && two.content().is_empty() && two.snapshots().is_empty());
    pull(&two, &name).run().ok();
    one.clear();
    let dir = tempfile::tempdir().unwrap();
    let read =
        two.mounted(&name, dir.path(), |root| std::fs::read_to_string(root.join("etc/layer")).unwrap());
    assert_eq!(read, "of the second layer\n", "what one namespace removed the other still has");
    two.clear();
}

#[test]
fn events_tell_what_happens() {
    require_engine!("docker-registry");
    let daemon = Gantryd::shared();
    let tenant = daemon.namespace("ns-events");
    let stream = daemon.ctr(["--namespace", "ns-events", "events"]).spawn();
    // Whoever subscribes late misses what was before: something harmless until it is seen.
    until_true("the stream to begin", || {
        tenant.ctr(["snapshots", "prepare", "probe"]).run().ok();
        tenant.ctr(["snapshots", "rm", "probe"]).run().ok();
        stream.stdout().contains("/snapshot/prepare")
    });
    let (_, name) = sample(Access::Plain, "busybox");
    pull(&tenant, &name).run().ok();
    tenant.ctr(["images", "tag", &name, "example.test/event:1"]).run().ok();
    tenant.ctr(["images", "label", &name, "colour=blue"]).run().ok();
    // Layers that another namespace has may be there without being committed again.
    tenant.ctr(["snapshots", "prepare", "active"]).run().ok();
    tenant.ctr(["snapshots", "commit", "committed", "active"]).run().ok();
    tenant.ctr(["snapshots", "rm", "committed"]).run().ok();
    tenant.clear();
    let wanted =
        ["/images/create", "/images/update", "/images/delete", "/snapshot/commit", "/snapshot/remove"];
    until_true("every event", || {
        let seen = stream.stdout();
        let of_ours: Vec<&str> = seen.lines().filter(|line| line.contains(" ns-events ")).collect();
        wanted.iter().all(|topic| of_ours.iter().any(|line| line.contains(topic)))
    });
    let seen = stream.stdout();
    let of_ours = |topic: &str| {
        let mut lines =
            seen.lines().enumerate().filter(|(_, line)| line.contains(" ns-events ") && line.contains(topic));
        lines.find(|(_, line)| line.contains(&name)).map(|(at, _)| at)
    };
    let order = ["/images/create", "/images/update", "/images/delete"].map(of_ours);
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{order:?} of {seen}");
}

#[test]
fn plugins_and_version_are_told() {
    require_engine!("ctr");
    let daemon = Gantryd::shared();
    let version = daemon.ctr(["version"]).run().ok();
    let server = version.stdout.split("Server:").nth(1).unwrap();
    assert!(server.contains("Version:") && server.contains("UUID:"), "{version}");
    let plugins = daemon.ctr(["plugins", "ls"]).run().ok();
    let row = |kind: &str, id: &str| {
        let found = plugins.lines().into_iter().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.first() == Some(&kind) && words.get(1) == Some(&id) && words.last() == Some(&"ok")
        });
        assert!(found, "{kind} {id}: {plugins}");
    };
    row("io.containerd.content.v1", "content");
    row("io.containerd.snapshotter.v1", "overlayfs");
    row("io.containerd.snapshotter.v1", "native");
    for service in [
        "content",
        "images",
        "snapshots",
        "leases",
        "namespaces",
        "diff",
        "events",
        "version",
        "introspection",
    ] {
        row("io.containerd.grpc.v1", service);
    }
}
