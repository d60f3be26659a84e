//! Mounts that the store makes for a client.

use std::path::Path;

use gantry_primitives::{ActivateRequest, Activation};
use gantry_testkit::{Need, require};
use gantry_types::{ErrorKind, Labels, Mount};

use crate::harness::{Fixture, context};

fn request(name: &str, directory: &Path) -> ActivateRequest {
    let tmpfs = Mount { kind: "tmpfs".into(), options: vec!["size=1m".into()], ..Mount::default() };
    let bind = Mount {
        kind: "bind".into(),
        source: directory.display().to_string(),
        options: vec!["rbind".into(), "ro".into()],
        ..Mount::default()
    };
    ActivateRequest {
        name: name.into(),
        mounts: vec![tmpfs, bind],
        labels: Labels::from([("a".to_owned(), name.to_owned())]),
        temporary: true,
    }
}

fn mounted(activation: &Activation) -> usize {
    let table = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let is_there = |point: &Path| table.lines().any(|line| line.split(' ').nth(4) == point.to_str());
    activation.active.iter().filter(|mount| is_there(&mount.point)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activation_is_mounted_found_changed_and_undone() {
    require!(Need::Root);
    let (fixture, files) = (Fixture::new(), tempfile::tempdir().unwrap());
    std::fs::write(files.path().join("file"), "x").unwrap();
    let (store, test) = (&fixture.store, context("test"));
    let made = store.mount_activate(test.clone(), request("one", files.path())).await.unwrap();
    assert_eq!(mounted(&made), 2);
    let system = &made.system[0];
    assert_eq!((made.system.len(), system.kind.as_str()), (1, "bind"));
    assert_eq!(std::fs::read(Path::new(&system.source).join("file")).unwrap(), b"x");
    assert!(std::fs::write(Path::new(&system.source).join("other"), "").is_err());
    let again = store.mount_activate(test.clone(), request("one", files.path())).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    let mut lasting = request("two", files.path());
    lasting.temporary = false;
    let refused = store.mount_activate(test.clone(), lasting).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unimplemented);
    assert_eq!(store.mount_info(test.clone(), "one".into()).await.unwrap(), made);
    let elsewhere = store.mount_info(context("other"), "one".into()).await.unwrap_err();
    assert_eq!(elsewhere.kind(), ErrorKind::NotFound);
    let labels = Labels::from([("b".to_owned(), "2".to_owned())]);
    let changed =
        store.mount_update(test.clone(), "one".into(), labels, vec!["labels.b".into()]).await.unwrap();
    assert_eq!((changed.labels["a"].as_str(), changed.labels["b"].as_str()), ("one", "2"));
    let two = store.mount_activate(test.clone(), request("two", files.path())).await.unwrap();
    let names = async |filters: &[&str]| {
        let filters = filters.iter().map(|&filter| filter.to_owned()).collect();
        let found = store.mount_list(test.clone(), filters).await.unwrap();
        found.into_iter().map(|one| one.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]).await, ["one", "two"]);
    assert_eq!(names(&["labels.b==2"]).await, ["one"]);
    assert_eq!(names(&["name==two", "labels.a==x"]).await, ["two"]);
    store.mount_deactivate(test.clone(), "one".into()).await.unwrap();
    store.mount_deactivate(test.clone(), "two".into()).await.unwrap();
    assert_eq!((mounted(&made), mounted(&two)), (0, 0));
    assert_eq!(std::fs::read_dir(fixture.directory.path().join("store/mounts")).unwrap().count(), 0);
    let gone = store.mount_deactivate(test, "one".into()).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activation_that_is_in_use_stays() {
    require!(Need::Root);
    let (fixture, files) = (Fixture::new(), tempfile::tempdir().unwrap());
    let test = context("test");
    let made = fixture.store.mount_activate(test.clone(), request("one", files.path())).await.unwrap();
    let used = std::fs::File::create(made.active[0].point.join("open")).unwrap();
    fixture.store.mount_deactivate(test.clone(), "one".into()).await.unwrap_err();
    assert!(fixture.store.mount_info(test.clone(), "one".into()).await.is_ok());
    drop(used);
    fixture.store.mount_deactivate(test, "one".into()).await.unwrap();
    assert_eq!(mounted(&made), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activation_goes_with_its_lease() {
    require!(Need::Root);
    let (fixture, files) = (Fixture::new(), tempfile::tempdir().unwrap());
    let (store, test) = (&fixture.store, context("test"));
    store.lease_create(test.namespace.clone(), "l".into(), Labels::new()).await.unwrap();
    let leased = test.with_lease("l");
    let made = store.mount_activate(leased, request("one", files.path())).await.unwrap();
    store.collect().await.unwrap();
    assert_eq!(mounted(&made), 2);
    store.lease_delete(test.namespace.clone(), "l".into(), true).await.unwrap();
    assert_eq!(mounted(&made), 0);
    assert_eq!(store.mount_info(test, "one".into()).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_activation_leaves_nothing() {
    require!(Need::Root);
    let (fixture, files) = (Fixture::new(), tempfile::tempdir().unwrap());
    let mut wanted = request("one", files.path());
    wanted.mounts.push(Mount { kind: "no-such-file-system".into(), ..Mount::default() });
    fixture.store.mount_activate(context("test"), wanted).await.unwrap_err();
    assert!(fixture.store.mount_list(context("test"), Vec::new()).await.unwrap().is_empty());
    let mounts = fixture.directory.path().join("store/mounts");
    assert_eq!(std::fs::read_dir(mounts).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_what_is_mounted_and_forgets_what_is_not() {
    require!(Need::Root);
    let (fixture, files) = (Fixture::new(), tempfile::tempdir().unwrap());
    let test = context("test");
    let kept = fixture.store.mount_activate(test.clone(), request("kept", files.path())).await.unwrap();
    let lost = fixture.store.mount_activate(test.clone(), request("lost", files.path())).await.unwrap();
    // As after a stop of the machine.
    rustix::mount::unmount(&lost.active[1].point, rustix::mount::UnmountFlags::DETACH).unwrap();
    // As after a kill between the mounts and their record.
    let unrecorded = fixture.directory.path().join("store/mounts/9999/0");
    std::fs::create_dir_all(&unrecorded).unwrap();
    rustix::mount::mount_bind(files.path(), &unrecorded).unwrap();
    let fixture = fixture.reopened();
    let names: Vec<String> = fixture
        .store
        .mount_list(test.clone(), Vec::new())
        .await
        .unwrap()
        .into_iter()
        .map(|one| one.name)
        .collect();
    assert_eq!(names, ["kept"]);
    assert_eq!((mounted(&kept), mounted(&lost)), (2, 0));
    assert!(!unrecorded.exists() && files.path().exists());
    fixture.store.mount_deactivate(test, "kept".into()).await.unwrap();
    assert_eq!(mounted(&kept), 0);
}
