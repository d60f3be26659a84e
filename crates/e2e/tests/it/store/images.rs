use std::collections::BTreeSet;

use gantry_e2e::{Access, Gantryd, Trust, require_engine};

use super::{pull, pulled, sample};

#[test]
fn a_tag_is_another_name_for_the_same_bytes() {
    require_engine!("docker-registry");
    let (tenant, name) = pulled("images-tag", "busybox");
    let content = tenant.content();
    tenant.ctr(["images", "tag", &name, "example.test/other:1"]).run().ok();
    // ctr of containerd 2 replaces what is there.
    if !gantry_e2e::client_is_2() {
        tenant.ctr(["images", "tag", &name, "example.test/other:1"]).run().fails().says("already exists");
    }
    tenant.ctr(["images", "tag", "--force", &name, "example.test/other:1"]).run().ok();
    tenant
        .ctr(["images", "tag", "example.test/nosuch:1", "example.test/x:1"])
        .run()
        .fails()
        .says("not found");
    assert_eq!(tenant.images().len(), 2);
    tenant.ctr(["images", "rm", "--sync", &name]).run().ok();
    assert_eq!(tenant.content(), content, "the other name keeps the bytes");
    let listed = tenant.ctr(["images", "ls", "--quiet", "name~=other"]).run().ok();
    assert_eq!(listed.lines(), ["example.test/other:1"]);
    assert_eq!(tenant.ctr(["images", "ls", "--quiet", "name==nothing"]).run().ok().lines(), [""; 0]);
    tenant.ctr(["images", "rm", "example.test/nosuch:1"]).run().says("not found");
    tenant.clear();
}

#[test]
fn labels_of_an_image() {
    require_engine!("docker-registry");
    let (tenant, name) = pulled("images-label", "busybox");
    tenant.ctr(["images", "label", &name, "colour=blue", "size=large"]).run().ok();
    let filtered = |filter: &str| tenant.ctr(["images", "ls", "--quiet", filter]).run().ok().lines().len();
    assert_eq!(filtered("labels.colour==blue"), 1);
    assert_eq!(filtered("labels.colour==red"), 0);
    tenant.ctr(["images", "label", &name, "colour="]).run().ok();
    assert_eq!((filtered("labels.colour==blue"), filtered("labels.size==large")), (0, 1));
    tenant.ctr(["images", "label", "--replace-all", &name, "only=this"]).run().ok();
    assert_eq!((filtered("labels.size==large"), filtered("labels.only")), (0, 1));
    tenant.clear();
}

#[test]
fn check_says_what_is_there() {
    require_engine!("docker-registry");
    let (tenant, name) = pulled("images-check", "everything");
    let checked = tenant.ctr(["images", "check"]).run().ok();
    let row = checked.lines().into_iter().find(|line| line.starts_with(&name)).unwrap().to_owned();
    assert!(row.contains("complete (6/6)") && row.ends_with("true"), "{row}");
    assert_eq!(tenant.ctr(["images", "check", "--quiet"]).run().ok().lines(), [name]);
    tenant.clear();
}

#[test]
fn a_pushed_image_is_pulled_as_the_same() {
    require_engine!("docker-registry");
    let (tenant, name) = pulled("images-push", "everything");
    let registry = sample(Access::Plain, "everything").0;
    let pushed = registry.name("pushed/by-ctr:1");
    tenant.ctr(["images", "push", "--plain-http", &pushed, &name]).run().ok();
    let content = tenant.content();
    tenant.clear();
    pull(&tenant, &pushed).run().ok();
    assert_eq!(tenant.content(), content);
    tenant.clear();
}

#[test]
fn all_platforms_of_an_index_are_pushed() {
    require_engine!("docker-registry");
    let tenant = Gantryd::shared().namespace("images-push-index");
    let (registry, name) = sample(Access::Plain, "multi");
    tenant.ctr(["images", "pull", "--plain-http", "--all-platforms", &name]).run().ok();
    let pushed = registry.name("pushed/index:1");
    tenant.ctr(["images", "push", "--plain-http", &pushed, &name]).run().ok();
    let raw = |name: &str| {
        let call = registry.skopeo("inspect").args(["--raw", "--tls-verify=false"]);
        call.arg(format!("docker://{name}")).run().ok().stdout
    };
    assert_eq!(raw(&pushed), raw(&name));
    tenant.clear();
}

#[test]
fn a_push_with_a_password() {
    require_engine!("docker-registry");
    let (tenant, name) = pulled("images-push-password", "busybox");
    let registry = sample(Access::Password, "busybox").0;
    let pushed = registry.name("pushed/secret:1");
    let call = || tenant.ctr(["images", "push", "--hosts-dir"]).arg(registry.hosts_dir(Trust::Authority));
    call().args([&pushed, &name]).run().fails();
    let user = format!("{}:{}", gantry_e2e::USER, gantry_e2e::PASSWORD);
    call().args(["--user", &user, &pushed, &name]).run().ok();
    tenant.clear();
}

#[test]
fn removal_frees_the_space() {
    require_engine!("docker-registry");
    let daemon = Gantryd::new("gt-store-rm");
    let tenant = daemon.namespace("images-rm");
    let (_, name) = sample(Access::Plain, "large");
    pull(&tenant, &name).run().ok();
    assert_eq!(daemon.blob_names().len(), 10);
    let used = disk_usage(&daemon);
    assert!(used > 90 << 20, "{used}");
    tenant.clear();
    daemon.settles("the blobs to go", || daemon.blob_names() == BTreeSet::new());
    daemon.settles("the space to be freed", || disk_usage(&daemon) < 8 << 20);
}

#[test]
fn a_mount_for_writing_is_not_the_image() {
    require_engine!("docker-registry");
    let (tenant, name) = pulled("images-mount", "busybox");
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("m");
    std::fs::create_dir(&target).unwrap();
    tenant.ctr(["images", "mount", "--rw", &name]).arg(&target).run().ok();
    std::fs::write(target.join("etc/layer"), "written").unwrap();
    tenant.ctr(["images", "unmount", "--rm"]).arg(&target).run().ok();
    let read =
        tenant.mounted(&name, &target, |root| std::fs::read_to_string(root.join("etc/layer")).unwrap());
    assert_eq!(read, "of the second layer\n");
    let refused = tenant.mounted(&name, &target, |root| std::fs::write(root.join("etc/layer"), "x"));
    assert!(refused.is_err(), "a view is read-only");
    tenant.clear();
}

fn disk_usage(daemon: &Gantryd) -> u64 {
    let output = gantry_testkit::Invocation::new("du").args(["-sB1"]).arg(daemon.root()).run();
    output.text().split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
}
