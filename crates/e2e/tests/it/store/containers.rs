use gantry_e2e::require_engine;

use super::pulled;

#[test]
fn containers_are_recorded_labelled_and_removed() {
    require_engine!("docker-registry");
    let (tenant, name) = pulled("containers", "busybox");
    let create = |id: &str| tenant.ctr(["containers", "create", "--label", "colour=blue", &name, id]).run();
    create("one").ok();
    create("two").ok();
    create("one").fails().says("already exists");
    let quiet = |filter: &str| {
        let listed = tenant.ctr(["containers", "ls", "--quiet", filter]).run().ok();
        listed.lines().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(quiet(""), ["one", "two"]);
    assert_eq!(quiet("id==two"), ["two"]);
    assert_eq!(quiet(&format!("image=={name}")), ["one", "two"]);
    assert_eq!(quiet("runtime.name==other"), [""; 0]);
    let info = tenant.ctr(["containers", "info", "one"]).run().ok();
    for text in [name.as_str(), "\"SnapshotKey\": \"one\"", "\"ociVersion\"", "\"colour\": \"blue\""] {
        assert!(info.text().contains(text), "{text} in {}", info.text());
    }
    tenant.ctr(["containers", "label", "one", "size=large", "colour="]).run().ok();
    assert_eq!(
        (quiet("labels.size==large"), quiet("labels.colour==blue")),
        (vec!["one".into()], vec!["two".into()])
    );
    tenant.ctr(["containers", "info", "none"]).run().fails().says("not found");
    // A container keeps its snapshot; `ctr` removes both.
    tenant.ctr(["containers", "rm", "one", "two"]).run().ok();
    assert_eq!(quiet(""), [""; 0]);
    tenant.ctr(["containers", "rm", "one"]).run().says("not found");
    tenant.clear();
}

#[test]
fn a_namespace_with_a_container_stays() {
    require_engine!("docker-registry");
    let (tenant, name) = pulled("containers-namespace", "busybox");
    tenant.ctr(["containers", "create", &name, "one"]).run().ok();
    let remove = || tenant.daemon().ctr(["namespaces", "rm", "containers-namespace"]).run();
    remove().says("must be empty");
    tenant.ctr(["containers", "rm", "one"]).run().ok();
    tenant.clear();
    remove().ok();
}
